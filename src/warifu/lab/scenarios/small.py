"""A small part of a node, alone, with chance: hundreds of comings and goings where a whole node has a handful.

Between a core (every order of a few messages) and a scenario of whole nodes: what takes many who meet, and nothing else
of the node. A run is a few milliseconds, so that a thousand of them are searched.
"""

from collections.abc import Awaitable, Callable
from functools import partial

from warifu.lab.scenarios.scenario import DrivenTrial, Scenario
from warifu.lab.simulation.world import World

Drive = Callable[[World, int], Awaitable[None]]
"""Of a world, and how many come."""


def small(name: str, drive: Drive, size: int) -> Scenario:
    """A scenario of one small part; it has no properties but its own.

    Args:
        name: as in seeds.
        drive: does it, and says what is wrong with ``World.violated``.
        size: how many come, unless the plan says so.
    """
    return Scenario(name, lambda world: DrivenTrial(partial(drive, world, world.plan.size or size)))
