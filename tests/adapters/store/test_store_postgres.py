"""What only a real database can show: connections that die, transactions that overlap, limits, append-only tables."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from store_database import OpenStore
from store_records import Note, Tally

from warifu.adapters.store.audit import AuditBroken, verify_export
from warifu.adapters.store.postgres import PostgresLimits, PostgresStore, Trace, open_postgres
from warifu.adapters.store.shape import table_of
from warifu.adapters.store.statements import read_shape, read_values
from warifu.kernel.errors import Fault, Stale, Unavailable, WarifuError
from warifu.ports.store import AuditEntry, Change, Find, Get, Insert, JournalEntry, OutboxMessage, RequestKey, Update

pytestmark = pytest.mark.real
REQUEST = RequestKey("center", "op1", "1", bytes(32))
Connect = Callable[[], Awaitable["asyncpg.Connection[asyncpg.Record]"]]


def change(*writes: Insert | Update, **rest: Any) -> Change:
    return Change(now_ms=1, writes=writes, **rest)


def audit(subject: str) -> tuple[AuditEntry, ...]:
    return (AuditEntry("clerk", "look", subject, "op1", "window"),)


@pytest.fixture
def connect(database_url: str, schema: str, runner: asyncio.Runner) -> Iterator[Connect]:
    """Further connections to the test's schema, beside the store."""
    opened: list[asyncpg.Connection[asyncpg.Record]] = []

    async def one() -> "asyncpg.Connection[asyncpg.Record]":
        opened.append(await asyncpg.connect(database_url, server_settings={"search_path": schema}))
        return opened[-1]

    yield one
    for connection in opened:
        runner.run(connection.close())


@asynccontextmanager
async def open_transaction(connect: Connect) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    """Somebody else's transaction, committed at the end."""
    connection = await connect()
    async with connection.transaction():
        yield connection


async def blocked(watcher: "asyncpg.Connection[asyncpg.Record]", statement: str) -> int:
    """Wait until a statement like this waits for a lock; returns its server process."""
    query = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1"
    while True:
        if found := await watcher.fetch(query, statement):
            return int(found[0]["pid"])


async def raised_by(work: Awaitable[object]) -> WarifuError | None:
    try:
        await work
    except WarifuError as error:
        return error
    return None


# Overlapping transactions


async def test_a_commit_waits_for_a_concurrent_change_and_then_sees_its_version(
    postgres: PostgresStore, connect: Connect
) -> None:
    """READ COMMITTED looks at the version again after waiting for the row: the later of two commits is stale."""
    await postgres.commit(change(Insert(Note(note_id="n"))))
    watcher = await connect()
    async with open_transaction(connect) as other:
        await other.execute("UPDATE note SET version = version + 1, text = 'theirs'")
        ours = asyncio.create_task(
            raised_by(postgres.commit(change(Update(Note(note_id="n", text="ours", version=1)))))
        )
        await blocked(watcher, "WITH%")
    assert isinstance(await ours, Stale)
    assert (await postgres.read(Get(Note, ("n",)))).one(0, Note) == Note(note_id="n", text="theirs", version=2)


async def test_a_commit_goes_through_when_the_concurrent_change_is_undone(
    postgres: PostgresStore, connect: Connect
) -> None:
    await postgres.commit(change(Insert(Note(note_id="n"))))
    watcher, other = await connect(), await connect()
    transaction = other.transaction()
    await transaction.start()
    await other.execute("UPDATE note SET version = version + 1")
    ours = asyncio.create_task(postgres.commit(change(Update(Note(note_id="n", text="ours", version=1)))))
    await blocked(watcher, "WITH%")
    await transaction.rollback()
    await ours
    assert (await postgres.read(Get(Note, ("n",)))).one(0, Note) == Note(note_id="n", text="ours", version=2)


async def test_a_deadlock_is_stale_and_leaves_nothing(postgres: PostgresStore, connect: Connect) -> None:
    await postgres.commit(change(Insert(Note(note_id="a")), Insert(Note(note_id="b"))))
    watcher, other = await connect(), await connect()
    # nobody else of ours takes rows against the order of keys; the other one waits long enough not to be the victim
    await other.execute("SET deadlock_timeout = '20s'")
    async with other.transaction():
        await other.execute("UPDATE note SET text = 'theirs' WHERE note_id = 'b'")
        both = change(Update(Note(note_id="a", version=1)), Update(Note(note_id="b", version=1)))
        ours = asyncio.create_task(raised_by(postgres.commit(both)))
        await blocked(watcher, "WITH%")
        await other.execute("UPDATE note SET text = 'theirs' WHERE note_id = 'a'")
    assert isinstance(await ours, Stale)
    found = (await postgres.read(Find(Note, {}))).all(0, Note)
    assert [(note.text, note.version) for note in found] == [("theirs", 1), ("theirs", 1)]


async def test_a_message_committed_late_with_a_low_number_is_not_skipped(
    postgres: PostgresStore, connect: Connect
) -> None:
    insert = (
        "INSERT INTO outbox (message_id, destination, name, body, operation_id, order_key, at_ms) "
        "VALUES ('slow', 'center', 'n', '', 'op', '', 1)"
    )
    quick = OutboxMessage("quick", "center", "n", b"", "op")
    async with open_transaction(connect) as other:
        await other.execute(insert)
        await postgres.commit(change(outbox=(quick,)))
        (seen,) = await postgres.pending(10)
        assert seen.message == quick
        await postgres.sent(seen.sequence)
    (late,) = await postgres.pending(10)
    assert late.message.message_id == "slow"
    assert late.sequence < seen.sequence


# Lost connections


async def test_a_connection_killed_in_mid_commit_is_unavailable_and_a_read_tells(
    postgres: PostgresStore, connect: Connect
) -> None:
    await postgres.commit(change(Insert(Note(note_id="n"))))
    watcher = await connect()
    ours = change(Update(Note(note_id="n", text="ours", version=1)), request=REQUEST, answer=b"a")
    async with open_transaction(connect) as other:
        await other.execute("SELECT 1 FROM note FOR UPDATE")
        task = asyncio.create_task(raised_by(postgres.commit(ours)))
        pid = await blocked(watcher, "WITH%")
        await watcher.execute("SELECT pg_terminate_backend($1)", pid)
        assert isinstance(await task, Unavailable)
    seen = await postgres.read(Get(Note, ("n",)), request=REQUEST)
    assert seen.answer is None
    assert seen.one(0, Note) == Note(note_id="n", version=1)
    await postgres.commit(ours)
    assert (await postgres.read(request=REQUEST)).answer == b"a"


async def test_all_connections_killed_while_idle_are_replaced(postgres: PostgresStore, connect: Connect) -> None:
    await asyncio.gather(*(postgres.probe() for _ in range(6)))
    watcher = await connect()
    await watcher.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'warifu'",
    )
    raised = [await raised_by(postgres.probe()) for _ in range(20)]
    assert all(error is None or isinstance(error, Unavailable) for error in raised)
    assert raised[-1] is None


async def test_no_server_is_unavailable(unused_tcp_port: int) -> None:

    async with open_postgres(f"postgresql://nobody:x@127.0.0.1:{unused_tcp_port}/none", "center", [Note]) as store:
        for work in (
            store.probe(),
            store.read(),
            store.pending(1),
            store.purge(1, 1),
            store.reserve("s", 1),
            store.commit(change()),
        ):
            assert isinstance(await raised_by(work), Unavailable)


# Limits


async def test_waiting_for_a_connection_has_a_deadline(open_store: OpenStore, connect: Connect) -> None:
    async with (
        open_store(PostgresLimits(connections=1, acquire_timeout_ms=50)) as store,
        open_transaction(connect) as other,
    ):
        await store.probe()
        await other.execute("LOCK TABLE probes")
        first = asyncio.create_task(raised_by(store.probe()))
        await blocked(await connect(), "INSERT INTO%probes%")
        assert isinstance(await raised_by(store.read()), Unavailable)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)


async def test_more_waiting_than_the_limit_is_refused_at_once(open_store: OpenStore) -> None:
    async with open_store(PostgresLimits(connections=1, waiting=3)) as store:
        raised = await asyncio.gather(*(raised_by(store.probe()) for _ in range(8)))
    assert [type(error) for error in raised].count(Unavailable) == 5


async def test_a_statement_has_a_deadline(open_store: OpenStore, connect: Connect) -> None:
    async with open_store(PostgresLimits(statement_timeout_ms=50)) as store, open_transaction(connect) as other:
        await other.execute("LOCK TABLE note")
        error = await raised_by(store.commit(change(Insert(Note(note_id="n")))))
    assert isinstance(error, Unavailable)
    assert "57014" in str(error), "the server itself gave up: nothing of it is still running"


async def test_a_cancelled_commit_holds_nothing(open_store: OpenStore, connect: Connect) -> None:
    async with open_store(PostgresLimits(connections=1)) as store:
        await store.commit(change(Insert(Note(note_id="n"))))
        async with open_transaction(connect) as other:
            await other.execute("SELECT 1 FROM note FOR UPDATE")
            ours = asyncio.create_task(store.commit(change(Update(Note(note_id="n", text="x", version=1)))))
            await blocked(await connect(), "WITH%")
            ours.cancel()
            with pytest.raises(asyncio.CancelledError):
                await ours
            assert (await store.read(Get(Note, ("n",)))).one(0, Note) == Note(note_id="n", version=1)


# Errors


async def test_no_value_of_a_row_reaches_an_error(postgres: PostgresStore) -> None:
    await postgres.commit(change(Insert(Tally(half="a", number=1, stamp="secret name"))))
    error = await raised_by(postgres.commit(change(Insert(Tally(half="b", number=1, stamp="secret name")))))
    assert isinstance(error, Stale)
    assert "secret" not in str(error)
    assert error.__cause__ is None
    assert error.__context__ is None


async def test_a_schema_that_is_not_there_is_a_fault(database_url: str) -> None:

    async with open_postgres(database_url, "nowhere", [Note]) as store:
        assert isinstance(await raised_by(store.probe()), Fault)


# Schema


@pytest.mark.parametrize("table", ["journal", "audit", "audit_seals"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET at_ms = 0", "DELETE FROM {}", "TRUNCATE {}"])
async def test_journal_audit_and_seals_are_append_only(
    postgres: PostgresStore, connect: Connect, table: str, statement: str
) -> None:
    await postgres.commit(change(journal=(JournalEntry("s", "e", "op", {}),), audit=audit("s")))
    await postgres.seal(1)
    with pytest.raises(asyncpg.PostgresError, match=f"{table} is append only"):
        await (await connect()).execute(statement.format(table))


async def test_the_journal_keeps_what_was_written(postgres: PostgresStore, connect: Connect) -> None:
    entry = JournalEntry("card:1", "issued", "op1", {"b": [1, "二"], "a": None})
    await postgres.commit(Change(now_ms=7, journal=(entry,)))
    row = await (await connect()).fetchrow("SELECT at_ms, stream, event, operation_id, detail::text FROM journal")
    assert tuple(row or ()) == (7, "card:1", "issued", "op1", '{"a": null, "b": [1, "二"]}')


async def test_a_column_added_while_running_disturbs_nobody(postgres: PostgresStore, connect: Connect) -> None:
    """A rolling update migrates first: programs of before go on with their prepared statements."""
    await postgres.commit(change(Insert(Note(note_id="n"))))
    await postgres.read(Get(Note, ("n",)), Find(Note, {}))
    await (await connect()).execute("ALTER TABLE note ADD COLUMN later text NOT NULL DEFAULT ''")
    seen = await postgres.read(Get(Note, ("n",)), Find(Note, {}))
    assert seen.one(0, Note) == seen.one(1, Note) == Note(note_id="n", version=1)
    await postgres.commit(change(Update(Note(note_id="n", version=1)), Insert(Note(note_id="m"))))


# Audit chain


async def test_an_operation_s_traces_are_found_in_journal_audit_and_outbox(postgres: PostgresStore) -> None:
    waiting = OutboxMessage("m1", "authority", "authority.settled", b"", "op1", "")
    entry = JournalEntry("card:1", "opened", "op1", {"kind": "setup"})
    await postgres.commit(Change(now_ms=7, journal=(entry,), audit=audit("r1"), outbox=(waiting,)))
    await postgres.commit(Change(now_ms=5, journal=(JournalEntry("card:1", "ordered", "op1", {}),)))
    await postgres.commit(Change(now_ms=6, journal=(JournalEntry("card:2", "opened", "op2", {}),)))
    found = await postgres.traces("op1", 10)
    assert found[0] == Trace(5, "journal", "ordered", "card:1")
    assert {(each.kind, each.name, each.at_ms) for each in found[1:]} == {
        ("journal", "opened", 7), ("audit", "look", 7), ("waits", "authority.settled", 7),
    }  # fmt: skip
    assert len(await postgres.traces("op1", 1)) == 3
    assert await postgres.traces("op3", 10) == ()


async def export(store: PostgresStore) -> tuple[Any, Any]:
    return await store.audit_rows(), await store.audit_seals()


async def test_rows_of_a_transaction_still_running_are_sealed_after_it(
    postgres: PostgresStore, connect: Connect
) -> None:
    """Its row has the lowest id, yet appears last; no seal may pass it by."""
    async with open_transaction(connect) as other:
        await other.execute(
            "INSERT INTO audit (at_ms, actor, action, subject, operation_id, purpose) "
            "VALUES (1, 'clerk', 'look', 'slow', 'op1', '')"
        )
        await postgres.commit(change(audit=audit("quick")))
        assert await postgres.seal(1) is None
        assert [row.entry.subject for row in await postgres.audit_rows()] == ["quick"]
    sealed = await postgres.seal(2)
    assert sealed is not None
    rows, seals = await export(postgres)
    assert [row.entry.subject for row in rows] == ["slow", "quick"]
    assert verify_export(rows, seals).sealed == 2


async def test_sealing_goes_on_beside_writers(postgres: PostgresStore) -> None:
    async def write(name: str) -> None:
        for number in range(30):
            await postgres.commit(change(audit=audit(f"{name}{number}")))

    writers = asyncio.gather(*(write(name) for name in "abcd"))
    while not writers.done():
        await asyncio.gather(postgres.seal(1, limit=7), postgres.seal(1, limit=7))
    await writers
    while await postgres.seal(2):
        pass
    report = verify_export(*await export(postgres))
    assert (report.sealed, report.unsealed) == (120, 0)


async def test_a_row_changed_by_the_databases_owner_shows(postgres: PostgresStore, connect: Connect) -> None:
    await postgres.commit(change(audit=audit("one")))
    await postgres.seal(1)
    owner = await connect()
    await owner.execute("ALTER TABLE audit DISABLE TRIGGER append_only")
    await owner.execute("UPDATE audit SET subject = 'another'")
    with pytest.raises(AuditBroken):
        verify_export(*await export(postgres))


async def test_heads_are_signed(postgres: PostgresStore) -> None:
    async def sign(head: bytes) -> bytes:
        return b"signed " + head

    def check(seal: Any) -> None:
        assert seal.signature == b"signed " + seal.head

    await postgres.commit(change(audit=audit("one")))
    await postgres.seal(1, sign=sign)
    rows, seals = await export(postgres)
    assert verify_export(rows, seals, check_signature=check).seals == 1


async def test_a_chain_ahead_of_its_database_is_a_fault(postgres: PostgresStore, connect: Connect) -> None:
    await (await connect()).execute(
        "INSERT INTO audit_seals VALUES (1, '9000000000', 1, 1, '\\x00', 1, '')",
    )
    assert isinstance(await raised_by(postgres.seal(1)), Fault)


# Speed that must not depend on luck


@pytest.mark.parametrize(
    "where", [{"half": "a"}, {"half": "a", "number": 1}, {"stamp": "s"}, {"owner": "o"}, {"state": "new", "due": None}]
)
async def test_every_way_to_find_uses_an_index(
    postgres: PostgresStore, connect: Connect, where: dict[str, Any]
) -> None:

    find = Find(Tally, where)
    shape = read_shape(table_of(Tally), find)
    connection = await connect()
    for setting, value in (("enable_seqscan", "off"), ("plan_cache_mode", "force_generic_plan")):
        await connection.execute(f"SET {setting} = {value}")
    plan = await connection.fetch(
        "EXPLAIN " + postgres._statements.read((shape,), asked=False),
        *read_values(shape, find),
    )
    text = "\n".join(row[0] for row in plan)
    assert "Index Cond" in text
    assert "Seq Scan" not in text
