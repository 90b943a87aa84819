"""The first scenario: counters ask two machines for numbers, and each number given is entered in a ledger elsewhere.

Small nodes in the places of numbering and intake (the messages, and who may send them, are theirs), made of the shared
machinery of every node (``nodes.base``): the idempotent step under a version guard, two instances over one store, and
the outbox with its order. What breaks here breaks everywhere.
"""

import asyncio
from collections.abc import Collection
from functools import partial
from typing import ClassVar, Final

import msgspec

from warifu.contract.intake import Notify
from warifu.contract.message import Answer, Done
from warifu.contract.numbering import AssignNumber
from warifu.domain.decision import Asked, Decision
from warifu.kernel.errors import KeyReused, NotAllowed, Refused
from warifu.kernel.ids import new_ulid
from warifu.lab.history import Event
from warifu.lab.properties import Property, common
from warifu.lab.scenarios.scenario import Safeguard, Scenario
from warifu.lab.simulation.driver import Driver
from warifu.lab.simulation.keys import EPOCH_MS
from warifu.lab.simulation.world import WELL_MS, Ports, World
from warifu.nodes import base
from warifu.ports.store import Get, Insert, Record, Snapshot, Store, Update

RESIDENTS = 3
COUNTERS = 3
DEFAULT_SIZE = 12
MUNICIPALITY = "131016"
TORN_SHARE = 3
"""In one run of so many the ledger refuses a resident's entries until somebody mends it."""
MENDED_MS = 60_000
WELL_SNAP_MS = 3_000
FORGETS_S = 60
FORGETTING_S = 5
"""For a purge at one row a time."""
DAY_MS = 86_400_000


class Count(Record, frozen=True, kw_only=True):
    """How many numbers a resident has had."""

    TABLE: ClassVar[str] = "tally_count"
    KEY: ClassVar[tuple[str, ...]] = ("resident_id",)

    resident_id: str
    count: int


class Entry(Record, frozen=True, kw_only=True):
    """How many entries the ledger has of a resident."""

    TABLE: ClassVar[str] = "ledger_entry"
    KEY: ClassVar[tuple[str, ...]] = ("resident_id",)

    resident_id: str
    entries: int


class Given(Answer, frozen=True, kw_only=True):
    """The number given: the resident's first, second, third ..."""

    number: int


class TallyNode(base.KeepingNode):
    """Gives a resident the next number, once per request, and tells the ledger."""

    KIND: ClassVar[str] = "numbering"

    def __init__(self, world: base.World, store: Store) -> None:
        super().__init__(world, store)
        self.handlers |= {AssignNumber.NAME: self.assign}

    async def assign(self, call: base.Call) -> Given:
        """The next number."""
        request = base.expect(call.request, AssignNumber)
        reads = (Get(Count, (request.resident_id,)),)
        return await self.step(call, reads, partial(_next, self.asked(call), request), Given)


def _next(asked: Asked, request: AssignNumber, snapshot: Snapshot) -> Decision:
    found = snapshot.one(0, Count)
    number = found.count + 1 if found else 1
    notify = Notify(resident_id=request.resident_id, municipality=request.municipality)
    count = Count(resident_id=request.resident_id, count=number, version=found.version if found else 0)
    return Decision(
        answer=Given(number=number),
        writes=(Update(count) if found else Insert(count),),
        journal=(asked.journal(f"tally:{request.resident_id}", "given", number=number),),
        outbox=(asked.outbox("intake", notify, order_key=request.resident_id),),
    )


class LedgerNode(base.KeepingNode):
    """Enters each number given, once per message."""

    KIND: ClassVar[str] = "intake"

    def __init__(self, world: base.World, store: Store, refusing: dict[str, None]) -> None:
        super().__init__(world, store)
        self._refusing = refusing
        self.handlers |= {Notify.NAME: self.enter}

    async def enter(self, call: base.Call) -> Done:
        """One entry more; refused as long as somebody has to mend the resident's page."""
        request = base.expect(call.request, Notify)
        reads = (Get(Entry, (request.resident_id,)),)
        return await self.step(call, reads, partial(_enter, self.asked(call), request, self._refusing), Done)


def _enter(asked: Asked, request: Notify, refusing: Collection[str], snapshot: Snapshot) -> Decision:
    if request.resident_id in refusing:
        raise NotAllowed("the page is torn")
    found = snapshot.one(0, Entry)
    entries = found.entries + 1 if found else 1
    entry = Entry(resident_id=request.resident_id, entries=entries, version=found.version if found else 0)
    return Decision(
        answer=Done(),
        writes=(Update(entry) if found else Insert(entry),),
        journal=(asked.journal(f"ledger:{request.resident_id}", "entered", entries=entries),),
    )


class NumbersOnce:
    """No two requests of a resident get the same number."""

    name = "a number is given once"

    def __init__(self) -> None:
        self._given: set[str] = set()

    def see(self, event: Event) -> str | None:
        """The trial puts the number into the answer's detail."""
        if event.kind != "log" or event.outcome != "given":
            return None
        if event.detail in self._given:
            return f"{event.detail} twice"
        self._given.add(event.detail)
        return None

    def end(self) -> str | None:
        """Nothing more."""
        return None


class TallyTrial:
    """Counters over residents; two machines and one ledger."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tally = world.stores.add("numbering", (Count,))
        self._ledger = world.stores.add("intake", (Entry,))
        for name in ("numbering-1", "numbering-2"):
            world.add(name, "numbering", _tally_node)
        self._torn: dict[str, None] = {}
        world.add("intake-1", "intake", lambda ports: LedgerNode(ports.world, ports.store, self._torn))
        self._drivers = [Driver(world, f"registry-{number + 1}") for number in range(COUNTERS)]
        self._reused = {f"assign.{1 + world.pick(DEFAULT_SIZE)}"}
        self._residents = [new_ulid(EPOCH_MS, bytes([number + 1] * 10)) for number in range(RESIDENTS)]
        if not world.plan.tight and not world.pick(TORN_SHARE):
            self._torn[self._residents[0]] = None

    async def drive(self) -> None:
        """Each counter sends its share, one request after the other or several at once."""
        size = self._world.plan.size or DEFAULT_SIZE
        async with asyncio.TaskGroup() as group:
            for number in range(size):
                driver = self._drivers[number % COUNTERS]
                which = 0 if self._world.plan.tight else self._world.pick(RESIDENTS)
                group.create_task(self._assign(driver, which, f"assign.{number + 1}"), name=f"request {number + 1}")
        await self._mended()

    async def _mended(self) -> None:
        """What the ledger refuses holds up nobody else's entries; a person mends it once all of those are made."""
        if not self._torn:
            return
        await self._world.healed.wait()
        self._world.snap_within_ms = WELL_SNAP_MS  # a store that waits for the end of this wait would prove nothing
        end_ms = self._world.loop.now_ms + MENDED_MS
        while any(pending.message.order_key not in self._torn for pending in self._tally.outbox()):
            if self._world.loop.now_ms > end_ms:
                self._world.violated("what is refused holds up no other", f"not within {MENDED_MS} ms")
            await asyncio.sleep(0.1)
        self._torn.clear()

    async def _assign(self, driver: Driver, which: int, step: str) -> None:
        await asyncio.sleep(self._world.delay_ms(0, 300) / 1000)
        resident = self._residents[which]
        request = AssignNumber(resident_id=resident, resident_code="12345678901", municipality=MUNICIPALITY)
        operation_id = driver.operation_id()
        given = await driver.ask("numbering", request, Given, operation_id=operation_id, step=step, order=resident)
        if isinstance(given, Refused):
            self._world.violated("no request is refused", given.code)
        else:
            self._world.record("log", "trial", outcome="given", detail=f"resident {which + 1} number {given.number}")
            if step in self._reused:
                await self._reuse(driver, request, operation_id, step)

    async def _reuse(self, driver: Driver, request: AssignNumber, operation_id: str, step: str) -> None:
        """The same key for another request: an error of the asker's, and answered as one."""
        other = msgspec.structs.replace(request, resident_code="98765432109")
        answer = await driver.ask("numbering", other, Given, operation_id=operation_id, step=step)
        if not isinstance(answer, KeyReused):
            self._world.violated("a key is not used twice", f"{operation_id}/{step} came with another request")

    def settled(self) -> bool:
        """The outboxes are empty."""
        return self._world.stores.waiting() == 0

    async def conclude(self) -> None:
        """Every node says that it is well; days later no answer is remembered any more."""
        await self._world.all_well(WELL_MS)
        if base.PURGE_EVERY_S <= FORGETS_S and not self._world.plan.tight:
            await self._forgotten()

    async def _forgotten(self) -> None:
        self._world.snapped_share = 0.0  # a purge that waits for some timer would prove nothing
        for machine in self._world.machines.values():
            machine.clock.skew_ms = base.ANSWERS_KEPT_MS + DAY_MS
        await asyncio.sleep(base.PURGE_EVERY_S + FORGETTING_S)
        left = sum(len(store._state.answers) for store in (self._tally, self._ledger))  # noqa: SLF001 - shown nowhere
        if left:
            self._world.violated("answers are forgotten in time", f"{left} are still remembered")

    def state(self) -> object:
        """Both tables and how much waits."""
        counts = tuple(row.count for row in self._tally.records(Count) if isinstance(row, Count))
        entries = tuple(row.entries for row in self._ledger.records(Entry) if isinstance(row, Entry))
        return counts, entries, self._world.stores.waiting(), tuple(m.up for m in self._world.machines.values())


def _tally_node(ports: Ports) -> base.Node:
    return TallyNode(ports.world, ports.store)


def _properties() -> tuple[Property, ...]:
    """The common ones, and that numbers differ."""
    return (*common(), NumbersOnce())


TALLY: Final = Scenario(
    "tally",
    TallyTrial,
    _properties,
    safeguards=(
        Safeguard("idempotency", "the answer is remembered under the request's key, and given again"),
        Safeguard("version-guard", "a commit fails when the record moved since it was read"),
        Safeguard("outbox-order", "of the messages with one ordering key only the oldest is sent", ("F8",)),
    ),
)
