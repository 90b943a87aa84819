"""``warifu down``: end the running stack in order."""

import argparse
import sys
from typing import Any

from rich.console import Console

from warifu.stack import control
from warifu.stack.home import default_home

_EPILOG = """\
example:
  warifu down      end what `warifu up` started in this WARIFU_HOME; the data stays
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command."""
    subparsers.add_parser("down", help="end the running stack in order", epilog=_EPILOG)


def run(_args: argparse.Namespace) -> int:
    """Run it; 0 when nothing runs any more."""
    home = default_home()
    with Console(stderr=True).status("ending"):
        ended = control.stop(home)
    sys.stdout.write(f"ended; the data stays in {home.root}\n" if ended else f"nothing runs in {home.root}\n")
    return 0
