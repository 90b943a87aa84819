"""What the driver raises when a server dies at an odd moment, and what becomes of it. No database needed."""

import asyncio
from typing import Any, cast

import asyncpg
import pytest

from warifu.adapters.store.connections import KeptConnections
from warifu.adapters.store.postgres import PostgresStore
from warifu.kernel.errors import Unavailable


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
