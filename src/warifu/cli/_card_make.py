"""Further words of ``warifu card``: make personas' cards, be their test CA, watch what is said, reckon set-up times."""

import argparse
import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast, get_args

import msgspec
from rich.console import Console
from rich.table import Table

from warifu.adapters.clock import SystemClock
from warifu.adapters.net.http import serve_http
from warifu.chip import layout
from warifu.contract.values import CertificateEvent, PinName
from warifu.demo import desk
from warifu.domain.setup_timing import counts, model
from warifu.kernel.ids import parse_card_id
from warifu.lend import hold
from warifu.lend.authority import KINDS, LendingAuthority
from warifu.lend.errors import BadPin
from warifu.lend.legacy import LegacySetup
from warifu.lend.maker import CardMaker, MadeCard, Manner
from warifu.lend.personas import PERSONAS, persona_named
from warifu.lend.service import edge, export
from warifu.lend.trace import read_line
from warifu.stack.home import Home, default_home
from warifu.stack.logs import JsonLog

DEFAULT_PORT: Final = 8880
_INTERFACE: Final = "whose answer to reset readers see; contact by default"
_ATRS: Final = (
    f"which of the {len(layout.CONTACT_ATRS)} known contact answers to reset; 1, the one OpenSC knows, by default"
)
_KEEP: Final = "verified PINs outlive SELECT of the same applet, as pyjpki needs it; on real cards they do not"
_WIDE: Final = 200
_EPILOG = """\
examples:
  warifu card personas
  warifu card make adult                    a card file, with its test PINs printed once
  warifu card make revoked --json           for machines
  warifu card make adult --keep-pins        for pyjpki, which selects an applet again after its PIN
  warifu card ca ./ca                       the test CA's certificates and lists
  warifu card serve                         OCSP and lists over HTTP, until Ctrl-C
  warifu card revoke ID --event move        revoke what this event revokes
  warifu card trace ID --save trace.jsonl   into the reader; shows what is said, until Ctrl-C
  warifu card read-trace trace.jsonl        what was saved, in words
  warifu card setup-times                   the set-up of 2016 and ours, run and reckoned
"""


def add_to(what: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Declare the words below ``warifu card``."""
    _word(what, "personas", "kinds of cards that can be made", _personas)
    make = _word(what, "make", "make a persona's card, without a running stack", _make)
    make.add_argument("persona", metavar="PERSONA", help=", ".join(PERSONAS))
    make.add_argument("--seed", type=int, default=1, help="another seed, another synthetic holder; 1 by default")
    make.add_argument("--pin", action="append", default=[], metavar="NAME=VALUE", help="signature=ABC999, text=1111, …")
    make.add_argument("--interface", choices=("contact", "contactless"), default="contact", help=_INTERFACE)
    last = len(layout.CONTACT_ATRS)
    make.add_argument("--contact-atr", type=int, choices=range(1, last + 1), default=1, metavar="N", help=_ATRS)
    make.add_argument("--keep-pins", action="store_true", help=_KEEP)
    make.add_argument("--json", action="store_true", help="print one JSON object")
    ca = _word(what, "ca", "write the test CA's certificates, lists and card management's public key", _ca)
    ca.add_argument("folder", type=Path, metavar="DIR", help="made when missing; files are replaced")
    serve = _word(what, "serve", "answer OCSP and hand out lists over HTTP", _serve)
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=DEFAULT_PORT, help=f"{DEFAULT_PORT} by default; 0: a free one")
    revoke = _word(what, "revoke", "revoke certificates of a card made here", _revoke)
    revoke.add_argument("card_id", metavar="ID")
    events = get_args(CertificateEvent)
    revoke.add_argument("--event", choices=events, default="request", metavar="EVENT", help=", ".join(events))
    trace = _word(what, "trace", "put a card into the reader and show what is said, in words", _trace)
    trace.add_argument("card_id", metavar="ID")
    trace.add_argument("--save", type=Path, metavar="FILE", help="append it as JSON lines")
    read = _word(what, "read-trace", "a saved trace, in words", _read_trace)
    read.add_argument("file", type=Path, metavar="FILE")
    _word(what, "setup-times", "the set-up as it was in 2016 beside ours: counts, and what a clerk gains", _setup_times)


def _word(what: Any, name: str, summary: str, run: Callable[[argparse.Namespace, Home], int]) -> Any:  # noqa: ANN401
    parser = what.add_parser(
        name, help=summary, description=summary, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path, metavar="DIR", help="instead of WARIFU_HOME")
    parser.set_defaults(word=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Run the chosen word."""
    home = default_home() if args.home is None else Home(args.home.absolute())
    status: int = args.word(args, home)
    return status


def _lending(home: Home) -> tuple[LendingAuthority, int]:
    home.prepare()
    now_ms = SystemClock().now_ms()
    return LendingAuthority(home.root / "lend", now_ms), now_ms


# ---- making ------------------------------------------------------------------------------------------------------


def _personas(_args: argparse.Namespace, _home: Home) -> int:
    for persona in PERSONAS.values():
        sys.stdout.write(f"{persona.name:17} {persona.summary}\n")
    return 0


def _make(args: argparse.Namespace, home: Home) -> int:
    persona, pins = persona_named(args.persona), dict(_pin(text) for text in args.pin)
    manner = Manner(
        interface=args.interface,
        contact_atr=layout.CONTACT_ATRS[args.contact_atr - 1],
        clear_on_reselect=not args.keep_pins,
    )
    with Console(stderr=True).status("making the card"):
        authority, now_ms = _lending(home)
        made = asyncio.run(
            CardMaker(authority, home.cards, now_ms).make(persona, seed=args.seed, pins=pins, manner=manner)
        )
    if args.json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(made), indent=1).decode() + "\n")
    else:
        _tell(made)
    return 0


def _pin(text: str) -> tuple[PinName, str]:
    name, sign, value = text.partition("=")
    if not sign or name not in get_args(PinName):
        raise BadPin(f"--pin NAME=VALUE, NAME one of {', '.join(get_args(PinName))}")
    return cast("PinName", name), value.upper()


def _tell(made: MadeCard) -> None:
    rows = [
        ("card", made.card_id),
        ("persona", made.persona),
        ("holder", f"{made.name}, born {made.birth_date} (synthetic)"),
        ("valid until", str(made.expires_on)),
        *((f"{name} PIN", value) for name, value in made.pins.items()),
        ("number A", f"{made.individual_number} (individual number)"),
        ("number B", made.verification_number_b),
        ("birth key", made.birth_key),
        *((f"{each.ca} serial", f"{each.serial:X}, {each.reason or 'valid'}") for each in made.certificates),
    ]
    for name, value in rows:
        sys.stdout.write(f"{name:22} {value}\n")
    sys.stdout.write(
        f"\nA test card: these PINs are told once and protect nothing. warifu card insert {made.card_id}\n"
    )


# ---- the test CA -------------------------------------------------------------------------------------------------


def _ca(args: argparse.Namespace, home: Home) -> int:
    authority, now_ms = _lending(home)
    for path in export(authority, args.folder, now_ms):
        sys.stdout.write(f"{path}\n")
    return 0


def _revoke(args: argparse.Namespace, home: Home) -> int:
    authority, now_ms = _lending(home)
    for each in authority.revoke(parse_card_id(args.card_id), args.event, now_ms):
        sys.stdout.write(f"{each.ca} {each.serial:X} {each.reason}\n")
    return 0


def _serve(args: argparse.Namespace, home: Home) -> int:
    authority, _ = _lending(home)

    async def main() -> None:
        server = await serve_http(
            edge(authority, SystemClock().now_ms), args.host, args.port, log=JsonLog("card serve")
        )
        base = f"http://{args.host}:{server.port}"
        words = [
            f"{base}/ocsp",
            *(f"{base}/{path}" for kind in KINDS for path in (f"crl/{kind}.crl", f"ca/{kind}.cer")),
        ]
        sys.stdout.write("\n".join([*words, "Ctrl-C ends it", ""]))
        sys.stdout.flush()
        try:
            await hold.until_signal(lambda: asyncio.ensure_future(_for_ever()))
        finally:
            await server.stop()

    asyncio.run(main())
    return 0


async def _for_ever() -> None:
    await asyncio.Event().wait()


# ---- watching ----------------------------------------------------------------------------------------------------


def _trace(args: argparse.Namespace, home: Home) -> int:
    with hold.saved(args.save, hold.show) as sink:
        desk.hold_here(home, args.card_id, sink)
    return 0


def _read_trace(args: argparse.Namespace, _home: Home) -> int:
    with args.file.open("rb") as lines:
        for line in lines:
            hold.show(read_line(line))
    return 0


# ---- the set-up, two ways ----------------------------------------------------------------------------------------


def _setup_times(_args: argparse.Namespace, home: Home) -> int:
    authority, now_ms = _lending(home)

    async def counted() -> model.Work:
        maker = CardMaker(authority, home.cards, now_ms)
        return await LegacySetup(await maker.make_unset(persona_named("adult"))).run()

    show_times(Console(width=None if sys.stdout.isatty() else _WIDE), asyncio.run(counted()), counts.OURS)
    return 0


def show_times(console: Console, legacy: model.Work, ours: model.Work) -> None:
    """Print counts, parameters and what a clerk gains."""
    console.print(
        f"2016, run just now against a chip: {legacy.exchanges} exchanges, {legacy.chip_commands} chip commands"
    )
    console.print(f"ours, counted through every node: {ours.exchanges} exchanges, {ours.chip_commands} chip commands")
    table = Table("city", "chip ms/command", "2016: waits", "CS", "chip", "card step", "ours", "whole", "ours", "gain")
    for row in model.gains(ours):
        before, after = row.before, row.after
        seconds = (before.waiting_s, before.work_s, before.chip_s, before.total_s, after.total_s)
        whole = (row.whole_before_s, row.whole_after_s, row.gained_s)
        table.add_row(
            row.city, f"{row.parameters.chip_command_s * 1000:.0f}", *(f"{one:.2f}" for one in (*seconds, *whole))
        )
    console.print(table)
    parameters = model.gains(ours)[-1].parameters
    console.print(
        f"seconds; {parameters.arrivals_per_hour:g} set-ups an hour reach one CS (inferred), which works "
        f"{parameters.work_per_exchange_s:.3f} s for each exchange (360 set-ups an hour, 29 exchanges each); "
        "the chip's speed is what is left of the measured card step",
        soft_wrap=True,
    )
