"""Bringing a database to the schema: numbered SQL files, applied once each, in order, and never changed afterwards."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from typing import Final, Protocol

import asyncpg
from msgspec import Struct

from warifu.adapters.store.shape import check_name
from warifu.kernel.errors import Fault

COMMON: Final = "common"
"""Name of the part that every schema gets first."""

_LOCK: Final = 0x5741_5249_4655  # "WARIFU": one migration at a time in a database
_TIMEOUT_S: Final = 120.0


class MigrationChanged(Fault):
    """A file that was applied is not the file that is here: history is only ever added to."""

    code = "store.migration_changed"


class Migration(Struct, frozen=True):
    """One SQL file."""

    part: str
    """``common`` or the node kind."""
    name: str
    """File name, e.g. ``0001_records.sql``; files are applied in the order of their names."""
    sql: str

    @property
    def checksum(self) -> bytes:
        """SHA-256 of the file."""
        return hashlib.sha256(self.sql.encode()).digest()


def migrations_of(part: str) -> tuple[Migration, ...]:
    """The checked-in files of a part, in order; none when the part has no folder."""
    folder = files(__package__) / "sql" / part
    if not folder.is_dir():
        return ()
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return tuple(Migration(part, name, (folder / name).read_text(encoding="utf-8")) for name in names)


def node_kinds() -> tuple[str, ...]:
    """Every node kind that has checked-in files."""
    folder = files(__package__) / "sql"
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name != COMMON))


async def migrate(url: str, log: Callable[[str], None], nodes: Iterable[str] | None = None) -> None:
    """Bring the database at ``url`` to the checked-in schema of every node kind (or of ``nodes``).

    Safe to run from several programs at once (an advisory lock lets one work), and again.

    Args:
        url: ``postgresql://…``; the role must own the database.
        log: gets one line for each file applied.
        nodes: node kinds; by default all.

    Raises:
        MigrationChanged: an applied file was changed since; nothing is applied in that schema.
    """
    connection = await asyncpg.connect(url, timeout=_TIMEOUT_S, command_timeout=_TIMEOUT_S)
    try:
        for node in node_kinds() if nodes is None else tuple(nodes):
            await migrate_schema(connection, node, migrations_of(node), log)
    finally:
        await connection.close(timeout=_TIMEOUT_S)


class _Connection(Protocol):
    """What migrating needs of an asyncpg connection."""

    def transaction(self) -> "asyncpg.transaction.Transaction": ...
    async def execute(self, query: str, *args: object) -> str: ...
    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]: ...


async def migrate_schema(
    connection: _Connection,
    schema: str,
    own: Sequence[Migration],
    log: Callable[[str], None],
) -> None:
    """Apply the common files and then ``own`` to one schema, in one transaction: all of them or none."""
    check_name(schema)
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        await connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
        await connection.execute("SELECT set_config('search_path', $1, true)", f'"{schema}"')
        applied = await _applied(connection)
        for migration in (*migrations_of(COMMON), *own):
            known = applied.get((migration.part, migration.name))
            if known is None:
                await _apply(connection, migration)
                log(f"{schema}: {migration.part}/{migration.name} applied")
            elif known != migration.checksum:
                raise MigrationChanged(f"{schema}: {migration.part}/{migration.name} was changed after it was applied")


async def _applied(connection: _Connection) -> dict[tuple[str, str], bytes]:
    """Checksums of the files already applied. Files this program does not know are of a newer one, and additive."""
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations ("
        "part text, name text, checksum bytea NOT NULL, applied_at timestamptz NOT NULL DEFAULT now(), "
        "PRIMARY KEY (part, name))",
    )
    rows = await connection.fetch("SELECT part, name, checksum FROM migrations")
    return {(row["part"], row["name"]): row["checksum"] for row in rows}


async def _apply(connection: _Connection, migration: Migration) -> None:
    await connection.execute(migration.sql)
    await connection.execute(
        "INSERT INTO migrations (part, name, checksum) VALUES ($1, $2, $3)",
        migration.part,
        migration.name,
        migration.checksum,
    )
