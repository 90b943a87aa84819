"""``warifu bench``: what this machine does, each figure beside its raw limit."""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from warifu.cli._ending import like_ctrl_c
from warifu.cli._files import require_writable
from warifu.kernel.errors import Refused
from warifu.lab.benches.catalog import BENCHES, Result, check_name, measure
from warifu.lab.rigs.machine import machine

_WIDE: Final = 200
_SMALL: Final = 10
_EPILOG = """\
examples:
  warifu bench                              all of them, about 20 seconds each; the chain 100, each part of pki 36
  warifu bench chip                         one of them
  warifu bench chip --seconds 60 --json chip.json

A ratio is the median of interleaved slices: ours divided by the limit of its line, measured in the same run.
"""


class BadSeconds(Refused):
    """A time that makes no sense."""

    code = "bench.bad_seconds"


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command."""
    summary = "measure, each figure beside its raw limit"
    names = "\n".join(f"  {name:8} {bench.summary}" for name, bench in BENCHES.items())
    parser = subparsers.add_parser("bench", help=summary, description=f"{summary}\n\nbenches:\n{names}", epilog=_EPILOG)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all of them by default")
    parser.add_argument("--seconds", type=float, metavar="S", help="for each bench, about; by default its own")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result for machines")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when everything asked for was measured, 1 when something could not be."""
    if args.seconds is not None and args.seconds <= 0:
        raise BadSeconds("--seconds must be more than 0")
    names = args.names or list(BENCHES)
    for name in names:
        check_name(name)
    require_writable(args.json)
    found: list[Result] = []
    for name in names:
        with like_ctrl_c(), Console(stderr=True).status(f"measuring: {name}"):
            found += uvloop.run(measure(name, args.seconds or BENCHES[name].seconds))
    results = [result for result in found if "skipped" not in result]
    skipped = [{"name": result["name"], "reason": result["skipped"]} for result in found if "skipped" in result]
    if args.json is not None:
        whole = {"machine": machine(), "results": results, "skipped": skipped}
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(whole)) + b"\n")
    _show(results)
    for part in skipped:
        sys.stderr.write(f"warifu: bench.skipped: {part['name']}: {part['reason']}\n")
    return 1 if skipped else 0


def _show(results: list[Result]) -> None:
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    table = Table("name", "value", "unit", "limit", "limit value", "ratio", box=None, pad_edge=False)
    for result in results:
        table.add_row(
            result["name"], _figure(result["value"]), result["unit"], result["limit"],
            _figure(result["limit_value"]), f"{result['ratio']:.2f}",
        )  # fmt: skip
    console.print(machine(), highlight=False)
    console.print(table)
    for result in results:
        for note in result.get("notes", ()):
            console.print(f"{result['name']}: {note}", highlight=False, soft_wrap=True)


def _figure(value: float) -> str:
    """Two decimals where they are most of it."""
    return f"{value:,.2f}" if value < _SMALL else f"{value:,.0f}"
