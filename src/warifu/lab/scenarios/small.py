"""A small part of a node, alone, with chance: hundreds of comings and goings where a whole node has a handful.

Between a core (every order of a few messages) and a scenario of whole nodes: what takes many who meet, and nothing else
of the node. A run is a few milliseconds, so that a thousand of them are searched.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from warifu.lab.properties import Property
from warifu.lab.scenarios.scenario import Safeguard
from warifu.lab.simulation.world import World

Drive = Callable[[World, int], Awaitable[None]]
"""Of a world, and how many come."""


class SmallTrial:
    """A part in a world."""

    def __init__(self, drive: Callable[[], Awaitable[None]]) -> None:
        self._drive = drive

    async def drive(self) -> None:
        """All of it."""
        await self._drive()

    def settled(self) -> bool:
        """When ``drive`` is over."""
        return True

    async def conclude(self) -> None:
        """Nothing: ``drive`` looked at everything."""

    def state(self) -> object:
        """Nothing to tell apart: the trace does."""
        return None


class Small:
    """A scenario of one small part.

    Args:
        name: as in seeds.
        drive: does it, and says what is wrong with ``World.violated``.
        size: how many come, unless the plan says so.
    """

    safeguards: tuple[Safeguard, ...] = ()

    def __init__(self, name: str, drive: Drive, size: int) -> None:
        self.name = name
        self._drive = drive
        self._size = size

    def properties(self) -> tuple[Property, ...]:
        """Those of its own only."""
        return ()

    def prepare(self) -> None:
        """Nothing."""

    def build(self, world: World) -> SmallTrial:
        """See ``Scenario``."""
        return SmallTrial(partial(self._drive, world, world.plan.size or self._size))
