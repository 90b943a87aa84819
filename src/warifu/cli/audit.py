"""``warifu audit verify``: nobody changed afterwards who looked at what."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from warifu.adapters.clock import SystemClock
from warifu.adapters.store.audit import AuditReport
from warifu.demo import audit_export
from warifu.demo.audit_export import Export
from warifu.demo.connection import any_config, database_urls
from warifu.kernel.errors import Malformed
from warifu.stack import status
from warifu.stack.home import default_home

_EPILOG = """\
examples:
  warifu audit verify                           the running stack's audit trails
  warifu audit verify --export trail.json       and write them, to verify anywhere, at any time
  warifu audit verify --file trail.json         an export: needs neither stack nor database
  warifu audit verify --head center=9f86d0…     and hold the trail against a head noted down before
"""


class BadHead(Malformed):
    """Not ``SCHEMA=HEX``."""

    code = "audit.bad_head"


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command."""
    summary = "the audit trails: who looked at what"
    parser = subparsers.add_parser("audit", help=summary, description=summary)
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    verify = what.add_parser(
        "verify",
        help="verify the chain of every trail",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verify.add_argument("--export", type=Path, metavar="FILE", help="write the trails for verification elsewhere")
    verify.add_argument("--file", type=Path, metavar="FILE", help="verify such a file instead of the database")
    verify.add_argument("--head", action="append", default=[], metavar="SCHEMA=HEX", help="a head kept elsewhere")


def run(args: argparse.Namespace) -> int:
    """Run ``audit verify``; 0 when every trail is whole."""
    heads = dict(_head(text) for text in args.head)
    if args.file:
        export = audit_export.read(args.file)
    else:
        with Console(stderr=True).status("reading the audit trails"):
            export = _from_database()
    if args.export:
        audit_export.write(args.export, export)
    for schema, report in audit_export.verify(export, heads).items():
        sys.stdout.write(_line(schema, report))
    return 0


def _head(text: str) -> tuple[str, bytes]:
    schema, _, digits = text.partition("=")
    try:
        return schema, bytes.fromhex(digits)
    except ValueError:
        raise BadHead(f"--head {text}: write SCHEMA=HEX, as this command prints them") from None


def _from_database() -> Export:
    home = default_home()
    urls = database_urls(home, any_config(home, status.read(home)))
    return asyncio.run(audit_export.read_trails(urls, SystemClock()))


def _line(schema: str, report: AuditReport) -> str:
    waiting = f", {report.unsealed} not sealed yet" if report.unsealed else ""
    whole = f"{report.sealed} entries under {report.seals} seals are whole{waiting}"
    return f"{schema}: {whole}; head {schema}={report.head.hex()}\n"
