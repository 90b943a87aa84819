"""``warifu pki verifiers``: who may ask the front whether certificates stand."""

import argparse
import asyncio
import datetime
import hashlib
import json
import re
import secrets
import sys
from typing import Any, Final

import msgspec
from rich.console import Console
from rich.table import Table

from warifu.contract.front import (
    ApproveVerifier,
    AskVerifiers,
    AskVerifierUse,
    RegisterVerifier,
    SuspendVerifier,
    Verifier,
    Verifiers,
    VerifierUse,
    VerifierUses,
    VerifierView,
)
from warifu.demo.asking import Asker
from warifu.demo.connection import any_config, connected
from warifu.demo.errors import WrongStack
from warifu.kernel.errors import Malformed
from warifu.stack import status
from warifu.stack.home import default_home

FRONT: Final = "front"
EPILOG: Final = """\
examples:
  warifu pki verifiers register town-bank --kind signature --name "Town Bank" --approval "MIC 2016-3" --as alice
  warifu pki verifiers approve town-bank --as bob      prints its credential, once; never by who registered it
  warifu pki verifiers suspend town-bank --as alice    at once; one person is enough
  warifu pki verifiers list
  warifu pki verifiers use town-bank                   what it asked, by day
  curl --cacert "$WARIFU_HOME/tls/node-ca.pem" -H "Authorization: Bearer town-bank:<secret>" \\
       -d '{"serials": [20000001]}' https://127.0.0.1:<port>/status/signature     the port: warifu status
"""
_ID: Final = re.compile(r"[a-z0-9-]{1,40}")
_ACTOR: Final = re.compile(r"[a-z0-9@._-]{1,60}")


class BadWord(Malformed):
    """A verifier's id or a person's login that has not the form it should have."""

    code = "verifiers.bad_word"


def add_parser(what: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command under ``pki``."""
    parser = what.add_parser(
        "verifiers",
        help="who may ask the front about certificates: register, approve, suspend, list, use",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    register = _verb(verb, "register", "propose a verifier; somebody else approves", person=True)
    register.add_argument("--kind", required=True, choices=("signature", "authentication"))
    register.add_argument("--name", required=True, metavar="TEXT", help="of the organisation")
    register.add_argument("--approval", required=True, metavar="TEXT", help="the approval or notification it rests on")
    _verb(verb, "approve", "approve what another person registered or suspended; prints the credential", person=True)
    suspend = _verb(verb, "suspend", "end its access at once", person=True)
    suspend.add_argument("--reason", default="request", metavar="WORD", help="a word for the audit")
    epilog = "example:\n  warifu pki verifiers list --json"
    verb.add_parser("list", help="all of them", epilog=epilog).add_argument("--json", action="store_true")
    use = _verb(verb, "use", "what it asked, by day", person=False)
    use.add_argument("--since", type=datetime.date.fromisoformat, default=datetime.date(2016, 1, 1), metavar="DAY")
    use.add_argument("--json", action="store_true")


def _verb(verb: Any, name: str, summary: str, *, person: bool) -> argparse.ArgumentParser:  # noqa: ANN401 - likewise
    example = next(line for line in EPILOG.splitlines() if f" {name} " in line)
    raw = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = verb.add_parser(
        name, help=summary, epilog=f"example:\n{example}", formatter_class=raw
    )
    parser.add_argument("verifier", metavar="ID", help="small letters, digits and dashes")
    if person:
        parser.add_argument("--as", dest="person", required=True, metavar="LOGIN", help="who does this, for the audit")
    return parser


def run(args: argparse.Namespace) -> int:
    """Run it; 0 when what was asked was done."""
    if not _ID.fullmatch(getattr(args, "verifier", "x")):
        raise BadWord(f"{args.verifier[:60]}: small letters, digits and dashes, at most 40")
    if not _ACTOR.fullmatch(getattr(args, "person", "x")):
        raise BadWord(f"--as {args.person[:60]}: small letters, digits and @._-, at most 60")
    return asyncio.run(_run(args))


async def _run(args: argparse.Namespace) -> int:
    home = default_home()
    now = status.read(home)
    own = any_config(home, now)
    if own.topology.find(FRONT) is None and not own.topology.serving(FRONT):
        raise WrongStack("the running stack has no front: `warifu down`, then start one that has")
    async with connected(home, own, getattr(args, "person", "driver")) as asker:
        await _VERBS[args.verb](asker, args)
    return 0


async def _register(asker: Asker, args: argparse.Namespace) -> None:
    request = RegisterVerifier(verifier_id=args.verifier, kind=args.kind, name=args.name, approval=args.approval)
    done = (await asker.ask(FRONT, request, Verifier)).verifier
    sys.stdout.write(f"{done.verifier_id} is proposed by {done.proposed_by}; somebody else approves it\n")


async def _approve(asker: Asker, args: argparse.Namespace) -> None:
    secret = secrets.token_bytes(32)
    request = ApproveVerifier(verifier_id=args.verifier, credential=hashlib.sha256(secret).digest())
    done = (await asker.ask(FRONT, request, Verifier)).verifier
    sys.stderr.write(f"{done.verifier_id} is approved; its credential is shown this once:\n")
    sys.stdout.write(f"{done.verifier_id}:{secret.hex()}\n")


async def _suspend(asker: Asker, args: argparse.Namespace) -> None:
    request = SuspendVerifier(verifier_id=args.verifier, reason=args.reason)
    done = (await asker.ask(FRONT, request, Verifier)).verifier
    sys.stdout.write(f"{done.verifier_id} is suspended by {done.suspended_by}; its credential is void\n")


async def _list(asker: Asker, args: argparse.Namespace) -> None:
    found: list[VerifierView] = []
    while page := (await asker.ask(FRONT, AskVerifiers(after=_last(found)), Verifiers)).verifiers:
        found += page
    if args.json:
        sys.stdout.write(json.dumps({"verifiers": msgspec.to_builtins(found)}, ensure_ascii=False) + "\n")
        return
    table = Table("verifier", "kind", "state", "name", "approval", "proposed by", "approved by", box=None)
    for one in found:
        words = (one.verifier_id, one.kind, one.state, one.name, one.approval, one.proposed_by, one.approved_by)
        table.add_row(*words)
    Console().print(table)


async def _use(asker: Asker, args: argparse.Namespace) -> None:
    ask = AskVerifierUse(verifier_id=args.verifier, since=args.since)
    uses = (await asker.ask(FRONT, ask, VerifierUses)).uses
    if args.json:
        sys.stdout.write(json.dumps({"uses": msgspec.to_builtins(uses)}) + "\n")
        return
    table = Table("day", "what", "requests", "certificates", "revoked", box=None)
    for one in uses:
        table.add_row(*_cells(one))
    Console().print(table)


def _cells(use: VerifierUse) -> tuple[str, ...]:
    return (use.day.isoformat(), use.what, f"{use.requests:,}", f"{use.certificates:,}", f"{use.revoked:,}")


def _last(found: list[VerifierView]) -> str:
    return found[-1].verifier_id if found else ""


_VERBS: Final = {"register": _register, "approve": _approve, "suspend": _suspend, "list": _list, "use": _use}
