"""``warifu lab data``: bulk data for a running stack."""

import argparse
import asyncio
import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from warifu.adapters.clock import SystemClock
from warifu.cli._files import require_writable
from warifu.demo.connection import any_config
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import Refused, Stale
from warifu.kernel.municipalities import MUNICIPALITIES
from warifu.lab.load.data import Loaded, Wanted, load
from warifu.stack import status
from warifu.stack.home import default_home
from warifu.synthetic.bulk import RESIDENTS_MAX, SEEDS

SUMMARY = "fill the running stack with synthetic residents, applications and cards"
EPILOG = """\
examples:
  warifu lab data --residents 250000        a million rows
  warifu lab data --residents 1000 --seed 7 --json data.json

Each resident gets a row in the registry, a notification card, an application and a card that waits at the counter
(without individual number and certificates: those need their owners' HSMs, one command each). The same seed makes the
same residents; a seed that is in the database already is refused.
"""
DEFAULT_RESIDENTS: Final = 10_000


class BadData(Refused):
    """A number of residents or a seed that makes no sense."""

    code = "lab.bad_data"


def add_to(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare it."""
    parser = subparsers.add_parser(
        "data",
        help=SUMMARY,
        description=SUMMARY,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--residents", type=int, default=DEFAULT_RESIDENTS, metavar="N", help="how many")
    parser.add_argument("--seed", type=int, metavar="S", help="which people; by default others each time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result for machines")


def run(args: argparse.Namespace) -> int:
    """Run it; its exit status."""
    if not 0 < args.residents <= RESIDENTS_MAX:
        raise BadData(f"--residents is 1 to {RESIDENTS_MAX:,}")
    if args.seed is not None and not 0 <= args.seed < SEEDS:
        raise BadData(f"--seed is 0 to {SEEDS - 1}")
    require_writable(args.json)
    loaded = asyncio.run(_load(args.residents, args.seed))
    if args.json is not None:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(loaded)) + b"\n")
    sys.stdout.write(
        f"{loaded.residents:,} residents, {loaded.rows:,} rows in {loaded.seconds:.1f} s "
        f"({loaded.rows_per_second:,.0f} rows/s)\n"
    )
    return 0


async def _load(residents: int, seed: int | None) -> Loaded:
    home = default_home()
    own = any_config(home, status.read(home))
    now_ms = SystemClock().now_ms()
    wanted = Wanted(
        seed=time.time_ns() // 1_000_000 % SEEDS if seed is None else seed,
        count=residents,
        today=jst_date(now_ms),
        places=MUNICIPALITIES,
        now_ms=now_ms,
    )
    done = 0

    def tell(batch: object) -> None:
        nonlocal done
        done += len(batch)  # type: ignore[arg-type]  # a batch of residents
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{done:,} of {residents:,} residents ")

    try:
        loaded = await load(own.database_url, wanted, tell)
    except Stale:
        raise BadData(f"residents of seed {wanted.seed} are in the database already: give another --seed") from None
    if sys.stderr.isatty():
        sys.stderr.write("\r" + " " * 50 + "\r")
    return loaded
