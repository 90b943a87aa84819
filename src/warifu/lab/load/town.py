"""How much one town's CS can do: set-ups as fast as its terminals ask."""

import asyncio
import time
from typing import Final

from warifu.lab.load.counters import Counters

LARGEST: Final = "141003"
"""Yokohama: the documents' largest town."""
TERMINALS: Final = 8
AT_ONCE: Final = 16
TOWN_S: Final = 6.0


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


async def set_up_ahead(counters: Counters, count: int, *, at_once: int = AT_ONCE) -> None:
    """Set so many cards up, in every town in turn, as fast as it goes: stock for deliveries to come."""
    todo = iter(range(count))

    async def terminal() -> None:
        for number in todo:
            await counters.serve(counters.places[number % len(counters.places)], "setup")

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(terminal())
