"""Every plan that ever failed passes, for ever."""

from pathlib import Path

import pytest

from warifu.lab.scenarios.catalog import scenario_named
from warifu.lab.search.run import run
from warifu.lab.simulation.plan import parse_plan

SEEDS = Path(__file__).with_name("seeds.txt")
LINES = [line for line in SEEDS.read_text("utf-8").splitlines() if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.split()[0])
def test_what_failed_once_passes(line: str) -> None:
    plan = parse_plan(line.split(maxsplit=1)[0])
    assert run(plan, scenario_named(plan.scenario)).failure is None
