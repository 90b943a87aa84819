"""What a scenario is: machines, drivers, and what must hold beside the common properties."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from msgspec import Struct

from warifu.lab.properties import Property
from warifu.lab.simulation.world import World


class Safeguard(Struct, frozen=True):
    """Something that keeps a failure away and can be removed by name."""

    name: str
    text: str
    failures: tuple[str, ...] = ()
    """The failures of the field it guards against: ``F1`` ... ``F14``."""


class Trial(Protocol):
    """A scenario in a world."""

    async def drive(self) -> None:
        """Send every request; return when all are answered."""

    def settled(self) -> bool:
        """Whether everything has converged (asked again and again after the storm)."""

    async def conclude(self) -> None:
        """When everything has converged: what is only true in the end."""

    def state(self) -> object:
        """All nodes' states as a value with a telling ``repr``: the same state, the same text."""


class DrivenTrial:
    """A trial that ``drive`` is all of: it looks at everything itself."""

    def __init__(self, drive: Callable[[], Awaitable[None]]) -> None:
        self._drive = drive

    async def drive(self) -> None:
        """All of it."""
        await self._drive()

    def settled(self) -> bool:
        """When ``drive`` is over."""
        return True

    async def conclude(self) -> None:
        """Nothing is left to look at."""

    def state(self) -> object:
        """Nothing to tell apart: the trace does."""
        return None


def _nothing() -> None:
    """Nothing is made ahead."""


class Scenario(Struct, frozen=True):
    """A kind of world to search.

    Args:
        name: as in seeds: ``tally:17``.
        build: puts the machines into a world.
        properties: makes fresh ones, with the common ones where messages pass.
        prepare: makes what every run begins with, once for a process; called before each run, not in the simulation.
        safeguards: what can be removed here.
    """

    name: str
    build: Callable[[World], Trial]
    properties: Callable[[], tuple[Property, ...]] = tuple
    prepare: Callable[[], object] = _nothing
    safeguards: tuple[Safeguard, ...] = ()
