"""Every order of every core within some deviations, on all processors: ``lab search --systematic``."""

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed

from msgspec import Struct

from warifu.lab.scenarios.catalog import UnknownName
from warifu.lab.scenarios.cores import CORES
from warifu.lab.search.systematic import Explored, explore
from warifu.lab.simulation.plan import Plan


class CoreResult(Struct, frozen=True):
    """What one core came to, over all its variants."""

    name: str
    text: str
    variants: int
    schedules: int
    """Runs; each another order, but for a few that came out alike."""
    distinct: int
    """Different ones among them."""
    failures: tuple[tuple[str, str], ...] = ()
    """The plan and what failed."""


class Exhausted(Struct, frozen=True):
    """What all cores came to."""

    deviations: int
    cores: tuple[CoreResult, ...]
    seconds: float

    @property
    def schedules(self) -> int:
        """Of all cores."""
        return sum(core.schedules for core in self.cores)

    @property
    def failures(self) -> tuple[tuple[str, str], ...]:
        """Of all cores."""
        return tuple(failure for core in self.cores for failure in core.failures)


def exhaust(name: str, deviations: int, progress: Callable[[int], None] = lambda _: None) -> Exhausted:
    """Run every order within ``deviations`` of first in, first out.

    Args:
        name: one core's; "" for all.
        deviations: how many decisions may be taken otherwise.
        progress: told how many variants are done.

    Raises:
        UnknownName: there is no such core.
    """
    if name and name not in CORES:
        raise UnknownName(f"no core {name[:40]!r}; there are: {', '.join(CORES)}")
    begun = time.monotonic()
    chosen = [name] if name else list(CORES)
    explored: dict[str, list[tuple[Plan, Explored]]] = {each: [] for each in chosen}
    with ProcessPoolExecutor(os.cpu_count() or 1, multiprocessing.get_context("spawn")) as pool:
        pairs = [(each, seed) for each in chosen for seed in range(CORES[each].variants)]
        jobs = [pool.submit(_variant, each, seed, deviations) for each, seed in pairs]
        for done, job in enumerate(as_completed(jobs)):
            plan, result = job.result()
            explored[plan.scenario].append((plan, result))
            progress(done + 1)
    cores = tuple(_result(each, explored[each]) for each in chosen)
    return Exhausted(deviations, cores, time.monotonic() - begun)


def variants(name: str = "") -> int:
    """How many there are to be done."""
    return sum(core.variants for core in CORES.values() if name in {"", core.name})


def _variant(name: str, seed: int, deviations: int) -> tuple[Plan, Explored]:
    plan = Plan(scenario=name, seed=seed, faults=(), tight=True)
    return plan, explore(CORES[name], plan, deviations)


def _result(name: str, parts: list[tuple[Plan, Explored]]) -> CoreResult:
    parts.sort(key=lambda part: part[0].seed)
    return CoreResult(
        name=name,
        text=CORES[name].text,
        variants=len(parts),
        schedules=sum(explored.runs for _, explored in parts),
        distinct=sum(explored.hashes for _, explored in parts),
        failures=tuple(
            (_failing(plan, explored), explored.failure.text) for plan, explored in parts if explored.failure
        ),
    )


def _failing(plan: Plan, explored: Explored) -> str:
    order = tuple(explored.deviations.items())
    return Plan(scenario=plan.scenario, seed=plan.seed, faults=(), tight=True, order=order).text()
