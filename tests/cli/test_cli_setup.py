"""The root scripts: what ./warifu does before Python's part begins. uv and pip are played by small scripts."""

import os
import shutil
import subprocess
import sys
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


def warifu(clone: Path, path: Path, cwd: Path) -> "subprocess.Popen[str]":
    environment = {"PATH": f"{path}:/usr/bin:/bin", "WARIFU_PYTHON": sys.executable}
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


def test_without_a_python_the_need_is_told(clone: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin", "python3", "#!/bin/sh\nexit 1\n")
    environment = {"PATH": f"{tmp_path / 'bin'}:{tmp_path / 'tools'}"}
    for name in ("sh", "dirname", "readlink"):
        (tmp_path / "tools").mkdir(exist_ok=True)
        (tmp_path / "tools" / name).symlink_to(shutil.which(name) or name)
    done = subprocess.run([str(clone / "warifu")], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("warifu: setup.failed: no Python >= 3.11 on PATH: install one")
