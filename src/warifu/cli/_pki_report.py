"""``warifu pki report``: issued, revoked, valid; from the certificates, reconciled with everybody's own figures."""

import argparse
import asyncio
import json
import sys
from collections import Counter
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from warifu.adapters.clock import SystemClock
from warifu.demo import pki_report
from warifu.demo.connection import any_config, database_urls
from warifu.demo.pki_report import Period, Report, ReportDiffers
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import Malformed
from warifu.stack import status
from warifu.stack.home import default_home

_EPILOG: Final = """\
examples:
  warifu pki report                       today
  warifu pki report --month 2026-04       a month
  warifu pki report --day 2026-04-01 --json

Exit status 1 when the certificates, the register, the lists, the centre and the factory do not agree.
"""


class BadPeriod(Malformed):
    """Not a day or a month."""

    code = "report.bad_period"


def add_parser(what: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command under ``pki``."""
    parser = what.add_parser(
        "report",
        help="certificates issued, revoked and valid; reconciled",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    period = parser.add_mutually_exclusive_group()
    period.add_argument("--day", metavar="YYYY-MM-DD")
    period.add_argument("--month", metavar="YYYY-MM")
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when everything agrees. ``ReportDiffers`` after the report when something does not."""
    home = default_home()
    urls = database_urls(home, any_config(home, status.read(home)))
    with Console(stderr=True).status("reading every certificate"):
        found = asyncio.run(pki_report.report(urls, _period(args)))
    if args.json:
        sys.stdout.write(json.dumps(msgspec.to_builtins(found)) + "\n")
    else:
        _show(found)
    if found.differences:
        raise ReportDiffers(f"{len(found.differences)} differences; the first: {found.differences[0]}")
    return 0


def _period(args: argparse.Namespace) -> Period:
    try:
        if args.month:
            return pki_report.month_of(args.month)
        return pki_report.day_of(args.day or jst_date(SystemClock().now_ms()).isoformat())
    except ValueError:
        raise BadPeriod("--day 2026-04-01 or --month 2026-04") from None


def _show(found: Report) -> None:
    console = Console()
    console.print(f"{found.period}: {found.cards_made:,} cards made in all", highlight=False)
    table = Table("certificates", "issued", "revoked", "valid at the end", box=None)
    for kind in ("signature", "authentication"):
        revoked = found.revoked.get(kind) or Counter[str]()
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(revoked.items()))
        total = f"{sum(revoked.values()):,}" + (f" ({reasons})" if reasons else "")
        table.add_row(kind, f"{found.issued[kind]:,}", total, f"{found.valid[kind]:,}")
    console.print(table)
    for line in found.differences:
        console.print(f"difference: {line}", highlight=False)
