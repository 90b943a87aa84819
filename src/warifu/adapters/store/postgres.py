"""The store in PostgreSQL: one round trip to read, one statement to change, no lock held in between.

Every failure of the driver becomes one of ``Stale``, ``Unavailable`` and ``Fault``, and is raised without its cause:
PostgreSQL's messages quote the values of the row.
"""
# ruff: noqa: S608 - the schema's name is checked when the store is opened; every value is a parameter

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import msgspec
from msgspec import Struct

from warifu.adapters.store.audit import AuditRow, Seal, next_seal
from warifu.adapters.store.change import (
    MAX_PENDING,
    MAX_PURGE,
    MAX_RESERVE,
    check_count,
    check_request,
    plan_of,
)
from warifu.adapters.store.connections import FAILURES, KeptConnections
from warifu.adapters.store.shape import Table, check_join, check_name, check_reads, check_texts, tables_of
from warifu.adapters.store.statements import (
    Statements,
    audit_values,
    change_shape,
    change_values,
    join_values,
    parts_of,
    read_shape,
    read_values,
    request_values,
)
from warifu.kernel.errors import DiskFull, Fault, KeyReused, Stale, Unavailable, WarifuError
from warifu.ports.store import (
    AuditEntry,
    Change,
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
)

GUARD_MISSED: Final = "WRF01"
"""SQLSTATE of a change whose guard missed (``sql/common/0001_base.sql``)."""

_STALE: Final = frozenset({GUARD_MISSED, "23505", "40001", "40P01"})  # unique violation, serialization, deadlock
# connection, resources, operator intervention (shutdown, cancelled by the statement's deadline), system error
_UNAVAILABLE: Final = frozenset({"08", "53", "57", "58"})
_DISK_FULL: Final = "53100"
_READ_ONLY: Final = "25006"  # a standby that has not been promoted

_PIECES_AHEAD: Final = 16

_SETTINGS: Final = {
    "application_name": "warifu",
    "jit": "off",
    # Every statement names rows by index. One plan for all values, and never a scan or hash of a table that happens
    # to be small when the plan is made and is large when it is used.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}


class Trace(Struct, frozen=True):
    """What an operation left in one row: no content, no personal data."""

    at_ms: int
    kind: str
    """``journal``, ``audit``, or ``waits``: a message in the outbox that was not answered yet."""
    name: str
    about: str
    """The journal's stream; who did it to what, and for what; where the message goes."""


class PostgresLimits(Struct, frozen=True):
    """What one store may take."""

    connections: int = 8
    waiting: int = 1000
    """Calls that wait for a connection; the next is refused at once."""
    acquire_timeout_ms: int = 2000
    """How long a call waits for a connection, making one included."""
    statement_timeout_ms: int = 5000
    """How long a statement may run, waiting for rows of others included."""


class PostgresStore:
    """A ``Store`` over a pool of connections; make it with ``open_postgres``."""

    def __init__(self, kept: KeptConnections, schema: str, tables: dict[str, Table]) -> None:
        self._kept = kept
        self._tables = tables
        self._statements = Statements(schema, tables)
        self._schema = schema

    async def read(self, *reads: Get | Find, request: RequestKey | None = None) -> Snapshot:
        """See ``Store.read``."""
        tables = check_reads(self._tables, reads)
        values: list[Any] = []
        if request is not None:
            check_request(request)
            values.extend(request_values(request))
        shapes = tuple(read_shape(table, read) for table, read in zip(tables, reads, strict=True))
        for shape, read in zip(shapes, reads, strict=True):
            values.extend(read_values(shape, read))
        row = await self._row(self._statements.read(shapes, asked=request is not None), *values)
        pairs = zip(tables, reads, strict=True)
        found = (_records(table, read, row[place]) for place, (table, read) in enumerate(pairs, 1))
        return Snapshot(_answer(request, row[0]), tuple(found))

    async def look(self, read: Get, audit: AuditEntry, now_ms: int) -> Snapshot:
        """See ``Store.look``."""
        (table,) = check_reads(self._tables, (read,))
        check_texts(audit)
        statement = self._statements.look(read_shape(table, read))
        row = await self._row(statement, now_ms, *read.key, *audit_values(audit))
        return Snapshot(None, (_records(table, read, row[0]),))

    @asynccontextmanager
    async def join(self, join: Join) -> AsyncIterator[Joined]:
        """See ``Store.join``. The server joins; pieces are fetched through a cursor, one snapshot for all."""
        size, pieces = self._statements.join(check_join(self._tables, join), join)
        values = join_values(join)
        async with self._session() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
            found = await connection.fetchval(size, *values)
            yield Joined(size=int(found), pieces=_pieces(connection, pieces, values))

    @asynccontextmanager
    async def _session(self) -> "AsyncIterator[asyncpg.pool.PoolConnectionProxy[asyncpg.Record]]":
        """A connection for more than one statement; its failures take the form that the port promises."""
        failure: WarifuError | None = None
        try:
            connection = await self._kept.take()
            try:
                yield connection
            except BaseException:
                await self._kept.abandon(connection)
                raise
            self._kept.give_back(connection)
        except FAILURES as error:
            failure = failure_of(error)
        if failure is not None:
            raise failure

    async def commit(self, change: Change) -> None:
        """See ``Store.commit``."""
        parts = parts_of(plan_of(self._tables, change))
        await self._row(self._statements.change(change_shape(change, parts)), *change_values(change, parts))

    async def pending(self, limit: int, skip: Collection[str] = ()) -> tuple[Pending, ...]:
        """See ``Store.pending``.

        Rows leave only when sent and the search starts at the lowest, so one that commits late with a low number is
        found by the next call. Two commits of one order key that do not overlap have their numbers in their order.
        """
        check_count("pending", limit, MAX_PENDING)
        rows = await self._rows(
            f"SELECT o.sequence, o.message_id, o.destination, o.name, o.body, o.operation_id, o.order_key "
            f'FROM "{self._schema}".outbox AS o WHERE o.destination <> ALL ($2::text[]) '
            "AND (o.order_key = '' OR NOT EXISTS (SELECT 1 "
            f"FROM \"{self._schema}\".outbox AS p WHERE p.order_key = o.order_key AND p.order_key <> '' "
            "AND p.sequence < o.sequence)) ORDER BY o.sequence LIMIT $1::bigint",
            limit,
            list(skip),
        )
        return tuple(Pending(row[0], OutboxMessage(*row[1:])) for row in map(tuple, rows))

    async def waits(self, sequence: int) -> bool:
        """See ``Store.waits``."""
        there = f'SELECT FROM "{self._schema}".outbox WHERE sequence = $1::bigint'
        return bool(await self._rows(there, sequence))

    async def sent(self, *sequences: int) -> None:
        """See ``Store.sent``."""
        await self._rows(f'DELETE FROM "{self._schema}".outbox WHERE sequence = ANY ($1::bigint[])', sequences)

    async def reserve(self, sequence: str, count: int) -> int:
        """See ``Store.reserve``."""
        check_count("reserve", count, MAX_RESERVE)
        row = await self._row(
            f'INSERT INTO "{self._schema}".sequences AS s (name, next_number) VALUES ($1::text, 1 + $2::bigint) '
            "ON CONFLICT (name) DO UPDATE SET next_number = s.next_number + $2::bigint "
            "RETURNING next_number - $2::bigint",
            sequence,
            count,
        )
        return int(row[0])

    async def purge(self, before_ms: int, limit: int) -> int:
        """See ``Store.purge``. Rows that another purges are passed by."""
        check_count("purge", limit, MAX_PURGE)
        oldest = (
            f'SELECT r.ctid FROM "{self._schema}".requests AS r WHERE r.at_ms < $1::bigint '
            "ORDER BY r.at_ms LIMIT $2::bigint FOR UPDATE SKIP LOCKED"
        )
        row = await self._row(
            f'WITH gone AS (DELETE FROM "{self._schema}".requests WHERE ctid = ANY (ARRAY({oldest})) RETURNING 1) '
            "SELECT count(*) FROM gone",
            *(before_ms, limit),
        )
        return int(row[0])

    async def probe(self) -> None:
        """See ``Store.probe``."""
        await self._row(
            f'INSERT INTO "{self._schema}".probes AS p (only_row, count) VALUES (true, 1) '
            "ON CONFLICT (only_row) DO UPDATE SET count = p.count + 1 RETURNING count"
        )

    async def seal(self, now_ms: int, sign: SignHead | None = None, *, limit: int = 10_000) -> Seal | None:
        """Seal the next batch of audit rows: at most ``limit``; None when nothing can be sealed now.

        Rows of transactions at or above the oldest one still running wait: a row of theirs may still appear among
        them. Several sealers may run: one wins each batch, the others get None.

        Args:
            now_ms: the instant to write into the seal.
            sign: signs the head.
            limit: rows of one batch.

        Raises:
            Unavailable: the store does not answer.
            Fault: the database's transaction numbers lie behind the last seal (restored elsewhere): start a new schema.
        """
        previous = await self._last_seal()
        rows = await self.audit_rows(previous.through if previous else (0, 0), limit, complete=True)
        if not rows:
            return None
        seal = next_seal(previous, rows, now_ms)
        if sign is not None:
            seal = msgspec.structs.replace(seal, signature=await sign(seal.head))
        try:
            await self._rows(
                f'INSERT INTO "{self._schema}".audit_seals '
                "(batch, through_transaction, through_id, count, head, at_ms, signature) "
                "VALUES ($1::bigint, $2::bigint::text::xid8, $3::bigint, $4::bigint, $5::bytea, $6::bigint, $7::bytea)",
                *(seal.batch, *seal.through, seal.count, seal.head, seal.at_ms, seal.signature),
            )
        except Stale:
            return None
        return seal

    async def audit_rows(
        self, after: tuple[int, int] = (0, 0), limit: int = 10_000, *, complete: bool = False
    ) -> tuple[AuditRow, ...]:
        """A page of the audit table in the order of the chain; ``complete``: only rows that no other can precede."""
        condition = "AND transaction < pg_snapshot_xmin(pg_current_snapshot())" if complete else ""
        rows = await self._rows(
            "SELECT transaction::text::bigint, id, at_ms, actor, action, subject, operation_id, purpose "
            f'FROM "{self._schema}".audit WHERE (transaction, id) > ($1::bigint::text::xid8, $2::bigint) {condition} '
            "ORDER BY transaction, id LIMIT $3::bigint",
            *(*after, limit),
        )
        return tuple(AuditRow(row[0], row[1], row[2], AuditEntry(*row[3:])) for row in map(tuple, rows))

    async def audit_seals(self) -> tuple[Seal, ...]:
        """All seals, oldest first."""
        return await self._seals("ORDER BY batch")

    async def traces(self, operation_id: str, limit: int) -> tuple[Trace, ...]:
        """What an operation left in journal, audit trail and outbox, oldest first; at most ``limit`` of each.

        No index serves this: it reads these tables from end to end, within one statement's time limit.
        """
        of = f'FROM "{self._schema}".{{}} WHERE operation_id = $1::text ORDER BY {{}} LIMIT $2::bigint'
        rows = await self._rows(
            f"(SELECT at_ms, 'journal', event, stream {of.format('journal', 'id')}) UNION ALL "
            f"(SELECT at_ms, 'audit', action, concat_ws(' ', actor, subject, purpose) {of.format('audit', 'id')}) "
            f"UNION ALL (SELECT at_ms, 'waits', name, destination {of.format('outbox', 'sequence')}) ORDER BY 1",
            *(operation_id, limit),
        )
        return tuple(Trace(*row) for row in map(tuple, rows))

    async def _last_seal(self) -> Seal | None:
        seals = await self._seals("ORDER BY batch DESC LIMIT 1")
        if not seals:
            return None
        row = await self._row("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
        if seals[0].through[0] >= row[0]:
            raise Fault("the audit chain is ahead of this database: it was restored into another")
        return seals[0]

    async def _seals(self, tail: str) -> tuple[Seal, ...]:
        rows = await self._rows(
            "SELECT batch, through_transaction::text::bigint, through_id, count, head, at_ms, signature "
            f'FROM "{self._schema}".audit_seals {tail}'
        )
        return tuple(Seal(row[0], (row[1], row[2]), *row[3:]) for row in map(tuple, rows))

    async def _row(self, statement: str, *values: object) -> asyncpg.Record:
        """The only row of a statement."""
        rows = await self._rows(statement, *values)
        if len(rows) != 1:
            raise Fault(f"{len(rows)} rows where one was expected")
        return rows[0]

    async def _rows(self, statement: str, *values: object) -> list[asyncpg.Record]:
        """Carry out one statement on a connection of its own, in the form that the port promises when it fails."""
        try:
            connection = self._kept.idle() or await self._kept.take()
            try:
                rows = await connection.fetch(statement, *values)
            except BaseException:
                await self._kept.abandon(connection)
                raise
            self._kept.give_back(connection)
        except FAILURES as error:
            failure = failure_of(error)
        else:
            return rows
        # outside of the handler: no cause, no context, so no row's values in a trace
        raise failure


@asynccontextmanager
async def open_postgres(
    url: str, schema: str, records: Iterable[type[Record]], limits: PostgresLimits | None = None
) -> AsyncIterator[PostgresStore]:
    """A store on the database at ``url``; connections are made when first needed and closed at the end.

    Args:
        url: ``postgresql://user:password@host:port/database``.
        schema: the node kind; ``migrate`` has been run.
        records: the record types of the schema (a node's ``RECORDS``).
        limits: connections and deadlines.
    """
    limits = limits or PostgresLimits()
    check_name(schema)
    pool = await asyncpg.create_pool(
        url,
        min_size=0,
        max_size=limits.connections,
        max_inactive_connection_lifetime=0,
        timeout=limits.acquire_timeout_ms / 1000,
        # the server's deadline comes first; this one is for a server that is no longer there
        command_timeout=limits.statement_timeout_ms / 1000 + 1,
        statement_cache_size=500,
        max_cached_statement_lifetime=0,
        server_settings={**_SETTINGS, "statement_timeout": str(limits.statement_timeout_ms)},
        # a connection carries no state from one statement to the next: no second round trip to reset it
        reset=_keep,
    )
    kept = KeptConnections(pool, limits.connections, limits.waiting, limits.acquire_timeout_ms / 1000)
    try:
        yield PostgresStore(kept, schema, tables_of(records))
    finally:
        await _close(pool, kept, limits.statement_timeout_ms / 1000)


async def _keep(_connection: object) -> None:
    """Nothing to reset."""


async def _close(pool: "asyncpg.Pool[asyncpg.Record]", kept: KeptConnections, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await kept.close()
            await pool.close()
    except TimeoutError:
        pool.terminate()


def failure_of(error: Exception) -> WarifuError:
    """The error of our own tree; its text holds the SQLSTATE only."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state in _STALE:
            return Stale("a record moved" if state == GUARD_MISSED else f"the database refused the write: {state}")
        if state == _DISK_FULL:
            return DiskFull("no space left for the database: free some; nothing of this was written")
        if state[:2] in _UNAVAILABLE or state == _READ_ONLY:
            return Unavailable(f"the database does not serve: {state}")
        return Fault(f"the database refused the statement: {state}")
    if isinstance(error, asyncpg.DataError):
        return Fault("a value does not fit its column")
    return Unavailable(f"the database does not answer: {type(error).__name__}")


async def _pieces(
    connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]", statement: str, values: list[Any]
) -> AsyncIterator[bytes]:
    async for row in connection.cursor(statement, *values, prefetch=_PIECES_AHEAD):
        if row[0] is not None:
            yield row[0]


def _answer(request: RequestKey | None, row: "asyncpg.Record | None") -> bytes | None:
    if request is None or row is None:
        return None
    digest, answer = row
    if digest != request.digest:
        raise KeyReused("the same operation and step came with another request")
    return bytes(answer)


def _records(table: Table, read: Get | Find, found: Any) -> tuple[Record, ...]:  # noqa: ANN401 - a row or rows
    rows = ([] if found is None else [found]) if isinstance(read, Get) else found
    return tuple(_record(table, row) for row in rows)


def _record(table: Table, row: Iterable[Any]) -> Record:
    fields: dict[str, Any] = dict(zip(table.names, row, strict=True))
    for name in table.tuples:
        if fields[name] is not None:
            fields[name] = tuple(fields[name])
    return table.record(**fields)
