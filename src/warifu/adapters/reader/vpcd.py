"""A card file in the PC/SC reader that vpcd (vsmartcard) gives pcscd.

The card is the TCP client. Messages both ways: length (2, big endian), payload; a payload of one byte from vpcd is a
control: 00 power off, 01 on, 02 reset (no answer), 04 answer to reset. vpcd sends length and payload in two segments:
without an immediate acknowledgement of the first, each command costs the 40 ms of a delayed one.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import Final, Protocol

from warifu.kernel.errors import Unavailable, Unreachable

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 35963
POWER_OFF, POWER_ON, RESET, GET_ATR = 0, 1, 2, 4
_RETRY_S: Final = 0.2
_TCP_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)


class PoweredCard(Protocol):
    """What the reader needs of a card: a ``FileConnection``, or something around one."""

    @property
    def atr(self) -> bytes:
        """The answer to reset."""

    async def transmit(self, command: bytes) -> bytes:
        """One command. ``CardGone`` when the card was pulled."""

    async def reset(self) -> None:
        """Power down and up. ``CardGone`` likewise."""

    def check_present(self) -> None:
        """``CardGone`` when the card was pulled or given back."""


class SlotClosedError(Exception):
    """vpcd closed the connection: pcscd ended or restarted."""


async def hold_card(
    card: PoweredCard,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    *,
    patience_s: float = 10.0,
    inserted: Callable[[], None] = lambda: None,
) -> None:
    """Keep the card in the reader until cancelled; when pcscd restarts, insert it again.

    Args:
        card: a connected card; its lock is held as long as the caller keeps the connection open.
        host: where vpcd listens.
        port: the reader's slot.
        patience_s: how long to wait, at first, for vpcd to take the card.
        inserted: called each time pcscd has asked for the card's answer to reset.

    Raises:
        Unreachable: at first, nobody listens there.
        Unavailable: at first, vpcd does not speak: another card is in the slot.
        CardGone: the card was pulled.
    """
    first = True
    while True:
        link = await _connect(host, port, patience_s if first else None)
        with contextlib.closing(link):
            try:
                await _greet(link, card, patience_s, inserted)
                first = False
                await _serve(link, card)
            except (SlotClosedError, ConnectionError):
                await card.reset()  # what was verified belongs to a client that is gone
            except TimeoutError as error:
                if first:
                    raise Unavailable("vpcd does not speak: another card is in the slot") from error
        await asyncio.sleep(_RETRY_S)


async def _connect(host: str, port: int, patience_s: float | None) -> socket.socket:
    """Try until vpcd listens, for ``patience_s`` or (None) for ever."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(patience_s):
            while True:
                link = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                link.setblocking(False)  # noqa: FBT003 - the standard library's signature
                try:
                    await loop.sock_connect(link, (host, port))
                except OSError:
                    link.close()
                    await asyncio.sleep(_RETRY_S)
                except BaseException:
                    link.close()
                    raise
                else:
                    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    return link
    except TimeoutError as error:
        raise Unreachable(f"no vpcd listens on port {port}: is pcscd running?") from error


async def _greet(link: socket.socket, card: PoweredCard, patience_s: float, inserted: Callable[[], None]) -> None:
    """Serve until vpcd has asked for the answer to reset."""
    async with asyncio.timeout(patience_s):
        while await _serve_one(link, card) != GET_ATR:
            pass
    inserted()


async def _serve(link: socket.socket, card: PoweredCard) -> None:
    while True:
        await _serve_one(link, card)


async def _serve_one(link: socket.socket, card: PoweredCard) -> int | None:
    """One message; the control byte, or None for a command."""
    message = await _receive(link)
    if len(message) != 1:
        await _send(link, await card.transmit(message))
        return None
    card.check_present()
    control = message[0]
    if control == GET_ATR:
        await _send(link, card.atr)
    elif control in (POWER_OFF, POWER_ON, RESET):
        await card.reset()
    return control


async def _receive(link: socket.socket) -> bytes:
    length = int.from_bytes(await _receive_exactly(link, 2), "big")
    return await _receive_exactly(link, length)


async def _receive_exactly(link: socket.socket, count: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < count:
        if _TCP_QUICKACK is not None:
            # The kernel forgets this option after a while: it is set before each receive.
            link.setsockopt(socket.IPPROTO_TCP, _TCP_QUICKACK, 1)
        piece = await loop.sock_recv(link, count - len(data))
        if not piece:
            raise SlotClosedError
        data += piece
    return data


async def _send(link: socket.socket, payload: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(link, len(payload).to_bytes(2, "big") + payload)
