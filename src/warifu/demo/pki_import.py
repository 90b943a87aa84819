"""Moves another authority's issue records and revocations into JPKI's register (``domain.certificates.imported``).

Streams: one batch of lines in memory, one transaction a batch, which also notes how far it came; an interrupted import
goes on where it was. At the end what stands in the database is counted and held against the file's own counts.
"""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import asyncpg
from msgspec import Struct

from warifu.adapters.store.postgres import failure_of
from warifu.domain.certificates.imported import (
    MAX_LINE,
    Head,
    ImportRefused,
    Line,
    Tail,
    head_of,
    line_of,
    reconcile,
)
from warifu.ports.clock import Clock

BATCH: Final = 10_000
_TIMEOUT_S: Final = 120.0
_COLUMNS: Final = ["version", "authority", "serial", "not_before", "not_after", "municipality", "revoked_ms", "reason"]


class Imported(Struct, frozen=True):
    """What is here at the end."""

    authority: str
    certificates: int
    revoked: dict[str, int]
    already: int
    """Of these here before this run."""


async def import_file(url: str, path: Path, clock: Clock, report: Callable[[int], None]) -> Imported:
    """Import a file, or go on with one that was interrupted; one that is complete is only counted again.

    Args:
        url: of JPKI's database; secret.
        path: the file.
        clock: for the register.
        report: told how many certificates are here.

    Raises:
        ImportRefused: the file has not the form, or another authority of this id has records here.
        ImportDiffers: the counts do not agree.
        Unavailable: the database does not answer.
    """
    try:
        connection = await asyncpg.connect(url, timeout=_TIMEOUT_S, command_timeout=_TIMEOUT_S)
        try:
            return await _Import(connection, clock, report).run(path)
        finally:
            await connection.close(timeout=_TIMEOUT_S)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        failure = failure_of(error)
    raise failure  # outside of the handler: PostgreSQL's texts quote values


class _Import:
    def __init__(
        self, connection: "asyncpg.Connection[asyncpg.Record]", clock: Clock, report: Callable[[int], None]
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._report = report

    async def run(self, path: Path) -> Imported:
        lines = _lines(path)
        head = head_of(next(lines, b""))
        through, already = await self._begun(head)
        tail, here = None, already
        for batch, ending in _batches(lines, through):
            tail = ending
            if batch:
                here += len(batch)
                await self._write(head, batch, here)
                self._report(here)
        if tail is None:
            raise ImportRefused("the file has no tail: it is not whole")
        certificates, revoked = await self._counted(head.authority)
        reconcile(tail, certificates, revoked)
        await self._connection.execute(
            "UPDATE authority.imported_authority SET complete = true, revoked = $2, version = version + 1 "
            "WHERE authority = $1",
            head.authority,
            sum(revoked.values()),
        )
        return Imported(head.authority, certificates, revoked, already)

    async def _begun(self, head: Head) -> tuple[int, int]:
        """Through which serial number the authority's records are here, and how many; begins it when none are."""
        await self._connection.execute(
            "INSERT INTO authority.imported_authority "
            "(version, authority, name, through, certificates, revoked, complete, changed_ms) "
            "VALUES (1, $1, $2, 0, 0, 0, false, $3) ON CONFLICT DO NOTHING",
            head.authority,
            head.name,
            self._clock.now_ms(),
        )
        row = await self._connection.fetchrow(
            "SELECT name, through, certificates FROM authority.imported_authority WHERE authority = $1", head.authority
        )
        if row is None or row["name"] != head.name:
            raise ImportRefused(f"{head.authority} has records here under another name")
        return row["through"], row["certificates"]

    async def _write(self, head: Head, batch: list[Line], here: int) -> None:
        """A batch and how far it came: both or neither. Of two imports at once one finds its rows taken and ends."""
        rows = [
            (1, head.authority, o.serial, o.not_before, o.not_after, o.municipality, o.revoked_ms, o.reason)
            for o in batch
        ]
        async with self._connection.transaction():
            await self._connection.copy_records_to_table(
                "imported_certificate", schema_name="authority", records=rows, columns=_COLUMNS
            )
            await self._connection.execute(
                "UPDATE authority.imported_authority SET through = $2, certificates = $3, changed_ms = $4, "
                "version = version + 1 WHERE authority = $1",
                head.authority,
                batch[-1].serial,
                here,
                self._clock.now_ms(),
            )

    async def _counted(self, authority: str) -> tuple[int, dict[str, int]]:
        rows = await self._connection.fetch(
            "SELECT reason, count(*) AS n FROM authority.imported_certificate WHERE authority = $1 GROUP BY reason",
            authority,
        )
        counts = {str(row["reason"]): int(row["n"]) for row in rows}
        return sum(counts.values()), {reason: count for reason, count in counts.items() if reason}


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            while line := file.readline(MAX_LINE + 2):
                yield line.rstrip(b"\r\n")
    except OSError as error:
        raise ImportRefused(f"{path}: {error.strerror}") from None


def _batches(lines: Iterator[bytes], through: int) -> Iterator[tuple[list[Line], Tail | None]]:
    """Certificates after those that are here, in batches; the last comes with the tail. Every line is checked."""
    batch: list[Line] = []
    previous = 0
    for number in itertools.count(2):
        text = next(lines, None)
        if text is None:
            break
        found = line_of(text, number, previous)
        if isinstance(found, Tail):
            if next(lines, None) is not None:
                raise ImportRefused(f"line {number}: there is more after the tail")
            yield batch, found
            return
        previous = found.serial
        if found.serial > through:
            batch.append(found)
        if len(batch) == BATCH:
            yield batch, None
            batch = []
    yield batch, None
