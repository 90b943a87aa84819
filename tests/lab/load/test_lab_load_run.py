"""The load test as a whole, short: real programs, four times the peak of 2016, and nothing lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

WITHIN_S = 200


@pytest.mark.real
@pytest.mark.timeout(WITHIN_S + 10)
def test_both_days_of_2016_pass_through_the_chain_and_nothing_is_lost(tmp_path: Path) -> None:
    """Set-ups, deliveries, new PINs and moves beside them. What depends on the machine's speed is not asked here."""
    found, report = tmp_path / "load.json", tmp_path / "load.html"
    command = [sys.executable, "-P", "-m", "warifu.cli", "lab", "load", "--minutes", "0.1"]
    command += ["--json", str(found), "--html", str(report)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WITHIN_S, check=False
    )
    assert done.returncode in {0, 3}, done.stdout + done.stderr
    load = json.loads(found.read_text("utf-8"))
    assert (load["lost"], load["duplicated"], load["figures"]["violations"]) == (0, 0, []), load
    assert not load.get("failed"), load
    assert load["completed"] == load["offered"] > 0, load
    assert load["figures"]["times_the_nation"] == 4
    page = report.read_text("utf-8")
    for figure in ("149,000", "198,000", "216,000", "360", "720", "12,650", "79"):
        assert figure in page
