"""Several pieces of work at once: results in order, an error as it is."""

import asyncio

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


def test_nothing_to_do_is_done() -> None:
    assert asyncio.run(together([])) == []
