"""Stores that fail: what a node sees of its database in the simulation.

The data is the memory twin's. Between it and the node lies a connection with latency and faults, and what is on its way
to the database when the node dies still arrives there.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from warifu.adapters.store.memory import MemoryStore, StoreHooks
from warifu.kernel.errors import Stale, Unavailable, WarifuError
from warifu.lab.simulation import cancelled
from warifu.lab.simulation.asked_once import ECHO, FAILED
from warifu.lab.simulation.sabotage import UNIQUE_MARK, sabotaged
from warifu.ports.store import (
    AuditEntry,
    Change,
    Find,
    Get,
    Join,
    Joined,
    Pending,
    Record,
    RequestKey,
    SignHead,
    Snapshot,
    Store,
)

if TYPE_CHECKING:
    from warifu.lab.simulation.world import Machine, World

T = TypeVar("T")
SLOW_MS = 3000
ECHOES = "an answered request changes nothing when it comes again"
_NOTHING = MemoryStore(())


class _Recorder(StoreHooks):
    """Puts each change into the history at the very instant it stands."""

    def __init__(self, world: "World", store: str) -> None:
        self._world = world
        self._store = store

    async def after_commit(self, change: Change) -> None:
        """See ``StoreHooks``. Does not wait: the order of effects is the order of commits."""
        self._world.changed()
        self._world.looks.committed(self._store, change)
        if change.request is not None:
            self._world.record(
                "effect",
                self._store,
                operation_id=change.request.operation_id,
                step=change.request.step.partition(UNIQUE_MARK)[0],
                detail="; ".join(f"{entry.stream} {entry.event}" for entry in change.journal),
            )
        for message in change.outbox:
            self._world.network.left(message.destination, message.operation_id, message.message_id)
            self._world.record(
                "outbox",
                self._store,
                peer=message.destination,
                operation_id=message.operation_id,
                step=message.message_id,
                name=message.name,
                ordering_key=message.order_key.partition(UNIQUE_MARK)[0],
            )


class Stores:
    """The databases of a world, one for each kind of node."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._stores: dict[str, MemoryStore] = {}
        self._seen: dict[str, Store] = {}

    def add(self, name: str, records: Iterable[type[Record]]) -> MemoryStore:
        """An empty database; ``name`` is the destination whose machines share it."""
        store = self._stores[name] = MemoryStore(records, hooks=_Recorder(self._world, name))
        self._seen[name] = sabotaged(store, self._world.plan.without)
        return store

    def of(self, name: str) -> Store:
        """The database of this name, or what sabotage leaves of it; one without tables for who keeps nothing."""
        return self._seen.get(name, _NOTHING)

    def empty(self, name: str) -> bool:
        """Whether nothing is left in this database's outbox."""
        return name not in self._stores or not self._stores[name].outbox()

    def waiting(self) -> int:
        """How many outbox messages there are."""
        return sum(len(store.outbox()) for store in self._stores.values())


class StoreView:
    """One machine's connection to its database: implements ``ports.store.Store``."""

    def __init__(self, world: "World", machine: "Machine", inner: Store) -> None:
        self._world = world
        self._machine = machine
        self._process = machine.process
        self._inner = inner

    async def read(self, *reads: Get | Find, request: RequestKey | None = None) -> Snapshot:
        """See ``Store.read``."""
        failed, asked = FAILED.get(), (reads, request)
        if failed and asked in failed:
            self._world.violated("who is told that the store is away asks later", f"{self._machine.name}: {asked}")
        try:
            return await self._ask(lambda: self._inner.read(*reads, request=request))
        except Unavailable:
            if failed is not None:
                failed.append(asked)
            raise

    @asynccontextmanager
    async def join(self, join: Join) -> AsyncIterator[Joined]:
        """See ``Store.join``: one snapshot, so its pieces are fetched in one go here."""
        size, pieces = await self._ask(lambda: self._joined(join))

        async def each() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield piece

        yield Joined(size=size, pieces=each())

    async def _joined(self, join: Join) -> tuple[int, list[bytes]]:
        async with self._inner.join(join) as joined:
            return joined.size, [piece async for piece in joined.pieces]

    async def look(self, read: Get, audit: AuditEntry, now_ms: int) -> Snapshot:
        """See ``Store.look``."""
        change = Change(now_ms=now_ms, audit=(audit,))
        return await self._ask(lambda: self._inner.look(read, audit, now_ms), change)

    async def commit(self, change: Change) -> None:
        """See ``Store.commit``."""
        await self._ask(partial(self._committed, change, is_echo=ECHO.get()), change)

    async def _committed(self, change: Change, *, is_echo: bool) -> None:
        await self._inner.commit(change)
        if is_echo and (change.writes or change.journal or change.outbox):
            written = ", ".join(type(write.record).__name__ for write in change.writes)
            self._world.violated(ECHOES, f"{self._machine.name} writes {written or 'its journal'}")

    async def pending(self, limit: int, skip: Collection[str] = ()) -> tuple[Pending, ...]:
        """See ``Store.pending``."""
        return await self._ask(lambda: self._inner.pending(limit, skip))

    async def waits(self, sequence: int) -> bool:
        """See ``Store.waits``."""
        return await self._ask(lambda: self._inner.waits(sequence))

    async def sent(self, *sequences: int) -> None:
        """See ``Store.sent``."""
        try:
            await self._ask(lambda: self._inner.sent(*sequences))
        except WarifuError:
            self._world.network.stands_again(self._process)
            raise

    async def reserve(self, sequence: str, count: int) -> int:
        """See ``Store.reserve``."""
        return await self._ask(lambda: self._inner.reserve(sequence, count))

    async def seal(self, now_ms: int, sign: SignHead | None = None) -> object | None:
        """See ``Store.seal``."""
        return await self._ask(lambda: self._inner.seal(now_ms, sign))

    async def purge(self, before_ms: int, limit: int) -> int:
        """See ``Store.purge``."""
        return await self._ask(lambda: self._inner.purge(before_ms, limit))

    async def probe(self) -> None:
        """See ``Store.probe``."""
        await self._ask(self._inner.probe)

    async def _ask(self, work: Callable[[], Awaitable[T]], change: Change | None = None) -> T:
        """Send the work to the database, which does it whether or not the asker lives to hear of it."""
        cancelled.asks(self._world, "the store")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._world.busy(+1)
        self._world.spawn(self._work(work, answer, change), f"{self._machine.name}'s store")
        timer = self._world.duties.begins()
        try:
            return await answer
        finally:
            self._world.duties.ends(timer)

    async def _work(self, work: Callable[[], Awaitable[T]], answer: asyncio.Future[T], change: Change | None) -> None:
        try:
            result = await self._done(work, change)
        except WarifuError as error:
            if self._process.alive and not answer.done():
                answer.set_exception(error)
        else:
            if self._process.alive and not answer.done():
                answer.set_result(result)
        finally:
            self._world.busy(-1)

    async def _done(self, work: Callable[[], Awaitable[T]], change: Change | None) -> T:
        world, name = self._world, self._machine.name
        await self._travel()
        if world.strikes("store_down", name):
            raise Unavailable("the store does not answer")
        if change is not None and world.strikes("stale", name):
            raise Stale("serialization failure")
        if change is not None and self._dies("crash_before_commit"):
            raise Unavailable("nobody is there to hear it")
        result = await work()
        if change is not None and (world.strikes("lost_commit", name) or self._dies("crash_after_commit")):
            raise Unavailable("the store's connection broke")
        await self._travel()
        return result

    def _dies(self, kind: str) -> bool:
        if not self._process.alive or not self._world.dice.strikes(kind):
            return False
        self._world.crash(self._machine, kind)
        return True

    async def _travel(self) -> None:
        world = self._world
        slow = world.strikes("store_slow", self._machine.name)
        delay_ms = world.delay_ms(1, SLOW_MS) if slow else world.latency_ms()
        if delay_ms:
            await asyncio.sleep(delay_ms / 1000)
