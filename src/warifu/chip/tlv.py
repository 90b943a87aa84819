"""BER-TLV (ISO/IEC 8825-1 definite lengths, tags of one or two bytes), as card files use it."""

from collections.abc import Iterator

from msgspec import Struct


class TlvError(ValueError):
    """The bytes are not well-formed TLV."""


class Tlv(Struct, frozen=True):
    """One data object; ``raw`` is all of it, header included."""

    tag: int
    value: bytes
    raw: bytes


def encode(tag: int, value: bytes) -> bytes:
    """Tag, shortest definite length, value."""
    return tag.to_bytes(2 if tag > 0xFF else 1, "big") + length(len(value)) + value


def length(count: int) -> bytes:
    """A definite length in its shortest form."""
    if count < 0x80:
        return bytes((count,))
    size = (count.bit_length() + 7) // 8
    return bytes((0x80 | size,)) + count.to_bytes(size, "big")


def parse(raw: bytes) -> Iterator[Tlv]:
    """The data objects of ``raw`` one after the other.

    Raises:
        TlvError: a header or value runs past the end, or a length is indefinite or longer than three bytes.
    """
    at = 0
    while at < len(raw):
        tag, body = _tag(raw, at)
        count, body = _length(raw, body)
        if body + count > len(raw):
            raise TlvError("value runs past the end")
        yield Tlv(tag, raw[body : body + count], raw[at : body + count])
        at = body + count


def _tag(raw: bytes, at: int) -> tuple[int, int]:
    if raw[at] & 0x1F != 0x1F:
        return raw[at], at + 1
    if at + 2 > len(raw) or raw[at + 1] & 0x80:
        raise TlvError("tag runs past the end or is too long")
    return int.from_bytes(raw[at : at + 2], "big"), at + 2


def _length(raw: bytes, at: int) -> tuple[int, int]:
    if at >= len(raw):
        raise TlvError("no length")
    first = raw[at]
    if first < 0x80:
        return first, at + 1
    size = first & 0x7F
    if not 1 <= size <= 3 or at + 1 + size > len(raw):
        raise TlvError("length is not definite or runs past the end")
    return int.from_bytes(raw[at + 1 : at + 1 + size], "big"), at + 1 + size


def fields(raw: bytes) -> dict[int, bytes]:
    """Tag to value; the last wins. Raises ``TlvError`` like ``parse``."""
    return {item.tag: item.value for item in parse(raw)}
