"""Whether connections are spread over the relays as they should be, and how many move.

The balancer spreads connections when they are made, and each lives for hours. So a relay that joins the rotation (at
the start, after `relay add`, back from the dead or from being half sick) finds everybody connected elsewhere. Then the
others let go of what they have too much, and no more: a connection that moves leaves its operations' leases behind for
a while (decision 0010).
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

STEADY_S: Final = 3
"""A relay that has been in rotation for so long is there: nothing moves towards one that comes and goes."""
SLACK: Final = 0.2
"""Of an equal share, more or less: with many connections chance alone makes such differences."""
FIRST_PAUSE_S: Final = 2.0
"""After a move, until the next: those who were asked are making connections."""
LONGEST_PAUSE_S: Final = 60.0
"""Each move soon after another doubles the pause: a relay that comes and goes does not keep everybody moving."""


class Standing(Struct, frozen=True):
    """A relay as the balancer has it."""

    state: str
    """In HAProxy's words: ``UP``, ``DOWN (agent)``, ``DRAIN`` ..."""
    connections: int
    """Open now."""
    since_s: int
    """How long it has been up, or down."""

    @property
    def up(self) -> bool:
        """It gets connections."""
        return self.state.startswith("UP")


def surplus(connections: Mapping[str, int]) -> dict[str, int]:
    """How many connections each relay lets go so that each has an equal part, and nobody moves needlessly.

    Args:
        connections: open now, by relay; those in rotation, no others.

    Returns:
        By relay, those with something to let go; nothing when chance alone could have made the difference.
    """
    if not connections:
        return {}
    total, relays = sum(connections.values()), len(connections)
    share = total / relays
    if min(connections.values()) >= share * (1 - SLACK) and max(connections.values()) <= share * (1 + SLACK):
        return {}
    lower, odd = divmod(total, relays)
    most_first = sorted(connections, key=lambda name: (-connections[name], name))
    wanted = {name: lower + (place < odd) for place, name in enumerate(most_first)}
    return {name: connections[name] - wanted[name] for name in most_first if connections[name] > wanted[name]}


def steady(table: Mapping[str, Standing], least_s: int = STEADY_S) -> dict[str, int]:
    """The connections of the relays that are in rotation, and have been for so long."""
    return {name: each.connections for name, each in table.items() if each.up and each.since_s >= least_s}


class Pace:
    """When connections may move again. Times are any clock's that only rises, in seconds."""

    def __init__(self) -> None:
        self._pause_s = FIRST_PAUSE_S
        self._moved_s = -LONGEST_PAUSE_S * 2

    def ready(self, now_s: float) -> bool:
        """Whether they may."""
        return now_s - self._moved_s >= self._pause_s

    def moved(self, now_s: float) -> None:
        """They did."""
        soon = now_s - self._moved_s < LONGEST_PAUSE_S * 2
        self._pause_s = min(LONGEST_PAUSE_S, self._pause_s * 2) if soon else FIRST_PAUSE_S
        self._moved_s = now_s
