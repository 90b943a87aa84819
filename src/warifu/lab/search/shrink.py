"""Makes a failing run smaller while it still fails the same property: fewer requests, fewer faults."""

import time
from collections.abc import Iterator

import msgspec

from warifu.lab.scenarios.scenario import Scenario
from warifu.lab.search.run import Outcome, run
from warifu.lab.simulation.plan import Plan

MAX_RUNS = 400
MAX_SIZE_TRIED = 20
MAX_SECONDS = 12.0
"""Of real time: people wait for it. A replay does not depend on how far it came."""


class _Shrinker:
    def __init__(self, scenario: Scenario, failing: Outcome, max_runs: int) -> None:
        if failing.failure is None:
            raise ValueError("a run that did not fail cannot be shrunk")
        self.best = failing
        self._property = failing.failure.property
        self._scenario = scenario
        self._runs_left = max_runs
        self._until = time.monotonic() + MAX_SECONDS

    def fails(self, plan: Plan) -> bool:
        """Whether this plan still fails the same property; then it is the best so far."""
        if self._runs_left <= 0 or time.monotonic() > self._until:
            return False
        self._runs_left -= 1
        outcome = run(plan, self._scenario)
        if outcome.failure is None or outcome.failure.property != self._property:
            return False
        self.best = outcome
        return True

    def fewer_requests(self) -> None:
        """The smallest size that fails."""
        limit = self.best.plan.size or MAX_SIZE_TRIED
        for size in range(1, limit):
            if self.fails(msgspec.structs.replace(self.best.plan, size=size)):
                return

    def fewer_kinds(self) -> None:
        """Only the kinds that struck, then without each of them in turn."""
        struck = tuple(sorted(set(self.best.faults)))
        self.fails(msgspec.structs.replace(self.best.plan, faults=struck))
        for kind in struck:
            allowed = struck if self.best.plan.faults is None else self.best.plan.faults
            self.fails(msgspec.structs.replace(self.best.plan, faults=tuple(k for k in allowed if k != kind)))

    def fewer_faults(self) -> None:
        """Halves of the faults kept quiet, then quarters, down to single ones."""
        width = self.best.struck
        while width >= 1:
            for chunk in _chunks(self.best.struck, width):
                quiet = tuple(sorted({*self.best.plan.quiet, *chunk}))
                if quiet != self.best.plan.quiet:
                    self.fails(msgspec.structs.replace(self.best.plan, quiet=quiet))
            width //= 2


def _chunks(count: int, width: int) -> Iterator[range]:
    return (range(start, min(start + width, count)) for start in range(0, count, width))


def shrink(failing: Outcome, scenario: Scenario, max_runs: int = MAX_RUNS) -> Outcome:
    """The smallest failing run found in at most ``max_runs`` tries."""
    shrinker = _Shrinker(scenario, failing, max_runs)
    shrinker.fewer_requests()
    shrinker.fewer_kinds()
    shrinker.fewer_faults()
    shrinker.fewer_requests()
    return shrinker.best
