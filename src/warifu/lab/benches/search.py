"""``warifu bench search``: every search of the register through the store, beside a look by primary key.

The same tasks on the same connections ask for both in turn, slice by slice. Times are microseconds of one answer as the
node has it, records decoded; a ratio is the search's p99 over the look's p99 of the same slice.
"""

import asyncio
import os
import random
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from warifu.adapters.store.migrate import migrate
from warifu.adapters.store.postgres import PostgresStore, open_postgres
from warifu.domain.certificates.records import Certificate
from warifu.kernel.errors import Malformed
from warifu.lab.rigs import certificate_rows
from warifu.lab.rigs.certificate_rows import LARGEST, Population
from warifu.lab.rigs.database import scratch_database
from warifu.ports.store import Find, Get

ROWS: Final = "WARIFU_BENCH_ROWS"
DEFAULT_ROWS: Final = 1_000_000
FEWEST_ROWS: Final = 1_000
MOST_ROWS: Final = 200_000_000
PAGE: Final = 100
TASKS: Final = 2
SLICES: Final = 9

Ask = Callable[[random.Random, Population], Get | Find]


class BadRows(Malformed):
    """``WARIFU_BENCH_ROWS`` is not a number of rows."""

    code = "bench.bad_rows"


def _holder(dice: random.Random, population: Population) -> int:
    return dice.randrange(population.rows // 2)


def _look(dice: random.Random, population: Population) -> Get:
    return Get(Certificate, ("signature", certificate_rows.serial(_holder(dice, population))))


def _resident(dice: random.Random, population: Population) -> Find:
    return Find(Certificate, {"resident_id": certificate_rows.resident(_holder(dice, population))}, PAGE)


def _card(dice: random.Random, population: Population) -> Find:
    return Find(Certificate, {"card_id": certificate_rows.card(_holder(dice, population))}, PAGE)


def _name(dice: random.Random, population: Population) -> Find:
    return Find(Certificate, {"name_digest": population.name(_holder(dice, population))}, PAGE)


def _commonest(_dice: random.Random, _population: Population) -> Find:
    return Find(Certificate, {"name_digest": certificate_rows.digest(0)}, PAGE)


def _name_here(dice: random.Random, population: Population) -> Find:
    holder = _holder(dice, population)
    where = {"municipality": population.place(holder), "name_digest": population.name(holder)}
    return Find(Certificate, where, PAGE)


def _place(dice: random.Random, population: Population) -> Find:
    """A page in the middle of a municipality's, three times in ten of the largest."""
    after = ("signature", certificate_rows.serial(_holder(dice, population)))
    return Find(Certificate, {"municipality": population.place(_holder(dice, population))}, PAGE, after)


def _largest(dice: random.Random, population: Population) -> Find:
    after = ("authentication", certificate_rows.serial(_holder(dice, population)))
    return Find(Certificate, {"municipality": LARGEST}, PAGE, after)


SEARCHES: Final[Mapping[str, Ask]] = {
    "resident": _resident,
    "card": _card,
    "name": _name,
    "the commonest name": _commonest,
    "name and municipality": _name_here,
    "municipality, a page": _place,
    "the largest municipality, a page": _largest,
}


def rows_wanted() -> int:
    """How many rows; ``BadRows`` when the variable says something else."""
    text = os.environ.get(ROWS, str(DEFAULT_ROWS)).replace(",", "").replace("_", "")
    if not text.isdecimal() or not FEWEST_ROWS <= int(text) <= MOST_ROWS:
        raise BadRows(f"{ROWS}={text[:20]}: {FEWEST_ROWS:,} to {MOST_ROWS:,} rows")
    return int(text)


async def bench_search(seconds: float) -> list[dict[str, Any]]:
    """p50 and p99 of each search, warm."""
    population = Population(rows_wanted())
    with scratch_database() as url:
        began = time.monotonic()
        await migrate(url, lambda _line: None, ("authority",))
        await certificate_rows.fill(url, population)
        sys.stderr.write(f"{population.rows:,} rows loaded in {time.monotonic() - began:.0f} s\n")
        async with open_postgres(url, "authority", (Certificate,)) as store:
            await _warm(store, population)
            slice_s = seconds / (2 * SLICES * len(SEARCHES))
            return [r for name, ask in SEARCHES.items() for r in await _measured(store, population, name, ask, slice_s)]


async def _warm(store: PostgresStore, population: Population) -> None:
    """Once over everything, so that what is measured comes from memory where it fits there."""
    for ask in (_look, *SEARCHES.values()):
        await _slice(store, population, ask, 1.0, 0)


async def _measured(
    store: PostgresStore, population: Population, name: str, ask: Ask, slice_s: float
) -> list[dict[str, Any]]:
    ours: list[float] = []
    looks: list[float] = []
    runs: list[float] = []
    for number in range(SLICES):
        one = await _slice(store, population, ask, slice_s, number + 1)
        other = await _slice(store, population, _look, slice_s, number + 101)
        ours += one
        looks += other
        runs.append(_p99(one) / _p99(other))
    limits = {"p50": statistics.median(looks), "p99": _p99(looks)}
    values = {"p50": statistics.median(ours), "p99": _p99(ours)}
    return [
        {
            "name": f"search by {name}, {percentile}, {population.rows:,} rows",
            "value": values[percentile],
            "unit": "µs",
            "limit": f"look by primary key, {percentile}",
            "limit_value": limits[percentile],
            "ratio": statistics.median(runs) if percentile == "p99" else values[percentile] / limits[percentile],
            "runs": runs,
        }
        for percentile in values
    ]


async def _slice(store: PostgresStore, population: Population, ask: Ask, slice_s: float, seed: int) -> list[float]:
    """Microseconds of each answer within one slice."""
    took: list[float] = []

    async def one(task: int) -> None:
        dice = random.Random(seed * TASKS + task)  # noqa: S311 - a choice of questions
        end = time.monotonic() + slice_s
        while True:
            question = ask(dice, population)
            began = time.perf_counter()
            await store.read(question)
            took.append((time.perf_counter() - began) * 1e6)
            if time.monotonic() >= end:
                return

    async with asyncio.TaskGroup() as group:
        for task in range(TASKS):
            group.create_task(one(task))
    return took


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]
