"""The counter's application: what all pages share."""

import asyncio
import datetime
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from msgspec import Struct

from warifu.adapters.papers import Press
from warifu.adapters.reader.pcsc import PcscReader
from warifu.adapters.reader.tray import TrayReader
from warifu.adapters.screens.accounts import Accounts
from warifu.adapters.screens.desk import Desk
from warifu.adapters.screens.seats import Seats
from warifu.contract.unsettled import Unsettled
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import TryAgain
from warifu.kernel.municipalities import municipality
from warifu.nodes.terminal import Terminal
from warifu.ports.reader import CardEvents, Reader
from warifu.ports.store import Store

FOLDER: Final = Path(__file__).parent
NOTICE_EVERY_S: Final = 5.0
SEAL_EVERY_S: Final = 1.0


class Notice(Struct, frozen=True):
    """A part of the way to the centre that does not do its work."""

    part: str
    since_ms: int


class Counter:
    """One terminal's counter.

    Args:
        terminal: works on the cards.
        code: the municipality's.
        store: of schema ``counter``.
        key: the counters' key, 32 bytes.
        reader: the terminal's: the virtual tray, or one that tells which card lies in it.
    """

    def __init__(self, terminal: Terminal, code: str, store: Store, key: bytes, reader: Reader) -> None:
        world = terminal.world
        self.terminal = terminal
        self.municipality = code
        self.place = municipality(code)
        self.name = world.name
        self.clock = world.clock
        self.entropy = world.entropy
        self.log = world.log
        self.store = store
        self.key = key
        self.tray = reader if isinstance(reader, TrayReader) else None
        self._events: CardEvents | None = reader if isinstance(reader, PcscReader) else None
        self.seats = Seats()
        self.accounts = Accounts(store, key, world.clock, world.entropy)
        self.trail = self.accounts.trail
        self.desk = Desk(terminal, store, self.seats, self.trail)
        self.press = Press()
        self.printing = asyncio.Lock()
        self.notices: tuple[Notice, ...] = ()
        self.unsettled: tuple[Unsettled, ...] = ()
        self.unsettled_ms = 0
        self.cookie = f"warifu-{world.name}"
        self.before_cookie = f"warifu-before-{world.name}"
        self.resident_cookie = f"warifu-resident-{world.name}"
        self.language_cookie = "warifu-language"
        self.templates = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def today(self) -> datetime.date:
        """In Japan."""
        return jst_date(self.clock.now_ms())

    async def run(self) -> None:
        """The desk's runs, the notices and the sealing of the trail, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.desk.run())
            group.create_task(self._watch())
            group.create_task(self._seal())
            if self._events is not None:
                group.create_task(self.follow(self._events))

    async def follow(self, events: CardEvents) -> None:
        """A card laid on the reader opens its resident on the pages that wait for one."""
        while True:
            try:
                async for card_id in events.laid():
                    for seat in self.seats.all():
                        seat.card_id = card_id
                        seat.tell({"kind": "laid", "card": card_id})
            except TryAgain as error:
                self.log.info("screens.reader_waits", code=error.code)
            await asyncio.sleep(NOTICE_EVERY_S)

    async def _watch(self) -> None:
        """Trouble on the way to the centre reaches every open page, and so does its end."""
        while True:
            health = await self.terminal.health()
            self._note(sorted(name for name, part in health.parts.items() if not part.ok))
            await asyncio.sleep(NOTICE_EVERY_S)

    def _note(self, parts: list[str]) -> None:
        if parts == [notice.part for notice in self.notices]:
            return
        since = {notice.part: notice.since_ms for notice in self.notices}
        now_ms = self.clock.now_ms()
        self.notices = tuple(Notice(part, since.get(part, now_ms)) for part in parts)
        for seat in self.seats.all():
            seat.tell({"kind": "notice", "notices": parts})

    async def _seal(self) -> None:
        while True:
            try:
                await self.store.seal(self.clock.now_ms())
            except TryAgain as error:
                self.log.info("audit.waits", code=error.code)
            await asyncio.sleep(SEAL_EVERY_S)
