"""``warifu trace``: one operation through logs, journals and audit trails."""

import argparse
import asyncio
import datetime
import sys
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from warifu.demo.connection import any_config, database_urls
from warifu.kernel.ids import parse_operation_id
from warifu.stack import status, trace
from warifu.stack.errors import NotRunning
from warifu.stack.home import default_home
from warifu.stack.trace import Entry

_EPILOG = """\
examples:
  warifu trace 01KN349H7JCWVP6JB0Z64XFA6F          what happened, in order, whoever tells it
  warifu trace 01KN349H7JCWVP6JB0Z64XFA6F --json

The identifier stands in the address of the operation's page at the counter, in log records and in `operation` tables.
When no stack runs only the logs are read, and that is said.
"""
_WIDE = 200
"""Columns when nobody's terminal limits them."""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command."""
    parser = subparsers.add_parser(
        "trace",
        help="one operation through logs, journals and audit trails",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("operation", metavar="OPERATION", help="its identifier: 26 characters")
    parser.add_argument("--json", action="store_true", help="print one JSON array")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when something bears the identifier."""
    operation_id = parse_operation_id(args.operation.strip().upper())
    home = default_home()
    with Console(stderr=True).status("reading logs and journals"):
        entries = list(trace.of_logs(home.logs, operation_id))
        try:
            urls = database_urls(home, any_config(home, status.read(home)))
        except NotRunning:
            sys.stderr.write("warifu: no stack runs: only the logs are read, not journals and audit trails\n")
        else:
            entries += asyncio.run(trace.of_stores(urls, operation_id))
    found = trace.in_order(entries, operation_id)
    if args.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(found), indent=1).decode() + "\n")
    else:
        _show(found)
    return 0


def _show(found: tuple[Entry, ...]) -> None:
    table = Table("time (UTC)", "after", "where", "kind", "what", "", box=None, pad_edge=False)
    first = found[0].at_ms
    for each in found:
        at = datetime.datetime.fromtimestamp(each.at_ms / 1000, datetime.UTC)
        told = at.strftime("%Y-%m-%d %H:%M:%S.") + f"{each.at_ms % 1000:03}"
        table.add_row(told, f"{each.at_ms - first} ms", each.where, each.kind, each.name, each.detail)
    Console(width=None if sys.stdout.isatty() else _WIDE, markup=False).print(table)
