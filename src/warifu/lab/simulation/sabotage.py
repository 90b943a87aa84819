"""Safeguards removed at the store, by name: what the search must then find.

Each wrapper takes one promise of the store's away from the nodes above it and leaves the rest. What it makes unique it
marks, so that the history still shows the key that the node meant.
"""

from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager

import msgspec

from warifu.kernel.errors import Stale
from warifu.ports.store import (
    AuditEntry,
    Change,
    Check,
    Delete,
    Find,
    Get,
    Join,
    Joined,
    OutboxMessage,
    Pending,
    Record,
    RequestKey,
    SignHead,
    Snapshot,
    Store,
    Update,
    Write,
)

UNIQUE_MARK = "#"
"""Stands between a key and the number that makes it useless; no key of the contract contains it."""


class _Through:
    """Passes everything on."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    async def read(self, *reads: Get | Find, request: RequestKey | None = None) -> Snapshot:
        """See ``Store.read``."""
        return await self._inner.read(*reads, request=request)

    def join(self, join: Join) -> AbstractAsyncContextManager[Joined]:
        """See ``Store.join``."""
        return self._inner.join(join)

    async def look(self, read: Get, audit: AuditEntry, now_ms: int) -> Snapshot:
        """See ``Store.look``."""
        return await self._inner.look(read, audit, now_ms)

    async def commit(self, change: Change) -> None:
        """See ``Store.commit``."""
        await self._inner.commit(change)

    async def pending(self, limit: int, skip: Collection[str] = ()) -> tuple[Pending, ...]:
        """See ``Store.pending``."""
        return await self._inner.pending(limit, skip)

    async def waits(self, sequence: int) -> bool:
        """See ``Store.waits``."""
        return await self._inner.waits(sequence)

    async def sent(self, *sequences: int) -> None:
        """See ``Store.sent``."""
        await self._inner.sent(*sequences)

    async def reserve(self, sequence: str, count: int) -> int:
        """See ``Store.reserve``."""
        return await self._inner.reserve(sequence, count)

    async def seal(self, now_ms: int, sign: SignHead | None = None) -> object | None:
        """See ``Store.seal``."""
        return await self._inner.seal(now_ms, sign)

    async def purge(self, before_ms: int, limit: int) -> int:
        """See ``Store.purge``."""
        return await self._inner.purge(before_ms, limit)

    async def probe(self) -> None:
        """See ``Store.probe``."""
        await self._inner.probe()


class Forgetful(_Through):
    """Remembers no answer: every request is new."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._used = 0

    async def read(self, *reads: Get | Find, request: RequestKey | None = None) -> Snapshot:
        """Without the remembered answer."""
        del request
        return await self._inner.read(*reads)

    async def commit(self, change: Change) -> None:
        """Under a key that never comes again."""
        if change.request is not None:
            self._used += 1
            step = f"{change.request.step}{UNIQUE_MARK}{self._used}"
            change = msgspec.structs.replace(change, request=msgspec.structs.replace(change.request, step=step))
        await self._inner.commit(change)


class Unguarded(_Through):
    """Writes over whatever moved meanwhile: the last one wins."""

    async def commit(self, change: Change) -> None:
        """With the versions that are there now instead of those that were read."""
        while True:
            writes = tuple([await self._now(write) for write in change.writes])
            try:
                await self._inner.commit(msgspec.structs.replace(change, writes=writes))
            except Stale:
                if writes == tuple([await self._now(write) for write in change.writes]):
                    raise  # not for a version's sake
            else:
                return

    async def _now(self, write: Write) -> Write:
        if not isinstance(write, Update | Delete | Check):
            return write
        record = write.record
        key = tuple(getattr(record, column) for column in record.KEY)
        found = (await self._inner.read(Get(type(record), key))).one(0, Record)
        if found is None:
            return write
        return msgspec.structs.replace(write, record=msgspec.structs.replace(record, version=found.version))


class Unordered(_Through):
    """Forgets which outbox messages belong in one order."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._used = 0

    async def commit(self, change: Change) -> None:
        """With every message in an order of its own."""
        outbox = tuple(self._alone(message) for message in change.outbox)
        await self._inner.commit(msgspec.structs.replace(change, outbox=outbox))

    def _alone(self, message: OutboxMessage) -> OutboxMessage:
        self._used += 1
        return msgspec.structs.replace(message, order_key=f"{message.order_key}{UNIQUE_MARK}{self._used}")


STORE_SAFEGUARDS: dict[str, Callable[[Store], Store]] = {
    "idempotency": Forgetful,
    "version-guard": Unguarded,
    "outbox-order": Unordered,
}


def sabotaged(store: Store, without: Sequence[str]) -> Store:
    """The store without the named safeguards (other names are other people's)."""
    for name in without:
        store = STORE_SAFEGUARDS.get(name, _same)(store)
    return store


def _same(store: Store) -> Store:
    return store
