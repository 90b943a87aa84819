"""Faults on a running stack under load: the real programs, the real chip, and the checker that knows neither."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FAULTS = 20
WITHIN_S = 240


@pytest.mark.real
def test_twenty_faults_lose_nothing_double_nothing_and_leave_nothing_torn(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    command = [sys.executable, "-P", "-m", "warifu.cli", "lab", "prove", "chain-faults"]
    command += ["--count", str(FAULTS), "--json", str(found)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    proved = json.loads(found.read_text("utf-8"))
    assert proved["count"] == FAULTS
    assert proved["violations"] == []
    assert proved["notes"]["operations done"] > FAULTS
