"""Command and response APDUs (ISO/IEC 7816-4), short and extended, and the status words this card knows."""

from typing import Final

from msgspec import Struct

OK: Final = 0x9000
AUTHENTICATION_FAILED: Final = 0x6300
TRIES_LEFT: Final = 0x63C0
WRONG_LENGTH: Final = 0x6700
STRUCTURE_CONFLICT: Final = 0x6981
SECURITY_STATUS: Final = 0x6982
BLOCKED: Final = 0x6984
CONDITIONS: Final = 0x6985
NO_CURRENT_EF: Final = 0x6986
NOT_SET_UP: Final = 0x66F1
"""JICSAP: the security environment itself is faulty."""
SECURE_MESSAGING_UNKNOWN: Final = 0x6882
SECURE_MESSAGING_MISSING: Final = 0x6987
SECURE_MESSAGING: Final = 0x6988
NO_SESSION: Final = 0x69FC
FAILED: Final = 0x6F00
DIGEST_DIFFERS: Final = 0x69F1
"""Our own: COMMIT named another digest than the chip's."""
OTHER_WRITE_OPEN: Final = 0x69F2
"""Our own: another write_id is being staged."""
WRITE_SETTLED: Final = 0x69F3
"""Our own: that write_id was committed or rolled back before."""
WRONG_DATA: Final = 0x6A80
NOT_SUPPORTED: Final = 0x6A81
NOT_FOUND: Final = 0x6A82
NO_RECORD: Final = 0x6A83
NO_SPACE: Final = 0x6A84
WRONG_P1P2: Final = 0x6A86
NO_REFERENCE: Final = 0x6A88
WRONG_OFFSET: Final = 0x6B00
UNKNOWN_INS: Final = 0x6D00
UNKNOWN_CLA: Final = 0x6E00

SHORT_LE_MAX: Final = 256
EXTENDED_LE_MAX: Final = 65536
SHORT_DATA_MAX: Final = 255


class StatusError(Exception):
    """A command ends with this status word. Never leaves the chip."""

    def __init__(self, word: int) -> None:
        super().__init__(f"{word:04X}")
        self.word = word


class Command(Struct, frozen=True):
    """A parsed command. ``expected`` is Ne: None when no Le was sent. ``extended``: lengths were of three bytes."""

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes = b""
    expected: int | None = None
    extended: bool = False


def parse(raw: bytes) -> Command:
    """Parse a command APDU.

    Raises:
        StatusError: 6700, when the lengths do not add up.
    """
    if len(raw) < 4:
        raise StatusError(WRONG_LENGTH)
    (cla, ins, p1, p2), body = raw[:4], raw[4:]
    if len(body) > 1 and body[0] == 0:
        data, expected = _extended_body(body)
        return Command(cla, ins, p1, p2, data=data, expected=expected, extended=True)
    data, expected = _short_body(body)
    return Command(cla, ins, p1, p2, data=data, expected=expected)


def _short_body(body: bytes) -> tuple[bytes, int | None]:
    if not body:
        return b"", None
    if len(body) == 1:
        return b"", body[0] or SHORT_LE_MAX
    length, rest = body[0], body[1:]
    if len(rest) == length:
        return rest, None
    if len(rest) == length + 1:
        return rest[:length], rest[length] or SHORT_LE_MAX
    raise StatusError(WRONG_LENGTH)


def _extended_body(body: bytes) -> tuple[bytes, int | None]:
    if len(body) < 3:
        raise StatusError(WRONG_LENGTH)
    first, rest = int.from_bytes(body[1:3], "big"), body[3:]
    if not rest:
        return b"", first or EXTENDED_LE_MAX
    if first == 0 or len(rest) not in (first, first + 2):
        raise StatusError(WRONG_LENGTH)
    if len(rest) == first:
        return rest, None
    return rest[:first], int.from_bytes(rest[first:], "big") or EXTENDED_LE_MAX


def build(  # noqa: PLR0917 - the order every APDU is written in
    cla: int, ins: int, p1: int, p2: int, data: bytes = b"", expected: int | None = None
) -> bytes:
    """A command APDU, short when it can be.

    ``data`` has up to 65,535 bytes; ``expected`` is Ne: 256 gives Le 00, more gives the extended form, None no Le.
    """
    head = bytes((cla, ins, p1, p2))
    if len(data) <= SHORT_DATA_MAX and (expected or 0) <= SHORT_LE_MAX:
        tail = b"" if expected is None else bytes((expected & 0xFF,))
        return head + (bytes((len(data),)) + data if data else b"") + tail
    tail = b"" if expected is None else (expected & 0xFFFF).to_bytes(2, "big")
    return head + b"\x00" + (len(data).to_bytes(2, "big") + data if data else b"") + tail


def word(value: int) -> bytes:
    """A status word's two bytes."""
    return value.to_bytes(2, "big")
