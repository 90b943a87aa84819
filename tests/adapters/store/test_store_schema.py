"""The schema: derived from the records, checked in as SQL, applied once, only ever added to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from store_records import RECORDS, Line, Note, Tally

from warifu.adapters.store import schema as schema_module
from warifu.adapters.store.ddl import NotAdditive, added_statements, create_statements, split_statements
from warifu.adapters.store.migrate import (
    COMMON,
    Migration,
    MigrationChanged,
    migrate,
    migrate_schema,
    migrations_of,
    node_kinds,
)
from warifu.adapters.store.postgres import open_postgres
from warifu.adapters.store.schema import NODES, derived_files, expected_files, main, present_files
from warifu.adapters.store.shape import RESERVED, table_of
from warifu.kernel.errors import Fault
from warifu.ports.store import Change, Get, Insert, Record


class NoteGrown(Record, frozen=True, kw_only=True):
    """``Note`` of a later release: two columns, a unique set and an index more."""

    TABLE = "note"
    KEY = ("note_id",)
    UNIQUE = (("stamp",),)
    INDEXED = (("place",),)

    note_id: str
    text: str | None = None
    seen: bool | None = None
    shape: bytes | None = None
    tags: tuple[str, ...] | None = None
    count: int | None = None
    stamp: str | None = None
    place: str = "it's"
    pages: int = 3
    cut: bool = False
    face: bytes = b"\x00'"
    words: tuple[str, ...] = ("a'b", "c")
    due: date = date(2026, 1, 2)


def script(statements: list[str]) -> str:
    return "".join(f"{statement};\n" for statement in statements)


# The checked-in files


def test_the_checked_in_files_are_what_the_records_derive() -> None:
    present = {node: present_files(node) for node in NODES}
    expected = {node: expected_files(node) for node in NODES}
    assert present == expected, "run: python -m warifu.adapters.store.schema write"


def test_there_are_no_files_of_unknown_nodes() -> None:
    assert set(node_kinds()) <= set(NODES)


@pytest.fixture
def one_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A schema folder whose only node holds the tests' records."""
    monkeypatch.setattr(schema_module, "NODES", {"tally": ("store_records",)})
    monkeypatch.setattr(schema_module, "FROZEN", {})
    return tmp_path


def test_write_makes_the_files_and_then_finds_nothing_to_do(one_node: Path) -> None:
    assert schema_module.write(one_node) == ["tally/0001_records.sql"]
    assert present_files("tally", one_node) == expected_files("tally", one_node)
    assert schema_module.write(one_node) == []


def test_write_keeps_frozen_files_and_adds_beside_them(one_node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema_module.write(one_node)
    before = present_files("tally", one_node)
    monkeypatch.setattr(schema_module, "FROZEN", {"tally": 1})
    monkeypatch.setattr(schema_module, "records_of", lambda _node: (Tally, NoteGrown, Line))
    assert schema_module.write(one_node) == ["tally/0002_records.sql"]
    after = present_files("tally", one_node)
    assert before.items() <= after.items()
    assert 'ADD COLUMN "pages" bigint NOT NULL DEFAULT 3;' in after["0002_records.sql"]


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "schema write" in capsys.readouterr().err


# Deriving


def test_a_record_derives_a_table_its_unique_sets_and_its_indexes() -> None:
    table, *others = create_statements(Tally)
    assert '  "half" text COLLATE "C" NOT NULL,\n' in table
    assert '  "number" bigint NOT NULL,\n' in table
    assert '  "due" date,\n' in table
    assert '  "words" text[] NOT NULL,\n' in table
    assert table.endswith('  PRIMARY KEY ("half", "number")\n)')
    assert others == [
        'ALTER TABLE "tally" ADD CONSTRAINT "tally_once_stamp" UNIQUE ("stamp") DEFERRABLE INITIALLY IMMEDIATE',
        (
            'ALTER TABLE "tally" ADD CONSTRAINT "tally_once_owner_place" UNIQUE ("owner", "place") '
            "DEFERRABLE INITIALLY IMMEDIATE"
        ),
        'CREATE INDEX "tally_by_owner" ON "tally" ("owner", "half", "number")',
        'CREATE INDEX "tally_by_state_due" ON "tally" ("state", "due", "half", "number")',
    ]


def test_a_file_reads_back_as_its_statements() -> None:
    files = derived_files("tally", RECORDS, {})
    statements = [statement for record in RECORDS for statement in create_statements(record)]
    assert split_statements(files["0001_records.sql"]) == statements


def test_nothing_is_added_when_nothing_was_gained() -> None:
    files = derived_files("tally", RECORDS, {})
    assert derived_files("tally", RECORDS, files) == {}


def test_growth_on_growth_is_told_apart() -> None:
    first = derived_files("tally", (Note,), {})
    second = derived_files("tally", (NoteGrown,), first)
    third = derived_files("tally", (NoteGrown, Tally), first | second)
    assert list(third) == ["0003_records.sql"]
    assert split_statements(third["0003_records.sql"]) == create_statements(Tally)


def test_what_is_gone_is_refused() -> None:
    with pytest.raises(NotAdditive):
        added_statements(create_statements(NoteGrown), [Note])
    with pytest.raises(NotAdditive):
        added_statements(create_statements(Tally), [Note])


def test_a_new_column_without_a_value_for_old_rows_is_refused() -> None:
    class Wanting(Note, frozen=True, kw_only=True):
        needed: str

    with pytest.raises(NotAdditive):
        added_statements(create_statements(Note), [Wanting])


# Declarations


def declared(fields: dict[str, Any] | None = None, **attributes: Any) -> type[Record]:
    """A record with one thing different."""
    columns = list((fields or {"name": str, "other": str | None}).items())
    namespace = {"TABLE": "thing", "KEY": ("name",), **attributes}
    made = msgspec.defstruct("Thing", columns, bases=(Record,), namespace=namespace, frozen=True, kw_only=True)
    assert issubclass(made, Record)
    return made


@pytest.mark.parametrize(
    "wrong",
    [
        {"TABLE": "Thing"},
        {"TABLE": 'thing"; --'},
        {"TABLE": "a" * 41},
        {"TABLE": "outbox"},
        {"KEY": ()},
        {"KEY": ("missing",)},
        {"KEY": ("name", "name")},
        {"KEY": ("other",)},
        {"INDEXED": ((),)},
        {"INDEXED": (("missing",),)},
        {"UNIQUE": (("name", "name"),)},
        {"fields": {"name": str, "weight": float}},
        {"fields": {"name": str, "either": int | str}},
        {"fields": {"name": tuple[str, ...]}},
    ],
)
def test_a_declaration_that_no_table_can_hold_is_a_fault(wrong: dict[str, Any]) -> None:
    assert table_of(declared()).name == "thing"
    with pytest.raises(Fault):
        table_of(declared(**wrong))


# Migrating


@asynccontextmanager
async def connected(url: str) -> "AsyncIterator[asyncpg.Connection[asyncpg.Record]]":
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


def own(sql: str, name: str = "0001_records.sql") -> Migration:
    return Migration("tests", name, sql)


@pytest.mark.real
async def test_files_are_applied_once_in_order(database_url: str, schema: str) -> None:
    log: list[str] = []
    first, second = own("CREATE TABLE one (a int);"), own("ALTER TABLE one ADD b int;", "0002_more.sql")
    async with connected(database_url) as connection:
        await migrate_schema(connection, schema, [first], log.append)
        await migrate_schema(connection, schema, [first, second], log.append)
        await migrate_schema(connection, schema, [first, second], log.append)
    assert [line.split(": ")[1] for line in log] == [
        "common/0001_base.sql applied",
        "common/0002_requests_by_time.sql applied",
        "tests/0001_records.sql applied",
        "tests/0002_more.sql applied",
    ]


@pytest.mark.real
async def test_a_changed_applied_file_is_refused(database_url: str, schema: str) -> None:
    async with connected(database_url) as connection:
        await migrate_schema(connection, schema, [own("CREATE TABLE one (a int);")], lambda _line: None)
        with pytest.raises(MigrationChanged) as refused:
            await migrate_schema(connection, schema, [own("CREATE TABLE one (b int);")], lambda _line: None)
    assert refused.value.code == "store.migration_changed"


@pytest.mark.real
async def test_a_file_that_fails_leaves_nothing_of_the_schema(database_url: str, schema: str) -> None:
    async with connected(database_url) as connection:
        with pytest.raises(asyncpg.PostgresSyntaxError):
            await migrate_schema(connection, schema, [own("CREATE TABLE one (a int); NONSENSE;")], lambda _line: None)
        assert await connection.fetchval("SELECT to_regnamespace($1)", schema) is None


@pytest.mark.real
async def test_migrations_at_once_wait_for_each_other(database_url: str, schema: str) -> None:
    async def one() -> None:
        async with connected(database_url) as connection:
            await migrate_schema(connection, schema, [own("CREATE TABLE one (a int);")], lambda _line: None)

    await asyncio.gather(*(one() for _ in range(4)))


@pytest.mark.real
async def test_the_checked_in_schema_of_every_node_applies(database_url: str) -> None:
    log: list[str] = []
    await migrate(database_url, log.append)
    await migrate(database_url, log.append)
    assert len(log) == sum(len(present_files(node)) + len(migrations_of(COMMON)) for node in node_kinds())


@pytest.mark.real
async def test_common_tables_are_exactly_the_reserved_names(database_url: str, schema: str) -> None:
    async with connected(database_url) as connection:
        await migrate_schema(connection, schema, [], lambda _line: None)
        rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
    assert {row[0] for row in rows} == RESERVED


@pytest.mark.real
async def test_old_rows_hold_the_defaults_of_new_columns(database_url: str, schema: str) -> None:
    first = Migration(schema, "0001_records.sql", script(create_statements(Note)))
    second = Migration(schema, "0002_records.sql", script(added_statements(create_statements(Note), [NoteGrown])))
    async with connected(database_url) as connection:
        await migrate_schema(connection, schema, [first], lambda _line: None)
        async with open_postgres(database_url, schema, [Note]) as before:
            await before.commit(Change(now_ms=1, writes=(Insert(Note(note_id="old")),)))
            await migrate_schema(connection, schema, [first, second], lambda _line: None)
            await before.commit(Change(now_ms=1, writes=(Insert(Note(note_id="between")),)))
        async with open_postgres(database_url, schema, [NoteGrown]) as after:
            seen = await after.read(Get(NoteGrown, ("old",)), Get(NoteGrown, ("between",)))
    assert seen.one(0, NoteGrown) == NoteGrown(note_id="old", version=1)
    assert seen.one(1, NoteGrown) == NoteGrown(note_id="between", version=1)
