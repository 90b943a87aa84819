"""The audit trails of every node kind: sealed, exported, verified; the export needs no database any more."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from warifu.adapters.store.audit import AuditBroken, AuditReport, AuditRow, Seal, verify_export
from warifu.adapters.store.postgres import PostgresStore, open_postgres
from warifu.demo.facts import SCHEMAS
from warifu.kernel.errors import Malformed
from warifu.ports.clock import Clock

PAGE: Final = 10_000
VERSION: Final = 1


class BadExport(Malformed):
    """The file is not an export of the audit trails."""

    code = "audit.bad_export"


class Trail(Struct, frozen=True):
    """One node kind's audit rows and seals, all of them."""

    rows: tuple[AuditRow, ...]
    seals: tuple[Seal, ...]


class Export(Struct, frozen=True, kw_only=True):
    """Every trail, by schema."""

    version: int = VERSION
    trails: dict[str, Trail]


async def read_trails(urls: Mapping[str, str], clock: Clock) -> Export:
    """Seal what waits to be sealed, then read every trail.

    Args:
        urls: of the database, by schema; secret.
        clock: for the seals.

    Raises:
        Unavailable: the database does not answer.
    """
    trails = {}
    for schema in SCHEMAS:
        async with open_postgres(urls[schema], schema, ()) as store:
            while await store.seal(clock.now_ms()) is not None:
                pass
            seals = await store.audit_seals()  # before the rows: a seal read later could cover rows not read
            trails[schema] = Trail(await _rows(store), seals)
    return Export(trails=trails)


async def _rows(store: PostgresStore) -> tuple[AuditRow, ...]:
    rows: list[AuditRow] = []
    while page := await store.audit_rows(rows[-1].place if rows else (0, 0), PAGE):
        rows.extend(page)
    return tuple(rows)


def write(path: Path, export: Export) -> None:
    """Write an export (JSON). It names who looked at whose data: keep it as carefully as the data."""
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(export))


def read(path: Path) -> Export:
    """Read an export. ``BadExport`` when the file is none."""
    try:
        export = msgspec.json.decode(path.read_bytes(), type=Export)
    except (OSError, msgspec.DecodeError) as error:
        raise BadExport(f"{path}: {error}") from error
    if export.version != VERSION:
        raise BadExport(f"{path}: version {export.version}, not {VERSION}")
    return export


def verify(export: Export, heads: Mapping[str, bytes]) -> dict[str, AuditReport]:
    """Verify every trail.

    Args:
        export: from ``read_trails`` or ``read``.
        heads: by schema, a head kept elsewhere: a trail that was cut off or made anew does not hold it.

    Raises:
        AuditBroken: something was changed, removed or added afterwards; the text names schema and batch.
    """
    reports = {}
    for schema in sorted(export.trails.keys() | heads.keys()):
        trail = export.trails.get(schema)
        if trail is None:
            raise AuditBroken(f"{schema}: the trail is missing")
        try:
            reports[schema] = verify_export(trail.rows, trail.seals, expected_head=heads.get(schema))
        except AuditBroken as broken:
            raise AuditBroken(f"{schema}: {broken}") from None
    return reports
