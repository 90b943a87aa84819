"""The ``calendar`` scenario: two real centres over cards whose days run out, while days pass and centres break.

A record ends on the day after its last one, once, wherever a calendar was left off; JPKI is told of it once. Not a day
earlier.
"""

import asyncio
import datetime
from collections import Counter
from typing import ClassVar, Final

from warifu.contract.authority import Certificates, RevokeCertificates
from warifu.domain.cards.records import CalendarMark, Card
from warifu.domain.decision import Decision
from warifu.kernel.calendar import jst_date
from warifu.kernel.ids import card_id, new_ulid
from warifu.lab.properties import common
from warifu.lab.scenarios.nation import CENTERS, HERE, KEYS, THERE
from warifu.lab.scenarios.scenario import Scenario
from warifu.lab.simulation.cards import Drawings
from warifu.lab.simulation.devices import SimulatedFactory, device
from warifu.lab.simulation.keys import EPOCH_MS, Deal
from warifu.lab.simulation.world import WELL_MS, Ports, World
from warifu.nodes import base, center
from warifu.nodes.center import lapsing
from warifu.nodes.hsm_pool import HsmPool, PoolLimits
from warifu.ports.store import Change, Insert

POOL: Final = PoolLimits(queue=20, sessions=4, history=4, dumps=2)
DAY_MS: Final = 86_400_000
DAYS: Final = 3
TODAY: Final = jst_date(EPOCH_MS)
SLOW_MS: Final = 6_000
"""For slow stores, beside the calendar's own pace."""
STORMS_MS: Final = (2_000, 6_000)
LAST_DAYS: Final[tuple[tuple[int | None, int | None], ...]] = (
    (-1, None),
    (0, None),
    (1, None),
    (2, None),
    (400, -1),
    (400, 0),
    (400, 1),
    (400, 2),
)
"""Days from today: the card's last one, and the last one for continued use."""


class Reception(base.KeepingNode):
    """In JPKI's place: hears which cards ended."""

    KIND: ClassVar[str] = "authority"

    def __init__(self, ports: Ports) -> None:
        super().__init__(ports.world, ports.store)
        self.handlers |= {RevokeCertificates.NAME: self.revoke}

    async def revoke(self, call: base.Call) -> Certificates:
        """One entry in the journal."""
        request, asked = base.expect(call.request, RevokeCertificates), self.asked(call)
        entry = asked.journal(f"card:{request.card_id}", request.event)
        decision = Decision(answer=Certificates(certificates=()), journal=(entry,))
        return await self.step(call, (), lambda _: decision, Certificates)


class CalendarTrial:
    """Cards, two centres, and days that pass."""

    def __init__(self, world: World) -> None:
        self._world = world
        world.storms_ms, world.snap_within_ms = STORMS_MS, 3_000
        self._store = world.stores.add("center", center.RECORDS)
        self._told = world.stores.add("authority", ())
        setattr(lapsing, "EVERY_S", 1 + world.pick(3))  # noqa: B010 - a run's own limit: small_limits puts it back
        world.lasts_ms = round(DAYS * 2 * 1000 * lapsing.EVERY_S) + DAYS * SLOW_MS
        self._day = 0
        world.look = self._look

    @staticmethod
    def _center(ports: Ports, factory: SimulatedFactory) -> base.Node:
        pool = HsmPool(factory, f"{ports.machine.name}/hsm", 1, limits=POOL)
        return center.Center(ports.world, ports.store, pool, Drawings())

    async def drive(self) -> None:
        """Days pass, the first of them in the storm; after it the last one comes once more, and all is followed."""
        cards = tuple(Insert(_card(number, *days)) for number, days in enumerate(LAST_DAYS))
        await self._store.commit(Change(now_ms=EPOCH_MS, writes=cards))
        self._open()
        for day in range(DAYS):
            self._day = day
            self._set_clocks()
            await asyncio.sleep(self._world.delay_ms(500, 3_000) / 1000)
        await self._world.healed.wait()
        self._world.snapped_share = 0.0  # a look that waits for some timer would prove nothing
        self._set_clocks()
        await asyncio.sleep(2 * lapsing.EVERY_S + SLOW_MS / 1000)

    def _open(self) -> None:
        world, factory = self._world, SimulatedFactory(self._world, device(Deal(), KEYS["center"]))
        for name in CENTERS:
            world.add(name, "center", lambda ports: self._center(ports, factory))
        world.add("authority-1", "authority", Reception)

    def _set_clocks(self) -> None:
        for machine in self._world.machines.values():
            machine.clock.skew_ms = self._day * DAY_MS

    def _is_over(self, card: Card) -> bool:
        """Said again here, so that a change is seen: from the day after its last one."""
        today = TODAY + datetime.timedelta(days=self._day)
        return any(last is not None and last < today for last in (card.expires_on, card.continuation_due))

    # -- looking

    def _cards(self) -> list[Card]:
        return [row for row in self._store.records(Card) if isinstance(row, Card)]

    def _look(self) -> None:
        for card in self._cards():
            if card.state == "abolished" and not self._is_over(card):
                self._world.violated("a card's days end, and not before", f"{card.card_id} ended on day {self._day}")

    def settled(self) -> bool:
        """The outboxes are empty."""
        return self._world.stores.waiting() == 0

    async def conclude(self) -> None:
        """Who is over has ended, once, and JPKI was told once."""
        await self._world.all_well(WELL_MS)
        ended = Counter(row.entry.stream for row in self._store.journal() if row.entry.event == "lapsed")
        told = Counter(row.entry.stream for row in self._told.journal())
        for card in self._cards():
            over, stream = self._is_over(card), f"card:{card.card_id}"
            if (card.state == "abolished") is not over:
                self._world.violated("a card's days end, and not before", f"{card.card_id} is {card.state}: {over}")
            if (ended[stream], told[stream]) != (over, over):
                text = f"{card.card_id} ended {ended[stream]} times, was told {told[stream]} times"
                self._world.violated("exactly one effect per request", text)

    def state(self) -> object:
        """Which have ended, and how far the calendar is."""
        marks = tuple(row.day for row in self._store.records(CalendarMark) if isinstance(row, CalendarMark))
        return tuple(card.state for card in self._cards()), marks, tuple(m.up for m in self._world.machines.values())


def _card(number: int, last: int | None, due: int | None) -> Card:
    resident = new_ulid(EPOCH_MS, bytes([number + 1] * 10))
    return Card(
        card_id=card_id(number + 1),
        application_id=f"{number + 1:023}",
        resident_id=resident,
        live_resident_id=resident,
        municipality=HERE,
        state="in_use",
        wants_signature=True,
        wants_authentication=True,
        expires_on=_day(last),
        continuation_due=_day(due),
        continuation_municipality=THERE if due is not None else "",
        changed_ms=EPOCH_MS,
    )


def _day(days: int | None) -> datetime.date | None:
    return None if days is None else TODAY + datetime.timedelta(days=days)


CALENDAR: Final = Scenario("calendar", CalendarTrial, common)
