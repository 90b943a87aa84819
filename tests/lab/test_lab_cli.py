"""``warifu lab search`` as people and machines use it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from warifu.cli import main

SHAPE = {"seeds", "seconds", "failures", "covered"}
COVERED = {"steps", "messages", "faults", "collisions", "states"}


def test_a_clean_search_exits_0_and_tells_what_it_covered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.json"
    assert main(["lab", "search", "--seeds", "30", "--json", str(file)]) == 0
    result = json.loads(file.read_text("utf-8"))
    assert set(result) >= SHAPE
    assert set(result["covered"]) >= COVERED
    assert result["seeds"] == 30
    assert result["failures"] == []
    assert "no property failed" in capsys.readouterr().out


def test_a_failing_search_exits_3_names_the_property_and_its_seed_replays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out.json"
    only = ["--scenario", "tally", "--without", "idempotency"]
    assert main(["lab", "search", *only, "--json", str(file)]) == 3
    failure = json.loads(file.read_text("utf-8"))["failures"][0]
    assert failure["property"] == "one effect per request"
    assert "--replay tally:" in capsys.readouterr().out
    page = tmp_path / "story.html"
    assert main(["lab", "search", *only, "--replay", str(failure["seed"]), "--html", str(page)]) == 3
    assert "FAILED: one effect per request" in capsys.readouterr().out
    assert "FAILED: one effect per request" in page.read_text("utf-8")


def test_a_clean_replay_exits_0_and_tells_the_story(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.json"
    assert main(["lab", "search", "--replay", "tally:5", "--json", str(file)]) == 0
    assert "registry-1" in capsys.readouterr().out
    replayed = json.loads(file.read_text("utf-8"))
    assert replayed["failures"] == []
    assert replayed["history"][0]["kind"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--without", "nothing"], "lab.unknown_name"),
        (["--replay", "nothing:1"], "lab.unknown_name"),
        (["--scenario", "nothing"], "lab.unknown_name"),
        (["--replay", "tally:x"], "request.malformed"),
        (["--replay", "tally:1/faults=nothing"], "request.malformed"),
        (["--seeds", "0"], "lab.bad_count"),
    ],
)
def test_wrong_words_are_refused_in_one_line(
    arguments: list[str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lab", "search", *arguments]) == 1
    error = capsys.readouterr().err
    assert code in error
    assert error.count("\n") == 1


def test_ctrl_c_ends_cleanly() -> None:
    # Whoever starts these tests in the background of a script has Ctrl-C ignored, and so have their children.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    command = [sys.executable, "-u", "-c", heard + "import sys; from warifu.cli import main; sys.exit(main())"]
    with subprocess.Popen(
        [*command, "lab", "search", "--seconds", "60", "--first", "1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as search:
        assert search.stdout is not None
        try:
            assert search.stdout.readline() == "searching from seed 1000\n"
            os.killpg(search.pid, signal.SIGINT)
            _, err = search.communicate(timeout=30)
        finally:
            if search.poll() is None:
                os.killpg(search.pid, signal.SIGKILL)
    assert search.returncode == 130
    assert "Traceback" not in err
