"""Several pieces of work at once: results in order, an error as it is."""

import asyncio
import contextlib

import pytest

from warifu.kernel.errors import Unavailable
from warifu.kernel.together import together


async def after(turns: int, result: int) -> int:
    for _ in range(turns):
        await asyncio.sleep(0)
    return result


async def away() -> int:
    raise Unavailable("the device is away")


def test_results_stand_in_the_order_of_the_work() -> None:
    async def main() -> list[int]:
        return await together(after(5 - number, number) for number in range(5))

    assert asyncio.run(main()) == [0, 1, 2, 3, 4]


def test_an_error_is_the_one_that_happened_and_the_others_are_ended() -> None:
    async def main() -> int:
        with pytest.raises(Unavailable):
            await together([after(1_000_000, 1), away(), after(1_000_000, 2)])
        return len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1


def test_who_is_cancelled_in_the_instant_of_an_error_ends() -> None:
    async def for_ever() -> None:
        while True:
            with contextlib.suppress(Unavailable):
                await together([fails_when_told.wait_and_fail()])

    class FailsWhenTold:
        def __init__(self) -> None:
            self.told = asyncio.Event()

        async def wait_and_fail(self) -> None:
            await self.told.wait()
            raise Unavailable("the device is away")

    fails_when_told = FailsWhenTold()

    async def main() -> bool:
        task = asyncio.create_task(for_ever())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        fails_when_told.told.set()
        await asyncio.sleep(0)  # the piece has failed; the group has not heard of it yet
        task.cancel()
        return (await asyncio.wait({task}, timeout=1))[0] == {task}

    assert asyncio.run(main())


def test_nothing_to_do_is_done() -> None:
    assert asyncio.run(together([])) == []
