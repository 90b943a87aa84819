"""``warifu pki``: what outsiders need to check our certificates; reports, search and verifiers."""

import argparse
import asyncio
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from warifu.cli import _pki_import, _pki_keys, _pki_report, _pki_search, _pki_verifiers
from warifu.demo import web
from warifu.demo.connection import any_config, connected
from warifu.demo.export import Exported, export_pki, openssl_commands
from warifu.stack import status
from warifu.stack.home import Home, default_home
from warifu.stack.status import StackStatus

_EPILOG = """\
example:
  warifu pki export pki     ca/ crl/ certificates/, DER and PEM; prints openssl commands to try
"""


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command."""
    summary = "certificates and revocation lists for outsiders"
    parser = subparsers.add_parser("pki", help=summary, description=summary)
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    export = what.add_parser(
        "export",
        help="write CA certificates and current lists (full, and one for each municipality) of every generation",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _pki_import.add_parser(what)
    _pki_report.add_parser(what)
    _pki_search.add_parser(what)
    _pki_verifiers.add_parser(what)
    _pki_keys.add_parsers(what)
    export.add_argument("folder", type=Path, metavar="DIR", help="made when missing; files are replaced")


def run(args: argparse.Namespace) -> int:
    """Run what was asked; 0 when it was done."""
    if args.what == "import":
        return _pki_import.run(args)
    if args.what == "report":
        return _pki_report.run(args)
    if args.what == "search":
        return _pki_search.run(args)
    if args.what == "verifiers":
        return _pki_verifiers.run(args)
    if args.what in {"issue", "check", "ceremony"}:
        return _pki_keys.run(args)
    return _run_export(args)


def _run_export(args: argparse.Namespace) -> int:
    """Run ``pki export``; 0 when everything was written."""
    home = default_home()
    now = status.read(home)
    folder: Path = args.folder.absolute()
    exported = asyncio.run(_export(home, now, folder))
    sys.stdout.write(
        f"{exported.authorities} CA certificates, {exported.lists} revocation lists and "
        f"{len(exported.certificates)} certificates in {folder}\n"
    )
    for line in openssl_commands(folder, web.base_url(now), exported.certificates):
        sys.stdout.write(f"{line}\n")
    return 0


async def _export(home: Home, now: StackStatus, folder: Path) -> Exported:
    own = any_config(home, now)
    face = web.Web(web.base_url(now))
    places = sorted({node.municipality for node in own.topology.node if node.municipality})
    with Console(stderr=True).status("fetching") as spinner:
        async with connected(home, own) as asker:
            return await export_pki(
                folder,
                asker,
                face,
                municipalities=places,
                cards=home.cards,
                report=lambda what: spinner.update(f"fetching {what}"),
            )
