"""Many runs on all cores: what failed, and what was covered.

Seeds are worked in batches by processes that share nothing. The first failing batch ends the search: one failure
explained is worth more than many counted.
"""

import gc
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import partial

from msgspec import Struct, field

from warifu.lab.scenarios.catalog import plan_for, scenario_named
from warifu.lab.search.run import Outcome, run

BATCH = 10
AHEAD = 2
"""Batches handed out for each worker: one being worked, one waiting."""
LISTEN_S = 0.2
"""How soon a Ctrl-C is answered."""
_DIGEST_BITS = 128


class Found(Struct, frozen=True):
    """A failing run."""

    seed: int
    scenario: str
    property: str
    text: str


class Covered(Struct):
    """What a search has seen."""

    seeds: int = 0
    steps: int = 0
    messages: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    collisions: int = 0
    states: set[bytes] = field(default_factory=set)
    traces: int = 0
    """The sum of the runs' trace hashes: the same whichever process ran which seed."""

    def add(self, outcome: Outcome) -> None:
        """One run more."""
        self.seeds += 1
        self.steps += outcome.steps
        self.messages += outcome.messages
        self.faults.update(outcome.faults)
        self.collisions += outcome.collisions
        self.states.update(outcome.states)
        self._add_traces(int(outcome.trace_hash or "0", 16))

    def merge(self, other: "Covered") -> None:
        """Another's too."""
        self.seeds += other.seeds
        self.steps += other.steps
        self.messages += other.messages
        self.faults.update(other.faults)
        self.collisions += other.collisions
        self.states |= other.states
        self._add_traces(other.traces)

    @property
    def trace_hash(self) -> str:
        """One hash for all the runs: the same seeds give the same on any machine, under any Python."""
        return f"{self.traces:0{_DIGEST_BITS // 4}x}"

    def _add_traces(self, more: int) -> None:
        self.traces = (self.traces + more) % (1 << _DIGEST_BITS)


class Batch(Struct):
    """Result of a batch of seeds."""

    covered: Covered
    found: list[Found]


class Report(Struct):
    """Result of a search."""

    covered: Covered
    found: list[Found]
    seconds: float
    interrupted: bool = False


def search(
    seeds: int | None,
    *,
    seconds: float | None = None,
    first: int = 0,
    without: tuple[str, ...] = (),
    only: str = "",
    workers: int | None = None,
    progress: Callable[[Covered], None] = lambda _: None,
) -> Report:
    """Run seeds until they, the time, or the luck runs out.

    Args:
        seeds: how many; None for as many as ``seconds`` allow.
        seconds: of real time; no batch is begun afterwards.
        first: the first seed.
        without: safeguards removed.
        only: one scenario's name; "" for all of them in turn.
        workers: processes; as many as there are processors by default.
        progress: told what was covered, after each batch.
    """
    begun = time.monotonic()
    report = Report(Covered(), [], 0.0)
    batches = _batches(first, seeds)
    count = workers or os.cpu_count() or 1
    work = partial(run_batch, without=without, only=only)
    under_way: set[Future[Batch]] = set()
    with _interrupts_told() as interrupted, _pool(count) as pool:
        while not (report.found or interrupted.is_set()):
            if seconds is None or time.monotonic() - begun < seconds:
                with _deaf():
                    _fill(under_way, batches, partial(pool.submit, work), count * AHEAD)
            if not under_way:
                break
            done, under_way = wait(under_way, timeout=LISTEN_S, return_when=FIRST_COMPLETED)
            _collect(report, done)
            if done:
                progress(report.covered)
    report.interrupted = interrupted.is_set()
    report.found.sort(key=lambda found: found.seed)
    report.seconds = time.monotonic() - begun
    return report


@contextmanager
def _pool(count: int) -> Iterator[ProcessPoolExecutor]:
    """Its processes end with the batches they are at."""
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _batches(first: int, seeds: int | None) -> Iterator[range]:
    start, end = first, None if seeds is None else first + seeds
    while end is None or start < end:
        stop = start + BATCH if end is None else min(start + BATCH, end)
        yield range(start, stop)
        start = stop


def _fill(
    under_way: set[Future[Batch]],
    batches: Iterator[range],
    submit: Callable[[range], "Future[Batch]"],
    limit: int,
) -> None:
    while len(under_way) < limit:
        batch = next(batches, None)
        if batch is None:
            return
        under_way.add(submit(batch))


def _collect(report: Report, done: set[Future[Batch]]) -> None:
    for future in done:
        batch = future.result()
        report.covered.merge(batch.covered)
        report.found.extend(batch.found)


def run_batch(seeds: range, without: tuple[str, ...], only: str = "") -> Batch:
    """Run some seeds in this process, up to the first that fails."""
    batch = Batch(Covered(), [])
    for seed in seeds:
        plan = plan_for(seed, without, only)
        outcome = run(plan, scenario_named(plan.scenario))
        batch.covered.add(outcome)
        if outcome.failure is not None:
            batch.found.append(Found(seed, plan.scenario, outcome.failure.property, outcome.failure.text))
            break
    gc.collect()
    return batch


@contextmanager
def _interrupts_told() -> Iterator[threading.Event]:
    """A Ctrl-C in here is only told: raised within the pool's own work it would leave processes that nobody ends.

    A second one is raised. Where it is ignored (a job in a script's background) it stays ignored.
    """
    told = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN or threading.current_thread() is not threading.main_thread():
        yield told
        return

    def tell(_number: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, before)
        told.set()

    signal.signal(signal.SIGINT, tell)
    try:
        yield told
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that are begun in here never hear of a Ctrl-C, which is the parent's to answer; it hears afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
