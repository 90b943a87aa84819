"""Distinguished Encoding Rules (ITU-T X.690): a writer for byte-exact profiles and a strict reader.

Our own code, because byte-exact profiles are what the project exists for: string types, extension order and lengths
must be ours to choose. Every writer function returns a complete element. The reader refuses anything that is not the
one DER form: indefinite or padded lengths, trailing bytes, multi-byte tags.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from msgspec import Struct

from warifu.domain.pki.errors import BadContent, NotDer

BOOLEAN: Final = 0x01
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03
OCTET_STRING: Final = 0x04
NULL: Final = 0x05
OBJECT_IDENTIFIER: Final = 0x06
ENUMERATED: Final = 0x0A
UTF8_STRING: Final = 0x0C
PRINTABLE_STRING: Final = 0x13
IA5_STRING: Final = 0x16
UTC_TIME: Final = 0x17
GENERALIZED_TIME: Final = 0x18
SEQUENCE: Final = 0x30
SET: Final = 0x31

_SHORT_LENGTH = 0x80
_MAX_LENGTH_BYTES = 4
_TAG_NUMBER = 0x1F
_GENERALIZED_FROM_YEAR = 2050
_MAX_ARC_OF_JOINT_ROOTS = 39
_PRINTABLE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 '()+,-./:=?")


def header(tag: int, length: int) -> bytes:
    """Tag and length octets of an element with ``length`` content octets."""
    if length < _SHORT_LENGTH:
        return bytes((tag, length))
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, _SHORT_LENGTH | len(octets))) + octets


def tlv(tag: int, *parts: bytes) -> bytes:
    """An element whose content is the parts, joined."""
    content = b"".join(parts)
    return header(tag, len(content)) + content


def sequence(*parts: bytes) -> bytes:
    """SEQUENCE of the given elements, in this order."""
    return tlv(SEQUENCE, *parts)


def set_of(*parts: bytes) -> bytes:
    """SET OF the given elements, in DER's ascending order of encodings (X.690 11.6)."""
    return tlv(SET, *sorted(parts))


def explicit(number: int, *parts: bytes) -> bytes:
    """``[number] EXPLICIT``: a constructed context tag around whole elements."""
    return tlv(0xA0 | number, *parts)


def implicit(number: int, content: bytes) -> bytes:
    """``[number] IMPLICIT`` of a primitive type: a context tag around content octets."""
    return tlv(0x80 | number, content)


def true() -> bytes:
    """BOOLEAN true, which DER writes FF; false is always a default here, and left out."""
    return b"\x01\x01\xff"


def integer(value: int) -> bytes:
    """INTEGER in the fewest two's-complement octets."""
    return tlv(INTEGER, value.to_bytes((value + (value < 0)).bit_length() // 8 + 1, "big", signed=True))


def enumerated(value: int) -> bytes:
    """ENUMERATED, for values 0 to 127 (all that X.509 and OCSP have)."""
    return bytes((ENUMERATED, 1, value))


def null() -> bytes:
    """NULL."""
    return b"\x05\x00"


@lru_cache(maxsize=256)
def oid(dotted: str) -> bytes:
    """OBJECT IDENTIFIER from its dotted form.

    Raises:
        BadContent: not a dotted identifier with at least two arcs below roots 0, 1 or 2.
    """
    arcs = dotted.split(".")
    if len(arcs) < 2 or not all(arc.isascii() and arc.isdigit() for arc in arcs):  # noqa: PLR2004 - root and one arc
        raise BadContent("object identifier")
    root, second, *rest = map(int, arcs)
    if root > 2 or (root < 2 and second > _MAX_ARC_OF_JOINT_ROOTS):  # noqa: PLR2004 - X.660: roots are 0, 1 and 2
        raise BadContent("object identifier")
    return tlv(OBJECT_IDENTIFIER, *map(_base128, (40 * root + second, *rest)))


def _base128(arc: int) -> bytes:
    octets = [arc & 0x7F]
    while arc := arc >> 7:
        octets.append(0x80 | arc & 0x7F)
    return bytes(reversed(octets))


def octet_string(content: bytes) -> bytes:
    """OCTET STRING."""
    return tlv(OCTET_STRING, content)


def bit_string(content: bytes) -> bytes:
    """BIT STRING of whole octets."""
    return tlv(BIT_STRING, b"\x00", content)


def named_bits(*positions: int) -> bytes:
    """BIT STRING with named bits (bit 0 first): trailing zero bits are cut, as DER asks (X.690 11.2.2)."""
    if not positions:
        return b"\x03\x01\x00"
    last = max(positions)
    unused = 7 - last % 8
    number = sum(1 << (last - position) for position in positions) << unused
    return tlv(BIT_STRING, bytes((unused,)), number.to_bytes(last // 8 + 1, "big"))


def utf8_string(text: str) -> bytes:
    """UTF8String."""
    return tlv(UTF8_STRING, text.encode())


def printable_string(text: str) -> bytes:
    """PrintableString.

    Raises:
        BadContent: a character outside X.680's list.
    """
    if not _PRINTABLE.issuperset(text):
        raise BadContent("PrintableString")
    return tlv(PRINTABLE_STRING, text.encode())


def ia5_string(text: str) -> bytes:
    """IA5String.

    Raises:
        BadContent: a character outside ASCII.
    """
    if not text.isascii():
        raise BadContent("IA5String")
    return tlv(IA5_STRING, text.encode())


def time(instant_ms: int) -> bytes:
    """Time of RFC 5280 section 4.1.2.5: UTCTime until 2049, GeneralizedTime from 2050; cut to whole seconds."""
    moment = datetime.fromtimestamp(instant_ms // 1000, UTC)
    if moment.year >= _GENERALIZED_FROM_YEAR:
        return generalized_time(instant_ms)
    return tlv(UTC_TIME, f"{moment:%y%m%d%H%M%S}Z".encode())


def generalized_time(instant_ms: int) -> bytes:
    """GeneralizedTime without a fraction, as X.509 and OCSP write it; cut to whole seconds."""
    moment = datetime.fromtimestamp(instant_ms // 1000, UTC)
    return tlv(GENERALIZED_TIME, f"{moment.year:04d}{moment:%m%d%H%M%S}Z".encode())


class Element(Struct, frozen=True):
    """One element as it stood in the bytes."""

    tag: int
    content: bytes
    encoded: bytes
    """Header and content: what to echo or hash."""


def read(data: bytes) -> tuple[Element, bytes]:
    """The first element and what follows it.

    Raises:
        NotDer: not a DER element.
    """
    if len(data) < 2 or data[0] & _TAG_NUMBER == _TAG_NUMBER:  # noqa: PLR2004 - tag and length
        raise NotDer("no element with a one-octet tag")
    length, start = _read_length(data)
    end = start + length
    if end > len(data):
        raise NotDer("element is cut short")
    return Element(data[0], data[start:end], data[:end]), data[end:]


def _read_length(data: bytes) -> tuple[int, int]:
    first = data[1]
    if first < _SHORT_LENGTH:
        return first, 2
    count = first & 0x7F
    octets = data[2 : 2 + count]
    if not 1 <= count <= _MAX_LENGTH_BYTES or len(octets) < count:
        raise NotDer("length is indefinite, too long or cut short")
    length = int.from_bytes(octets, "big")
    if octets[0] == 0 or length < _SHORT_LENGTH:
        raise NotDer("length is not in its shortest form")
    return length, 2 + count


def read_all(content: bytes) -> tuple[Element, ...]:
    """Every element of a constructed element's content.

    Raises:
        NotDer: as ``read``.
    """
    found = []
    while content:
        element, content = read(content)
        found.append(element)
    return tuple(found)


def read_only(data: bytes, tag: int) -> Element:
    """The one element ``data`` consists of.

    Raises:
        NotDer: not DER, another tag, or bytes behind it.
    """
    element, rest = read(data)
    if rest:
        raise NotDer("bytes behind the element")
    return expect(element, tag)


def expect(element: Element, tag: int) -> Element:
    """The same element if it has this tag.

    Raises:
        NotDer: it has another.
    """
    if element.tag != tag:
        raise NotDer(f"tag {tag:#04x} expected, {element.tag:#04x} found")
    return element


def read_integer(element: Element) -> int:
    """Value of an INTEGER.

    Raises:
        NotDer: another tag, no content, or padded.
    """
    content = expect(element, INTEGER).content
    padded = len(content) > 1 and (content[0], content[1] >> 7) in ((0, 0), (0xFF, 1))
    if not content or padded:
        raise NotDer("INTEGER is not in its shortest form")
    return int.from_bytes(content, "big", signed=True)
