"""A run: the same seed is the same run anywhere; clean code passes; each removed safeguard is found, shrunk, told."""

import os
import subprocess
import sys
from functools import cache

import pytest

from warifu.lab.history import from_lines, to_line
from warifu.lab.scenarios.catalog import UnknownName, plan_for, removed, scenario_named
from warifu.lab.scenarios.tally import TALLY
from warifu.lab.search.run import Outcome, run
from warifu.lab.search.search import Covered, run_batch, search
from warifu.lab.search.shrink import shrink
from warifu.lab.search.systematic import explore
from warifu.lab.search.timeline import timeline
from warifu.lab.simulation.plan import FAULTS, Plan, parse_plan

SAFEGUARDS = {
    "idempotency": "one effect per request",
    "version-guard": "a number is given once",
    "outbox-order": "order per ordering key",
}
OTHERS = {
    "half_sick",
    "pull",
    "chip_error",
    "reader_hang",
    "overload",
    "hsm_rekey",
    "hsm_stall",
    "hsm_late",
    "hsm_slow",
    "hsm_wrong",
    "hsm_die",
    "hsm_spawn",
}
"""Faults that need a relay, an HSM or a card."""
SEEDS = (0, 3, 8, 21)
HASHES = """
import sys
from warifu.lab.scenarios.catalog import plan_for, scenario_named
from warifu.lab.search.run import run
for seed in map(int, sys.argv[1:]):
    plan = plan_for(seed, (), "tally")
    print(run(plan, scenario_named(plan.scenario)).trace_hash)
"""


def tally(seed: int, *without: str) -> Outcome:
    return run(Plan(scenario="tally", seed=seed, without=without), TALLY)


@cache
def first_failing(safeguard: str) -> Outcome:
    return next(outcome for outcome in (tally(seed, safeguard) for seed in range(100)) if outcome.failure)


def hashes_in_another_process(hash_seed: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", HASHES, *map(str, SEEDS)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split()


def test_the_same_seed_is_the_same_run_in_any_process_and_under_any_hash_seed() -> None:
    here = [tally(seed).trace_hash for seed in SEEDS]
    assert here == [tally(seed).trace_hash for seed in SEEDS]
    assert here == hashes_in_another_process("1")
    assert here == hashes_in_another_process("2")


def test_another_seed_is_another_run() -> None:
    assert len({tally(seed).trace_hash for seed in range(20)}) == 20


def test_two_hundred_seeds_pass_and_every_kind_of_fault_struck() -> None:
    batch = run_batch(range(200), (), "tally")
    assert batch.found == []
    assert batch.covered.seeds == 200
    assert set(FAULTS) - OTHERS == set(batch.covered.faults)
    assert batch.covered.collisions > 1000
    assert len(batch.covered.states) > 1000


@pytest.mark.parametrize(("safeguard", "broken"), SAFEGUARDS.items())
def test_each_removed_safeguard_is_found(safeguard: str, broken: str) -> None:
    batch = run_batch(range(100), (safeguard,), "tally")
    assert [found.property for found in batch.found] == [broken]


@pytest.mark.parametrize("safeguard", SAFEGUARDS)
def test_a_failing_run_is_shrunk_and_its_plan_replays(safeguard: str) -> None:
    failing = first_failing(safeguard)
    smaller = shrink(failing, TALLY)
    assert failing.failure is not None
    assert smaller.failure is not None
    assert smaller.failure.property == failing.failure.property
    assert 1 <= smaller.plan.size <= 12
    assert sum(smaller.faults.values()) <= sum(failing.faults.values())
    again = run(parse_plan(smaller.plan.text(), without=(safeguard,)), TALLY)
    assert again.trace_hash == smaller.trace_hash


def test_a_run_that_passes_cannot_be_shrunk() -> None:
    with pytest.raises(ValueError, match="did not fail"):
        shrink(tally(0), TALLY)


def test_a_failing_run_reads_as_a_story() -> None:
    outcome = first_failing("idempotency")
    lines = timeline(outcome)
    assert lines[-1].endswith(f"FAILED: {outcome.failure.text}" if outcome.failure else "")
    assert any("registry-" in line and "→ numbering" in line and "A/assign." in line for line in lines)


def test_a_history_survives_as_json_lines() -> None:
    history = list(tally(4).history)
    assert from_lines("\n".join(map(to_line, history)).splitlines()) == history


def test_a_search_uses_processes_and_adds_up() -> None:
    told: list[int] = []
    report = search(60, only="tally", workers=2, progress=lambda covered: told.append(covered.seeds))
    alone = Covered()
    alone.merge(run_batch(range(60), (), "tally").covered)
    assert report.covered == alone
    assert told[-1] == 60
    assert not report.found


def test_one_hash_stands_for_all_runs_in_whatever_order_they_were_done() -> None:
    one, other = (run_batch(seeds, (), "tally").covered for seeds in (range(5), range(5, 10)))
    together = Covered()
    together.merge(other)
    together.merge(one)
    assert together.trace_hash == run_batch(range(10), (), "tally").covered.trace_hash
    assert len({one.trace_hash, other.trace_hash, together.trace_hash}) == 3


def test_a_search_ends_at_the_first_failing_batch() -> None:
    report = search(None, seconds=60, without=("idempotency",), only="tally", workers=1)
    assert report.found[0].property == "one effect per request"
    assert report.covered.seeds < 100


def small(*without: str, size: int = 2) -> Plan:
    return Plan(scenario="tally", seed=0, size=size, tight=True, faults=(), without=without)


def test_no_order_within_one_deviation_fails_and_all_are_different() -> None:
    explored = explore(TALLY, small(), deviations=1)
    assert explored.failure is None
    assert explored.complete
    assert explored.runs == explored.hashes > explored.decisions > 50


def test_two_deviations_are_more_than_one() -> None:
    explored = explore(TALLY, small(), deviations=2, max_runs=500)
    assert explored.runs == 500
    assert not explored.complete


def test_the_systematic_search_finds_a_removed_guard() -> None:
    explored = explore(TALLY, small("version-guard", size=3), deviations=2)
    assert explored.failure is not None
    assert explored.failure.property == "a number is given once"


def test_a_plan_is_its_text() -> None:
    plan = Plan(scenario="tally", seed=7, size=3, faults=("crash", "stale"), quiet=(0, 4), tight=True)
    assert plan.text() == "tally:7/size=3/faults=crash+stale/quiet=0+4/tight=1"
    assert parse_plan(plan.text()) == plan
    assert parse_plan("7", default_scenario="tally") == Plan(scenario="tally", seed=7)


def test_names_are_known_or_refused() -> None:
    assert removed("idempotency") == ("idempotency",)
    assert plan_for(3, ("outbox-order",)).scenario == "tally"
    assert plan_for(3, (), "relay").scenario == "relay"
    with pytest.raises(UnknownName):
        removed("nothing")
    with pytest.raises(UnknownName):
        scenario_named("nothing")
