"""APDU traces in words: what a client asked, what the card answered, and never a PIN.

The body of every command that carries a PIN, a key or something unknown is replaced by ``••`` before a line is made.
What files contain is shown: it is synthetic, and what a developer looks for.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import Struct

from warifu.chip import apdu, layout, sessions
from warifu.chip.apdu import Command, StatusError
from warifu.chip.client import Transmit
from warifu.chip.reading import LIFE_STATES
from warifu.kernel.decoding import NOT_DECODED
from warifu.kernel.errors import Malformed
from warifu.lend.words import (
    APPLETS,
    CHANNEL_COMMANDS,
    DATA_OBJECTS,
    DEFAULT_KEYS,
    FILES,
    INSTRUCTIONS,
    STATUS_WORDS,
)

HIDDEN: Final = "••"
_SHOWN_BYTES: Final = 64
"""Of longer data, the first so many bytes are kept."""
_SELECT, _READ_BINARY, _READ_RECORD, _GET_DATA, _GET_CHALLENGE = 0xA4, 0xB0, 0xB2, 0xCA, 0x84
_VERIFY, _CHANGE, _CHANGE_KEY, _SET_PIN, _SIGN, _PROVE = 0x20, 0x24, 0x32, 0x2C, 0x2A, 0x88
_SET_LIFE: Final = 0xF0
_OPEN_TO_SEE: Final = frozenset(
    {_SELECT, _READ_BINARY, _READ_RECORD, _GET_DATA, _GET_CHALLENGE, _SIGN, _PROVE, 0x50, 0x82}
)
"""Instructions whose data is shown; that of all others (PINs, keys, encrypted scripts, the unknown) is hidden."""
_READS: Final = frozenset({_READ_BINARY, _READ_RECORD, _GET_DATA})
_FILE_COMMANDS: Final = _READS | {_SELECT, _VERIFY, _CHANGE, _CHANGE_KEY, _SET_PIN, _SIGN, _PROVE}
_SECURE: Final = 0x84
_SET_PUBLIC_KEY: Final = 0xA2
_JICSAP: Final = 0x80
_NAMELESS: Final = 0
"""The current file's name was encrypted."""
_MESSAGES: Final = (sessions.SECURED, sessions.SECURED_WITH_HEADER)
_SELECT_BY_NAME: Final = 0x04
_SELECT_EF: Final = 0x02
_SIGN_MODES: Final = {
    0x00: "as it is",
    0x01: "hashed on the card",
    0x02: "a SHA-256 value",
    0x03: "hashed on the card",
    0x04: "a SHA-256 value, PSS",
    0x05: "hashed on the card, PSS",
}


class Line(Struct, frozen=True, kw_only=True):
    """One command and its answer; a line of the saved trace."""

    number: int
    at_ms: int
    """Since the trace began."""
    command: str
    """Hex; a hidden body is ``••``."""
    words: str
    response: str
    answer: str

    def text(self) -> str:
        """For people."""
        return f"{self.number:4d} {self.at_ms / 1000:8.3f}  {self.words}  →  {self.answer}"


class Decoder:
    """Follows one card: which applet and file are current decides what a command means."""

    def __init__(self) -> None:
        self._aid = layout.ISD
        self._fid: int | None = None

    def reset(self) -> None:
        """The card was powered down or reset."""
        self._aid, self._fid = layout.ISD, None

    def decode(self, command: bytes, response: bytes) -> tuple[str, str]:
        """The command in words, and the answer in words."""
        data, status = response[:-2], int.from_bytes(response[-2:], "big")
        try:
            parsed = apdu.parse(command)
        except StatusError:
            return "a command whose lengths do not add up", _status(status)
        words = self._command(parsed)
        answer = self._answer(parsed, data, status)
        self._follow(parsed, status)
        return words, answer

    # ---- commands ----------------------------------------------------------------------------------------------

    def _command(self, command: Command) -> str:
        if command.cla == _SECURE and command.ins in CHANNEL_COMMANDS:
            return self._in_channel(command)
        if command.cla in _MESSAGES:
            return self._in_session(command)
        if command.ins in _FILE_COMMANDS:
            return self._plain(command)
        if (command.cla, command.ins) == (_JICSAP, _SET_PUBLIC_KEY):
            part = "signature" if command.p1 == 0 else "body"
            return f"SET PUBLIC IC KEY: a terminal's certificate, its {part} ({len(command.data)} bytes)"
        name = INSTRUCTIONS.get((command.cla, command.ins))
        if name is None:
            return f"unknown command, CLA {command.cla:02X} INS {command.ins:02X}"
        return f"{name} ({len(command.data)} bytes)" if command.data else name

    def _plain(self, command: Command) -> str:
        if command.ins == _SELECT:
            return self._select(command)
        return self._read(command) if command.ins in _READS else self._pin_or_key(command)

    @staticmethod
    def _in_channel(command: Command) -> str:
        name = CHANNEL_COMMANDS[command.ins]
        if command.ins == _GET_DATA:
            return f"{name} {command.p1 << 8 | command.p2:04X}, in the channel"
        if command.ins == _SET_LIFE and command.p2 < len(LIFE_STATES):
            return f"{name}: {LIFE_STATES[command.p2]}, in the channel"
        return f"{name}, in the channel ({len(command.data)} bytes, encrypted)"

    def _in_session(self, command: Command) -> str:
        """Secure messaging: what the header tells; an EF's name is encrypted, a PIN and its answer are too."""
        if command.ins == _READ_BINARY:
            plain = msgspec.structs.replace(command, expected=None)
            return f"{self._read(plain)}, in the session"
        if command.ins == _VERIFY:
            return f"VERIFY {self._file(command.p2 & 0x1F or self._fid)}, in the session (hidden)"
        if command.ins == _SELECT:
            return "SELECT an EF, in the session (its name is encrypted)"
        return f"unknown command in the session, INS {command.ins:02X}"

    @staticmethod
    def _select_name(aid: bytes) -> str:
        known = next((name for full, name in APPLETS.items() if aid and full.startswith(aid)), None)
        return f"the {known}" if known else f"an applet this card does not know, {aid.hex().upper()}"

    def _select(self, command: Command) -> str:
        if command.p1 == _SELECT_BY_NAME:
            return f"SELECT {self._select_name(command.data)}"
        if command.p1 == _SELECT_EF:
            return f"SELECT {self._file(int.from_bytes(command.data, 'big'))}"
        return f"SELECT by other means, P1 {command.p1:02X}"

    def _read(self, command: Command) -> str:
        if command.ins == _GET_DATA:
            tag = command.p1 << 8 | command.p2
            return f"GET DATA {tag:04X}, {DATA_OBJECTS.get(tag, 'unknown')}"
        wanted = f", up to {command.expected} bytes" if command.expected else ""
        if command.ins == _READ_RECORD:
            fid = command.p2 >> 3 or self._fid
            return f"READ RECORD {command.p1} of {self._file(fid)}{wanted}"
        by_short_id = command.p1 & 0x80
        fid = command.p1 & 0x1F if by_short_id else self._fid
        offset = command.p2 if by_short_id else command.p1 << 8 | command.p2
        return f"READ BINARY of {self._file(fid)} from {offset}{wanted}"

    def _pin_or_key(self, command: Command) -> str:
        fid = command.p2 & 0x1F or self._fid
        if command.ins == _SET_PIN:
            return f"SET PIN through the window of {self._file(command.p2)} (hidden)"
        if command.ins == _SIGN:
            if command.p2 == 0:
                fid = DEFAULT_KEYS.get(self._aid)
            mode = _SIGN_MODES.get(command.p1, f"P1 {command.p1:02X}")
            return f"SIGN with {self._file(fid)}: {len(command.data)} bytes, {mode}"
        if command.ins == _PROVE:
            return f"INTERNAL AUTHENTICATE with {self._file(fid)} ({len(command.data)} bytes)"
        if command.ins == _VERIFY and not command.data:
            return f"VERIFY without data: how many tries has {self._file(fid)}"
        verb = "VERIFY" if command.ins == _VERIFY else "CHANGE"
        return f"{verb} {self._file(fid)} (hidden)"

    def _file(self, fid: int | None) -> str:
        if fid is None:
            return "no file"
        if fid == _NAMELESS:
            return "the file selected in the session"
        known = FILES.get((self._aid, fid))
        return f"{known} ({fid:04X})" if known else f"{fid:04X}"

    # ---- answers -----------------------------------------------------------------------------------------------

    @staticmethod
    def _answer(command: Command, data: bytes, status: int) -> str:
        if status & 0xFFF0 == apdu.TRIES_LEFT:
            left = status & 0xF
            tries = f"{left} {'try' if left == 1 else 'tries'} left"
            return tries if not command.data else f"wrong, {tries}"
        if status != apdu.OK:
            return _status(status)
        if command.ins == _VERIFY:
            return "accepted"
        return f"{len(data)} bytes" if data else "done"

    def _follow(self, command: Command, status: int) -> None:
        """What is current after this command. In a session the name of a selected EF is not seen."""
        if status != apdu.OK or command.ins not in {_SELECT, _READ_BINARY, _READ_RECORD}:
            return
        if command.ins == _READ_BINARY:
            self._fid = (command.p1 & 0x1F or self._fid) if command.p1 & 0x80 else self._fid
        elif command.ins == _READ_RECORD:
            self._fid = command.p2 >> 3 or self._fid
        elif command.cla in _MESSAGES:
            self._fid = _NAMELESS
        elif command.p1 == _SELECT_BY_NAME:
            self._aid = next((full for full in APPLETS if full.startswith(command.data)), command.data)
            self._fid = None
        elif command.p1 == _SELECT_EF:
            self._fid = int.from_bytes(command.data, "big")


def _status(status: int) -> str:
    known = STATUS_WORDS.get(status)
    return f"refused, {status:04X}: {known}" if known else f"refused, {status:04X}"


def shown_command(command: bytes) -> str:
    """A command in hex. Where the data might be a PIN or a key, its header alone: not even the length is told."""
    head, body = command[:4].hex().upper(), command[4:]
    if body and command[1] not in _OPEN_TO_SEE:
        return head + HIDDEN
    return head + _cut(body)


def _cut(data: bytes) -> str:
    text = data[:_SHOWN_BYTES].hex().upper()
    return text if len(data) <= _SHOWN_BYTES else f"{text}… ({len(data)} bytes)"


def shown_response(response: bytes) -> str:
    """A response in hex; of long data the beginning, and always the status word."""
    return _cut(response[:-2]) + response[-2:].hex().upper()


class Trace:
    """Takes pairs, gives lines.

    Args:
        now_ms: a clock.
        sink: called with each line.
    """

    def __init__(self, now_ms: Callable[[], int], sink: Callable[[Line], None]) -> None:
        self._now_ms = now_ms
        self._sink = sink
        self._began_ms = now_ms()
        self._number = 0
        self._decoder = Decoder()

    def reset(self) -> None:
        """The card was reset."""
        self._decoder.reset()

    def pair(self, command: bytes, response: bytes) -> None:
        """One command and its response."""
        self._number += 1
        words, answer = self._decoder.decode(command, response)
        self._sink(
            Line(
                number=self._number,
                at_ms=self._now_ms() - self._began_ms,
                command=shown_command(command),
                words=words,
                response=shown_response(response),
                answer=answer,
            )
        )

    def around(self, transmit: Transmit) -> Transmit:
        """The same ``transmit``, traced."""

        async def traced(command: bytes) -> bytes:
            response = await transmit(command)
            self.pair(command, response)
            return response

        return traced


def json_line(line: Line) -> bytes:
    """A line of a saved trace."""
    return msgspec.json.encode(line) + b"\n"


def read_line(text: bytes) -> Line:
    """The inverse. ``Malformed`` when it is none."""
    try:
        return msgspec.json.decode(text, type=Line)
    except NOT_DECODED as error:
        raise Malformed("not a line of a saved trace") from error
