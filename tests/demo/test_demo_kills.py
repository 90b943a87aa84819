"""The demo ends well while its processes are killed: nothing is lost, nothing happens twice.

A longer run: ``KILLS_RESIDENTS=20 KILLS_SEED=7 pytest tests/demo/test_demo_kills.py``.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

RESIDENTS = os.environ.get("KILLS_RESIDENTS", "6")
SEED = int(os.environ.get("KILLS_SEED", "20160329"))
PAUSE_S = 0.7
FEWEST_KILLS = 5
MOST_KILLS = 60
"""A slow machine does less between two kills: with kills for ever the factory would never get through a batch there."""
DEADLINE_S = 240.0


def victims(status: dict[str, Any]) -> list[tuple[str, int]]:
    """Every process in ``status``, HSM workers and PostgreSQL included; not the supervisor."""
    return [(each["name"], each["pid"]) for each in status["processes"] if each["kind"] != "supervisor"]


def kill_one(status_file: Path, choose: random.Random) -> str | None:
    """Kill a process of a running stack; its name, or None when nothing could be killed."""
    try:
        status = json.loads(status_file.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if status["state"] != "running":
        return None
    name, pid = choose.choice(victims(status))
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return None
    return name


@pytest.mark.real
@pytest.mark.timeout(DEADLINE_S + 30)
def test_the_demo_ends_well_whatever_is_killed(tmp_path: Path) -> None:
    home, result = tmp_path / "home", tmp_path / "out.json"
    command = [sys.executable, "-P", "-m", "warifu.cli", "demo", "--residents", RESIDENTS, "--exit"]
    command += ["--json", str(result)]
    choose = random.Random(SEED)  # noqa: S311 - which process to kill, the same for a seed
    killed: list[str] = []
    with (tmp_path / "screen").open("w") as screen:
        demo = subprocess.Popen(command, env=os.environ | {"WARIFU_HOME": str(home)}, stdout=screen, stderr=screen)
        try:
            ends = time.monotonic() + DEADLINE_S
            while time.monotonic() < ends:
                try:
                    # Not a sleep: the demo may end while we wait for the next victim's turn.
                    demo.wait(PAUSE_S * (0.5 + choose.random()))
                    break
                except subprocess.TimeoutExpired:
                    name = kill_one(home / "run" / "status.json", choose) if len(killed) < MOST_KILLS else None
                    killed += [name] if name else []
        finally:
            demo.kill()
            demo.wait()
    story = f"seed {SEED}, killed {killed}\n{(tmp_path / 'screen').read_text('utf-8')[-3000:]}"
    assert demo.returncode == 0, story
    assert json.loads(result.read_text("utf-8"))["consistent"] is True, story
    assert len(killed) >= FEWEST_KILLS, story
