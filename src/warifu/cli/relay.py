"""``warifu relay``: put relays into rotation, take them out, replace them, while counters are open."""

import argparse
import asyncio
import sys
from typing import Any, Final

import msgspec
from rich.console import Console

from warifu.stack import topology
from warifu.stack.home import default_home
from warifu.stack.orders import Done, Order, give
from warifu.stack.topology import Node

WATCH_S: Final = 60.0

_EPILOG = """\
examples:
  warifu relay add                 one more relay, named like its sisters
  warifu relay drain relay-2       its callers go elsewhere, then it ends
  warifu relay replace relay-1     drained, ended and started anew; the others serve meanwhile
  warifu relay roll                one is started anew and watched beside the others; they follow when it does well
  warifu relay roll relay-2 --topology mine.toml --watch 600
                                   likewise with the policies and hsm.workers of a changed file; relay-2 goes first

No operation is lost: what is under way ends first, and what breaks all the same is sent again under its key.
Callers' connections spread over the relays by themselves within seconds after one has joined: after these orders, and
when one comes back from the dead or is well again. `warifu status` tells how many each has, and who is out of rotation.
"""


_WHAT: Final = {
    "add": "added",
    "drain": "drained and ended",
    "replace": "replaced",
    "roll": "did well, and the others followed",
}


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command."""
    parser = subparsers.add_parser(
        "relay",
        help="add, drain, replace or change relays while counters are open",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("verb", choices=("add", "drain", "replace", "roll"), help="what to do")
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="which relay; not needed with add and roll")
    parser.add_argument("--topology", default="", metavar="FILE", help="roll: where the relays' new settings stand")
    parser.add_argument(
        "--watch",
        type=float,
        default=WATCH_S,
        metavar="SECONDS",
        help=f"roll: how long the first is watched beside the others ({WATCH_S:.0f})",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when the relay is in, or out, or in again."""
    if args.verb in {"drain", "replace"} and not args.name:
        sys.stderr.write(f"warifu: usage: relay {args.verb} NAME (see `warifu relay --help`)\n")
        return 2
    order = Order(args.verb, args.name)
    if args.verb == "roll":
        order = Order("roll", args.name, args.watch, _changed(args.topology))
    with Console(stderr=True).status(f"{args.verb} {args.name}".strip()) as shown:
        done = asyncio.run(give(default_home(), order, shown.update))
    sys.stdout.write(_words(args, done) + "\n")
    return 0


def _changed(file: str) -> tuple[Node, ...]:
    if not file:
        return ()
    fresh = topology.load(file)
    return fresh.serving(fresh.balancer.service)


def _words(args: argparse.Namespace, done: Done) -> str:
    if args.json:
        return msgspec.json.encode(done).decode()
    what = _WHAT[args.verb]
    note = f" ({done.note})" if done.note else ""
    return f"{done.name} {what} in {done.seconds:.1f} s{note}; in rotation: {', '.join(done.rotation)}"
