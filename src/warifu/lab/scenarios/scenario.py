"""What a scenario is: machines, drivers, and what must hold beside the common properties."""

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


class Scenario(Protocol):
    """A kind of world to search."""

    @property
    def name(self) -> str:
        """As in seeds: ``tally:17``."""

    @property
    def safeguards(self) -> tuple[Safeguard, ...]:
        """What can be removed here."""

    def properties(self) -> tuple[Property, ...]:
        """Fresh ones, with the common ones."""

    def prepare(self) -> None:
        """What every run begins with is made, once for a process: called outside of the simulation, before each run."""

    def build(self, world: World) -> Trial:
        """Put the machines into the world."""
