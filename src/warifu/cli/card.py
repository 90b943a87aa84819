"""``warifu card``: the virtual cards of this WARIFU_HOME, and one of them in the PC/SC reader."""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from rich.console import Console
from rich.table import Table

from warifu.adapters.reader.files import list_cards, read_image
from warifu.chip import layout
from warifu.chip.image import Image
from warifu.cli import _card_make, _card_readers
from warifu.demo import desk
from warifu.domain.cards.chip_names import PIN_PLACES
from warifu.kernel.errors import NotFound
from warifu.ports.reader import CardGone
from warifu.stack.home import Home, default_home

CERTIFICATES: Final = {
    "authentication": layout.AUTHENTICATION_CERTIFICATE,
    "signature": layout.SIGNATURE_CERTIFICATE,
}
SLOTS: Final = (1, 2)
"""Of vpcd's reader."""
WIDE: Final = 200
"""Columns where there is no screen: nothing is cut."""
_EPILOG = """\
examples:
  warifu card list
  warifu card show WRF000000000001     life state, tries left, certificates
  warifu card insert WRF000000000001   into the reader, until `warifu card eject`; then e.g. `pkcs15-tool --list-keys`
  warifu card insert ID --slot 2       another one, at the same time
  warifu card readers                  what lies in this machine's PC/SC readers, real or virtual
  warifu card eject
  warifu card make adult               a test card without a running stack; `warifu card personas` lists the kinds
"""


class NoSuchCard(NotFound):
    """There is no such card in this WARIFU_HOME."""

    code = "card.unknown"


def add_parser(subparsers: Any) -> None:  # noqa: ANN401 - argparse keeps the type private
    """Add the command."""
    summary = "virtual cards: look at them, put one into the PC/SC reader"
    parser = subparsers.add_parser("card", help=summary, description=summary, epilog=_EPILOG)
    what = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, words in (
        ("list", "the cards there are"),
        ("show", "what a card is like, without its secrets"),
        ("insert", "put a card into the reader (vpcd); starts pcscd when none runs"),
        ("readers", "what lies in the PC/SC readers, real or virtual; spends no try"),
        ("eject", "take it out again"),
    ):
        one = what.add_parser(name, help=words, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter)
        if name in {"show", "insert"}:
            one.add_argument("card_id", metavar="ID", help="15 characters, as in `warifu card list`")
        if name in {"insert", "eject"}:
            one.add_argument("--slot", type=int, choices=SLOTS, default=1, help="of the reader; the first if not given")
        if name == "insert":
            one.add_argument("--trace", type=Path, metavar="FILE", help="append what is said as JSON lines, in words")
    _card_make.add_to(what)


def run(args: argparse.Namespace) -> int:
    """Run ``card list``, ``show``, ``insert``, ``readers``, ``eject``, or one of ``_card_make``'s words."""
    if "word" in args:
        return _card_make.run(args)
    home = default_home()
    if args.what == "list":
        _list(home)
    elif args.what == "show":
        _show(args.card_id, _image(home, args.card_id))
    elif args.what == "insert":
        _image(home, args.card_id)
        with Console(stderr=True).status("inserting"):
            desk.insert(home, args.card_id, None if args.trace is None else args.trace.absolute(), args.slot)
        sys.stdout.write(f"{args.card_id} is in the reader; `warifu card eject` takes it out\n")
    elif args.what == "readers":
        sys.stdout.writelines(f"{line}\n" for line in _card_readers.look())
    else:
        sys.stdout.write(f"{desk.eject(home, args.slot)} is out of the reader\n")
    return 0


def _image(home: Home, card_id: str) -> Image:
    try:
        return read_image(home.cards, card_id)
    except CardGone:
        raise NoSuchCard(f"there is no card {card_id} in {home.cards}: `warifu card list` shows them") from None


def _list(home: Home) -> None:
    slots = {now.card_id: slot for slot in SLOTS if (now := desk.inserted(home, slot)) is not None}
    for card_id in list_cards(home.cards):
        slot = slots.get(card_id, 0)
        place = "" if not slot else "  in the reader" if slot == 1 else f"  in the reader's slot {slot}"
        sys.stdout.write(f"{card_id}  {read_image(home.cards, card_id).life}{place}\n")


def _show(card_id: str, image: Image) -> None:
    console = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else WIDE)
    last = image.last_write
    console.print(f"card         {card_id}")
    console.print(f"life state   {image.life}")
    console.print(f"last write   {last.step if last is not None and last.committed else 'none'}")
    pins = Table("PIN", "tries left", "of", box=None, pad_edge=False)
    for name, places in PIN_PLACES.items():
        aid, reference = places[0]
        applet = image.applet(aid)
        pin = applet.pin(reference) if applet is not None else None
        if pin is not None:
            pins.add_row(name, str(pin.tries_left) if pin.value else "not set", str(pin.tries_max))
    console.print(pins)
    certificates = Table("certificate", "serial", "valid from", "until", "subject", box=None, pad_edge=False)
    for kind, (serial, begin, end, subject) in _certificates(image).items():
        certificates.add_row(kind, serial, begin, end, subject)
    console.print(certificates)


def _certificates(image: Image) -> dict[str, tuple[str, str, str, str]]:
    """By kind: serial number, first and last day (UTC), subject; not the alternative names, which are personal."""
    found = {}
    applet = image.applet(layout.JPKI)
    for kind, fid in CERTIFICATES.items():
        file = applet.ef(fid) if applet is not None else None
        if file is None or not file.content:
            continue
        leaf = x509.load_der_x509_certificate(file.content)
        begin, end = leaf.not_valid_before_utc.date(), leaf.not_valid_after_utc.date()
        found[kind] = (str(leaf.serial_number), str(begin), str(end), leaf.subject.rfc4514_string())
    return found
