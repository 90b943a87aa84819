"""Whether a client's connections through a balancer lead to several servers, or all to one.

A balancer counts connections, not whose they are: it may lead both of a large town's to the same relay. Then that relay
has the town's whole load, and when it dies the town stands still until it is connected anew.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

FIRST_PAUSE_S: Final = 1.0
"""Before a connection is tried elsewhere; each time in vain doubles it."""
LONGEST_PAUSE_S: Final = 60.0
_UNEVEN: Final = 2


def crowded(peers: Iterable[str], known: Collection[str]) -> str | None:
    """The server that has two connections more than another one; None when they are spread as well as they can be.

    Args:
        peers: where each of the client's connections leads.
        known: servers that there are; one without a connection counts.
    """
    led = Counter(dict.fromkeys(known, 0))
    led.update(peers)
    if not led:
        return None
    most = max(led, key=lambda name: (led[name], name))
    return most if led[most] - min(led.values()) >= _UNEVEN else None


def relieves(newcomer: str, peers: Collection[str], crowd: str) -> bool:
    """Whether a connection to this server in the place of one to ``crowd`` makes them more even."""
    led = Counter(peers)
    return led[crowd] - led[newcomer] >= _UNEVEN
