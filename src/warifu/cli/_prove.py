"""``warifu lab prove``: long proofs, each by name."""

import argparse
import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from warifu.cli._files import require_writable
from warifu.kernel.errors import Refused
from warifu.lab.proofs.catalog import PROOFS, Proved, UnknownProof, prove

SUMMARY = "prove a promise at length"
EPILOG = """\
examples:
  warifu lab prove apdu-fuzz --count 1000000
  warifu lab prove power-pull --count 1000 --json power.json
  warifu lab prove apdu-fuzz --first 4711 --count 100     one sequence again: the seed a violation names

Exit status 3 when a promise was broken.
"""
VIOLATED = 3


class BadCount(Refused):
    """A count that makes no sense."""

    code = "lab.bad_count"


def add_to(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare it."""
    names = "\n".join(f"  {name:12} {proof.summary} ({proof.default:,} by default)" for name, proof in PROOFS.items())
    parser = subparsers.add_parser(
        "prove",
        help=SUMMARY,
        description=f"{SUMMARY}\n\nproofs:\n{names}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="which proof")
    parser.add_argument("--count", type=int, metavar="N", help="how much; each proof has its own default")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first seed; 0 by default")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result for machines")


def run(args: argparse.Namespace) -> int:
    """Run it; its exit status."""
    if args.name not in PROOFS:
        raise UnknownProof(f"no proof {args.name[:40]!r}; there are: {', '.join(PROOFS)}")
    if (args.count is not None and args.count < 1) or args.first < 0:
        raise BadCount("--count must be more than 0, --first not less")
    require_writable(args.json)
    count = args.count or PROOFS[args.name].default
    with _progress() as progress:
        task = progress.add_task(args.name, total=count)
        proved = prove(args.name, count, first=args.first, progress=lambda done: progress.update(task, completed=done))
    if args.json is not None:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(proved)) + b"\n")
    _say(proved)
    return VIOLATED if proved.violations else 0


def _say(proved: Proved) -> None:
    say = Console(highlight=False, soft_wrap=True).print
    rate = proved.count / max(proved.seconds, 0.001)
    say(f"{proved.name}: {proved.count:,} in {proved.seconds:.1f} s ({rate:,.0f}/s)")
    for key, value in proved.notes.items():
        say(f"{key}: {value:,.0f}", markup=False)
    for violation in proved.violations:
        say(f"VIOLATED (seed {violation.seed}): {violation.text}", markup=False)
        for line in violation.detail:
            say(f"  {line}", markup=False)
    if not proved.violations:
        say("no violation")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
