"""``warifu pki search``: whose certificate is this, what does somebody hold."""

import argparse
import asyncio
import json
import re
import sys
from typing import Any, Final, TypeVar

import msgspec
from rich.console import Console
from rich.table import Table

from warifu.contract.authority import AskImported, FoundCertificates, ImportedView, SearchCertificates
from warifu.contract.message import Answer, Request
from warifu.demo.connection import any_config, connected
from warifu.kernel.errors import Malformed
from warifu.stack import status
from warifu.stack.home import default_home

_EPILOG: Final = """\
examples:
  warifu pki search --name "割符 花子" --municipality 131016 --as alice
  warifu pki search --kind signature --serial 20000001 --as alice
  warifu pki search --authority pref-13 --serial 1 --as alice   of a closed authority, imported
  warifu pki search --municipality 131016 --as alice --json     the first 100; "next" says where to go on (--after)
"""
A = TypeVar("A", bound=Answer)
Q = TypeVar("Q", bound=Request)
_AFTER: Final = re.compile(r"(signature|authentication):([0-9]{1,18})")


class BadSearch(Malformed):
    """The words of a search have not the form they should have."""

    code = "search.bad_words"


def add_parser(what: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command under ``pki``."""
    parser = what.add_parser(
        "search",
        help="certificates by resident, card, serial number, name or municipality; each search is audited",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--resident", default="", metavar="ID")
    parser.add_argument("--card", default="", metavar="ID")
    parser.add_argument("--kind", choices=("signature", "authentication"), help="with --serial")
    parser.add_argument("--serial", type=int, default=0, metavar="N")
    parser.add_argument("--authority", default="", metavar="ID", help="a closed one, imported; with --serial")
    parser.add_argument("--name", default="", metavar="TEXT", help="spaces and common variants do not matter")
    parser.add_argument("--municipality", default="", metavar="CODE")
    parser.add_argument("--after", default="", metavar="KIND:SERIAL", help="the next page")
    parser.add_argument("--as", dest="person", required=True, metavar="LOGIN", help="who searches, for the audit")
    parser.add_argument("--json", action="store_true")


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when the search was made, whatever it found."""
    if args.authority:
        return _run_imported(args)
    request = _request(args)
    found = asyncio.run(_ask(request, FoundCertificates, args.person))
    following = f"{found.next_kind}:{found.next_serial}" if found.next_kind else ""
    if args.json:
        whole = {"certificates": msgspec.to_builtins(found.certificates), "next": following}
        sys.stdout.write(json.dumps(whole) + "\n")
        return 0
    table = Table("kind", "serial", "state", "card", "resident", "municipality", "until", "reason", box=None)
    for one in found.certificates:
        words = (one.kind, str(one.serial), one.state, one.card_id, one.resident_id, one.municipality)
        table.add_row(*words, one.not_after.isoformat(), one.reason)
    Console().print(table)
    if following:
        sys.stdout.write(f"there may be more: --after {following}\n")
    return 0


def _run_imported(args: argparse.Namespace) -> int:
    """One certificate of a closed authority; ``NotFound`` when its records are not here."""
    words = {"purpose": "operator.search", "authority": args.authority, "serial": args.serial}
    found = asyncio.run(_ask(_converted(words, AskImported), ImportedView, args.person))
    sys.stdout.write(json.dumps(msgspec.to_builtins(found), ensure_ascii=False) + "\n")
    return 0


def _request(args: argparse.Namespace) -> SearchCertificates:
    after = _AFTER.fullmatch(args.after)
    if args.after and after is None:
        raise BadSearch("--after: KIND:SERIAL, as the page before ended with")
    words = {
        "purpose": "operator.search",
        "resident_id": args.resident,
        "card_id": args.card,
        "kind": args.kind,
        "serial": args.serial,
        "name": args.name,
        "municipality": args.municipality,
        "after_kind": after[1] if after else "",
        "after_serial": int(after[2]) if after else 0,
    }
    return _converted(words, SearchCertificates)


def _converted(words: dict[str, Any], kind: type[Q]) -> Q:
    try:
        return msgspec.convert(words, kind)
    except msgspec.ValidationError as error:
        raise BadSearch(str(error).rpartition("$.")[2].rstrip("`") + ": has not its form") from None


async def _ask(request: Request, answer: type[A], person: str) -> A:
    home = default_home()
    own = any_config(home, status.read(home))
    async with connected(home, own, person) as asker:
        return await asker.ask("authority", request, answer)
