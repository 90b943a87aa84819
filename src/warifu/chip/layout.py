"""Which applets, files, PINs and keys a new card has.

Numbers as public clients use them; what is our own, because no public source names it, is marked so.
"""

from typing import Final, Literal

from warifu.chip.image import Access, Applet, Ef, Key, Pin

ISD: Final = bytes.fromhex("A0000001510000")
JPKI: Final = bytes.fromhex("D392F000260100000001")
FACE: Final = bytes.fromhex("D3921000310001010402")
TEXT: Final = bytes.fromhex("D3921000310001010408")
JUKI: Final = bytes.fromhex("D3921000310001010401")
COMMON: Final = bytes.fromhex("D3921000310001010100")

SIGNATURE_CERTIFICATE: Final = 0x0001
SIGNATURE_CA_CERTIFICATE: Final = 0x0002
TOKEN_INFO: Final = 0x0006
CERTIFICATE_AVAILABILITY: Final = 0x0008
AUTHENTICATION_CERTIFICATE: Final = 0x000A
AUTHENTICATION_CA_CERTIFICATE: Final = 0x000B
AUTHENTICATION_KEY: Final = 0x0017
AUTHENTICATION_PIN: Final = 0x0018
SIGNATURE_KEY: Final = 0x001A
SIGNATURE_PIN: Final = 0x001B

TEXT_PIN: Final = 0x0011
TEXT_BLOCKED: Final = 0x0012
TEXT_NUMBER_A: Final = 0x0014
TEXT_NUMBER_B: Final = 0x0015

FACE_BIRTH: Final = 0x0011
FACE_NUMBER_B: Final = 0x0012
FACE_NUMBER_A: Final = 0x0013

COMMON_RECORD: Final = 0x0001
COMMON_CARD_CERTIFICATE: Final = 0x0005
"""Our own: the card key's certificate."""
COMMON_CARD_KEY: Final = 0x0019
"""INTERNAL AUTHENTICATE only. Real cards keep an RSA key here; ours is the P-256 card key, outside the slot."""
COMMON_PIN: Final = 0x001C
JUKI_PIN: Final = 0x001C
JUKI_RESIDENT_CODE: Final = 0x0003
"""Our own: no public source names the file of the resident record code."""
JUKI_PARTICULARS: Final = 0x0004
"""Our own: what was added to the card after it was made, one record each."""
PARTICULARS_MAX: Final = 8

Slot = Literal["authentication", "signature"]
KEY_OF_SLOT: Final[dict[Slot, int]] = {"authentication": AUTHENTICATION_KEY, "signature": SIGNATURE_KEY}
PIN_OF_SLOT: Final[dict[Slot, int]] = {"authentication": AUTHENTICATION_PIN, "signature": SIGNATURE_PIN}

PIN_REFERENCES: Final[dict[str, tuple[tuple[bytes, int], ...]]] = {
    "signature": ((JPKI, SIGNATURE_PIN),),
    "authentication": ((JPKI, AUTHENTICATION_PIN),),
    "text": ((TEXT, TEXT_PIN),),
    "juki": ((JUKI, JUKI_PIN), (COMMON, COMMON_PIN)),
}
"""The holder's four PINs, and where each is kept: the juki PIN has a reference in two applets, set one by one."""

DATA_OBJECTS: Final = (0x0042, 0x0045, 0x0066, 0x00F0, 0x00F2, 0x00F7, 0x00F8, 0x7F21)
"""GET DATA tags of the default state; kept as EFs of the issuer domain whose file id is the tag."""

CONTACT_ATR: Final = bytes.fromhex("3BE000FF8131FE4514")
CONTACTLESS_ATR: Final = bytes.fromhex("3B888001000005E0B381A1007F")

NUMBER_TRIES: Final = 10
"""Tries of the verification numbers. Inferred: public sources say 3 or 10, none is official."""
CARD_ID_LENGTH: Final = 15

_FREE: Final = Access(free=True)
_NOBODY: Final = Access()


def domain_of(aid: bytes) -> bytes:
    """The security domain whose owner writes this applet: JPKI its own, card management all others."""
    return JPKI if aid == JPKI else ISD


def factory_applets() -> tuple[Applet, ...]:
    """The applets of a new card: every file empty, every PIN not set, every key slot empty."""
    return (_isd(), _jpki(), _text(), _face(), _juki(), _common())


def _after(*refs: int) -> Access:
    return Access(refs=refs)


def _isd() -> Applet:
    return Applet(ISD, ISD, efs=tuple(Ef(tag, _FREE) for tag in DATA_OBJECTS))


def _jpki() -> Applet:
    efs = (
        Ef(SIGNATURE_CERTIFICATE, _after(SIGNATURE_PIN)),
        Ef(SIGNATURE_CA_CERTIFICATE, _FREE),
        Ef(TOKEN_INFO, _FREE),
        Ef(CERTIFICATE_AVAILABILITY, _FREE),
        Ef(0x0009, _NOBODY, b"\xff" * 16),
        Ef(AUTHENTICATION_CERTIFICATE, _FREE),
        Ef(AUTHENTICATION_CA_CERTIFICATE, _FREE),
    )
    pins = (
        Pin(AUTHENTICATION_PIN, "four_digits", 3, "reference_data"),
        Pin(SIGNATURE_PIN, "signature_password", 5, "reference_data"),
    )
    keys = (Key(AUTHENTICATION_KEY, AUTHENTICATION_PIN), Key(SIGNATURE_KEY, SIGNATURE_PIN))
    return Applet(JPKI, JPKI, efs=efs, pins=pins, keys=keys)


def _text() -> Applet:
    efs = (
        Ef(0x0001, _after(TEXT_PIN, TEXT_NUMBER_A)),
        Ef(0x0002, _after(TEXT_PIN, TEXT_NUMBER_B)),
        Ef(0x0003, _after(TEXT_PIN, TEXT_NUMBER_A, TEXT_NUMBER_B)),
        Ef(0x0004, _FREE),
        Ef(0x0005, _FREE),
        Ef(0x0006, _after(TEXT_PIN, TEXT_NUMBER_A)),
        Ef(0x0007, _after(TEXT_PIN, TEXT_NUMBER_A)),
    )
    pins = (
        Pin(TEXT_PIN, "four_digits", 3, "reference_data"),
        Pin(TEXT_BLOCKED, "four_digits", 3),
        Pin(TEXT_NUMBER_A, "number_a", NUMBER_TRIES),
        Pin(TEXT_NUMBER_B, "number_b", NUMBER_TRIES),
    )
    return Applet(TEXT, ISD, efs=efs, pins=pins)


def _face() -> Applet:
    efs = (
        Ef(0x0001, _after(FACE_BIRTH)),
        Ef(0x0002, _after(FACE_NUMBER_A, FACE_NUMBER_B)),
        Ef(0x0003, _FREE),
        Ef(0x0004, _FREE),
        Ef(0x0005, _after(FACE_NUMBER_A)),
    )
    pins = (
        Pin(FACE_BIRTH, "birth_digits", NUMBER_TRIES),
        Pin(FACE_NUMBER_B, "number_b", NUMBER_TRIES),
        Pin(FACE_NUMBER_A, "number_a", NUMBER_TRIES),
    )
    return Applet(FACE, ISD, efs=efs, pins=pins)


def _juki() -> Applet:
    efs = (
        Ef(0x0002, _FREE, records=True),
        Ef(JUKI_RESIDENT_CODE, _after(JUKI_PIN)),
        Ef(JUKI_PARTICULARS, _after(JUKI_PIN), records=True),
    )
    return Applet(JUKI, ISD, efs=efs, pins=(Pin(JUKI_PIN, "four_digits", 3, "change_key"),))


def _common() -> Applet:
    efs = (
        Ef(COMMON_RECORD, _FREE, records=True),
        Ef(0x0002, _FREE, records=True),
        Ef(COMMON_CARD_CERTIFICATE, _FREE),
    )
    pins = (Pin(COMMON_PIN, "four_digits", 3, "change_key"),)
    return Applet(COMMON, ISD, efs=efs, pins=pins, keys=(Key(COMMON_CARD_KEY, COMMON_PIN),))
