"""``warifu relay``: put relays into rotation, take them out, replace them, while counters are open."""

import argparse
import asyncio
import sys
from typing import Any

import msgspec
from rich.console import Console

from warifu.stack.home import default_home
from warifu.stack.orders import Done, Order, give

_EPILOG = """\
examples:
  warifu relay add                 one more relay, named like its sisters
  warifu relay drain relay-2       its callers go elsewhere, then it ends
  warifu relay replace relay-1     drained, ended and started anew; the others serve meanwhile (the canary of a change)

No operation is lost: what is under way ends first, and what breaks all the same is sent again under its key.
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command."""
    parser = subparsers.add_parser(
        "relay", help="add, drain or replace a relay while counters are open", epilog=_EPILOG
    )
    parser.add_argument("verb", choices=("add", "drain", "replace"), help="what to do")
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="which relay; not needed with add")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when the relay is in, or out, or in again."""
    if args.verb != "add" and not args.name:
        sys.stderr.write(f"warifu: usage: relay {args.verb} NAME (see `warifu relay --help`)\n")
        return 2
    with Console(stderr=True).status(f"{args.verb} {args.name}".strip()) as shown:
        done = asyncio.run(give(default_home(), Order(args.verb, args.name), shown.update))
    sys.stdout.write(_words(args, done) + "\n")
    return 0


def _words(args: argparse.Namespace, done: Done) -> str:
    if args.json:
        return msgspec.json.encode(done).decode()
    what = {"add": "added", "drain": "drained and ended", "replace": "replaced"}[args.verb]
    note = f" ({done.note})" if done.note else ""
    return f"{done.name} {what} in {done.seconds:.1f} s{note}; in rotation: {', '.join(done.rotation)}"
