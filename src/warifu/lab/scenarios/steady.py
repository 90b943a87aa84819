"""The ``steady`` scenario: an HSM pool that always has more to do, alone; each worker still proves itself in time.

A worker that is fenced for a failed self-test is one that nobody had noticed. Under a load that never ends, a self-test
that waits for a pause never comes. In the workers' place stand judges.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from warifu.kernel.errors import Unavailable
from warifu.lab.scenarios.small import small
from warifu.lab.simulation.world import World
from warifu.nodes.hsm_pool import HsmPool, PoolLimits
from warifu.ports import hsm

ASKERS: Final = 60
WORKERS: Final = (1, 2, 3)
EVERY_MS: Final = (20, 50)
WORK_MS: Final = (1, 6)
TEST_MS: Final = 2
SNAP_MS: Final = 60
"""Work ends where a self-test falls due, not where callers give up."""
DEADLINE_MS: Final = 60_000


class _Worker:
    """In the place of a process: it works for some milliseconds, and knows when it proved itself last."""

    pid = 0

    def __init__(self, world: World, name: str, every_ms: int) -> None:
        self.name = name
        self._world = world
        self._every_ms = every_ms
        self._proved_ms = world.loop.now_ms

    async def call(self, command: hsm.HsmCommand) -> hsm.HsmReply:
        """See ``HsmWorker``."""
        if isinstance(command, hsm.SelfTest):
            await asyncio.sleep(TEST_MS / 1000)
            self._proved_ms = self._world.loop.now_ms
            return hsm.Done()
        since_ms = self._world.loop.now_ms - self._proved_ms
        if since_ms > self._every_ms:
            text = f"{self.name} works {since_ms} ms after its last self-test, not {self._every_ms}"
            self._world.violated("a worker proves itself in time", text)
        await asyncio.sleep(self._world.delay_ms(*WORK_MS) / 1000)
        return hsm.Bytes(command.data if isinstance(command, hsm.Mac) else b"")

    async def call_all(self, commands: Sequence[hsm.HsmCommand]) -> Sequence[hsm.HsmReply]:
        """See ``HsmWorker``."""
        return [await self.call(command) for command in commands]

    async def kill(self) -> None:
        """See ``HsmWorker``."""


class _Factory:
    def __init__(self, world: World, every_ms: int) -> None:
        self._world = world
        self._every_ms = every_ms

    async def spawn(self, name: str) -> _Worker:
        """See ``HsmFactory``."""
        await asyncio.sleep(self._world.delay_ms(0, TEST_MS) / 1000)
        return _Worker(self._world, name, self._every_ms)


async def drive(world: World, size: int) -> None:
    """All ask at once, so that nothing but the self-tests makes a worker pause; then the pool ends."""
    world.snap_within_ms = SNAP_MS
    every_ms = EVERY_MS[world.pick(len(EVERY_MS))]
    limits = PoolLimits(queue=size, self_test_every_ms=every_ms)
    pool = HsmPool(_Factory(world, every_ms), "steady/hsm", WORKERS[world.pick(len(WORKERS))], limits=limits)
    running = asyncio.create_task(pool.run())

    async def asked(number: int) -> None:
        data = number.to_bytes(16, "big")
        try:
            reply = await pool.call(hsm.Mac("key", data), DEADLINE_MS)
        except Unavailable as error:
            world.violated("what is asked for in time is done", f"caller {number}: {error}")
            return
        if reply != hsm.Bytes(data):
            world.violated("no answer reaches another caller", f"caller {number}")

    async with asyncio.TaskGroup() as group:
        for number in range(size):
            group.create_task(asked(number))
    running.cancel()
    await asyncio.wait({running})


STEADY: Final = small("steady", drive, ASKERS)
