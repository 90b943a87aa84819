"""``warifu lab load | limit | endurance``: the three performance tests of the evaluation (評価の三つの試験)."""

import argparse
import importlib
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final, NamedTuple

import uvloop
from rich.console import Console

from warifu.cli._files import require_writable
from warifu.kernel.errors import Refused
from warifu.lab.load import page as load_page
from warifu.lab.load.result import Outcome
from warifu.stack.home import default_home

FAILED: Final = 3
MINUTES_MAX: Final = 24 * 60.0
EPILOG: Final = """\
examples:
  warifu lab {name}
  warifu lab {name} --minutes {longer:g} --json {name}.json --html {name}.html

Starts a stack of its own in a temporary folder, works on it, and ends it. The report is one HTML file; without --html
it goes to `reports/` in WARIFU_HOME. Exit status 3 when the verdict is "failed".
"""


class BadMinutes(Refused):
    """A time that makes no sense."""

    code = "lab.bad_minutes"


class Test(NamedTuple):
    """One of the tests: what it does, how long by default, and where its ``run(topology, minutes, say)`` is."""

    summary: str
    minutes: float
    place: str


TESTS: Final[dict[str, Test]] = {
    "load": Test("a usual day and the peak day of 2016, at several times its rate", 3.0, "warifu.lab.load.load"),
    "limit": Test(
        "more and more until it refuses; deaths at the limit; overload, beside 2016's rules",
        6.0,
        "warifu.lab.load.limit",
    ),
    "endurance": Test(
        "the same load for long: nothing may grow; one leg with 512 MB a process", 5.0, "warifu.lab.load.endurance"
    ),
}


def add_to(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Declare them."""
    for name, test in TESTS.items():
        parser = subparsers.add_parser(
            name,
            help=test.summary,
            description=test.summary,
            epilog=EPILOG.format(name=name, longer=test.minutes * 4),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        parser.add_argument("--topology", default="quarter", metavar="T", help="by name or path; quarter by default")
        parser.add_argument(
            "--minutes",
            type=float,
            default=test.minutes,
            metavar="M",
            help=f"of load, about; {test.minutes:g} by default",
        )
        parser.add_argument("--json", type=Path, metavar="FILE", help="write the result for machines")
        parser.add_argument("--html", type=Path, metavar="FILE", help="where the report goes")


def run(args: argparse.Namespace) -> int:
    """Run one; its exit status."""
    if not 0 < args.minutes <= MINUTES_MAX:
        raise BadMinutes("--minutes is more than 0, and a day at most")
    require_writable(args.json, args.html)
    test: Callable[[str, float, Callable[[str], None]], Coroutine[object, object, Outcome]]
    test = importlib.import_module(TESTS[args.what].place).run
    with Console(stderr=True).status(args.what) as status:
        outcome = uvloop.run(test(args.topology, args.minutes, lambda text: status.update(f"{args.what}: {text}")))
    page = args.html or default_home().root / "reports" / f"{args.what}-{time.strftime('%Y%m%d-%H%M%S')}.html"
    load_page.write(page, outcome.page)
    if args.json is not None:
        args.json.write_bytes(outcome.for_machines())
    _say(outcome, page)
    return 0 if outcome.verdict == "passed" else FAILED


def _say(outcome: Outcome, page: Path) -> None:
    write = sys.stdout.write
    took = outcome.latency_ms
    write(f"{outcome.test} on {outcome.topology}: {outcome.verdict}\n")
    write(f"offered {outcome.offered:,}, completed {outcome.completed:,}, refused {sum(outcome.refused.values()):,}, ")
    write(f"lost {outcome.lost}, doubled {outcome.duplicated}, p50 {took['p50']:.0f} ms, p99 {took['p99']:.0f} ms\n")
    for reason in outcome.reasons:
        write(f"  {reason}\n")
    write(f"report: {page}\n")
