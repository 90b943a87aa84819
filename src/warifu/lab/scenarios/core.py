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
from warifu.lab.scenarios.scenario import DrivenTrial, Scenario
from warifu.lab.simulation.keys import EPOCH_MS, SeededEntropy, SimulatedClock
from warifu.lab.simulation.world import World
from warifu.nodes import base

Drive = Callable[..., Awaitable[None]]
"""Of a world and the number of a ``variant``."""
LONG_MS: Final = 60_000


class Core(Scenario, frozen=True, kw_only=True):
    """A scenario of one core; it has no properties but its own.

    Args:
        text: what is put into every order, for people.
        variants: how many times are chosen in as many ways: the plan's seed says which.
    """

    text: str
    variants: int


def core(name: str, text: str, drive: Drive, variants: int) -> Core:
    """A core as in ``lab search --systematic NAME``; ``drive`` says what is wrong with ``World.violated``."""

    def build(world: World) -> DrivenTrial:
        return DrivenTrial(partial(drive, world, variant=world.plan.seed % variants))

    return Core(name, build, text=text, variants=variants)


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
