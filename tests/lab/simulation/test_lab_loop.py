"""The simulated loop: asyncio unchanged, virtual time, every order, nothing from outside."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from random import Random
from typing import Any, TypeVar

import pytest

from warifu.lab.simulation.loop import (
    OUTSIDE,
    PROCESS,
    Deadlock,
    NotSimulated,
    Process,
    SimulatedLoop,
    StepLimit,
    Unhandled,
)
from warifu.lab.simulation.order import Deviating, FirstInFirstOut, Order, Uniform
from warifu.lab.simulation.seal import sealed

T = TypeVar("T")


def simulate(main: Coroutine[Any, Any, T], order: Order | None = None, max_steps: int = 10_000) -> T:
    loop = SimulatedLoop(order or FirstInFirstOut(), max_steps)
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


def outcomes(make: Callable[[], Coroutine[Any, Any, T]], seeds: int = 60) -> set[T]:
    return {simulate(make(), Uniform(Random(seed))) for seed in range(seeds)}  # noqa: S311 - repeatable on purpose


def virtual_loop() -> SimulatedLoop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop)
    return loop


def test_an_hour_passes_at_once_and_exactly() -> None:
    async def main() -> int:
        await asyncio.sleep(3600)
        return virtual_loop().now_ms

    begun = time.monotonic()
    assert simulate(main()) == 3_600_000
    assert time.monotonic() - begun < 5


def test_asyncio_works_unchanged() -> None:
    async def worker(queue: asyncio.Queue[int], lock: asyncio.Lock, number: int) -> None:
        async with lock, asyncio.timeout(1):
            await asyncio.sleep(0.01)
        await queue.put(number)

    async def main() -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(1)
        lock = asyncio.Lock()
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(worker(queue, lock, number))
            got = [await queue.get() for _ in range(5)]
        assert virtual_loop().now_ms == 50
        return sorted(got)

    assert outcomes(lambda: as_tuple(main())) == {(0, 1, 2, 3, 4)}


async def as_tuple(values: Awaitable[list[int]]) -> tuple[int, ...]:
    return tuple(await values)


def test_a_failing_task_cancels_its_group() -> None:
    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise LookupError

    async def main() -> bool:
        async def both() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                waiters.append(group.create_task(asyncio.sleep(60)))

        waiters: list[asyncio.Task[None]] = []
        with pytest.raises(ExceptionGroup):
            await both()
        return all(waiter.cancelled() for waiter in waiters)

    assert outcomes(main) == {True}


def test_all_orders_of_what_is_ready_together_are_explored() -> None:
    async def main() -> tuple[int, ...]:
        order: list[int] = []

        async def note(number: int) -> None:
            await asyncio.sleep(0.01)
            order.append(number)

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(note(number))
        return tuple(order)

    assert len(outcomes(main)) == 6


def test_a_time_out_at_the_instant_of_the_result_goes_both_ways() -> None:
    async def main() -> str:
        answer = virtual_loop().create_future()

        def arrive() -> None:
            if not answer.done():
                answer.set_result("answer")

        virtual_loop().call_later(0.05, arrive)
        try:
            async with asyncio.timeout(0.05):
                return str(await answer)
        except TimeoutError:
            return "deadline"

    assert outcomes(main) == {"answer", "deadline"}


def test_first_in_first_out_is_asyncios_own_order() -> None:
    async def main() -> list[int]:
        order: list[int] = []
        for number in range(5):
            virtual_loop().call_soon(order.append, number)
        await asyncio.sleep(0)
        return order

    assert simulate(main()) == [0, 1, 2, 3, 4]


def test_a_deviation_changes_one_decision() -> None:
    async def main() -> list[int]:
        order: list[int] = []
        for number in range(3):
            virtual_loop().call_soon(order.append, number)
        await asyncio.sleep(0.001)
        return order

    assert simulate(main(), Deviating({0: 2})) == [2, 0, 1]


@pytest.mark.parametrize("name", OUTSIDE)
def test_the_loops_doors_to_the_outside_are_shut(name: str) -> None:
    loop = SimulatedLoop(FirstInFirstOut())
    with pytest.raises(NotSimulated):
        getattr(loop, name)()
    loop.close()


def test_a_thread_cannot_call_in() -> None:
    loop = SimulatedLoop(FirstInFirstOut())
    caught: list[Exception] = []

    def call_in() -> None:
        try:
            loop.call_soon_threadsafe(print)
        except NotSimulated as error:
            caught.append(error)

    thread = threading.Thread(target=call_in)
    thread.start()
    thread.join()
    assert len(caught) == 1
    loop.close()


@pytest.mark.parametrize(
    "reach",
    ["time.time", "time.monotonic", "time.sleep", "random.random", "uuid.uuid4", "os.urandom", "socket.socket"],
)
def test_reaching_around_the_ports_is_an_error(reach: str) -> None:
    module, name = reach.split(".")
    with sealed(), pytest.raises(NotSimulated, match=name if module != "socket" else module):
        getattr(sys.modules[module], name)()


def test_threads_and_subprocesses_are_errors() -> None:
    thread = threading.Thread(target=print)
    with sealed(), pytest.raises(NotSimulated):
        thread.start()
    with sealed(), pytest.raises(NotSimulated):
        subprocess.run([sys.executable, "-c", ""], check=False)


def test_the_seal_opens_again() -> None:
    with sealed():
        pass
    assert time.monotonic() > 0


def test_nothing_ready_and_no_timer_is_a_deadlock_that_names_who_waits() -> None:
    async def hold(lock: asyncio.Lock, other: asyncio.Lock) -> None:
        async with lock:
            await asyncio.sleep(0.001)
            async with other:
                pass

    async def main() -> None:
        one, two = asyncio.Lock(), asyncio.Lock()
        async with asyncio.TaskGroup() as group:
            group.create_task(hold(one, two), name="first")
            group.create_task(hold(two, one), name="second")

    with pytest.raises(Deadlock, match=r"first at .*hold > .*Lock.acquire.*second at .*hold > .*Lock.acquire"):
        simulate(main())


def test_a_spin_ends_at_the_step_limit() -> None:
    async def main() -> None:
        while True:  # noqa: ASYNC110 - a spin is what is tested
            await asyncio.sleep(0)

    with pytest.raises(StepLimit):
        simulate(main(), max_steps=100)


def test_an_exception_nobody_retrieves_is_found_by_looking() -> None:
    async def fail() -> None:
        raise LookupError("forgotten")

    async def main() -> None:
        task = asyncio.create_task(fail())
        del task
        await asyncio.sleep(1)
        virtual_loop().check_retrieved()

    with pytest.raises(Unhandled, match="LookupError: forgotten"):
        simulate(main())


def test_a_callbacks_exception_ends_the_run() -> None:
    async def main() -> None:
        virtual_loop().call_soon({"something": 1}.__getitem__, "nothing")
        await asyncio.sleep(1)

    with pytest.raises(KeyError):
        simulate(main())


def test_killing_a_process_runs_none_of_its_code_any_more() -> None:
    effects: list[str] = []

    async def victim() -> None:
        assert PROCESS.get() is not None
        virtual_loop().call_later(0.02, effects.append, "timer")
        try:
            await asyncio.sleep(0.05)
            effects.append("work")
        finally:
            effects.append("clean-up")
            await asyncio.sleep(0)
            effects.append("more clean-up")

    async def main() -> list[str]:
        process = Process("victim")
        task = virtual_loop().create_task(victim(), context=process.context.copy())
        del task
        await asyncio.sleep(0.01)
        virtual_loop().kill(process)
        await asyncio.sleep(10)
        return list(effects)

    assert simulate(main()) == []


def test_a_dead_process_is_not_woken_by_the_living() -> None:
    async def victim(waits: asyncio.Future[None], effects: list[str]) -> None:
        await waits
        effects.append("woken")

    async def main() -> list[str]:
        effects: list[str] = []
        process = Process("victim")
        waits = virtual_loop().create_future()
        task = virtual_loop().create_task(victim(waits, effects), context=process.context.copy())
        await asyncio.sleep(0.01)
        virtual_loop().kill(process)
        waits.set_result(None)
        await asyncio.sleep(1)
        assert not task.done()
        return effects

    assert simulate(main()) == []
