"""A small core: the part of a node in which an overtaking would do harm, alone, small enough for every order of it.

A core has no network, no faults and no chance. Its times are chosen so that what can meet in one instant does; which
of what meets goes first is all that is left open, and ``lab.systematic`` tries every answer within two deviations.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from warifu.contract.envelope import Envelope, Reply, ServiceClass
from warifu.kernel.errors import Fault
from warifu.kernel.ids import new_ulid
from warifu.lab.properties import Property
from warifu.lab.scenarios.scenario import Safeguard
from warifu.lab.simulation.keys import EPOCH_MS, SeededEntropy, SimulatedClock
from warifu.lab.simulation.world import World
from warifu.nodes import base

Drive = Callable[..., Awaitable[None]]
"""Of a world and the number of a ``variant``."""
LONG_MS: Final = 60_000


class CoreTrial:
    """A core in a world."""

    def __init__(self, world: World, drive: Drive) -> None:
        self._world = world
        self._drive = drive

    async def drive(self) -> None:
        """All of it."""
        await self._drive(self._world)

    def settled(self) -> bool:
        """When ``drive`` is over."""
        return True

    async def conclude(self) -> None:
        """Nothing: ``drive`` looked at everything."""

    def state(self) -> object:
        """Nothing to tell apart: the trace does."""
        return None


class Core:
    """A scenario of one core.

    Args:
        name: as in ``lab search --systematic NAME``.
        text: what is put into every order, for people.
        drive: does it, and says what is wrong with ``World.violated``.
        variants: how many times are chosen in as many ways: the plan's seed says which.
    """

    safeguards: tuple[Safeguard, ...] = ()

    def __init__(self, name: str, text: str, drive: Drive, variants: int) -> None:
        self.variants = variants
        self.name = name
        self.text = text
        self._drive = drive

    def properties(self) -> tuple[Property, ...]:
        """Those of its own only."""
        return ()

    def prepare(self) -> None:
        """Nothing."""

    def build(self, world: World) -> CoreTrial:
        """See ``Scenario``."""
        return CoreTrial(world, partial(self._drive, variant=world.plan.seed % self.variants))


class _Log:
    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    def info(self, event: str, **fields: str | float) -> None:
        """Into the history."""
        self._world.record("log", self._name, outcome=event, detail=str(fields))

    def trouble(self, event: str, **fields: str | float) -> None:
        """Into the history."""
        self._world.record("log", self._name, outcome=f"trouble {event}", detail=str(fields))


class Calls:
    """A transport that is a function: implements ``ports.transport.Transport``."""

    def __init__(self, answer: Callable[[str, Envelope], Awaitable[Reply]]) -> None:
        self._answer = answer

    async def call(self, destination: str, envelope: Envelope) -> Reply:
        """See ``Transport``."""
        return await self._answer(destination, envelope)


async def nobody(destination: str, envelope: Envelope) -> Reply:
    """A transport of who asks nobody."""
    raise Fault(f"a core asks nobody, and sent {envelope.name} to {destination}")


def injected(world: World, name: str, answer: Callable[[str, Envelope], Awaitable[Reply]] = nobody) -> base.World:
    """What a node of a core is made with."""
    entropy = SeededEntropy(world.plan.seed, name)
    return base.World(name, Calls(answer), SimulatedClock(world.loop), entropy, _Log(world, name))


def envelope(
    name: str,
    body: bytes,
    *,
    number: int,
    step: str,
    sender: str,
    key: str = "",
    municipality: str = "",
    service_class: ServiceClass = "delivery",
    remaining_ms: int = LONG_MS,
) -> Envelope:
    """A message of a core; ``number`` names its operation."""
    return Envelope(
        name=name,
        operation_id=new_ulid(EPOCH_MS, bytes([number] * 10)),
        step=step,
        sender=sender,
        municipality=municipality,
        ordering_key=key,
        service_class=service_class,
        remaining_ms=remaining_ms,
        body=body,
    )
