"""How much one town's CS can do: set-ups as fast as its terminals ask; and cards set up and delivered ahead."""

import asyncio
import math
import time
from typing import Final

from warifu.lab.load.counters import Counters

LARGEST: Final = "141003"
"""Yokohama: the documents' largest town."""
TERMINALS: Final = 8
AT_ONCE: Final = 16
TOWN_S: Final = 6.0
TOWN_CARDS: Final = 600
"""What the largest town alone sets up in that time, and more."""
DEVIATIONS: Final = 4.0
DELIVERED: Final = 3
"""Cards in use in every town before anybody asks for a new PIN."""


def largest_of(counters: Counters) -> str:
    """The largest town of a stack."""
    return LARGEST if LARGEST in counters.places else counters.places[0]


async def setups_an_hour(counters: Counters, place: str, seconds: float = TOWN_S) -> float:
    """Set-ups an hour at one town while no other works; 0 when it has no card left to set up."""
    began, done = time.perf_counter(), 0

    async def terminal() -> None:
        nonlocal done
        while time.perf_counter() - began < seconds:
            outcome = await counters.serve(place, "setup")
            if outcome == "no_card":
                return
            done += outcome == "ok"

    async with asyncio.TaskGroup() as group:
        for _ in range(TERMINALS):
            group.create_task(terminal())
    return done / (time.perf_counter() - began) * 3600


def bunch(operations: float) -> int:
    """How far those who come as they like (Poisson), so many on average, may be from that: four deviations."""
    return math.ceil(DEVIATIONS * math.sqrt(operations))


def cards_for(operations: float, setups: float) -> int:
    """Cards for so many operations, a share of them set-ups: the stock, set-ups beyond the average, the town alone."""
    return int(operations * setups) + 3 * bunch(operations) + TOWN_CARDS


async def stock_ahead(counters: Counters, operations: float) -> None:
    """Cards set up, and some delivered, for so many operations to come: deliveries may come before set-ups do.

    Connections, sessions and prepared statements are made by it, too; nothing of it is measured.
    """
    await set_up_ahead(counters, bunch(operations) + DELIVERED * len(counters.places))
    for place in counters.places:
        for _ in range(DELIVERED):
            await counters.serve(place, "delivery")
    counters.meter.messages.clear()
    counters.meter.operations.clear()


async def set_up_ahead(counters: Counters, count: int, *, at_once: int = AT_ONCE) -> None:
    """Set so many cards up, in every town in turn, as fast as it goes: stock for deliveries to come."""
    todo = iter(range(count))

    async def terminal() -> None:
        for number in todo:
            await counters.serve(counters.places[number % len(counters.places)], "setup")

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(terminal())
