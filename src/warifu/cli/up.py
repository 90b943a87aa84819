"""``warifu up``: start a stack and watch over it."""

import argparse
import sys
from typing import Any

from rich.console import Console
from rich.status import Status

from warifu.stack import control, staff, status, topology
from warifu.stack.home import Home, default_home

_EPILOG = """\
examples:
  warifu up                          the built-in topology `demo`, in the foreground; Ctrl-C ends it in order
  warifu up --detach                 the same in the background: then `warifu status`, `warifu down`
  WARIFU_HOME=/tmp/two warifu up     a second stack beside the first
  warifu up --topology my.toml       your own topology
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command."""
    parser = subparsers.add_parser("up", help="start a stack and watch over it", epilog=_EPILOG)
    built_in = ", ".join(topology.built_in())
    parser.add_argument(
        "--topology", default="demo", metavar="T", help=f"name of a built-in one ({built_in}) or path of a TOML file"
    )
    parser.add_argument("--detach", action="store_true", help="return once everything runs; leave it in the background")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 after a clean end (or, detached, once everything does its work)."""
    home = default_home()
    if args.detach:
        return _detach(home, args.topology)
    wanted = topology.load(args.topology)
    with Console(stderr=True).status("starting") as spinner:
        control.run(home, wanted, _Screen(spinner, home))
    return 0


def _detach(home: Home, wanted: str) -> int:
    with Console(stderr=True).status("starting") as spinner:
        control.start(home, wanted, progress=lambda text: spinner.update(f"starting: {text}"))
    now = status.read(home)
    sys.stdout.write(f"{len(now.processes)} processes run in {home.root}; `warifu status` shows them\n")
    sys.stdout.writelines(f"{line}\n" for line in staff.sign_in_lines(home, now.urls))
    return 0


class _Screen:
    """What the supervisor reports, for people."""

    def __init__(self, spinner: Status, home: Home) -> None:
        self._spinner = spinner
        self._home = home
        self._running = False

    def __call__(self, event: str, text: str) -> None:
        """One event."""
        if event == "stack.running":
            self._running = True
            self._spinner.stop()
            text = f"{text} in {self._home.root}; `warifu status` shows them, Ctrl-C ends them"
        if not self._running:  # should it fail, the one line of the error says why
            self._spinner.update(f"starting: {text}")
            return
        self._spinner.console.print(text, highlight=False, markup=False, soft_wrap=True)
        if event == "stack.running":
            for line in staff.sign_in_lines(self._home, status.read(self._home).urls):
                self._spinner.console.print(line, highlight=False, markup=False, soft_wrap=True)
