"""The memory twin: a store without a database, for the laboratory and for unit tests.

It keeps the same contract as PostgreSQL, with the same errors, inside any event loop (also a simulated one): it uses no
time, no thread and no randomness. Each method yields once before and once after its one atomic action, so that a
schedule search can put other work on either side of it.
"""

import asyncio
from bisect import bisect_right, insort
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from msgspec import Struct

from warifu.adapters.store.audit import AuditRow, Seal, next_seal
from warifu.adapters.store.change import (
    MAX_PENDING,
    MAX_PURGE,
    MAX_RESERVE,
    Plan,
    check_count,
    check_request,
    detail_of,
    plan_of,
)
from warifu.adapters.store.shape import Table, check_join, check_reads, check_texts, tables_of
from warifu.kernel.errors import KeyReused, Stale
from warifu.ports.store import (
    AuditEntry,
    Change,
    Check,
    Delete,
    Find,
    Get,
    Join,
    Joined,
    JournalEntry,
    Pending,
    Record,
    RequestKey,
    SignHead,
    Snapshot,
    Update,
)

_Key = tuple[Any, ...]


class StoreHooks:
    """Where the laboratory makes the twin fail like the real one; override what is needed.

    Each is awaited at its point and may raise ``Unavailable`` (connection lost, crash) or ``Stale`` (serialization
    failure, deadlock). A hook may also wait: others then run in between.
    """

    async def before_read(self) -> None:
        """Before ``read`` and ``pending``: raising means that the store does not answer."""

    async def before_commit(self, change: Change) -> None:
        """Before a change (also of ``sent`` and ``reserve``, as an empty change): raising means nothing was written."""

    async def after_commit(self, change: Change) -> None:
        """After the change stands: raising means that its committer never learns that it does."""


class _Rows:
    """One table: its records by key, and for every path the sorted keys that share its values."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.records: dict[_Key, Record] = {}
        self.paths: dict[tuple[str, ...], dict[_Key, list[_Key]]] = {path: {} for path in table.paths.values()}

    def put(self, record: Record) -> None:
        """Insert or replace."""
        key = self.table.key_of(record)
        self.drop(key)
        self.records[key] = record
        for path, buckets in self.paths.items():
            insort(buckets.setdefault(_values(record, path), []), key)

    def drop(self, key: _Key) -> None:
        """Remove if it is there."""
        record = self.records.pop(key, None)
        if record is None:
            return
        for path, buckets in self.paths.items():
            bucket = buckets[_values(record, path)]
            bucket.pop(bisect_right(bucket, key) - 1)
            if not bucket:
                del buckets[_values(record, path)]

    def read(self, read: Get | Find) -> tuple[Record, ...]:
        """The records of one read."""
        if isinstance(read, Get):
            record = self.records.get(read.key)
            return () if record is None else (record,)
        path = self.table.path_of(read)
        bucket = self.paths[path].get(tuple(read.where[name] for name in path), [])
        start = 0 if read.after is None else bisect_right(bucket, read.after)
        return tuple(self.records[key] for key in bucket[start : start + read.limit])

    def joined(self, join: Join) -> tuple[bytes, ...]:
        """The pieces of a join."""
        pieces: dict[Any, bytes] = {}
        for key in sorted(self.records):
            record = self.records[key]
            cut = getattr(record, join.pieces) if join.pieces else None
            if _is_wanted(record, join):
                pieces[cut] = pieces.get(cut, b"") + getattr(record, join.column)
        return tuple(pieces[cut] for cut in (sorted(pieces) if join.pieces else pieces))

    def clashes(self, record: Record) -> bool:
        """Whether another row has the same values in a UNIQUE set (None shares with nobody)."""
        for path in self.table.unique:
            values = _values(record, path)
            if None not in values and len(self.paths[path].get(values, ())) > 1:
                return True
        return False


def _is_wanted(record: Record, join: Join) -> bool:
    lowest = join.at_least is None or getattr(record, join.at_least[0]) >= join.at_least[1]
    return lowest and all(getattr(record, name) == value for name, value in join.where.items())


def _values(record: Record, path: tuple[str, ...]) -> _Key:
    return tuple(getattr(record, name) for name in path)


class JournalRow(Struct, frozen=True):
    """One journal entry as it stands."""

    at_ms: int
    entry: JournalEntry


class _State:
    """Everything that is durable."""

    def __init__(self, records: Iterable[type[Record]]) -> None:
        self.tables = tables_of(records)
        self.rows = {name: _Rows(table) for name, table in self.tables.items()}
        self.answers: dict[tuple[str, str, str], tuple[bytes, bytes, int]] = {}
        """Digest, answer, and when it was given."""
        self.journal: list[JournalRow] = []
        self.audit: list[AuditRow] = []
        self.seals: list[Seal] = []
        self.outbox: dict[int, Pending] = {}
        self.message_ids: set[str] = set()
        self.sequences: dict[str, int] = {}
        self.last_sequence = 0
        self.commits = 0


class MemoryStore:
    """A ``Store`` in memory. Nodes that share a database share one object, or ``with_hooks`` views of it.

    Args:
        records: the record types of the schema (a node's ``RECORDS``).
        hooks: where to fail; by default nowhere.
    """

    def __init__(self, records: Iterable[type[Record]], *, hooks: StoreHooks | None = None) -> None:
        self._state = _State(records)
        self._hooks = hooks or StoreHooks()

    def with_hooks(self, hooks: StoreHooks) -> "MemoryStore":
        """Another connection to the same data, with faults of its own."""
        view = MemoryStore((), hooks=hooks)
        view._state = self._state
        return view

    async def read(self, *reads: Get | Find, request: RequestKey | None = None) -> Snapshot:
        """See ``Store.read``."""
        tables = check_reads(self._state.tables, reads)
        if request is not None:
            check_request(request)
        await self._reading()
        pairs = zip(tables, reads, strict=True)
        snapshot = Snapshot(
            self._answer(request), tuple(self._state.rows[table.name].read(read) for table, read in pairs)
        )
        await asyncio.sleep(0)
        return snapshot

    @asynccontextmanager
    async def join(self, join: Join) -> AsyncIterator[Joined]:
        """See ``Store.join``."""
        table = check_join(self._state.tables, join)
        await self._reading()
        pieces = self._state.rows[table.name].joined(join)
        await asyncio.sleep(0)

        async def each() -> AsyncIterator[bytes]:
            for piece in pieces:
                await self._reading()
                yield piece

        yield Joined(size=sum(map(len, pieces)), pieces=each())

    async def look(self, read: Get, audit: AuditEntry, now_ms: int) -> Snapshot:
        """See ``Store.look``."""
        check_texts(audit)
        snapshot = await self.read(read)
        if snapshot.results[0]:
            await self.commit(Change(now_ms=now_ms, audit=(audit,)))
        return snapshot

    async def commit(self, change: Change) -> None:
        """See ``Store.commit``."""
        plan = plan_of(self._state.tables, change)
        details = [detail_of(entry) for entry in change.journal]
        await asyncio.sleep(0)
        await self._hooks.before_commit(change)
        self._guard(change, plan)
        self._write(plan)
        self._append(change, details)
        await self._hooks.after_commit(change)
        await asyncio.sleep(0)

    async def pending(self, limit: int, skip: Collection[str] = ()) -> tuple[Pending, ...]:
        """See ``Store.pending``."""
        check_count("pending", limit, MAX_PENDING)
        await self._reading()
        oldest = tuple(_oldest(self._state.outbox.values(), limit, skip))
        await asyncio.sleep(0)
        return oldest

    async def waits(self, sequence: int) -> bool:
        """See ``Store.waits``."""
        await self._reading()
        there = sequence in self._state.outbox
        await asyncio.sleep(0)
        return there

    async def sent(self, *sequences: int) -> None:
        """See ``Store.sent``."""
        await self._changing()
        gone = [self._state.outbox.pop(sequence) for sequence in sequences if sequence in self._state.outbox]
        self._state.message_ids -= {pending.message.message_id for pending in gone}
        await self._changed()

    async def reserve(self, sequence: str, count: int) -> int:
        """See ``Store.reserve``."""
        check_count("reserve", count, MAX_RESERVE)
        await self._changing()
        first = self._state.sequences.get(sequence, 1)
        self._state.sequences[sequence] = first + count
        await self._changed()
        return first

    async def purge(self, before_ms: int, limit: int) -> int:
        """See ``Store.purge``."""
        check_count("purge", limit, MAX_PURGE)
        await self._changing()
        answers = self._state.answers
        old = [(at_ms, key) for key, (_, _, at_ms) in answers.items() if at_ms < before_ms]
        for _, key in sorted(old)[:limit]:
            del answers[key]
        await self._changed()
        return min(len(old), limit)

    async def probe(self) -> None:
        """See ``Store.probe``."""
        await self._changing()
        await self._changed()

    async def seal(self, now_ms: int, sign: SignHead | None = None, *, limit: int = 10_000) -> Seal | None:
        """Seal the next batch of audit rows, as ``PostgresStore.seal`` does; None when there is nothing to seal."""
        await self._changing()
        state = self._state
        previous = state.seals[-1] if state.seals else None
        done = sum(seal.count for seal in state.seals)
        rows = state.audit[done : done + limit]
        sealed = next_seal(previous, rows, now_ms) if rows else None
        if sealed is not None and sign is not None:
            sealed = msgspec.structs.replace(sealed, signature=await sign(sealed.head))
            if (state.seals[-1] if state.seals else None) is not previous:
                return None  # another sealer won this batch meanwhile
        state.seals.extend([sealed] if sealed else [])
        await self._changed()
        return sealed

    async def audit_rows(self, after: tuple[int, int] = (0, 0), limit: int = 10_000) -> tuple[AuditRow, ...]:
        """A page of the audit rows in the order of the chain."""
        await self._reading()
        start = bisect_right(self._state.audit, after, key=_place)
        return tuple(self._state.audit[start : start + limit])

    async def audit_seals(self) -> tuple[Seal, ...]:
        """All seals, oldest first."""
        await self._reading()
        return tuple(self._state.seals)

    def journal(self) -> tuple[JournalRow, ...]:
        """The whole journal, oldest first: for properties that a search checks."""
        return tuple(self._state.journal)

    def audit(self) -> tuple[AuditRow, ...]:
        """All audit rows in the order of the chain."""
        return tuple(self._state.audit)

    def outbox(self) -> tuple[Pending, ...]:
        """All waiting messages, oldest first."""
        return tuple(self._state.outbox.values())

    def records(self, record: type[Record]) -> tuple[Record, ...]:
        """All records of a table, in the order of their keys."""
        rows = self._state.rows[record.TABLE]
        return tuple(rows.records[key] for key in sorted(rows.records))

    async def _reading(self) -> None:
        await asyncio.sleep(0)
        await self._hooks.before_read()

    async def _changing(self) -> None:
        await asyncio.sleep(0)
        await self._hooks.before_commit(_NOTHING)

    async def _changed(self) -> None:
        await self._hooks.after_commit(_NOTHING)
        await asyncio.sleep(0)

    def _answer(self, request: RequestKey | None) -> bytes | None:
        if request is None:
            return None
        remembered = self._state.answers.get(_request(request))
        if remembered is None:
            return None
        digest, answer, _ = remembered
        if digest != request.digest:
            raise KeyReused("the same operation and step came with another request")
        return answer

    def _guard(self, change: Change, plan: Plan) -> None:
        """Raise ``Stale`` before anything is written."""
        state = self._state
        if change.request is not None and _request(change.request) in state.answers:
            raise Stale("the request was answered meanwhile")
        if any(message.message_id in state.message_ids for message in change.outbox):
            raise Stale("a key is taken")
        for table, write in plan.guarded:
            found = state.rows[table.name].records.get(table.key_of(write.record))
            if found is None or found.version != write.record.version:
                raise Stale("a record moved")
        for table, inserts in plan.inserts:
            taken = state.rows[table.name].records
            if any(table.key_of(insert.record) in taken for insert in inserts):
                raise Stale("a key is taken")

    def _write(self, plan: Plan) -> None:
        """Write the records; undo them all when a UNIQUE set clashes in the end (PostgreSQL looks at the end too)."""
        undo = [self._write_one(table, write) for table, write in plan.guarded]
        for table, inserts in plan.inserts:
            undo.extend(self._put(table, insert.record) for insert in inserts)
        if any(self._clashes(table, record) for table, record in _written(plan)):
            for table, key, before in undo:
                self._state.rows[table.name].drop(key)
                if before is not None:
                    self._state.rows[table.name].put(before)
            raise Stale("a key is taken")

    def _clashes(self, table: Table, record: Record) -> bool:
        """Whether what now stands in this record's place has a UNIQUE set that another has, too."""
        rows = self._state.rows[table.name]
        return rows.clashes(rows.records[table.key_of(record)])

    def _write_one(self, table: Table, write: Update | Delete | Check) -> tuple[Table, _Key, Record | None]:
        """Carry out one guarded write; returns what stood there before."""
        rows = self._state.rows[table.name]
        key = table.key_of(write.record)
        before = rows.records[key]
        if isinstance(write, Update):
            changed = {name: getattr(write.record, name) for name in write.only}
            return self._put(table, msgspec.structs.replace(before, **changed) if changed else write.record)
        if isinstance(write, Delete):
            rows.drop(key)
        return table, key, before

    def _put(self, table: Table, record: Record) -> tuple[Table, _Key, Record | None]:
        rows = self._state.rows[table.name]
        key = table.key_of(record)
        before = rows.records.get(key)
        rows.put(msgspec.structs.replace(record, version=record.version + 1))
        return table, key, before

    def _append(self, change: Change, details: list[str]) -> None:
        """Journal, audit, outbox and the answer."""
        state = self._state
        state.commits += 1
        for entry, detail in zip(change.journal, details, strict=True):
            kept = msgspec.structs.replace(entry, detail=msgspec.json.decode(detail))
            state.journal.append(JournalRow(change.now_ms, kept))
        for audited in change.audit:
            state.audit.append(AuditRow(state.commits, len(state.audit) + 1, change.now_ms, audited))
        for message in change.outbox:
            state.last_sequence += 1
            state.outbox[state.last_sequence] = Pending(state.last_sequence, message)
            state.message_ids.add(message.message_id)
        if change.request is not None and change.answer is not None:
            state.answers[_request(change.request)] = (change.request.digest, change.answer, change.now_ms)


_NOTHING = Change(now_ms=0)


def _place(row: AuditRow) -> tuple[int, int]:
    return row.place


def _request(request: RequestKey) -> tuple[str, str, str]:
    return request.node, request.operation_id, request.step


def _written(plan: Plan) -> list[tuple[Table, Record]]:
    """The records whose new content must be unique."""
    updates = [(table, write.record) for table, write in plan.guarded if isinstance(write, Update)]
    return updates + [(table, insert.record) for table, inserts in plan.inserts for insert in inserts]


def _oldest(outbox: Iterable[Pending], limit: int, skip: Collection[str]) -> list[Pending]:
    """The first messages, each order key once (the outbox is in the order of its sequences)."""
    seen: set[str] = set()
    found: list[Pending] = []
    for pending in outbox:
        order_key = pending.message.order_key
        if order_key not in seen and pending.message.destination not in skip:
            found.append(pending)
        if len(found) == limit:
            break
        seen.update([order_key] if order_key else [])
    return found
