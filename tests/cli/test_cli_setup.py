"""The root scripts: what ./warifu does before Python's part begins. uv and pip are played by small scripts."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

UV = """#!/bin/sh
echo "$@" >> "{calls}"
mkdir -p .venv/bin
printf '#!/bin/sh\\necho ran "$@"\\n' > .venv/bin/python
chmod +x .venv/bin/python
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A fresh clone of what the scripts need."""
    root = tmp_path / "clone"
    for name in ("warifu", "tools/setup.sh", "tools/bootstrap.py", "uv.lock", "pyproject.toml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    return root


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text, "utf-8")
    (folder / name).chmod(0o755)


PYTHON = """#!/bin/sh
if [ "$1" = -c ]; then printf {version}; else exec {real} "$@"; fi
"""


def warifu(clone: Path, path: Path, cwd: Path, named: str | None = sys.executable) -> "subprocess.Popen[str]":
    environment = {"PATH": f"{path}:/usr/bin:/bin"} | ({} if named is None else {"WARIFU_PYTHON": named})
    return subprocess.Popen(
        [str(clone / "warifu"), "status"],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_first_run_sets_up_once_however_many_begin_at_the_same_time(clone: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    program(tmp_path / "bin", "uv", UV.format(calls=calls))
    runs = [warifu(clone, tmp_path / "bin", cwd=Path("/")) for _ in range(4)]
    for run in runs:
        out, err = run.communicate(timeout=60)
        assert (run.returncode, out) == (0, "ran -P -m warifu.cli status\n"), err
    assert len(calls.read_text("utf-8").splitlines()) == 1
    assert calls.read_text("utf-8").startswith("sync --frozen --quiet --python")
    assert "--no-dev" in calls.read_text("utf-8")


def test_a_changed_lock_file_sets_up_anew(clone: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    program(tmp_path / "bin", "uv", UV.format(calls=calls))
    warifu(clone, tmp_path / "bin", clone).communicate(timeout=60)
    stamp = clone / ".venv" / ".warifu-stamp"
    with (clone / "uv.lock").open("a") as lock:
        lock.write("# changed\n")
    later = stamp.stat().st_mtime + 5
    os.utime(clone / "uv.lock", (later, later))
    warifu(clone, tmp_path / "bin", clone).communicate(timeout=60)
    assert len(calls.read_text("utf-8").splitlines()) == 2


def test_a_clone_that_was_moved_sets_up_anew(clone: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    program(tmp_path / "bin", "uv", UV.format(calls=calls))
    warifu(clone, tmp_path / "bin", clone).communicate(timeout=60)
    moved = clone.rename(tmp_path / "moved")
    warifu(moved, tmp_path / "bin", moved).communicate(timeout=60)
    assert len(calls.read_text("utf-8").splitlines()) == 2


def test_a_failing_set_up_is_told_in_one_line_and_tried_again_next_time(clone: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin", "uv", "#!/bin/sh\necho 'error: no route to the index' >&2\nexit 2\n")
    run = warifu(clone, tmp_path / "bin", clone)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 1
    assert err.splitlines()[-1].startswith("warifu: setup.failed: uv sync: error: no route to the index: see that")
    program(tmp_path / "bin", "uv", UV.format(calls=tmp_path / "calls"))
    out, _ = warifu(clone, tmp_path / "bin", clone).communicate(timeout=60)
    assert out == "ran -P -m warifu.cli status\n"


def pythons(folder: Path, **versions: str) -> None:
    """Play Pythons of these versions, by their names with ``_`` for the dot."""
    for name, version in versions.items():
        program(folder, name.replace("_", "."), PYTHON.format(version=version, real=sys.executable))


def test_another_python_that_is_named_sets_up_anew_and_stays(clone: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    program(tmp_path / "bin", "uv", UV.format(calls=calls))
    pythons(tmp_path / "bin", python3="3.11", python3_12="3.12")
    for named, count in ((None, 1), ("python3.12", 2), (None, 2), ("python3.12", 2), ("python3", 3)):
        _, err = warifu(clone, tmp_path / "bin", clone, named).communicate(timeout=60)
        assert len(calls.read_text("utf-8").splitlines()) == count, (named, err)
    asked = [line.partition(" --python ")[2].split()[0] for line in calls.read_text("utf-8").splitlines()]
    assert asked[1:] == [str(tmp_path / "bin" / "python3.12"), str(tmp_path / "bin" / "python3")]


def test_a_python_nothing_was_proven_on_is_passed_over(clone: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin", "uv", UV.format(calls=tmp_path / "calls"))
    pythons(tmp_path / "bin", python3="3.99", python3_13="3.13")
    out, _ = warifu(clone, tmp_path / "bin", clone, None).communicate(timeout=60)
    assert out == "ran -P -m warifu.cli status\n"


def test_a_later_python_is_taken_when_it_is_named_and_the_user_is_told(clone: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin", "uv", UV.format(calls=tmp_path / "calls"))
    pythons(tmp_path / "bin", later="3.99")
    out, err = warifu(clone, tmp_path / "bin", clone, "later").communicate(timeout=60)
    assert out == "ran -P -m warifu.cli status\n"
    assert err.startswith("warifu: proven on Python 3.11 3.12 3.13, not yet on 3.99: ./check tells\n")


@pytest.mark.parametrize("version", ["3.10", "2.7", "''"])
def test_a_python_that_is_too_old_or_none_is_refused_by_its_name(clone: Path, tmp_path: Path, version: str) -> None:
    pythons(tmp_path / "bin", old=version)
    run = warifu(clone, tmp_path / "bin", clone, "old")
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out) == (1, "")
    told = "warifu: setup.failed: WARIFU_PYTHON=old is not a CPython 3.11 or later: name one that is, or leave it out\n"
    assert err == told


def alone(clone: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run it where no other Python is on PATH than those played in ``folder``."""
    tools = folder.parent / "tools"
    tools.mkdir()
    for name in ("sh", "dirname", "readlink", "mkdir", "chmod"):
        (tools / name).symlink_to(shutil.which(name) or name)
    command, environment = [str(clone / "warifu"), "status"], {"PATH": f"{folder}:{tools}"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_a_later_python_is_taken_unasked_when_there_is_no_other(clone: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin", "uv", UV.format(calls=tmp_path / "calls"))
    pythons(tmp_path / "bin", python3="3.99")
    done = alone(clone, tmp_path / "bin")
    assert done.stdout == "ran -P -m warifu.cli status\n"
    assert done.stderr.startswith("warifu: proven on Python 3.11 3.12 3.13, not yet on 3.99: ./check tells\n")


@pytest.mark.parametrize(("version", "told"), [("''", ":"), ("3.10", " (python3 is 3.10):")])
def test_without_a_python_the_need_is_told(clone: Path, tmp_path: Path, version: str, told: str) -> None:
    pythons(tmp_path / "bin", python3=version)
    done = alone(clone, tmp_path / "bin")
    assert done.returncode == 1
    assert done.stderr.startswith(f"warifu: setup.failed: no CPython 3.11 or later on PATH{told} install one")


def test_the_versions_that_are_proven_are_said_everywhere_alike() -> None:
    setup = (ROOT / "tools" / "setup.sh").read_text("utf-8")
    proven = setup.partition('proven="')[2].partition('"')[0].split()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = [text.rpartition(" ")[2] for text in project["classifiers"] if "Python :: 3." in text]
    assert project["requires-python"] == f">={proven[0]}"
    assert proven == named
