"""What the driver raises when a server dies at an odd moment, and what becomes of it. No database needed."""

import asyncio
from typing import Any, cast

import asyncpg
import pytest

from warifu.adapters.store.connections import KeptConnections
from warifu.adapters.store.postgres import PostgresStore
from warifu.kernel.errors import DiskFull, Unavailable


class DyingPool:
    """Gives a connection whose server is killed in the middle of an answer."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.given_back = 0

    async def acquire(self) -> "DyingPool":
        return self

    def is_closed(self) -> bool:
        return False

    async def fetch(self, *_: object) -> list[Any]:
        raise self.error

    async def release(self, _connection: object, **_: object) -> None:
        self.given_back += 1
        raise self.error


@pytest.mark.parametrize(
    "error",
    [asyncpg.InternalClientError("protocol state"), asyncpg.InterfaceError("closed"), ConnectionResetError()],
    ids=lambda error: type(error).__name__,
)
def test_a_server_that_dies_in_the_middle_is_unavailable_and_gives_its_connection_back(error: Exception) -> None:
    pool = DyingPool(error)
    store = PostgresStore(KeptConnections(cast("Any", pool), 1, 1, 1.0), "center", {})
    with pytest.raises(Unavailable):
        asyncio.run(store.probe())
    assert pool.given_back == 1


def test_a_full_disk_of_the_servers_has_its_own_code() -> None:
    """SQLSTATE 53100: the row's values, which the server's text quotes, stay out of ours."""
    pool = DyingPool(asyncpg.DiskFullError("could not extend file for key (resident_id)=(7)"))
    store = PostgresStore(KeptConnections(cast("Any", pool), 1, 1, 1.0), "center", {})
    with pytest.raises(DiskFull, match="no space left for the database") as found:
        asyncio.run(store.probe())
    assert "resident" not in str(found.value)
    assert found.value.__cause__ is found.value.__context__ is None
