"""``warifu pki issue``, ``check``, ``ceremony``: certificates in bulk, a sound register, the authorities' keys."""

import argparse
import asyncio
import base64
import datetime
import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from warifu.contract.authority import (
    AskAuthorities,
    Authorities,
    BatchIssued,
    BatchOrder,
    EnrolHolder,
    GenerationMade,
    HolderApproval,
    IssueBatch,
    MakeGeneration,
)
from warifu.contract.message import Done
from warifu.demo.asking import Asker
from warifu.demo.connection import any_config, connected, database_urls
from warifu.domain.certificates.ceremony import enrolment_statement, generation_statement
from warifu.kernel.decoding import NOT_DECODED
from warifu.kernel.errors import Malformed
from warifu.kernel.ids import ulid_text
from warifu.lab.rigs.pki_register import examine
from warifu.stack import status
from warifu.stack.home import default_home

AUTHORITY: Final = "authority"
AUTHENTICATION: Final = "authentication"
CARDS: Final = 100
"""Of one part of a batch."""
AT_ONCE: Final = 4
PART_MS: Final = 60_000
BROKEN: Final = 3
_EPILOG: Final = {
    "issue": """\
FILE has one order a line, as JSON:
  {"card_id": ..., "resident_id": ..., "person": {...}, "municipality": "131016", "card_expires_on": "2036-04-01"}

example:
  warifu pki issue orders.jsonl     broken off? the same file again goes on where it stood; nothing is issued twice
""",
    "check": """\
example:
  warifu pki check                  exit status 3 when a promise is broken
""",
    "ceremony": """\
example: alice and bob each keep a key of their own, and approve each by themselves
  warifu pki ceremony enrol --as alice --key alice.key
  warifu pki ceremony enrol --as bob --key bob.key
  warifu pki ceremony approve signature --from 2026-12-01T00:00+09:00 --as alice --key alice.key > alice.json
  warifu pki ceremony approve signature --from 2026-12-01T00:00+09:00 --as bob --key bob.key > bob.json
  warifu pki ceremony make --approval alice.json --approval bob.json --minutes ceremony
a third holder, with the consent of two:
  warifu pki ceremony admit carol <public key> --as alice --key alice.key > carol-alice.json
""",
}


class BadFile(Malformed):
    """An order, a key or an approval that cannot be read."""

    code = "pki.bad_file"


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """What ``approve`` writes and ``make`` reads."""

    act: str
    ca: str = ""
    generation: int = 0
    active_from_ms: int = 0
    name: str = ""
    public_key: bytes = b""
    holder: str
    signature: bytes


def add_parsers(what: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the commands under ``pki``."""
    issue = _parser(what, "issue", "issue the certificates of many cards, from a file of orders")
    issue.add_argument("file", type=Path, metavar="FILE")
    check = _parser(what, "check", "hold the register to its promises: no serial and no key pair twice, all recorded")
    check.add_argument("--json", action="store_true")
    verb = _parser(
        what, "ceremony", "the authorities' keys: enrol holders, approve, make a new generation"
    ).add_subparsers(dest="verb", required=True, metavar="VERB")
    enrol = _verb(verb, "enrol", "become a key holder; the third and later ones need two approvals")
    _person(enrol)
    enrol.add_argument("--approval", action="append", type=Path, default=[], metavar="FILE")
    admit = _verb(verb, "admit", "approve a further holder; writes the approval")
    admit.add_argument("name", metavar="LOGIN", help="of the new one")
    admit.add_argument("public_key", metavar="HEX", help="the new one's public key, as enrol told it")
    _person(admit)
    approve = _verb(verb, "approve", "approve the next generation of an authority's key; writes the approval")
    approve.add_argument("ca", choices=("signature", AUTHENTICATION))
    approve.add_argument(
        "--from", dest="since", required=True, type=_instant, metavar="TIME", help="ISO 8601, with zone"
    )
    _person(approve)
    make = _verb(verb, "make", "make the next generation that two holders approved")
    make.add_argument(
        "--approval", action="append", type=Path, required=True, metavar="FILE", help="one of each holder"
    )
    make.add_argument("--minutes", type=Path, required=True, metavar="NAME", help="writes NAME.txt, NAME.sig, NAME.der")


def _parser(what: Any, name: str, summary: str) -> argparse.ArgumentParser:  # noqa: ANN401 - likewise
    raw = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = what.add_parser(name, help=summary, epilog=_EPILOG[name], formatter_class=raw)
    return parser


def _verb(verb: Any, name: str, summary: str) -> argparse.ArgumentParser:  # noqa: ANN401 - likewise
    example = next(line for line in _EPILOG["ceremony"].splitlines() if f" ceremony {name} " in line)
    raw = argparse.RawDescriptionHelpFormatter
    parser: argparse.ArgumentParser = verb.add_parser(
        name, help=summary, epilog=f"example:\n{example}", formatter_class=raw
    )
    return parser


def _person(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--as", dest="person", required=True, metavar="LOGIN", help="the key holder")
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="the holder's own; enrol makes it")


def _instant(text: str) -> datetime.datetime:
    found = datetime.datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(text)
    return found


def run(args: argparse.Namespace) -> int:
    """Run what was asked."""
    if args.what == "check":
        return asyncio.run(_check(args))
    return asyncio.run(_asked(args))


async def _check(args: argparse.Namespace) -> int:
    home = default_home()
    with Console(stderr=True).status("examining the register"):
        found = await examine(database_urls(home, any_config(home, status.read(home)))[AUTHORITY])
    if args.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        sys.stdout.write(
            f"{found.certificates:,} certificates, {found.key_pairs:,} key pairs, {found.uses:,} of them used once\n"
        )
        for each in found.findings:
            sys.stdout.write(f"BROKEN: {each.promise}: {each.count:,}, as {', '.join(each.examples)}\n")
    return BROKEN if found.findings else 0


async def _asked(args: argparse.Namespace) -> int:
    home = default_home()
    own = any_config(home, status.read(home))
    async with connected(home, own, getattr(args, "person", "driver")) as asker:
        if args.what == "issue":
            return await _issue(asker, args.file)
        await _VERBS[args.verb](asker, args)
    return 0


# ---- issue -------------------------------------------------------------------------------------------------------


async def _issue(asker: Asker, file: Path) -> int:
    """Every part of the file; its own hash names the batch, so the same file is the same batch."""
    with Console(stderr=True).status("reading the orders"):
        count, batch_id = await asyncio.to_thread(_measured, file)
    parts = enumerate(_parts(file))
    issued, refused = 0, list[str]()
    with _progress() as progress:
        task = progress.add_task("issuing", total=count)

        async def sender() -> None:
            nonlocal issued
            for position, orders in parts:
                request = IssueBatch(batch_id=batch_id, position=position, orders=orders)
                answer = await asker.ask(
                    AUTHORITY, request, BatchIssued, operation_id=batch_id, step=f"part.{position}", attempt_ms=PART_MS
                )
                issued += answer.issued
                refused.extend(f"{each.card_id} {each.code}" for each in answer.refused)
                progress.advance(task, len(orders))

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(sender())
    sys.stdout.write(f"batch {batch_id}: {issued:,} certificates for {count - len(refused):,} of {count:,} cards\n")
    sys.stdout.writelines(f"refused: {each}\n" for each in refused)
    return 1 if refused else 0


def _measured(file: Path) -> tuple[int, str]:
    """How many orders, each looked at before the first is carried out; and the batch's name."""
    digest, count = hashlib.sha256(), 0
    for orders in _parts(file):
        digest.update(msgspec.msgpack.encode(orders))
        count += len(orders)
    return count, ulid_text(b"\x00" + digest.digest()[:15])


def _parts(file: Path) -> Iterator[tuple[BatchOrder, ...]]:
    decode, part = msgspec.json.Decoder(BatchOrder).decode, list[BatchOrder]()
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    part.append(decode(line))
                except NOT_DECODED:
                    raise BadFile(f"{file}, line {number}: not an order") from None
                if len(part) == CARDS:
                    yield tuple(part)
                    part = []
    except OSError as error:
        raise BadFile(f"{file}: {error.strerror}") from None
    if part:
        yield tuple(part)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    terminal = sys.stderr.isatty()
    return Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True, disable=not terminal)


# ---- ceremony ----------------------------------------------------------------------------------------------------


def _key(path: Path, *, make: bool = False) -> Ed25519PrivateKey:
    try:
        if make and not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()) + b"\n")
        return Ed25519PrivateKey.from_private_bytes(base64.b64decode(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise BadFile(f"{path}: no holder's key: {type(error).__name__}") from None


def _approval(path: Path) -> Approval:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Approval)
    except (OSError, *NOT_DECODED) as error:
        raise BadFile(f"{path}: no approval: {type(error).__name__}") from None


def _consents(approvals: list[Approval]) -> tuple[HolderApproval, ...]:
    return tuple(HolderApproval(holder=each.holder, signature=each.signature) for each in approvals)


async def _enrol(asker: Asker, args: argparse.Namespace) -> None:
    public_key = _key(args.key, make=True).public_key().public_bytes_raw()
    sys.stderr.write(f"public key of {args.person}: {public_key.hex()}\n")
    consents = _consents([_approval(path) for path in args.approval])
    await asker.ask(AUTHORITY, EnrolHolder(holder=args.person, public_key=public_key, approvals=consents), Done)
    sys.stdout.write(f"{args.person} is a key holder\n")


async def _admit(_: Asker, args: argparse.Namespace) -> None:
    try:
        public_key = bytes.fromhex(args.public_key)
    except ValueError:
        raise BadFile("the public key: not hexadecimal") from None
    signature = _key(args.key).sign(enrolment_statement(args.name, public_key))
    _write(Approval(act="enrol", name=args.name, public_key=public_key, holder=args.person, signature=signature))


async def _approve(asker: Asker, args: argparse.Namespace) -> None:
    known = (await asker.ask(AUTHORITY, AskAuthorities(ca=args.ca), Authorities)).certificates
    generation, since_ms = len(known) + 1, int(args.since.timestamp() * 1000)
    statement = generation_statement(args.ca, generation, since_ms)
    sys.stderr.write(statement.decode())
    approval = Approval(
        act="generation",
        ca=args.ca,
        generation=generation,
        active_from_ms=since_ms,
        holder=args.person,
        signature=_key(args.key).sign(statement),
    )
    _write(approval)


def _write(approval: Approval) -> None:
    sys.stdout.write(msgspec.json.encode(approval).decode() + "\n")


async def _make(asker: Asker, args: argparse.Namespace) -> None:
    approvals = [_approval(path) for path in args.approval]
    acts = {(each.act, each.ca, each.generation, each.active_from_ms) for each in approvals}
    if len(acts) != 1 or approvals[0].act != "generation" or approvals[0].ca not in ("signature", AUTHENTICATION):
        raise BadFile("the approvals are not for one and the same new generation")
    first = approvals[0]
    request = MakeGeneration(
        ca="signature" if first.ca == "signature" else "authentication",
        generation=first.generation,
        active_from_ms=first.active_from_ms,
        approvals=_consents(approvals),
    )
    made = await asker.ask(AUTHORITY, request, GenerationMade, attempt_ms=PART_MS)
    for suffix, content in ((".txt", made.minutes), (".sig", made.signature), (".der", made.der)):
        args.minutes.with_name(args.minutes.name + suffix).write_bytes(content)
    sys.stdout.write(f"generation {made.generation} of the {first.ca} authority is made\n")


_VERBS: Final[dict[str, Any]] = {"enrol": _enrol, "admit": _admit, "approve": _approve, "make": _make}
