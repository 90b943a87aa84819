"""``warifu bench``: figures beside their limits, for people and machines."""

import json
from pathlib import Path

import pytest

from warifu.adapters.reader import pcscd
from warifu.cli import main
from warifu.lab.benches.catalog import BENCHES, UnknownBench, check_name
from warifu.lab.benches.chip import RATIOS

SHAPE = {"name", "value", "unit", "limit", "limit_value", "ratio", "runs"}


def measured(tmp_path: Path, *arguments: str) -> tuple[int, dict[str, list[dict[str, object]]]]:
    file = tmp_path / "bench.json"
    status = main(["bench", *arguments, "--seconds", "0.5", "--json", str(file)])
    return status, json.loads(file.read_text("utf-8"))


@pytest.mark.real
def test_the_chip_is_measured_in_memory_and_over_vpcd(tmp_path: Path) -> None:
    status, found = measured(tmp_path, "chip")
    assert status == 0
    assert [result["name"] for result in found["results"]] == ["chip.memory", "chip.signatures", "chip.vpcd"]
    for result in found["results"]:
        assert set(result) >= SHAPE
        runs = result["runs"]
        assert isinstance(runs, list)
        assert len(runs) == RATIOS >= 9
    signatures = found["results"][1]["ratio"]
    assert isinstance(signatures, float)
    assert signatures > 0.5  # its promise, 0.9, is for a quiet machine and longer slices


def test_what_cannot_be_measured_here_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pcscd, "DRIVER", tmp_path / "not there")
    status, found = measured(tmp_path, "chip")
    assert status == 1
    assert [part["name"] for part in found["skipped"]] == ["chip.vpcd"]
    assert "vpcd is not installed" in capsys.readouterr().err


def test_names_are_checked_before_anything_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "chip", "nothing"]) == 1
    assert main(["bench", "--seconds", "0"]) == 1
    error = capsys.readouterr().err
    assert "bench.unknown" in error
    assert "bench.bad_seconds" in error
    with pytest.raises(UnknownBench):
        check_name("nothing")
    assert {"chip", "net"} <= set(BENCHES)
