"""How many connections a relay of 2016 would have on this machine, and what came of its rules, in words.

A connection carried one message at a time (Material 3, table 4, note 4: a third more of them carry a third more). What
they carry follows from their number and from how long a message holds one in the relay: 70 carried 12,000 messages in
ten minutes, 94 were to carry 16,000. Here a message takes milliseconds: so many would carry everything.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from msgspec import Struct

from warifu.lab.load.stack import Stack
from warifu.stack.addresses import Addresses
from warifu.stack.links import probing

REFUSED_OF: Final = (79, 549_000)
"""Messages that found no connection free, of a day's (18 April 2016, a day on which they sufficed)."""

Busy = Callable[[], Awaitable[float]]
"""Seconds that messages have spent in the relays so far, all of them together."""


class Story(Struct, frozen=True):
    """What an overload came to."""

    policy: str
    completed_per_c: float
    """Completed during the overload, in multiples of C."""
    deliveries_refused: int
    deliveries_failed: int
    setups_refused: int
    served: int
    places: int
    p99_over_ms: float
    p99_after_ms: float
    refused_after: int
    completed_after_per_c: float
    left_open: int
    """Operations that were begun and given up: half-done, to be taken up again another day."""
    turned_away: int
    """Operations of which no counter ever heard that they began."""
    blocks: int


def lines(load: float) -> int:
    """Connections of a relay with which a day goes as well as one did in 2016 (``REFUSED_OF``).

    Args:
        load: messages in it at once, on average.

    Returns:
        The fewest that refuse no greater part of arrivals that come as they like (Erlang's loss formula).
    """
    refused, number = 1.0, 0
    while refused > REFUSED_OF[0] / REFUSED_OF[1]:
        number += 1
        refused = load * refused / (number + load * refused)
    return max(2, number)


@asynccontextmanager
async def relays_busy(stack: Stack) -> AsyncIterator[Busy]:
    """Looks at what the relays say of their own work."""
    own = stack.own
    relays = tuple(node.name for node in own.topology.node if node.kind == "relay")
    ports = {name: addresses[0].port for name, addresses in own.book.items()}
    async with probing(stack.home, own.topology, Addresses(ports)) as probes:

        async def busy() -> float:
            works = [(await probes[name]()).work for name in relays]
            return sum(work.busy_ms for work in works if work) / 1000

        yield busy


def in_words(modern: Story, legacy: Story, connections: int) -> str:
    """What happened under both policies, for people."""
    told = (
        f"With the rules of today the stack completed {modern.completed_per_c:.2f} C while 2 C was offered, refused "
        f"{modern.deliveries_refused:,} deliveries, and told {modern.setups_refused:,} set-ups to come back. "
    )
    if not legacy.blocks:
        return told + (
            f"With those of 2016 it completed {legacy.completed_per_c:.2f} C: no relay ever had more than its "
            f"{connections} messages at once, so no CS shut itself, and the rules of 2016 were not put to the test."
        )
    return told + (
        f"With those of 2016 it completed {legacy.completed_per_c:.2f} C. A relay answers one message more than its "
        f"{connections} connections with connection excess; the CS that is told so throws away the messages of all its "
        f"counters and takes none for 60 s, whoever waits. That happened {legacy.blocks:,} times at {legacy.places} "
        f"towns: {legacy.deliveries_failed:,} deliveries were broken off, {legacy.left_open:,} operations were left "
        f"half-done and {legacy.turned_away:,} never began. Of what was offered afterwards, 0.8 C, "
        f"{legacy.completed_after_per_c:.2f} C was completed."
    )
