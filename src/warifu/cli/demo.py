"""``warifu demo``: the main job, from registering residents to abolishing cards, on the real chain of programs."""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from rich.console import Console

from warifu.demo.main_job import Report, run_main_job
from warifu.demo.screen import ProgressScreen, show_report
from warifu.kernel.errors import Refused
from warifu.stack import control, staff, status
from warifu.stack.errors import StartFailed
from warifu.stack.home import Home, default_home

DEFAULT_RESIDENTS: Final = 20
MOST_RESIDENTS: Final = 10_000
TOPOLOGY: Final = "demo"
STOP_WITHIN_S: Final = 90
_EPILOG = """\
examples:
  warifu demo                                        20 residents; stays up until Ctrl-C
  warifu demo --residents 4 --exit --json out.json   four, then end; figures for machines
  WARIFU_HOME=/tmp/two warifu demo                   beside another stack

Run again in the same WARIFU_HOME, it keeps the data of before and adds new residents; a stack that runs already is
used and left running. Exit status 0 only if every step ended as it should and database, chips and PKI agree.
"""


class BadFile(Refused):
    """Nothing can be written there."""

    code = "demo.bad_file"


class BadCount(Refused):
    """A number of residents that makes no sense."""

    code = "demo.bad_count"


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command."""
    parser = subparsers.add_parser(
        "demo", help="the main job: residents apply, get cards, use, change and lose them", epilog=_EPILOG
    )
    parser.add_argument(
        "--residents", type=int, default=DEFAULT_RESIDENTS, metavar="N", help=f"how many ({DEFAULT_RESIDENTS})"
    )
    parser.add_argument("--exit", action="store_true", help="end the stack when done, instead of at Ctrl-C")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result for machines")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 only if everything ended as it should."""
    if not 1 <= args.residents <= MOST_RESIDENTS:
        raise BadCount(f"--residents is between 1 and {MOST_RESIDENTS}")
    if args.json and not os.access(args.json.absolute().parent, os.W_OK):
        raise BadFile(f"{args.json}: its folder is not there or cannot be written: name a file in one that can")
    home = default_home()
    console = Console(soft_wrap=True)
    with _stack(home) as started:
        now = status.read(home)
        with ProgressScreen(console) as screen:
            report = asyncio.run(run_main_job(home, now, args.residents, screen))
        if args.json:
            args.json.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
        show_report(console, report, now.urls)
        for line in staff.sign_in_lines(home, now.urls):
            console.print(line, highlight=False, markup=False)
        if started and not args.exit:
            _stay(console)
        elif not started:
            console.print(f"the stack in {home.root} was running before, and goes on", highlight=False)
    return _verdict(report)


def _verdict(report: Report) -> int:
    if report.ok:
        return 0
    sys.stderr.write(f"warifu: demo.failed: {len(report.problems)} problems; the first: {report.problems[0]}\n")
    return 1


def _stay(console: Console) -> None:
    console.print("everything stays up; Ctrl-C ends it", highlight=False)
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print("ending", highlight=False)


@contextmanager
def _stack(home: Home) -> Iterator[bool]:
    """A running stack: the one that is there, or one of our own that ends with us. Yields whether it is our own."""
    if home.holder() is not None:
        if status.read(home).state != "running":
            raise StartFailed(f"the stack in {home.root} is not running yet, or not any more: try again")
        yield False
        return
    process = _started(home)
    try:
        yield True
    finally:
        with Console(stderr=True).status("ending the stack"):
            control.stop(home)
            process.wait(STOP_WITHIN_S)


def _started(home: Home) -> "subprocess.Popen[bytes]":
    with Console(stderr=True).status("starting the stack") as spinner:
        return control.start(
            home, TOPOLOGY, leashed=True, progress=lambda text: spinner.update(f"starting the stack: {text}")
        )
