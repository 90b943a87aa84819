"""Answered messages leave the outbox together, and each caller is told how it ended."""

import asyncio
from typing import Any

from nodes_parts import run

from warifu.kernel.errors import Unavailable
from warifu.nodes.answered import TOGETHER_S, Answered


class Outbox:
    """Of a store, only this: what was taken out in one go."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, ...]] = []
        self.away = False

    async def sent(self, *sequences: int) -> None:
        await asyncio.sleep(0.01)
        if self.away:
            raise Unavailable("the store is away")
        self.taken.append(sequences)


def answered(outbox: Any) -> Answered:
    return Answered(outbox)


def test_what_is_answered_within_a_moment_leaves_in_one_statement_and_what_comes_later_in_the_next() -> None:
    async def main() -> None:
        outbox = Outbox()
        leaving = answered(outbox)

        async def later(sequence: int, after_s: float) -> None:
            await asyncio.sleep(after_s)
            await leaving.take_out(sequence)
            assert any(sequence in together for together in outbox.taken)

        async with asyncio.TaskGroup() as group:
            for sequence, after_s in ((1, 0.0), (2, TOGETHER_S / 2), (3, TOGETHER_S * 1.1), (4, TOGETHER_S * 2)):
                group.create_task(later(sequence, after_s))
        assert outbox.taken == [(1, 2), (3, 4)]

    run(main())


def test_a_store_that_is_away_is_told_to_everybody_and_all_may_come_again() -> None:
    async def main() -> None:
        outbox = Outbox()
        leaving = answered(outbox)
        outbox.away = True
        ends = await asyncio.gather(*map(leaving.take_out, (1, 2)), return_exceptions=True)
        assert [type(end) for end in ends] == [Unavailable, Unavailable]
        outbox.away = False
        await asyncio.gather(*map(leaving.take_out, (1, 2)))
        assert outbox.taken == [(1, 2)]

    run(main())


def test_callers_that_are_cancelled_leave_nothing_behind() -> None:
    async def main() -> None:
        outbox = Outbox()
        leaving = answered(outbox)
        for after_s in (TOGETHER_S / 2, TOGETHER_S + 0.005):
            tasks = [asyncio.create_task(leaving.take_out(sequence)) for sequence in (1, 2)]
            await asyncio.sleep(after_s)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        await leaving.take_out(3)
        assert outbox.taken == [(3,)]

    run(main())
