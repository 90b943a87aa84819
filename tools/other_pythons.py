# ruff: noqa: INP001 - a script, not a package
"""Holds the other Pythons the project is proven on to what this one gives: fast tests, and one search's trace hash.

Run by ``./check`` with ``.venv``'s Python; each other one gets an environment in ``.tools``. One that is not on this
machine is named, and is no failure. All tests on another Python: ``WARIFU_PYTHON=python3.13 ./check``.
"""

import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import bootstrap

SEEDS = 100
FAST = ("kernel", "contract", "chip", "domain", "verify", "synthetic", "lab/simulation")
"""Folders of tests that take seconds and ask no clock; what a Python is about to drop is an error in them."""
TESTS_WITHIN_S = 300
SEARCH_WITHIN_S = 300


def main() -> int:
    """A line for each version. Exit status 0 when each that is here gives what this one gives."""
    own = version_of(sys.executable)
    try:
        wanted = searched(sys.executable)
    except subprocess.TimeoutExpired as error:
        say(f"{own}  FAIL: {why(error)}")
        return 1
    say(f"{own}  {wanted}  this one")
    held = [tried(version, wanted) for version in versions() if version != own]
    return int(not all(held))


def tried(version: str, wanted: str) -> bool:
    """Whether a Python of this version holds, or is not here; what kept it from being tried is told in one line."""
    try:
        python = find(version)
        if python is not None:
            return holds(version, python, wanted)
    except (bootstrap.SetupError, subprocess.TimeoutExpired, OSError) as error:
        say(f"{version}  FAIL: {why(error)}")
        return False
    say(f"{version}  not on this machine")
    return True


def why(error: Exception) -> str:
    """What failed, and what to do."""
    if isinstance(error, subprocess.TimeoutExpired):
        what = "the tests" if "pytest" in error.cmd else "the search"
        return f"{what} did not end within {error.timeout:g} s: run this again with nothing else on the machine"
    if isinstance(error, OSError):
        return f"{error.filename or bootstrap.TOOLS}: {error.strerror}: make it usable, or remove {bootstrap.TOOLS}"
    return str(error)


def versions() -> list[str]:
    """Those ``pyproject.toml`` names, oldest first."""
    project = tomllib.loads((bootstrap.ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [text.rpartition(" ")[2] for text in project["classifiers"] if "Python :: 3." in text]


def find(version: str) -> str | None:
    """A Python of this version: on PATH, or kept by pyenv."""
    return next((python for python in candidates(version) if version_of(python) == version), None)


def candidates(version: str) -> Iterator[str]:
    """Where one could be."""
    for name in (f"python{version}", "python3"):
        if found := shutil.which(name):
            yield found
    kept = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    yield from map(str, sorted(kept.glob(f"{version}.*/bin/python3")))


def version_of(python: str) -> str:
    """As 3.11; empty when it does not run."""
    told = bootstrap.run(python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
    return told.stdout.strip() if told.returncode == 0 else ""


def holds(version: str, python: str, wanted: str) -> bool:
    """Whether it gives the same hash, and passes."""
    environment = bootstrap.TOOLS / f"python-{version}"
    bootstrap.make(bootstrap.find_uv() or bootstrap.install_uv(), environment, python, "--group", "dev")
    found = searched(str(environment / "bin" / "python"))
    same = "the same" if found == wanted else "ANOTHER"
    ended = subprocess.run(  # noqa: S603 - the interpreter just found
        [environment / "bin" / "python", "-m", "pytest", "-q", *(f"tests/{room}" for room in FAST)],
        cwd=bootstrap.ROOT,
        check=False,
        timeout=TESTS_WITHIN_S,
    )
    say(f"{version}  {found}  {same}; tests {'pass' if ended.returncode == 0 else 'FAIL'}")
    return found == wanted and ended.returncode == 0


def searched(python: str) -> str:
    """The hash of all traces of the first seeds; what it says when a property failed."""
    done = subprocess.run(  # noqa: S603 - as above
        [python, "-P", "-m", "warifu.cli", "lab", "search", "--seeds", str(SEEDS)],
        cwd=bootstrap.ROOT,
        check=False,
        timeout=SEARCH_WITHIN_S,
        capture_output=True,
        text=True,
    )
    hashes = [line.rpartition(" ")[2] for line in done.stdout.splitlines() if line.startswith("trace hash")]
    return hashes[0] if done.returncode == 0 else bootstrap.last_line(done)


def say(text: str) -> None:
    """At once: the tests print between the lines."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
