"""Not chance but completeness: every order of a small core that is within some deviations of first in, first out.

Most faults of concurrency need only one or two overtakings; so "no schedule within two deviations fails" says much,
and for a small core it can be said.
"""

from collections.abc import Iterator

from msgspec import Struct

from warifu.lab.scenarios.scenario import Scenario
from warifu.lab.search.run import Failure, run
from warifu.lab.simulation.order import Deviating
from warifu.lab.simulation.plan import Plan


class Explored(Struct, frozen=True):
    """What a systematic search came to."""

    runs: int
    decisions: int
    """How many choices the first-in-first-out run had."""
    hashes: int
    """Different schedules (by trace hash) among the runs."""
    complete: bool
    """Whether every order within the deviations was run."""
    failure: Failure | None = None
    deviations: dict[int, int] = {}
    """Of the failing run: position taken, by the decision's number."""


def explore(scenario: Scenario, plan: Plan, deviations: int = 2, max_runs: int = 1_000_000) -> Explored:
    """Run every order within ``deviations`` of first in, first out, until one fails.

    A deviation is a decision at which another than the longest waiting callback runs; each later decision counts
    anew, so that orders are visited once.
    """
    frontier: list[dict[int, int]] = [{}]
    hashes: set[str] = set()
    decisions = runs = 0
    while frontier:
        if runs == max_runs:
            return Explored(runs, decisions, len(hashes), complete=False)
        taken = frontier.pop()
        order = Deviating(taken)
        outcome = run(plan, scenario, order)
        runs += 1
        hashes.add(outcome.trace_hash)
        decisions = decisions or len(order.counts)
        if outcome.failure is not None:
            return Explored(runs, decisions, len(hashes), complete=False, failure=outcome.failure, deviations=taken)
        if len(taken) < deviations:
            frontier.extend(_further(taken, order.counts))
    return Explored(runs, decisions, len(hashes), complete=True)


def _further(taken: dict[int, int], counts: list[int]) -> Iterator[dict[int, int]]:
    """The same and one deviation more, at a later decision."""
    for decision in range(max(taken, default=-1) + 1, len(counts)):
        for pick in range(1, counts[decision]):
            yield {**taken, decision: pick}
