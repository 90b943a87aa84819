"""Running a supervisor, here or in the background, and speaking with a running one."""

import argparse
import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from warifu.kernel.errors import WarifuError
from warifu.stack import status, topology
from warifu.stack.errors import NotRunning, StartFailed, StopTimedOut, disk_errors, error_line
from warifu.stack.home import Home, write_file
from warifu.stack.keeper import Report
from warifu.stack.processes import leash, open_more_files
from warifu.stack.supervisor import Parts, Supervisor
from warifu.stack.topology import Topology

STOP_WITHIN_S = 90.0
_LOOK_EVERY_S = 0.05
_BEGIN_WITHIN_S = 20.0
"""Beyond the topology's own limit: interpreter, certificates, initdb."""


def run(home: Home, wanted: Topology, report: Report, parts: Parts | None = None) -> None:
    """Run a stack in this process until SIGINT, SIGTERM or SIGHUP.

    Raises:
        AlreadyRunning: another process runs one in this home.
        WarifuError: why it did not start.
    """
    open_more_files()
    home.prepare()
    with home.held():
        home.status.unlink(missing_ok=True)  # of one that was killed
        asyncio.run(_supervise(home, wanted, report, parts))


async def _supervise(home: Home, wanted: Topology, report: Report, parts: Parts | None) -> None:
    supervisor = Supervisor(home, wanted, report, parts)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.request_stop)
    await supervisor.run()


def start(
    home: Home, wanted: str, *, leashed: bool = False, progress: Callable[[str], None] = lambda _: None
) -> "subprocess.Popen[bytes]":
    """Start a stack in the background; returns once every part does its work.

    Args:
        home: where it lives.
        wanted: topology, by name or path.
        leashed: it ends with this process (in order), even if that is killed.
        progress: told, now and then, how far it is.

    Returns:
        The supervisor's process, for a caller that outlives it and so must wait for it.

    Raises:
        AlreadyRunning, TopologyInvalid: as in the foreground.
        StartFailed: it ended; the text is its own last line.
    """
    topology.load(wanted)  # the error, if any, shows here and not in a file
    home.prepare()
    with home.held():
        pass  # likewise
    words = home.logs / "up.txt"
    with disk_errors(words), words.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-P", "-m", "warifu.stack.control", "--home", str(home.root), "--topology", wanted],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=leash(signal.SIGTERM) if leashed else None,  # noqa: PLW1509 - no threads here
        )
    try:
        _await_running(home, process, topology.load(wanted).supervision.start_within_s, progress)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    return process


def _await_running(
    home: Home, process: subprocess.Popen[bytes], within_s: float, progress: Callable[[str], None]
) -> None:
    deadline = time.monotonic() + 2 * within_s + _BEGIN_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise _last_words(home)
        try:
            now = status.read(home)
        except NotRunning:
            pass
        else:
            if now.state == "running":
                return
            progress(f"{sum(node.state == 'serving' for node in now.nodes)} of {len(now.nodes)} processes")
        time.sleep(_LOOK_EVERY_S)
    raise StartFailed(f"not every part does its work in time: see {home.logs}")


def _last_words(home: Home) -> StartFailed:
    """The error a supervisor in the background ended with, under its own code."""
    lines = (home.logs / "up.txt").read_text("utf-8", "replace").splitlines()
    if not lines:  # not even room for that?
        with disk_errors(home.run):
            write_file(home.run / "room", bytes(1 << 16))
            (home.run / "room").unlink()
    match = re.fullmatch(r"warifu: ([a-z_.]+): (.*)", lines[-1]) if lines else None
    if match is None:
        return StartFailed(f"the supervisor ended: {lines[-1] if lines else 'without a word'}")
    error = StartFailed(match[2])
    error.code = match[1]  # type: ignore[misc]  # of this instance only
    return error


def stop(home: Home, within_s: float = STOP_WITHIN_S) -> bool:
    """End the stack in this home; False when none runs. ``StopTimedOut`` when it does not end in time."""
    process_id = home.holder()
    if process_id is None:
        return False
    if process_id:
        try:
            os.kill(process_id, signal.SIGTERM)
        except ProcessLookupError:
            return True
    deadline = time.monotonic() + within_s
    while home.holder() is not None:
        if time.monotonic() > deadline:
            raise StopTimedOut(f"process {process_id} does not end within {within_s:g} s: see {home.logs}")
        time.sleep(_LOOK_EVERY_S)
    return True


def main(arguments: list[str] | None = None) -> int:
    """The program of a supervisor in the background."""
    parser = argparse.ArgumentParser(prog="python -m warifu.stack.control")
    parser.add_argument("--home", required=True)
    parser.add_argument("--topology", required=True)
    chosen = parser.parse_args(arguments)
    try:
        run(Home(Path(chosen.home)), topology.load(chosen.topology), _say)
    except WarifuError as error:
        sys.stderr.write(error_line(error) + "\n")
        return 1
    return 0


def _say(event: str, text: str) -> None:
    if not event.startswith("start."):
        sys.stderr.write(f"{event}: {text}\n")
        sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
