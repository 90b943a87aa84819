"""``warifu topology``: the environments there are, and where two of them differ."""

import argparse
import sys
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from warifu.stack.comparison import Difference, compare
from warifu.stack.topology import load

_EPILOG = """\
examples:
  warifu topology compare demo quarter           what a test on `demo` does not show of `quarter`
  warifu topology compare quarter mine.toml --json

Two environments that differ are no error: the exit status is 0. What the machines themselves have (processors, kernel,
firmware) is in no topology and is not compared.
"""

_WIDE = 200
"""Columns when nobody's terminal limits them."""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command."""
    parser = subparsers.add_parser(
        "topology",
        help="where two environments differ",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    comparing = commands.add_parser("compare", help="what a test in one does not show of the other", epilog=_EPILOG)
    comparing.formatter_class = argparse.RawDescriptionHelpFormatter
    comparing.add_argument("here", metavar="TESTED", help="where tests run: a built-in name or a file")
    comparing.add_argument("there", metavar="OTHER", help="what shall be known from them")
    comparing.add_argument("--json", action="store_true", help="print one JSON array")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when both topologies are right, whether they differ or not."""
    found = compare(load(args.here), load(args.there))
    if args.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n")
    else:
        _show(Console(width=None if sys.stdout.isatty() else _WIDE), args.here, args.there, found)
    return 0


def _show(console: Console, here: str, there: str, found: tuple[Difference, ...]) -> None:
    if not found:
        console.print(f"{here} and {there} do not differ in anything that a topology says", highlight=False)
        return
    table = Table("part", "what", here, there, f"what a test on {here} does not show", box=None, pad_edge=False)
    for each in found:
        table.add_row(each.where, each.what, each.here, each.there, each.not_shown)
    console.print(table)
