"""Staged commands that bring keys into slots: put from outside, or made on the chip."""

from collections.abc import Callable

import msgspec

from warifu.chip import apdu, tlv
from warifu.chip.apdu import Command, StatusError
from warifu.chip.changing import VALUE_TAG, fields, file_id, own_applet
from warifu.chip.image import Change, Image, Key
from warifu.chip.keys import (
    KEY_ID_LENGTH,
    check_private_key,
    modulus_of,
    parse_public_objects,
)
from warifu.chip.layout import JPKI, KEY_OF_SLOT

PUBLIC_KEY_TAG = 0x7F49
"""ISO/IEC 7816-8: a public key; inside, 81 modulus and 82 exponent."""


def put_key_pair(command: Command, domain: bytes) -> Change:
    """PUT KEY PAIR: P2 the JPKI slot, data PKCS#8."""
    if command.p1 or command.p2 not in KEY_OF_SLOT.values():
        raise StatusError(apdu.WRONG_P1P2)
    check_private_key(command.data)
    return _into_slot(JPKI, command.p2, domain, lambda slot: _private(slot, command.data))


def put_key(command: Command, domain: bytes) -> Change:
    """PUT KEY: 4F applet, 51 slot, 53 PKCS#8; for the terminal-CA slot, 53 its key id (16) and 90/91 objects."""
    if command.p1 or command.p2:
        raise StatusError(apdu.WRONG_P1P2)
    aid, found = fields(command)
    value = found.get(VALUE_TAG, b"")
    return _into_slot(aid, file_id(found), domain, lambda slot: _filled(slot, value))


def generated_key_pair(command: Command, domain: bytes, make: Callable[[], bytes]) -> tuple[Change, bytes]:
    """GENERATE KEY PAIR: P2 the JPKI slot. The change, and the public half to be answered."""
    if command.p1 or command.p2 not in KEY_OF_SLOT.values():
        raise StatusError(apdu.WRONG_P1P2)
    if command.data:
        raise StatusError(apdu.WRONG_LENGTH)
    pkcs8 = make()
    public = tlv.encode(0x81, modulus_of(pkcs8)) + tlv.encode(0x82, b"\x01\x00\x01")
    change = _into_slot(JPKI, command.p2, domain, lambda slot: _private(slot, pkcs8))
    return change, tlv.encode(PUBLIC_KEY_TAG, public)


def _into_slot(aid: bytes, fid: int, domain: bytes, fill: Callable[[Key], Key]) -> Change:
    def change(image: Image) -> Image:
        applet = own_applet(image, aid, domain)
        slot = applet.key(fid)
        if slot is None or slot.use == "reserved":
            raise StatusError(apdu.NO_REFERENCE)
        return image.with_applet(applet.with_key(fill(slot)))

    return change


def _filled(slot: Key, value: bytes) -> Key:
    if slot.use != "terminal_ca":
        check_private_key(value)
        return _private(slot, value)
    if len(value) <= KEY_ID_LENGTH:
        raise StatusError(apdu.WRONG_DATA)
    parse_public_objects(value[KEY_ID_LENGTH:])
    return msgspec.structs.replace(slot, public_key=value)


def _private(slot: Key, pkcs8: bytes) -> Key:
    return msgspec.structs.replace(slot, private_key=pkcs8)
