"""Who goes next: the one place where a schedule is chosen.

An order is called with the number of ready callbacks (two or more) and answers with the position of the one to run;
position 0 has waited longest.
"""

from collections.abc import Mapping
from random import Random
from typing import Protocol


class Order(Protocol):
    """Chooses among ``count`` ready callbacks."""

    def __call__(self, count: int) -> int:
        """A position from 0 to ``count - 1``."""


class FirstInFirstOut:
    """As asyncio itself does."""

    def __call__(self, count: int) -> int:
        """The longest waiting."""
        del count
        return 0


class Uniform:
    """Each ready callback with the same chance."""

    def __init__(self, random: Random) -> None:
        self._draw = random.random

    def __call__(self, count: int) -> int:
        """Any."""
        return int(self._draw() * count)


class MostlyFirst:
    """First in, first out with an overtaking here and there: finds what a thorough shuffle hides in noise."""

    def __init__(self, random: Random, chance: float = 0.1) -> None:
        self._draw = random.random
        self._chance = chance

    def __call__(self, count: int) -> int:
        """The longest waiting, or now and then any."""
        return int(self._draw() * count) if self._draw() < self._chance else 0


class MostlyLast:
    """The newest first, mostly: who waits, waits long."""

    def __init__(self, random: Random, chance: float = 0.2) -> None:
        self._draw = random.random
        self._chance = chance

    def __call__(self, count: int) -> int:
        """The newest, or now and then any."""
        return int(self._draw() * count) if self._draw() < self._chance else count - 1


class Deviating:
    """First in, first out but for the named decisions; remembers how many choices each decision had.

    Args:
        deviations: the position to take, by the decision's number (0 is the first with two or more ready).
    """

    def __init__(self, deviations: Mapping[int, int]) -> None:
        self._deviations = deviations
        self.counts: list[int] = []

    def __call__(self, count: int) -> int:
        """The named position, or 0."""
        pick = self._deviations.get(len(self.counts), 0)
        self.counts.append(count)
        return min(pick, count - 1)


def drawn(random: Random) -> Order:
    """One of the seeded orders: half of the runs uniform, the others with a habit."""
    return random.choice((Uniform, Uniform, MostlyFirst, MostlyLast))(random)
