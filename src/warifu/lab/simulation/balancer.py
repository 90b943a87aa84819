"""The balancer of the simulation: asks machines for their health, and routes by what they answer (F14)."""

import asyncio
from typing import TYPE_CHECKING, Final

from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.contract.errors import open_reply
from warifu.contract.health import AskHealth, Health
from warifu.kernel.errors import TryAgain
from warifu.kernel.ids import ULID_RANDOM_BYTES, new_ulid
from warifu.lab.simulation.keys import EPOCH_MS, SeededEntropy

if TYPE_CHECKING:
    from warifu.lab.simulation.world import Machine, World

EVERY_MS: Final = 500
"""As ``stack.balancer`` has it."""
WITHIN_MS: Final = 2_500
IN_TIME_MS: Final = 2 * WITHIN_MS + 2 * EVERY_MS
"""One question may have been answered well just before; the next one finds out."""


class HealthBalancer:
    """Routes messages for one destination to the machines whose own answer says that they do their work.

    Args:
        destination: whose machines.
        every_ms: how long between two questions.
    """

    def __init__(self, world: "World", destination: str, every_ms: int = EVERY_MS) -> None:
        self._every_ms = every_ms
        self.name = "supervisor"
        self.rotation: dict[str, None] = {}
        self.sick: dict[str, int] = {}
        """Half-sick machines, and since when."""
        self._world = world
        self._entropy = SeededEntropy(world.plan.seed, f"{destination} balancer")
        self._destination = destination
        world.network.join(self.name)
        world.network.balancers[destination] = self
        for machine in world.machines.values():
            if machine.destination == destination:
                self.rotation[machine.name] = None
                world.spawn(self._watch(machine), f"balancer of {machine.name}")

    async def _watch(self, machine: "Machine") -> None:
        while True:
            if await self._well(machine):
                self.rotation[machine.name] = None
            elif machine.name in self.rotation:
                del self.rotation[machine.name]
                self._world.record("log", self.name, peer=machine.name, outcome="out of rotation")
            await asyncio.sleep(self._every_ms / 1000)

    async def _well(self, machine: "Machine") -> bool:
        if not machine.up:
            return False
        envelope = Envelope(
            name=AskHealth.NAME,
            operation_id=new_ulid(EPOCH_MS + self._world.loop.now_ms, self._entropy.random_bytes(ULID_RANDOM_BYTES)),
            step="health",
            sender=self.name,
            remaining_ms=WITHIN_MS,
            body=encode(AskHealth()),
        )
        try:
            return open_reply(await self._world.network.ask(self.name, machine, envelope), Health).ok
        except TryAgain:
            return False

    def overdue(self) -> str:
        """A half-sick machine that still gets messages after its time; "" if none."""
        now = self._world.loop.now_ms
        late = [name for name, since in self.sick.items() if name in self.rotation and now - since > IN_TIME_MS]
        return f"{late[0]} is half sick since {now - self.sick[late[0]]} ms" if late else ""
