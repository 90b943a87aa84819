"""Many records at once, past the nodes: for synthetic data before a run, never beside one that uses the same rows."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Self

import asyncpg
from msgspec.structs import astuple

from warifu.adapters.store.postgres import failure_of
from warifu.ports.store import Record

BATCH = 5_000
TIMEOUT_S = 120.0


class BulkWriter:
    """Copies rows into the schemas of several nodes over one connection. Use as an async context manager.

    Args:
        url: the database; secret.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None

    async def __aenter__(self) -> Self:
        """Connect. ``Unavailable`` when the database does not answer."""
        try:
            self._connection = await asyncpg.connect(self._url, timeout=TIMEOUT_S)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            failure = failure_of(error)
        else:
            return self
        raise failure  # outside of the handler: PostgreSQL's texts quote values

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        if self._connection is not None:
            self._connection.terminate()

    async def copy(self, schema: str, record: type[Record], rows: Iterable[Record]) -> int:
        """Insert rows of one kind, a batch a transaction; how many.

        Raises:
            Stale: a row of that key is there already.
            WarifuError: as ``postgres.failure_of``.
        """
        count = 0
        for batch in _batches(rows):
            await self._copy(schema, record, batch)
            count += len(batch)
        return count

    async def _copy(self, schema: str, record: type[Record], batch: list[Record]) -> None:
        if self._connection is None:
            raise RuntimeError("not connected")
        try:
            await self._connection.copy_records_to_table(
                record.TABLE,
                schema_name=schema,
                columns=list(record.__struct_fields__),
                records=[astuple(row) for row in batch],
                timeout=TIMEOUT_S,
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            failure = failure_of(error)
        else:
            return
        raise failure


def _batches(rows: Iterable[Record]) -> Iterator[list[Record]]:
    rest = iter(rows)
    while batch := list(islice(rest, BATCH)):
        yield batch
