"""Real readers, and vpcd's: PC/SC through the system's own library (pcsc-lite, macOS, Windows).

Called by ctypes: pyscard has no wheel for Linux and needs a compiler and headers to be installed; the library itself
is there wherever pcscd is. A card is found by its card id: GET DATA 0045, or our own card status.
"""

import asyncio
import ctypes
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from functools import cache
from typing import Any, Final

from warifu.adapters.reader.connection import finish
from warifu.chip import client
from warifu.chip.errors import BadCardAnswer, CardRefused
from warifu.kernel.errors import Unavailable
from warifu.kernel.ids import parse_card_id
from warifu.ports.reader import CardGone

_SYSTEM, _EXCLUSIVE, _T0_OR_T1 = 2, 1, 3
_UNPOWER: Final = 2
_ANSWER_MAX: Final = 65538
_ATR_MAX: Final = 36
_STATUS_LENGTH: Final = 2
_NAMES_MAX: Final = 4096
_TAKEN: Final = 0x8010000B
_NO_READERS: Final = 0x8010002E
_TIMEOUT: Final = 0x8010000A
_CHANGED: Final = 0x0002
_PRESENT: Final = 0x0020
_COUNTER: Final = 0xFFFF0000
LOOK_MS: Final = 1_000
"""So long a wait for a card lasts before it is begun anew."""
_NOT_RUNNING: Final = frozenset((0x8010001D, 0x8010001E))
"""No service, service stopped."""
_GONE: Final = frozenset(
    (0x8010000C, 0x80100013, 0x80100016, 0x80100017, 0x8010002F, 0x80100066, 0x80100067, 0x80100068, 0x80100069)
)
"""No card, no answer, not transacted, reader gone, data lost, unresponsive, unpowered, reset, removed."""

_Word: Any = ctypes.c_ulong if sys.platform.startswith("linux") else ctypes.c_uint32
_Handle: Any = ctypes.c_size_t if sys.platform == "win32" else (_Word if sys.platform == "darwin" else ctypes.c_long)


class _Protocol(ctypes.Structure):
    """SCARD_IO_REQUEST."""

    _fields_ = (("protocol", _Word), ("length", _Word))


class PcscError(Unavailable):
    """The PC/SC service answered with an error; the text holds its number."""

    code = "reader.pcsc"


@cache
def _library() -> Any:  # noqa: ANN401 - ctypes
    names = {"darwin": "/System/Library/Frameworks/PCSC.framework/PCSC", "win32": "winscard.dll"}
    try:
        return ctypes.CDLL(names.get(sys.platform, "libpcsclite.so.1"))
    except OSError as error:
        raise PcscError("the PC/SC library is not installed (Debian: libpcsclite1)") from error


def _call(name: str, *arguments: Any) -> int:  # noqa: ANN401 - ctypes
    """One function of the library; its result as an unsigned number, 0 for success."""
    function = getattr(_library(), name)
    function.restype = ctypes.c_long
    return int(function(*arguments)) & 0xFFFFFFFF


def _check(result: int) -> None:
    if result in _NOT_RUNNING:
        raise PcscError("no PC/SC service runs: start pcscd (Debian: `systemctl start pcscd`, or `pcscd` as root)")
    if result in _GONE:
        raise CardGone(f"the card does not answer (PC/SC {result:08X})")
    if result == _TAKEN:
        raise Unavailable("the card is in use by another program")
    if result:
        raise PcscError(f"PC/SC error {result:08X}")


_TEXT_FUNCTION: Final = "A" if sys.platform == "win32" else ""


class PcscCard:
    """A handle of the library, held alone from a cold reset on. Its methods block. Raises as ``PcscReader``.

    Args:
        reader: the reader's name.
    """

    def __init__(self, reader: bytes) -> None:
        self.context = _Handle()
        self.handle = _Handle()
        self.protocol = _Word()
        _check(_call("SCardEstablishContext", _Word(_SYSTEM), None, None, ctypes.byref(self.context)))
        try:
            _check(self._connect(reader))
        except BaseException:
            _call("SCardReleaseContext", self.context)
            raise

    def _connect(self, reader: bytes) -> int:
        """Alone, and after a cold reset: nothing of an earlier client is left."""
        ways = (_Word(_EXCLUSIVE), _Word(_T0_OR_T1))
        name = "SCardConnect" + _TEXT_FUNCTION
        result = _call(name, self.context, reader, *ways, ctypes.byref(self.handle), ctypes.byref(self.protocol))
        if result:
            return result
        return _call("SCardReconnect", self.handle, *ways, _Word(_UNPOWER), ctypes.byref(self.protocol))

    def atr(self) -> bytes:
        """The answer to reset."""
        name, atr = ctypes.create_string_buffer(_NAMES_MAX), ctypes.create_string_buffer(_ATR_MAX)
        sizes = _Word(_NAMES_MAX), _Word(_ATR_MAX)
        state, protocol = _Word(), _Word()
        parts = (name, sizes[0], state, protocol, atr, sizes[1])
        references = [part if isinstance(part, ctypes.Array) else ctypes.byref(part) for part in parts]
        _check(_call("SCardStatus" + _TEXT_FUNCTION, self.handle, *references))
        return atr.raw[: sizes[1].value]

    def transmit(self, command: bytes) -> bytes:
        """One command."""
        send = _Protocol(self.protocol.value, ctypes.sizeof(_Protocol))
        answer, count = ctypes.create_string_buffer(_ANSWER_MAX), _Word(_ANSWER_MAX)
        _check(
            _call(
                "SCardTransmit", self.handle, ctypes.byref(send), command, _Word(len(command)), None, answer,
                ctypes.byref(count),
            )
        )  # fmt: skip
        if count.value < _STATUS_LENGTH:
            raise CardGone("the card was pulled")  # what vpcd's driver makes of it: an answer of nothing
        return answer.raw[: count.value]

    def close(self) -> None:
        """Power the card down and let everything go."""
        _call("SCardDisconnect", self.handle, _Word(_UNPOWER))
        _call("SCardReleaseContext", self.context)


def reader_names() -> tuple[str, ...]:
    """The readers there are. Blocks. ``PcscError`` when the service does not run or is not installed."""
    context = _Handle()
    _check(_call("SCardEstablishContext", _Word(_SYSTEM), None, None, ctypes.byref(context)))
    try:
        names, count = ctypes.create_string_buffer(_NAMES_MAX), _Word(_NAMES_MAX)
        result = _call("SCardListReaders" + _TEXT_FUNCTION, context, None, names, ctypes.byref(count))
        if result == _NO_READERS:
            return ()
        _check(result)
        return tuple(name.decode(errors="replace") for name in names.raw[: count.value].split(b"\x00") if name)
    finally:
        _call("SCardReleaseContext", context)


class _ReaderState(ctypes.Structure):
    """SCARD_READERSTATE."""

    _pack_ = 1 if sys.platform == "darwin" else 0
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("own", ctypes.c_void_p),
        ("known", _Word),
        ("now", _Word),
        ("atr_length", _Word),
        ("atr", ctypes.c_ubyte * (_ATR_MAX if sys.platform == "win32" else _ATR_MAX - 3)),
    )


def wait_for_change(known: Mapping[str, int], within_ms: int) -> dict[str, int]:
    """Wait until something changes in a reader, but not for ever. Blocks. ``PcscError``.

    Args:
        known: the readers' states as they were told last.
        within_ms: how long to wait.

    Returns:
        The readers' states now, by name: the lower half is flags, the upper half counts cards.
    """
    names = reader_names()
    if not names:
        threading.Event().wait(within_ms / 1000)
        return {}
    states = (_ReaderState * len(names))()
    for state, name in zip(states, names, strict=True):
        state.name, state.known = name.encode(), known.get(name, 0)
    context = _Handle()
    _check(_call("SCardEstablishContext", _Word(_SYSTEM), None, None, ctypes.byref(context)))
    try:
        result = _call("SCardGetStatusChange" + _TEXT_FUNCTION, context, _Word(within_ms), states, _Word(len(names)))
        if result != _TIMEOUT:
            _check(result)
        return {name: int(state.now) & ~_CHANGED for name, state in zip(names, states, strict=True)}
    finally:
        _call("SCardReleaseContext", context)


class PcscConnection:
    """A card in a PC/SC reader (``ports.reader.Connection``)."""

    def __init__(self, card: PcscCard, atr: bytes) -> None:
        self._card = card
        self._atr = atr
        self._turn = asyncio.Lock()
        self._closed = False

    @property
    def atr(self) -> bytes:
        """The answer to reset, as the reader reports it."""
        return self._atr

    async def transmit(self, command: bytes) -> bytes:
        """Send one command APDU. ``CardGone`` when the card was pulled or given back."""
        async with self._turn:
            if self._closed:
                raise CardGone("the card was given back")
            return await finish(asyncio.to_thread(self._card.transmit, command))

    async def close(self) -> None:
        """Power down and let go. Closing twice is no error."""
        async with self._turn:
            if not self._closed:
                self._closed = True
                await finish(asyncio.to_thread(self._card.close))


class PcscReader:
    """All PC/SC readers of the machine as one (``ports.reader.Reader``)."""

    async def connect(self, card_id: str) -> PcscConnection:
        """Power the card up, alone, wherever it lies.

        Raises:
            Malformed: not a card id.
            CardGone: it is in no reader.
            Unavailable: it may be in one that another program uses; or there is no PC/SC service (``PcscError``).
        """
        parse_card_id(card_id)
        taken: Unavailable | None = None
        for name in await asyncio.to_thread(reader_names):
            try:
                connection = await self.connect_in(name)
            except CardGone:
                continue
            except Unavailable as error:
                taken = error
                continue
            if await card_id_of(connection) == card_id:
                return connection
            await connection.close()
        raise taken or CardGone("the card is in no reader")

    async def laid(self) -> AsyncIterator[str]:
        """The card that lies in a reader, whenever another is laid there; "" once it is gone. ``PcscError``."""
        known: dict[str, int] = {}
        lying: dict[str, tuple[int, str]] = {}
        told = ""
        while True:
            known = await asyncio.to_thread(wait_for_change, known, LOOK_MS)
            for name, state in known.items():
                mark = state & (_PRESENT | _COUNTER)
                if mark != lying.get(name, (0, ""))[0]:
                    lying[name] = (mark, await self._card_in(name) if state & _PRESENT else "")
            now = next((card for name, (_, card) in lying.items() if card and name in known), "")
            if now != told:
                told = now
                yield now

    async def _card_in(self, reader: str) -> str:
        """The card in this reader; "" when it is none of ours, or another program has it."""
        try:
            connection = await self.connect_in(reader)
        except (CardGone, Unavailable):
            return ""
        try:
            return await card_id_of(connection) or ""
        finally:
            await connection.close()

    async def connect_in(self, reader: str) -> PcscConnection:
        """Power up whatever card lies in this reader. ``CardGone`` when none does."""

        def open_card() -> tuple[PcscCard, bytes]:
            card = PcscCard(reader.encode())
            try:
                return card, card.atr()
            except BaseException:
                card.close()
                raise

        card, atr = await finish(asyncio.to_thread(open_card))
        return PcscConnection(card, atr)


async def card_id_of(connection: PcscConnection) -> str | None:
    """The card's id, asked just after a reset; None when it does not tell, or is no such card."""
    try:
        answer = await connection.transmit(bytes.fromhex("00CA004500"))
        if answer[-2:] == b"\x90\x00":
            return answer[:-2].decode("ascii", errors="replace")
        return (await client.read_card_status(connection.transmit)).card_id
    except (CardGone, CardRefused, BadCardAnswer):
        return None
