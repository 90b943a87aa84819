"""``warifu status``: what runs, and how it is."""

import argparse
import sys
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from warifu.kernel.errors import DiskFull
from warifu.stack import status
from warifu.stack.home import default_home

_EPILOG = """\
examples:
  warifu status            a table for people
  warifu status --json     for machines: nodes, process ids (HSM workers too), ports, health, restarts, URLs
"""

_WIDE = 200
"""Columns when nobody's terminal limits them."""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command."""
    parser = subparsers.add_parser("status", help="what runs, and how it is", epilog=_EPILOG)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when a stack runs, whatever its health, which is shown."""
    now = status.read(default_home())
    if args.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(now), indent=1).decode() + "\n")
    else:
        _show(Console(width=None if sys.stdout.isatty() else _WIDE), now)
    return 0


def _show(console: Console, now: status.StackStatus) -> None:
    table = Table("node", "state", "pid", "address", "restarts", "health", "children", box=None, pad_edge=False)
    for node in now.nodes:
        table.add_row(
            node.name,
            node.state,
            str(node.pid or "-"),
            f"{node.host}:{node.port}",
            str(node.restarts),
            _health(node),
            " ".join(f"{child.name}={child.pid}" for child in node.processes),
        )
    console.print(f"{now.topology} is {now.state} in {now.home}", highlight=False, soft_wrap=True)
    console.print(table)
    urls = (f"{name}: {url}" for name, url in now.urls.items())
    if now.disk_full:
        console.print(f"{DiskFull.code}: {now.disk_full}", highlight=False, markup=False, soft_wrap=True)
    for line in (f"balancer: {now.balancer}{_rotation(now)}", *now.notes, *urls):
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _rotation(now: status.StackStatus) -> str:
    """How many connections each relay has, and who is out of rotation."""
    if not now.rotation:
        return ""
    return "; connections: " + ", ".join(
        f"{relay.name} {relay.connections}" + ("" if relay.state.startswith("UP") else f" ({relay.state})")
        for relay in now.rotation
    )


def _health(node: status.MemberStatus) -> str:
    """The parts that fail, with their reason; else the parts that were exercised."""
    failing = [f"{name}: {part.detail}" for name, part in node.parts.items() if not part.ok]
    if failing:
        return "; ".join(failing)
    return node.last_error if node.state in {"crashing", "waiting"} else ", ".join(node.parts)
