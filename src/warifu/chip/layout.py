"""Which applets, files, PINs and keys a new card has.

Numbers as public clients use them; what is our own, because no public source names it, is marked so.
"""

from typing import Final, Literal

from warifu.chip.image import Access, Applet, Ef, Interface, Key, Pin

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
TERMINAL_CA_KEY: Final = 0x0016
"""The key that terminals' certificates are checked against."""
AUTHENTICATION_KEY: Final = 0x0017
AUTHENTICATION_PIN: Final = 0x0018
SIGNATURE_KEY: Final = 0x001A
SIGNATURE_PIN: Final = 0x001B

TEXT_PIN: Final = 0x0011
TEXT_BLOCKED: Final = 0x0012
TEXT_DEFAULT_KEY: Final = 0x0013
"""Signs challenges without a PIN, by P2 00; its public half is in EF 0007."""
TEXT_SESSION_KEY: Final = 0x0010
"""Receives session keys; its public half is in EF 0006. Inferred: no source names the file it is in."""
TEXT_SESSION_PUBLIC_KEY: Final = 0x0006
TEXT_SIGNED_PUBLIC_KEY: Final = 0x0007
TEXT_NUMBER_A: Final = 0x0014
TEXT_NUMBER_B: Final = 0x0015

FACE_BIRTH: Final = 0x0011
FACE_NUMBER_B: Final = 0x0012
FACE_NUMBER_A: Final = 0x0013
FACE_DEFAULT_KEY: Final = 0x001A
"""Signs challenges without a PIN, by P2 00. Inferred: that it is there is known, its number is not."""

COMMON_RECORD: Final = 0x0001
KEY_REFERENCE: Final = 0x0002
"""Of the common and the juki applet: the same key id; which key it names is not public."""
COMMON_CARD_CERTIFICATE: Final = 0x0005
"""Our own: the card key's certificate."""
COMMON_INTERNAL_KEY: Final = 0x0019
"""INTERNAL AUTHENTICATE with RSA, as on real cards."""
COMMON_CARD_KEY: Final = 0x001D
"""Our own: INTERNAL AUTHENTICATE with the certified P-256 card key, which is no file."""
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
CONTACT_ATRS: Final = (
    CONTACT_ATR,
    bytes.fromhex("3BDA13FF8131FB468012392F31C173C601C03B"),
    bytes.fromhex("3BC5FF8131FB458073C6010000"),
    bytes.fromhex("3BF59100FF918171FE400042000100D1D6"),
    bytes.fromhex("3BF59100FF918171FE4000420001B3A115"),
)
"""Contact answers to reset seen on cards: the one OpenSC knows by heart, and newer cards'."""

NUMBER_TRIES: Final = 10
"""Tries of the verification numbers. Inferred: public sources say 3 or 10, none is official."""
CARD_ID_LENGTH: Final = 15
LOADED_MAX: Final = 4
"""Applets that the free area takes."""
_CA_FILE_SIZE: Final = 1900
"""What a dump of a real card's EF 0002 has; the certificate is shorter, zeros follow."""
_FILLER: Final = b"\xff" * 16

_FREE: Final = Access(free=True)
_NOBODY: Final = Access()


def domain_of(aid: bytes) -> bytes:
    """The security domain whose owner writes this applet: JPKI its own, card management all others."""
    return JPKI if aid == JPKI else ISD


BUILT_IN: Final = frozenset((ISD, JPKI, FACE, TEXT, JUKI, COMMON))
"""Applets every card has; the others are loaded and can be deleted."""


def answer_to_reset(interface: Interface, contact_atr: bytes) -> bytes:
    """What a reader reports: the card's own over the contacts, else one the reader makes up from the radio protocol."""
    return contact_atr if interface == "contact" else CONTACTLESS_ATR


def factory_applets() -> tuple[Applet, ...]:
    """The applets of a new card: every file empty, every PIN not set, every key slot empty."""
    return (_isd(), _jpki(), _text(), _face(), _juki(), _common())


def _after(*refs: int) -> Access:
    return Access(refs=refs)


def _isd() -> Applet:
    return Applet(ISD, ISD, efs=tuple(Ef(tag, _FREE) for tag in DATA_OBJECTS))


def _reserved(*fids: int) -> tuple[Key, ...]:
    """Internal EFs that public sources list and cannot explain: they can be selected."""
    return tuple(Key(fid, use="reserved") for fid in fids)


def _jpki() -> Applet:
    efs = (
        Ef(SIGNATURE_CERTIFICATE, _after(SIGNATURE_PIN)),
        Ef(SIGNATURE_CA_CERTIFICATE, _FREE, size=_CA_FILE_SIZE),
        Ef(0x0005, _NOBODY, _FILLER),
        Ef(TOKEN_INFO, _FREE),
        Ef(CERTIFICATE_AVAILABILITY, _FREE),
        Ef(0x0009, _NOBODY, _FILLER),
        Ef(AUTHENTICATION_CERTIFICATE, _FREE),
        Ef(AUTHENTICATION_CA_CERTIFICATE, _FREE),
    )
    pins = (
        Pin(AUTHENTICATION_PIN, "four_digits", 3, "reference_data"),
        Pin(SIGNATURE_PIN, "signature_password", 5, "reference_data"),
    )
    keys = (
        Key(AUTHENTICATION_KEY, AUTHENTICATION_PIN),
        Key(SIGNATURE_KEY, SIGNATURE_PIN),
        Key(TERMINAL_CA_KEY, use="terminal_ca"),
        *_reserved(0x0010, 0x0019, 0x001C, 0x001E),
    )
    return Applet(JPKI, JPKI, efs=efs, pins=pins, keys=keys)


def _text() -> Applet:
    efs = (
        Ef(0x0001, _after(TEXT_PIN, TEXT_NUMBER_A)),
        Ef(0x0002, _after(TEXT_PIN, TEXT_NUMBER_B)),
        Ef(0x0003, _after(TEXT_PIN, TEXT_NUMBER_A, TEXT_NUMBER_B)),
        Ef(0x0004, _FREE),
        Ef(0x0005, _FREE),
        Ef(TEXT_SESSION_PUBLIC_KEY, _after(TEXT_PIN, TEXT_NUMBER_A)),
        Ef(TEXT_SIGNED_PUBLIC_KEY, _after(TEXT_PIN, TEXT_NUMBER_A)),
        Ef(0x0008, _after(TEXT_PIN, TEXT_NUMBER_A, TEXT_NUMBER_B), _FILLER),
    )
    pins = (
        Pin(TEXT_PIN, "four_digits", 3, "reference_data"),
        Pin(TEXT_BLOCKED, "four_digits", 3),
        Pin(TEXT_NUMBER_A, "number_a", NUMBER_TRIES),
        Pin(TEXT_NUMBER_B, "number_b", NUMBER_TRIES),
    )
    keys = (
        Key(TEXT_DEFAULT_KEY, use="default"),
        Key(TEXT_SESSION_KEY, TEXT_PIN, use="session"),
        *_reserved(0x001C, 0x001E),
    )
    return Applet(TEXT, ISD, efs=efs, pins=pins, keys=keys)


def _face() -> Applet:
    efs = (
        Ef(0x0001, _after(FACE_BIRTH)),
        Ef(0x0002, _after(FACE_NUMBER_A, FACE_NUMBER_B)),
        Ef(0x0003, _FREE),
        Ef(0x0004, _FREE),
        Ef(0x0005, _after(FACE_NUMBER_A)),
        Ef(0x0006, _after(FACE_NUMBER_A, FACE_NUMBER_B), _FILLER),
    )
    pins = (
        Pin(FACE_BIRTH, "birth_digits", NUMBER_TRIES),
        Pin(FACE_NUMBER_B, "number_b", NUMBER_TRIES),
        Pin(FACE_NUMBER_A, "number_a", NUMBER_TRIES),
    )
    keys = (Key(FACE_DEFAULT_KEY, use="default"), *_reserved(0x001C, 0x001E))
    return Applet(FACE, ISD, efs=efs, pins=pins, keys=keys)


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
    keys = (Key(COMMON_INTERNAL_KEY, use="internal"), *_reserved(COMMON_CARD_KEY, 0x001E))
    return Applet(COMMON, ISD, efs=efs, pins=pins, keys=keys)
