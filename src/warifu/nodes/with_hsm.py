"""What every node with an HSM pool has: its supervision, its health by real work, its processes."""

import asyncio

from warifu.contract.health import ChildProcess
from warifu.kernel.errors import Unavailable
from warifu.nodes.base import Call, Node, Probe
from warifu.nodes.hsm_pool import HsmPool
from warifu.ports.hsm import HsmCommand, SelfTest

SELF_TEST_MS = 2_000


class WithHsm(Node):
    """Mixed into a node before its base; the node sets ``hsm``."""

    hsm: HsmPool

    async def hsm_bytes(self, call: Call, command: HsmCommand) -> bytes:
        """One command, within the time the call has left."""
        return await self.hsm.bytes_of(command, self.remaining_ms(call))

    async def run(self) -> None:
        """The pool's supervision beside the node's other timers."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.hsm.run())
            group.create_task(super().run())

    def parts(self) -> dict[str, Probe]:
        """The HSM, beside the node's other parts."""
        return super().parts() | {"hsm": self._probe_hsm}

    def processes(self) -> tuple[ChildProcess, ...]:
        """The HSM workers."""
        workers = tuple(ChildProcess(name=name, pid=pid) for name, pid in self.hsm.processes())
        return super().processes() + workers

    async def _probe_hsm(self) -> None:
        await self.hsm.call(SelfTest(), SELF_TEST_MS)
        health = self.hsm.health()
        if not health.healthy:
            raise Unavailable(", ".join(health.reasons))
