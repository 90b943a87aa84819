"""Identifiers: one type each, parsed once at the boundary, valid ever after.

All are text, because that is what people read, type and search for; on the chip a ULID is its 16 bytes. A ``parse_``
function takes untrusted text and raises ``Malformed`` without repeating it (an individual number is personal data).
"""

import re
from typing import NewType

from warifu.kernel import check_digits
from warifu.kernel.errors import Malformed

ResidentId = NewType("ResidentId", str)
"""A ULID, ours: ties one resident's records together and says nothing about the person."""
OperationId = NewType("OperationId", str)
"""A ULID minted where an operation starts; also the write id on the chip."""
CardId = NewType("CardId", str)
"""製造番号: 15 characters of ``[0-9A-Z]``; ours begin with ``WRF``."""
ApplicationId = NewType("ApplicationId", str)
"""申請書ID: 23 digits. The real structure is unpublished; ours is 21 random digits and two check digits (mod 97)."""
ResidentCode = NewType("ResidentCode", str)
"""住民票コード: 11 digits, the last one a check digit."""
IndividualNumber = NewType("IndividualNumber", str)
"""個人番号: 12 digits, the last one a check digit."""
MunicipalityCode = NewType("MunicipalityCode", str)
"""団体コード: 6 digits (prefecture 2, municipality 3, check 1); the chip stores the first five."""

ULID_BYTES = 16
ULID_RANDOM_BYTES = 10
ULID_MAX_MS = (1 << 48) - 1
CARD_PREFIX = "WRF"
CARD_NUMBERS = 1 << 60
"""How many card numbers there are: twelve characters of base 32."""

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_VALUE = {character: value for value, character in enumerate(_CROCKFORD)}
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.ASCII)
_CARD = re.compile(r"[0-9A-Z]{15}", re.ASCII)


def new_ulid(now_ms: int, random10: bytes) -> str:
    """A ULID: 48 bits of milliseconds since 1970 and 80 random bits, so that later ones sort after earlier ones.

    Args:
        now_ms: milliseconds since 1970-01-01 UTC, 0 to 2**48 - 1.
        random10: ten unpredictable bytes.

    Raises:
        Malformed: either is out of range.
    """
    if not 0 <= now_ms <= ULID_MAX_MS or len(random10) != ULID_RANDOM_BYTES:
        raise Malformed("a ULID is made of 48 bits of time and 10 random bytes")
    return ulid_text(now_ms.to_bytes(6, "big") + random10)


def ulid_text(raw: bytes) -> str:
    """The 26 Crockford characters of 16 bytes.

    Raises:
        Malformed: not 16 bytes.
    """
    if len(raw) != ULID_BYTES:
        raise Malformed("a ULID is 16 bytes")
    return _base32(int.from_bytes(raw, "big"), 26)


def ulid_bytes(text: str) -> bytes:
    """The 16 bytes of a ULID, as they are stored on the chip.

    Raises:
        Malformed: not a ULID.
    """
    return _number(_ulid(text)).to_bytes(ULID_BYTES, "big")


def ulid_ms(text: str) -> int:
    """The moment a ULID was minted, in milliseconds since 1970-01-01 UTC.

    Raises:
        Malformed: not a ULID.
    """
    return _number(_ulid(text)) >> 80


def parse_resident_id(text: str) -> ResidentId:
    """A ULID as ``ResidentId``, or ``Malformed``."""
    return ResidentId(_ulid(text))


def parse_operation_id(text: str) -> OperationId:
    """A ULID as ``OperationId``, or ``Malformed``."""
    return OperationId(_ulid(text))


def card_id(number: int) -> CardId:
    """The card id of a running or random number, 0 to 2**60 - 1: ``WRF`` and twelve Crockford characters.

    Raises:
        Malformed: out of range.
    """
    if not 0 <= number < CARD_NUMBERS:
        raise Malformed("a card number has 60 bits")
    return CardId(CARD_PREFIX + _base32(number, 12))


def parse_card_id(text: str) -> CardId:
    """15 characters of ``[0-9A-Z]`` (ours or another maker's) as ``CardId``, or ``Malformed``."""
    if not _CARD.fullmatch(text):
        raise Malformed("a card id is 15 characters of 0-9 and A-Z")
    return CardId(text)


def application_id(random: bytes) -> ApplicationId:
    """A fresh application id from at least 16 random bytes: no digit of it follows from the person.

    Raises:
        Malformed: too few bytes to be unguessable.
    """
    return ApplicationId(check_digits.application_id_from(random))


def parse_application_id(text: str) -> ApplicationId:
    """23 digits whose check digits agree, or ``Malformed``."""
    check_digits.require_application_id(text)
    return ApplicationId(text)


def parse_resident_code(text: str) -> ResidentCode:
    """11 digits whose check digit agrees, or ``Malformed``."""
    check_digits.require_resident_code(text)
    return ResidentCode(text)


def parse_individual_number(text: str) -> IndividualNumber:
    """12 digits whose check digit agrees, or ``Malformed``."""
    check_digits.require_individual_number(text)
    return IndividualNumber(text)


def parse_municipality_code(text: str) -> MunicipalityCode:
    """6 digits whose check digit agrees, or ``Malformed``. Says nothing about whether the municipality exists."""
    check_digits.require_municipality_code(text)
    return MunicipalityCode(text)


def _ulid(text: str) -> str:
    if not _ULID.fullmatch(text):
        raise Malformed("a ULID is 26 Crockford base 32 characters, the first at most 7")
    return text


def _base32(number: int, length: int) -> str:
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(5 * (length - 1), -1, -5))


def _number(text: str) -> int:
    number = 0
    for character in text:
        number = number << 5 | _VALUE[character]
    return number
