"""``warifu audit verify``: nobody changed afterwards who looked at what; ``warifu audit keys``: whose word that is."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from warifu.demo.connection import any_config, database_urls
from warifu.kernel.errors import Malformed
from warifu.stack import audit_export, keys, status
from warifu.stack.audit_export import Export, Verified
from warifu.stack.home import default_home

_EPILOG = """\
examples:
  warifu audit verify                           the running stack's audit trails
  warifu audit verify --export trail.json       and write them, to verify anywhere, at any time
  warifu audit verify --file trail.json         an export: needs neither stack nor database
  warifu audit verify --head center=9f86d0…     and hold the trail against a head noted down before
  warifu audit verify --key center=51c3a2…      and its signatures against a key noted down before

Without --key the signatures are checked with the keys that the stack, or the export itself, names.
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
    verify.add_argument(
        "--key", action="append", default=[], metavar="SCHEMA=HEX", help="a key's SHA-256 kept elsewhere"
    )
    summary = "the fingerprints of the keys that sign the heads: note them down, away from here"
    what.add_parser("keys", help=summary, epilog="example:\n  warifu audit keys")


def run(args: argparse.Namespace) -> int:
    """Run ``audit verify`` or ``audit keys``; 0 when every trail is whole, and signed where it should be."""
    if args.what == "keys":
        return _keys()
    heads = dict(_named("--head", text) for text in args.head)
    wanted = {schema: value.hex() for schema, value in (_named("--key", text) for text in args.key)}
    if args.file:
        export = audit_export.read(args.file)
    else:
        with Console(stderr=True).status("reading the audit trails"):
            export = _from_database()
    if args.export:
        audit_export.write(args.export, export)
    for schema, verified in audit_export.verify(export, heads, wanted).items():
        sys.stdout.write(_line(schema, verified))
    return 0


def _keys() -> int:
    home = default_home()
    for schema, found in keys.audit_keys(home, any_config(home, status.read(home)).topology).items():
        sys.stdout.writelines(f"{schema}={audit_export.fingerprint_of(key)}\n" for key in found)
    return 0


def _named(option: str, text: str) -> tuple[str, bytes]:
    schema, _, digits = text.partition("=")
    try:
        return schema, bytes.fromhex(digits)
    except ValueError:
        raise BadHead(f"{option} {text}: write SCHEMA=HEX, as this command prints them") from None


def _from_database() -> Export:
    home = default_home()
    config = any_config(home, status.read(home))
    signers = keys.audit_keys(home, config.topology)
    return asyncio.run(audit_export.read_trails(database_urls(home, config), signers))


def _line(schema: str, verified: Verified) -> str:
    report = verified.report
    waiting = f", {report.unsealed} not sealed yet" if report.unsealed else ""
    whole = f"{report.sealed} entries under {report.seals} seals are whole{waiting}"
    signed = "".join(f" signed by {schema}={one}" for one in verified.fingerprints) or " not signed"
    return f"{schema}: {whole}; head {schema}={report.head.hex()}{signed}\n"
