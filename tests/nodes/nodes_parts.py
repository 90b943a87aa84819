"""Parts for tests of nodes: virtual time, an HSM and chips in memory. The engine and the chip are the real ones."""

import asyncio
import datetime
import gc
import selectors
from collections import deque
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from warifu.adapters.hsm.engine import Engine
from warifu.adapters.hsm.errors import Rejection
from warifu.adapters.hsm.software import SoftwareDevice, StoredKey, _generate, _parse_key
from warifu.chip.card import Chip
from warifu.chip.image import Image, decode
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import Unavailable
from warifu.lab.simulation.keys import Deal, fixture_rsa
from warifu.ports import hsm
from warifu.ports.entropy import Entropy
from warifu.ports.reader import CardGone

T = TypeVar("T")

NOON_MS = 1_775_012_400_000
"""2026-04-01 12:00 in Japan."""
DAY_MS = 86_400_000


# ---- time --------------------------------------------------------------------------------------------------------


class VirtualSelector(selectors.DefaultSelector):
    """Never waits: moves the loop's clock instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing will ever happen again"
        self.now += max(timeout, 0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.virtual = VirtualSelector()
        super().__init__(self.virtual)

    def time(self) -> float:
        return self.virtual.now


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run in virtual time; nothing may be left over that asyncio has to complain of."""
    complaints: list[str] = []
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.get_loop().set_exception_handler(lambda _, context: complaints.append(str(context)))
        result = runner.run(main)
        gc.collect(0)
    assert complaints == []
    return result


class LoopClock:
    """The wall clock: noon, plus the loop's time, plus the days a test lets pass."""

    def __init__(self) -> None:
        self.days = 0

    def now_ms(self) -> int:
        return NOON_MS + round(asyncio.get_running_loop().time() * 1000) + self.days * DAY_MS

    def today(self) -> datetime.date:
        return jst_date(self.now_ms())


class ListLog:
    """Keeps what was logged."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, str | float]]] = []
        self.troubles: list[tuple[str, dict[str, str | float]]] = []
        self.troubled = asyncio.Event()

    def info(self, event: str, **fields: str | float) -> None:
        self.records.append((event, fields))

    def trouble(self, event: str, **fields: str | float) -> None:
        self.troubles.append((event, fields))
        self.troubled.set()


# ---- HSM ---------------------------------------------------------------------------------------------------------


class MemoryDevice(SoftwareDevice):
    """The software device without its folder; RSA keys come from the laboratory's stock."""

    def __init__(self, deal: Deal) -> None:
        self.keys: dict[str, StoredKey] = {}
        self.deal = deal

    def create(self, label: str, purpose: hsm.Purpose) -> None:
        if label not in self.keys:
            material = fixture_rsa(self.deal.next()).private_key if purpose == "sign" else _generate(purpose)
            self.keys[label] = _parse_key(purpose, material)
        self.find(label, purpose)

    def _load(self, label: str) -> StoredKey:  # type: ignore[override]  # the base keeps a cache of files in its place
        if label not in self.keys:
            raise Rejection("hsm.no_such_key", "no key of this name")
        return self.keys[label]


class EngineWorker:
    """One worker in this process."""

    def __init__(self, name: str, engine: Engine[StoredKey], factory: "EngineFactory") -> None:
        self.name, self.engine, self.factory = name, engine, factory
        self.pid = 0
        self.dead = False

    async def call(self, command: hsm.HsmCommand) -> hsm.HsmReply:
        await asyncio.sleep(0)
        if self.dead:
            raise Unavailable("killed")
        self.factory.commands.append(command)
        return self.engine.perform(command)

    async def call_all(self, commands: Sequence[hsm.HsmCommand]) -> Sequence[hsm.HsmReply]:
        return [await self.call(command) for command in commands]

    async def kill(self) -> None:
        self.dead = True


class EngineFactory:
    """Workers of one device, each with message sessions of its own."""

    def __init__(self, device: MemoryDevice) -> None:
        self.device = device
        self.commands: deque[hsm.HsmCommand] = deque(maxlen=1000)
        self.workers: list[EngineWorker] = []

    async def spawn(self, name: str) -> EngineWorker:
        worker = EngineWorker(name, Engine(self.device), self)
        self.workers.append(worker)
        return worker

    def create(self, label: str, purpose: hsm.Purpose) -> None:
        """As the stack does before a node starts."""
        self.device.create(label, purpose)


# ---- chips -------------------------------------------------------------------------------------------------------


class MemoryConnection:
    """A powered chip."""

    def __init__(self, reader: "MemoryReader", chip: Chip) -> None:
        self.reader, self.chip = reader, chip
        self.pulled = False

    async def transmit(self, command: bytes) -> bytes:
        await asyncio.sleep(0)
        if self.pulled:
            raise CardGone("the card was pulled")
        self.pulled = self.reader.counts_down()
        if self.pulled and not self.reader.after:
            raise CardGone("the card was pulled before the command")
        response = self.chip.transmit(command)
        if self.pulled:
            raise CardGone("the card was pulled before the response")
        return response

    async def close(self) -> None:
        self.pulled = True


class MemoryReader:
    """Cards as images in a dict: ``ports.reader.Reader`` and ``ChipFactory``, with a hand that pulls the card."""

    def __init__(self, entropy: Entropy) -> None:
        self.images: dict[str, bytes] = {}
        self.entropy = entropy
        self.commands = 0
        self.pull_at: int | None = None
        self.after = False

    def pull(self, at: int, *, after: bool) -> None:
        """Pull the card at the command ``at`` from now (0: the next): before it reaches the chip, or just after."""
        self.pull_at, self.after, self.commands = at, after, 0

    def counts_down(self) -> bool:
        self.commands += 1
        if self.pull_at is None or self.commands <= self.pull_at:
            return False
        self.pull_at = None
        return True

    async def connect(self, card_id: str) -> MemoryConnection:
        if card_id not in self.images:
            raise CardGone("no such card")
        return MemoryConnection(
            self, Chip(self.images[card_id], lambda image: self._save(card_id, image), self.entropy)
        )

    def _save(self, card_id: str, image: bytes) -> None:
        self.images[card_id] = image

    def image(self, card_id: str) -> Image:
        return decode(self.images[card_id])

    async def has(self, card_id: str) -> bool:
        return card_id in self.images

    async def make(self, card_id: str, image: bytes) -> None:
        self.images.setdefault(card_id, image)
