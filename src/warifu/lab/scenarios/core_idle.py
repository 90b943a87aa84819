"""The ``idle`` core: a job comes in the instant in which the worker it would wake goes to prove itself.

The pool wakes the worker that began to wait last. If its self-test falls due as it is woken, it is cancelled in its
waiting: then the wake must go to another, or the job waits for the self-test beside a worker that does nothing.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from warifu.lab.scenarios.core import LONG_MS
from warifu.lab.simulation.world import World
from warifu.nodes.hsm_pool import HsmPool, PoolLimits
from warifu.ports import hsm

EVERY_MS: Final = 100
TEST_MS: Final = 10
APART_MS: Final = (3, 4, 5)
"""Between the births of the two workers, so that their self-tests do not fall due together."""
WORK_MS: Final = (2, 1)
"""Of the first worker, and of the second: the first is done last, so it is the one to be woken next."""
LIMITS: Final = PoolLimits(queue=8, self_test_every_ms=EVERY_MS)


class _Worker:
    pid = 0

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.work_ms = WORK_MS[number]

    async def call(self, command: hsm.HsmCommand) -> hsm.HsmReply:
        """See ``HsmWorker``."""
        if isinstance(command, hsm.SelfTest):
            await asyncio.sleep(TEST_MS / 1000)
            return hsm.Done()
        await asyncio.sleep(self.work_ms / 1000)
        return hsm.Bytes(command.data if isinstance(command, hsm.Mac) else b"")

    async def call_all(self, commands: Sequence[hsm.HsmCommand]) -> Sequence[hsm.HsmReply]:
        """See ``HsmWorker``."""
        return [await self.call(command) for command in commands]

    async def kill(self) -> None:
        """See ``HsmWorker``."""


class _Factory:
    def __init__(self, apart_ms: int) -> None:
        self._apart_ms = apart_ms

    async def spawn(self, name: str) -> _Worker:
        """See ``HsmFactory``."""
        number = int(name.rpartition("-")[2])
        await asyncio.sleep(number * self._apart_ms / 1000)
        return _Worker(name, number)


async def idle(world: World, variant: int) -> None:
    """Two jobs, so that the worker due first waits last; then one as that one is due. Twice, with another pool."""
    for _ in range(2):
        await _once(world, APART_MS[variant])


async def _once(world: World, apart_ms: int) -> None:
    pool = HsmPool(_Factory(apart_ms), "relay-1/hsm", len(WORK_MS), limits=LIMITS)
    running, begun_ms = asyncio.create_task(pool.run()), world.loop.now_ms

    async def asked(number: int, after_ms: int) -> int:
        await asyncio.sleep(after_ms / 1000)
        reply = await pool.call(hsm.Mac("key", bytes([number] * 16)), LONG_MS)
        if reply != hsm.Bytes(bytes([number] * 16)):
            world.violated("no answer reaches another caller", f"caller {number}")
        return world.loop.now_ms - begun_ms - after_ms

    async with asyncio.TaskGroup() as group:
        group.create_task(asked(1, TEST_MS + EVERY_MS // 2))
        group.create_task(asked(2, TEST_MS + EVERY_MS // 2))
        last = group.create_task(asked(3, TEST_MS + EVERY_MS))
    if last.result() > max(WORK_MS):
        text = f"a job waited {last.result()} ms for a worker that was proving itself"
        world.violated("no job waits beside a free worker", text)
    running.cancel()
    await asyncio.wait({running})
