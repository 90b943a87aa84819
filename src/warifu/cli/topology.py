"""``warifu topology``: every parameter of an environment, and where two environments differ."""

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from warifu.stack import environment
from warifu.stack.comparison import compare
from warifu.stack.parameters import parameters
from warifu.stack.topology import load

_SHOW = """\
examples:
  warifu topology show quarter               every parameter: value, what it is when nothing is said, what it does
  warifu topology show mine.toml --changed   only what is not as usual
"""
_RECORD = """\
examples:
  warifu topology record quarter --output here.json   parameters, kernel, processors, versions; no addresses or secrets
"""
_COMPARE = """\
examples:
  warifu topology compare demo quarter       what a test on `demo` does not show of `quarter`
  warifu topology compare test.json production.json --json

Records (`warifu topology record`, ending in .json) have their machines compared too. Environments that differ are no
error: the exit status is 0.
"""
_WIDE = 200
"""Columns when nobody's terminal limits them."""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command."""
    parser = subparsers.add_parser(
        "topology",
        help="parameters of an environment; where two environments differ",
        epilog=_SHOW + _RECORD.removeprefix("examples:\n") + _COMPARE.removeprefix("examples:\n"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    showing = _command(commands, "show", "every parameter with its value, its default and its reason", _SHOW)
    showing.add_argument("topology", metavar="TOPOLOGY", help="a built-in name or a file")
    showing.add_argument("--changed", action="store_true", help="only what is not as usual")
    showing.add_argument("--json", action="store_true", help="print one JSON array")
    showing.set_defaults(work=_show)
    recording = _command(commands, "record", "write down this environment, machine and versions included", _RECORD)
    recording.add_argument("topology", metavar="TOPOLOGY", help="a built-in name or a file")
    recording.add_argument("--output", metavar="FILE", help="where to; standard output by default")
    recording.set_defaults(work=_record)
    comparing = _command(commands, "compare", "what a test in one does not show of the other", _COMPARE)
    comparing.add_argument("here", metavar="TESTED", help="where tests run: a topology, or a record")
    comparing.add_argument("there", metavar="OTHER", help="what shall be known from them: likewise")
    comparing.add_argument("--json", action="store_true", help="print one JSON array")
    comparing.set_defaults(work=_compare)


def _command(commands: Any, name: str, text: str, epilog: str) -> argparse.ArgumentParser:  # noqa: ANN401 - likewise
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, epilog=epilog)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    return parser


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when all topologies are right, whether they differ or not."""
    args.work(args)
    return 0


def _show(args: argparse.Namespace) -> None:
    found = [each for each in parameters(load(args.topology)) if not args.changed or each.value != each.usual]
    if args.json:
        _json(found)
        return
    table = Table("where", "parameter", "value", "as usual", "what it does", box=None, pad_edge=False)
    for each in found:
        table.add_row(each.where, each.name, each.value or "-", each.usual or "-", each.reason)
    _console().print(table)


def _record(args: argparse.Namespace) -> None:
    content = environment.encoded(environment.here(args.topology))
    if args.output:
        Path(args.output).write_bytes(content)
    else:
        sys.stdout.write(content.decode())


def _compare(args: argparse.Namespace) -> None:
    found = compare(environment.told(args.here), environment.told(args.there))
    if args.json:
        _json(found)
    elif not found:
        _console().print(f"{args.here} and {args.there} do not differ in anything that is told", highlight=False)
    else:
        table = Table("part", "what", args.here, args.there, f"what a test on {args.here} does not show", box=None)
        table.pad_edge = False
        for each in found:
            table.add_row(each.where, each.what, each.here, each.there, each.not_shown)
        _console().print(table)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _WIDE, markup=False)


def _json(found: object) -> None:
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n")
