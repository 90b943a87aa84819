# ruff: noqa: INP001 - a script, not a package
"""Makes ``.venv`` fit ``uv.lock``: finds uv or installs it from the package index into ``.tools``, then runs it.

Run by ``./warifu`` and ``./check`` with the Python that ``setup.sh`` found; uses the standard library alone. Runs at
the same time wait for one another. What was done is remembered in ``.venv/.warifu-stamp``.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
STAMP = ROOT / ".venv" / ".warifu-stamp"
UV = "uv>=0.13,<0.14"
NAMED = os.environ.get("WARIFU_PYTHON", "")
"""The Python the user wants; another one than before makes ``.venv`` anew."""


class SetupError(Exception):
    """What to tell the user, in one line."""


def main() -> int:
    """Sets up; with ``--dev`` the development tools too. Exit status 0 when ``.venv`` is right."""
    dev = "--dev" in sys.argv[1:]
    try:
        TOOLS.mkdir(exist_ok=True)
        with (TOOLS / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if is_fresh(dev=dev):
                STAMP.touch()  # ./warifu compares times before it asks us
            else:
                sync(find_uv() or install_uv(), dev=dev)
    except SetupError as error:
        sys.stderr.write(f"warifu: setup.failed: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"warifu: setup.failed: {error.filename or ROOT}: {error.strerror}: make it writable\n")
        return 1
    return 0


def fingerprint() -> str:
    """Changes when the locked packages, the project's own description or its place change."""
    content = (ROOT / "uv.lock").read_bytes() + (ROOT / "pyproject.toml").read_bytes() + str(ROOT).encode()
    return f"{zlib.crc32(content):08x}-{len(content)}"


def is_fresh(*, dev: bool) -> bool:
    """Whether ``.venv`` was made from what is here now."""
    if not STAMP.is_file() or not (ROOT / ".venv" / "bin" / "python").exists():
        return False
    first, _, by = [*STAMP.read_text("utf-8").splitlines(), "", "", ""][:3]
    made, _, group = first.partition(" ")
    return made == fingerprint() and (group == "dev" or not dev) and NAMED in {"", by}


def find_uv() -> str | None:
    """The uv on PATH, or the one installed before."""
    return shutil.which("uv") or shutil.which("uv", path=f"{TOOLS}/uv/bin:{TOOLS}/venv/bin")


def install_uv() -> str:
    """Install uv's wheel with pip: this Python's own, or that of a virtual environment."""
    say("installing uv from the package index")
    tried = run(sys.executable, "-m", "pip", "install", "--quiet", "--target", str(TOOLS / "uv"), UV)
    if tried.returncode != 0:
        made = run(sys.executable, "-m", "venv", "--clear", str(TOOLS / "venv"))
        if made.returncode != 0:
            raise SetupError(
                "neither uv, pip nor venv is there: install one of them (Debian: apt-get install python3-venv), "
                "then run this again"
            )
        tried = run(str(TOOLS / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", UV)
    found = find_uv()
    if found is None:
        raise SetupError(f"pip cannot install {UV}: {last_line(tried)}: install uv yourself, then run this again")
    return found


def sync(uv: str, *, dev: bool) -> None:
    """Let uv make ``.venv``; the development tools, once there, are left alone."""
    say("installing the locked packages" + (" and the development tools" if dev else ""))
    STAMP.unlink(missing_ok=True)
    python = (shutil.which(NAMED) or NAMED) if NAMED else sys.executable
    make(uv, ROOT / ".venv", python, *(["--group", "dev"] if dev else ["--no-dev", "--inexact"]))
    STAMP.write_text(f"{fingerprint()} {'dev' if dev else 'run'}\n{ROOT}\n{NAMED}\n", "utf-8")


def make(uv: str, environment: Path, python: str, *groups: str) -> None:
    """Let uv make an environment of a Python with the locked packages of these groups."""
    variables = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    variables["UV_PROJECT_ENVIRONMENT"] = str(environment)
    done = subprocess.run(  # noqa: S603 - uv, found above
        [uv, "sync", "--frozen", "--quiet", "--python", python, "--no-python-downloads", *groups],
        cwd=ROOT,
        env=variables,
        check=False,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode != 0:
        raise SetupError(f"uv sync: {last_line(done)}: see that the package index can be reached, then run this again")


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    """Run a program, keeping what it says."""
    return subprocess.run(  # noqa: S603 - programs named in this file
        command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def last_line(done: "subprocess.CompletedProcess[str]") -> str:
    """What a failed program said last about its error, in one line."""
    lines = [line.strip() for line in (done.stderr or done.stdout or "").splitlines() if line.strip()]
    telling = [line for line in lines if line.lower().startswith(("error", "caused by", "├─▶", "╰─▶"))] or lines
    return telling[-1][:300] if telling else f"exit status {done.returncode}"


def say(text: str) -> None:
    """For people who wait."""
    sys.stderr.write(f"warifu: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
