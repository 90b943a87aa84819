"""The real nodes in the laboratory: clean as they are; each failure of 2016 found again without its safeguard."""

import itertools
import os
import subprocess
import sys

import pytest

from warifu.contract.codec import REQUESTS
from warifu.lab.scenarios.catalog import SCENARIOS, TURNS, plan_for, removed, scenario_named, searchable
from warifu.lab.scenarios.cores import CORES
from warifu.lab.scenarios.days import slope
from warifu.lab.search.page import page
from warifu.lab.search.run import Outcome, run
from warifu.lab.search.search import run_batch
from warifu.lab.simulation.plan import Plan

REAL = ("hsm", "relay", "counter", "factory", "jpki", "calendar", "days", "stock")
ASKING = ("counter", "factory", "jpki", "ceremony")
"""Those in which residents, clerks, operators and verifiers come."""
FAULTS_MET = {
    "hsm": {"hsm_stall", "hsm_late", "hsm_slow", "hsm_wrong", "hsm_die", "hsm_spawn"},
    "relay": {"half_sick", "overload", "crash", "partition", "duplicate", "lose_reply", "hsm_stall"},
    "counter": {"pull", "crash", "lost_commit", "store_down", "duplicate", "cut_after", "hsm_stall"},
    "factory": {"crash", "lost_commit", "duplicate", "pull", "slow"},
    "jpki": {"crash", "lost_commit", "stale", "duplicate", "hsm_stall"},
    "calendar": {"crash", "store_down", "stale"},
    "days": {"hsm_stall"},
    "stock": {"crash_before_commit", "lost_commit", "stale", "hsm_die"},
}
SEEDS = {"hsm": 120, "relay": 60, "counter": 30, "factory": 34, "jpki": 30, "calendar": 30, "days": 4, "stock": 40}
REFOUND = {
    "F1": {"a stalled HSM is out of rotation in time", "every wait ends by its deadline", "its work is done elsewhere"},
    "F2": {"nothing is released that is not held"},
    "F3": {"nothing grows with the days"},
    "F4": {"no CS blocked"},
    "F5": {"a delivery waits behind no more set-ups than the limits say"},
    "F6": {"no card ever needs reissue", "every card write is settled", "chip equals record"},
    "F14": {"a half-sick relay is out of rotation in time"},
}
HASHES = """
import sys
from warifu.lab.scenarios.catalog import scenario_named
from warifu.lab.simulation.plan import parse_plan
from warifu.lab.search.run import run
for text in sys.argv[1:]:
    plan = parse_plan(text)
    print(run(plan, scenario_named(plan.scenario)).trace_hash)
"""
SAME = (
    *(
        "hsm:3",
        "relay:3",
        "counter:3",
        "counter:4",
        "factory:3",
        "tally:3",
        "days:1",
        "jpki:3",
        "calendar:3",
        "stock:3",
    ),
    *("card:1", "lanes:1", "timers:1", "outbox:1", "fencing:1"),
)


def outcome_of(scenario: str, seed: int, *without: str) -> Outcome:
    return run(Plan(scenario=scenario, seed=seed, without=without), scenario_named(scenario))


@pytest.mark.parametrize("scenario", REAL)
def test_the_nodes_as_they_are_pass_and_meet_their_faults(scenario: str) -> None:
    batch = run_batch(range(SEEDS[scenario]), (), scenario)
    assert batch.found == []
    assert FAULTS_MET[scenario] <= set(batch.covered.faults)


@pytest.mark.parametrize("failure", REFOUND)
def test_without_its_safeguard_each_failure_is_found_again(failure: str) -> None:
    found = run_batch(range(400), removed(failure)).found
    assert {each.property for each in found} <= REFOUND[failure]
    assert found


def test_the_same_plan_is_the_same_run_in_any_process_and_under_any_hash_seed() -> None:
    def hashes(hash_seed: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", HASHES, *SAME],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.split()

    here = [outcome_of(*_parts(text)).trace_hash for text in SAME]
    assert here == [outcome_of(*_parts(text)).trace_hash for text in SAME]
    assert here == hashes("1") == hashes("2")


def _parts(text: str) -> tuple[str, int]:
    scenario, _, seed = text.partition(":")
    return scenario, int(seed)


def test_every_scenario_has_its_turn() -> None:
    assert set(TURNS) == {*SCENARIOS, *CORES}
    assert searchable(("tally-settling",)) == ("counter",)


def test_every_request_that_changes_something_is_made_in_some_run() -> None:
    """What nobody asks for in the simulation, no search finds a fault of."""
    unmade = {name for name, kind in REQUESTS.items() if kind.CHANGES}
    for seed, name in itertools.product(range(200), ASKING):
        if not unmade:
            break
        history = run(plan_for(seed, (), name), scenario_named(name)).history
        unmade -= {event.name for event in history if (event.kind, event.outcome) == ("reply", "ok")}
    assert unmade == set()


def test_names_of_failures_stand_for_their_safeguards() -> None:
    assert removed("F6") == ("tally-settling",)
    assert set(removed("F1")) == {"hsm-fencing", "work-elsewhere"}
    for scenario in SCENARIOS.values():
        assert scenario_named(scenario.name) is scenario


def test_a_slope_is_growth_a_day() -> None:
    assert slope([(0.0, 10.0), (1.0, 12.0), (2.0, 14.0)]) == pytest.approx(2.0)
    assert slope([(1.0, 5.0)]) == 0.0


def test_a_story_is_a_page_without_anything_from_elsewhere() -> None:
    outcome = outcome_of("relay", 0, "lanes-not-block")
    text = page(outcome, "--without F4")
    assert outcome.failure is not None
    assert "FAILED: no CS blocked" in text
    assert "--without F4 --replay relay:0" in text
    assert "<script" not in text
    assert "http" not in text
