"""``warifu demo``: what it takes, what it writes, how it ends."""

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from warifu import cli
from warifu.cli import demo
from warifu.demo.main_job import CheckScreen, Report
from warifu.demo.tally import StepTally
from warifu.stack import status
from warifu.stack.home import Home
from warifu.stack.status import StackStatus

GOOD = Report(
    residents=2,
    consistent=True,
    steps={"register": StepTally(count=2, failed=0, seconds_p50=0.1, seconds_p99=0.2)},
    cards=("WRF000000000001", "WRF000000000002"),
)
FAILED = Report(residents=2, consistent=False, steps={}, cards=(), problems=("sign: x: demo.unexpected: no",))
NOW = StackStatus(
    state="running",
    topology="demo",
    home="",
    started_ms=1,
    balancer="none",
    urls={"responder": "http://127.0.0.1:1"},
)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARIFU_HOME", str(tmp_path / "home"))


def stand_in(monkeypatch: pytest.MonkeyPatch, report: Report, *, started: bool = True) -> list[int]:
    """A stack that is there, and a main job that is done at once; how many residents were asked for."""
    asked: list[int] = []

    @contextmanager
    def stack(_home: Home) -> Iterator[bool]:
        yield started

    async def main_job(_home: Home, _status: StackStatus, residents: int, _screen: CheckScreen) -> Report:
        asked.append(residents)
        return report

    monkeypatch.setattr(demo, "_stack", stack)
    monkeypatch.setattr(demo, "run_main_job", main_job)
    monkeypatch.setattr(status, "read", lambda _home: NOW)
    return asked


def test_twenty_residents_by_default() -> None:
    parser = cli._parser(["demo"])
    assert parser.parse_args(["demo"]).residents == 20
    assert not parser.parse_args(["demo"]).exit


@pytest.mark.parametrize("count", ["0", "-1", "10001"])
def test_a_count_that_makes_no_sense(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["demo", "--residents", count, "--exit"]) == 1
    assert capsys.readouterr().err == "warifu: demo.bad_count: --residents is between 1 and 10000\n"


def test_a_good_run_ends_with_0_and_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = stand_in(monkeypatch, GOOD)
    assert cli.main(["demo", "--residents", "2", "--exit", "--json", str(tmp_path / "out.json")]) == 0
    assert asked == [2]
    written = json.loads((tmp_path / "out.json").read_bytes())
    assert written["residents"] == 2
    assert written["consistent"] is True
    assert written["cards"] == list(GOOD.cards)
    assert written["steps"]["register"] == {"count": 2, "failed": 0, "seconds_p50": 0.1, "seconds_p99": 0.2}
    assert written["problems"] == []
    shown = capsys.readouterr().out
    assert "responder: http://127.0.0.1:1" in shown
    assert "database, chips and PKI agree" in shown


def test_a_bad_run_ends_with_1_and_is_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, FAILED)
    assert cli.main(["demo", "--exit", "--json", str(tmp_path / "out.json")]) == 1
    assert json.loads((tmp_path / "out.json").read_bytes())["problems"] == list(FAILED.problems)
    assert capsys.readouterr().err == ("warifu: demo.failed: 1 problems; the first: sign: x: demo.unexpected: no\n")


@pytest.mark.parametrize(("report", "wanted"), [(GOOD, 0), (FAILED, 1)])
def test_it_stays_up_until_ctrl_c(report: Report, wanted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, report)
    stayed = []

    def pause() -> None:
        stayed.append(True)
        raise KeyboardInterrupt

    monkeypatch.setattr("signal.pause", pause)
    assert cli.main(["demo"]) == wanted
    assert stayed == [True]


def test_a_stack_that_was_up_stays_up_and_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stand_in(monkeypatch, GOOD, started=False)
    assert cli.main(["demo"]) == 0
    assert "goes on" in capsys.readouterr().out


def test_a_stack_that_is_only_starting_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    starting = StackStatus(state="starting", topology="demo", home="", started_ms=1, balancer="")
    monkeypatch.setattr(status, "read", lambda _home: starting)
    with home.held():
        assert demo_status(["demo", "--exit"]) == 1
    assert capsys.readouterr().err.startswith("warifu: stack.start_failed: ")


def demo_status(words: list[str]) -> int:
    parsed: argparse.Namespace = cli._parser(words).parse_args(words)
    assert parsed.module is demo
    return cli.main(words)


def test_a_json_file_that_cannot_be_written_is_told_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = stand_in(monkeypatch, GOOD)
    assert cli.main(["demo", "--exit", "--json", str(tmp_path / "nowhere" / "out.json")]) == 1
    assert capsys.readouterr().err.startswith("warifu: demo.bad_file: ")
    assert not asked
