"""The ``completer`` scenario: two centres end what clerks left, while the clerks come and go between any two steps.

A whole counter leaves an operation once in a run; here they are left again and again, at the very instants at which
patience runs out. What may be ended, and when, is said here a second time.
"""

import asyncio
from contextlib import suppress
from contextvars import ContextVar
from typing import Final

from msgspec import structs

from warifu.adapters.store.memory import MemoryStore, StoreHooks
from warifu.contract.values import OperationKind
from warifu.domain.cards.operations import steps_of
from warifu.domain.cards.records import Card, CardWrite, Operation
from warifu.kernel.errors import Stale
from warifu.kernel.ids import card_id, new_ulid
from warifu.lab.scenarios.core import injected
from warifu.lab.scenarios.core_card import NoWorkers, received
from warifu.lab.scenarios.small import small
from warifu.lab.simulation.cards import Drawings
from warifu.lab.simulation.keys import EPOCH_MS
from warifu.lab.simulation.world import World
from warifu.nodes.center import completing
from warifu.nodes.center.node import RECORDS, Center
from warifu.nodes.hsm_pool import HsmPool
from warifu.ports.store import Change, Insert, Update, Write

OPERATIONS: Final = 5
PLACE: Final = "131016"
MOVES: Final = 14
"""Of each clerk."""
UNKNOWN_MS: Final = 2_000
LEFT_MS: Final = 5_000
KINDS: Final[tuple[OperationKind, ...]] = ("setup", "delivery")
STATES: Final[dict[OperationKind, str]] = {"setup": "received", "delivery": "set_up"}

_IS_CLERK: Final[ContextVar[bool]] = ContextVar("is_clerk", default=False)
"""Whether it is a clerk's task that commits."""


class _Book(StoreHooks):
    """Every record as it stands, and what the completers may make of it."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.operations: dict[str, Operation] = {}
        self.writes: dict[str, CardWrite] = {}
        self.cards: dict[str, Card] = {}
        self._messages: set[tuple[str, str, str]] = set()
        self._world = world

    @property
    def now_ms(self) -> int:
        """Of every clock."""
        return EPOCH_MS + self._world.loop.now_ms

    async def after_commit(self, change: Change) -> None:
        """See ``StoreHooks``."""
        if not _IS_CLERK.get():
            for write in change.writes:
                if isinstance(write.record, Operation):
                    self._judge(self.operations[write.record.operation_id], write.record)
        for message in change.outbox:
            key = (message.destination, message.operation_id, message.message_id)
            if key in self._messages:
                self._bad("a key is used for one request", "/".join(key))
            self._messages.add(key)
        for write in change.writes:
            self._keep(write)

    def _keep(self, write: Write) -> None:
        record = structs.replace(write.record, version=write.record.version + 1)
        if isinstance(record, Operation):
            self.operations[record.operation_id] = record
        elif isinstance(record, CardWrite):
            self.writes[record.write_id] = record
        elif isinstance(record, Card):
            self.cards[record.card_id] = record

    def _judge(self, before: Operation, after: Operation) -> None:
        write = self.writes.get(before.pending_write)
        idle_ms = self.now_ms - max(before.changed_ms, write.changed_ms if write else 0)
        if idle_ms < (UNKNOWN_MS if after.state == "open" else LEFT_MS):
            self._bad("nobody is given up before his time", f"{after.state} after {idle_ms} ms")
        if write is not None and write.digest:
            self._bad("what may have reached the chip is left to it", f"{before.kind} is {after.state}")
        if after.state != "open" and after.state != self.ending(before):
            self._bad("what was left is ended where that is provable", f"{before.kind} is {after.state}")

    @staticmethod
    def ending(operation: Operation) -> str:
        """How it ends without its card, by what is done of it; ``open``: it does not."""
        steps = steps_of(operation)
        if not operation.writes_done:
            return "abandoned"
        writes = [step for step in steps if step.action == "write"]
        return "closed" if steps[-1].action == "write" and len(writes) == operation.writes_done else "open"

    def unsettled(self) -> tuple[int, int]:
        """Card writes of unknown end, and operations half done; a violation when more is open than these."""
        unknown = half_done = 0
        for row in self.operations.values():
            write = self.writes.get(row.pending_write)
            if row.state != "open":
                continue
            if write is not None and write.digest:
                unknown += 1
            elif write is None and self.ending(row) == "open":
                half_done += 1
            else:
                self._bad("what was left is ended where that is provable", f"{row.kind} is open")
        return unknown, half_done

    def _bad(self, name: str, text: str) -> None:
        self._world.violated(name, text)


async def drive(world: World, size: int) -> None:
    """Clerks and completers; then the clerks are gone, and what can be ended is."""
    completing.UNKNOWN_AFTER_MS, completing.LEFT_AFTER_MS = UNKNOWN_MS, LEFT_MS  # small_limits puts them back
    completing.EVERY_S, completing.PAGE = 1, 1 + world.pick(3)
    book = _Book(world)
    store = MemoryStore(RECORDS, hooks=book)
    centers = [_center(world, name, store) for name in ("center-1", "center-2")]
    begun = tuple(write for number in range(size) for write in _begun(world, number))
    await asyncio.create_task(_committed(book, store, begun))
    running = [asyncio.create_task(center.completer.run()) for center in centers]
    async with asyncio.TaskGroup() as group:
        for operation_id in list(book.operations):
            group.create_task(_clerk(world, book, store, operation_id))
    await asyncio.sleep((UNKNOWN_MS + LEFT_MS) / 1000 + 3 * completing.EVERY_S)
    expected = book.unsettled()
    for center in centers:
        said = center.completer.waiting
        if (said.unknown, said.half_done) != expected:
            world.violated("people are told of what was left", f"{said.unknown}, {said.half_done}, not {expected}")
    for task in running:
        task.cancel()
    await asyncio.wait(running)


async def _clerk(world: World, book: _Book, store: MemoryStore, operation_id: str) -> None:
    """Takes the operation a step further now and then, often just as patience with it runs out."""
    for turn in range(MOVES):
        patience_ms = (UNKNOWN_MS, LEFT_MS, 0)[world.pick(3)]
        await asyncio.sleep(max(0, patience_ms + world.delay_ms(0, 40) - 20) / 1000)
        row = book.operations[operation_id]
        if row.state != "open":
            return
        await _committed(book, store, _further(world, book, row, turn))


def _further(world: World, book: _Book, row: Operation, turn: int) -> tuple[Write, ...]:
    """The next step: an intent, its script, or its end."""
    now_ms = book.now_ms
    write = book.writes.get(row.pending_write)
    if write is None:
        steps = [step for step in steps_of(row) if step.action == "write"]
        if row.writes_done == len(steps):
            return ()
        name = steps[row.writes_done].name
        new = CardWrite(
            write_id=new_ulid(now_ms, bytes([turn]) + row.operation_id.encode()[-9:]), card_id=row.card_id,
            operation_id=row.operation_id, step_name=name, with_jpki=True, state="intent", changed_ms=now_ms,
        )  # fmt: skip
        return (Insert(new), Update(structs.replace(row, pending_write=new.write_id, changed_ms=now_ms)))
    if not write.digest:
        return (Update(structs.replace(write, digest=bytes(32), changed_ms=now_ms)),) if not world.pick(3) else ()
    ended = structs.replace(write, state="finished", changed_ms=now_ms)
    done = structs.replace(row, pending_write="", writes_done=row.writes_done + 1, changed_ms=now_ms)
    return (Update(ended), Update(done))


async def _committed(book: _Book, store: MemoryStore, writes: tuple[Write, ...]) -> None:
    """A clerk's doing; too late when a completer was there before."""
    _IS_CLERK.set(True)
    with suppress(Stale):
        await store.commit(Change(now_ms=book.now_ms, writes=writes))


def _begun(world: World, number: int) -> tuple[Write, ...]:
    kind = KINDS[world.pick(len(KINDS))]
    operation_id, card = new_ulid(EPOCH_MS, bytes([number + 1] * 10)), card_id(number + 1)
    resident = new_ulid(EPOCH_MS, bytes([number + 101] * 10))
    operation = Operation(
        operation_id=operation_id, card_id=card, kind=kind, municipality=PLACE, pins=(), state="open",
        host_challenge=bytes(8), opened_ms=EPOCH_MS, changed_ms=EPOCH_MS,
    )  # fmt: skip
    held = structs.replace(
        received(), card_id=card, application_id=f"{number + 1:023}", resident_id=resident, live_resident_id=resident,
        state=STATES[kind], open_operation=operation_id,
    )  # fmt: skip
    return (Insert(operation), Insert(held))


def _center(world: World, name: str, store: MemoryStore) -> Center:
    return Center(injected(world, name), store, HsmPool(NoWorkers(), f"{name}/hsm", 0), Drawings())


COMPLETER: Final = small("completer", drive, OPERATIONS)
