"""Connections that are kept: handed on in line, never lost, whatever becomes of who held or awaited one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import asyncpg
import pytest

from warifu.adapters.store.connections import KeptConnections
from warifu.kernel.errors import Unavailable


class Connection:
    """What the driver's pool gives."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lost = self.detached = False

    def is_closed(self) -> bool:
        if self.detached:
            raise asyncpg.InterfaceError("released back to the pool")
        return self.lost


class Pool:
    """Counts what is out; can be told to fail."""

    def __init__(self) -> None:
        self.made = self.out = 0
        self.failure: Exception | None = None

    async def acquire(self) -> Connection:
        await asyncio.sleep(0)
        if self.failure:
            raise self.failure
        self.made += 1
        self.out += 1
        return Connection(self.made)

    async def release(self, _connection: Connection, timeout: float) -> None:  # noqa: ASYNC109 - the driver's
        del timeout
        await asyncio.sleep(0)
        self.out -= 1


def with_kept(test: Callable[[KeptConnections, Pool], Awaitable[None]], *, size: int = 2, waiting: int = 10) -> Pool:
    pool = Pool()

    async def run() -> None:
        async with asyncio.timeout(10):
            await test(KeptConnections(cast("Any", pool), size, waiting, 1.0), pool)

    asyncio.run(run())
    return pool


def test_one_that_is_given_back_is_used_again() -> None:
    async def again(kept: KeptConnections, _: Pool) -> None:
        for _turn in range(5):
            kept.give_back(kept.idle() or await kept.take())

    assert with_kept(again).made == 1


def test_those_in_line_get_theirs_in_order_and_no_more_than_the_size_are_out() -> None:
    served: list[int] = []

    async def in_line(kept: KeptConnections, pool: Pool) -> None:
        async def caller(number: int) -> None:
            connection = await kept.take()
            served.append(number)
            assert pool.out <= 2
            await asyncio.sleep(0)
            kept.give_back(connection)

        async with asyncio.TaskGroup() as group:
            for number in range(8):
                group.create_task(caller(number))

    with_kept(in_line)
    assert sorted(served) == list(range(8))
    assert served[2:] == list(range(2, 8))


@pytest.mark.parametrize("broken", ["lost", "detached"])
def test_one_that_died_idle_is_given_up_and_another_made(broken: str) -> None:
    async def died(kept: KeptConnections, pool: Pool) -> None:
        connection = await kept.take()
        kept.give_back(connection)
        setattr(connection, broken, True)
        assert kept.idle() is None
        other = await kept.take()
        assert (other is connection, pool.out) == (False, 1)

    assert with_kept(died, size=1).made == 2


def test_an_abandoned_one_leaves_its_room_to_the_next_in_line() -> None:
    async def room(kept: KeptConnections, pool: Pool) -> None:
        held = await kept.take()
        waiting = asyncio.create_task(kept.take())
        await asyncio.sleep(0)
        await kept.abandon(held)
        assert (await waiting) is not held
        assert pool.out == 1

    with_kept(room, size=1)


def test_a_caller_cancelled_in_line_loses_nothing_that_was_meant_for_it() -> None:
    async def cancelled(kept: KeptConnections, pool: Pool) -> None:
        held = await kept.take()
        first, second = (asyncio.create_task(kept.take()) for _ in range(2))
        await asyncio.sleep(0)
        kept.give_back(held)  # it is the first's, which has not run yet
        first.cancel()
        assert (await second) is held
        assert (first.cancelled(), pool.made) == (True, 1)

    with_kept(cancelled, size=1)


def test_a_server_that_is_away_fails_each_caller_and_keeps_no_room() -> None:
    async def away(kept: KeptConnections, pool: Pool) -> None:
        pool.failure = ConnectionRefusedError()
        results = await asyncio.gather(*(kept.take() for _ in range(4)), return_exceptions=True)
        assert [type(each) for each in results] == [ConnectionRefusedError] * 4
        pool.failure = None
        kept.give_back(await kept.take())

    assert with_kept(away, size=1).out == 1


def test_the_line_is_bounded() -> None:
    async def bounded(kept: KeptConnections, _: Pool) -> None:
        held = await kept.take()
        waiting = asyncio.create_task(kept.take())
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await kept.take()
        kept.give_back(held)
        await waiting

    with_kept(bounded, size=1, waiting=1)


def test_closing_gives_back_those_at_work_when_they_are_done() -> None:
    async def closing(kept: KeptConnections, pool: Pool) -> None:
        kept.give_back(await kept.take())
        held = await kept.take()
        closed = asyncio.create_task(kept.close())
        await asyncio.sleep(0)
        kept.give_back(held)
        await closed
        assert pool.out == 0

    with_kept(closing)
