"""Orders to a running supervisor: a Unix socket in the run folder, one JSON object a line.

The caller sends one ``Order``; the supervisor answers with ``Word`` after ``Word`` and ends with one that is the last.
Who may write into the folder (mode 0700) may give orders.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from warifu.contract.envelope import ErrorBody
from warifu.contract.errors import error_body, error_from
from warifu.kernel.decoding import NOT_DECODED
from warifu.kernel.errors import Fault, Malformed, Unavailable, WarifuError
from warifu.stack.errors import NotRunning, first_error
from warifu.stack.home import Home, short_path
from warifu.stack.topology import Node

SOCKET = "orders.sock"
ORDER_WITHIN_S = 180.0
ROLL_TIMES = 8
"""A roll replaces every relay, one after another."""
_MAX_BYTES = 1 << 16
_BEGIN_WITHIN_S = 5.0

Verb = Literal["add", "drain", "replace", "roll"]
Say = Callable[[str], None]


class Order(Struct, frozen=True, forbid_unknown_fields=True):
    """What to do with the balanced nodes (the relays)."""

    verb: Verb
    name: str = ""
    """Which; empty for ``add``; for ``roll`` the one that goes first, empty for any."""
    watch_s: Annotated[float, Meta(ge=0, le=3_600)] = 0.0
    """For ``roll``: how long the first is watched beside the others."""
    changed: tuple[Node, ...] = ()
    """For ``roll``: tables of nodes whose settings change; of others only the program is started anew."""

    @property
    def within_s(self) -> float:
        """How long carrying it out may take."""
        return ORDER_WITHIN_S * (ROLL_TIMES if self.verb == "roll" else 1) + self.watch_s


class Done(Struct, frozen=True):
    """What was done."""

    name: str
    """The node that was added, drained or replaced."""
    rotation: tuple[str, ...]
    """The nodes behind the balancer now."""
    note: str = ""
    seconds: float = 0.0


class Word(Struct, frozen=True):
    """One line of an answer: how far it is, or the end of it."""

    text: str = ""
    done: Done | None = None
    error: ErrorBody | None = None


Obey = Callable[[Order, Say], Awaitable[Done]]


@asynccontextmanager
async def serving(home: Home, obey: Obey) -> AsyncIterator[None]:
    """Take orders, each in a connection of its own."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _answer(reader, writer, obey)
        except (ConnectionError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # whoever asked has gone; what was begun has ended
        finally:
            writer.close()

    with short_path(home.run) as folder:
        (home.run / SOCKET).unlink(missing_ok=True)
        server = await asyncio.start_unix_server(answer, f"{folder}/{SOCKET}", limit=_MAX_BYTES)
        (home.run / SOCKET).chmod(0o600)
    try:
        yield
    finally:
        server.close()
        (home.run / SOCKET).unlink(missing_ok=True)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, obey: Obey) -> None:
    def say(text: str) -> None:
        writer.write(msgspec.json.encode(Word(text=text)) + b"\n")

    try:
        async with asyncio.timeout(_BEGIN_WITHIN_S):
            line = await reader.readuntil(b"\n")
        order = _decoded(line)
        async with asyncio.timeout(order.within_s):
            word = Word(done=await obey(order, say))
    except (WarifuError, BaseExceptionGroup) as error:
        cause = first_error(error)
        if not isinstance(cause, WarifuError):
            raise
        word = Word(error=error_body(cause))
    writer.write(msgspec.json.encode(word) + b"\n")
    await writer.drain()


def _decoded(line: bytes) -> Order:
    try:
        return msgspec.json.decode(line, type=Order)
    except NOT_DECODED as error:
        raise Malformed(f"no order: {error}") from None


async def give(home: Home, order: Order, say: Say) -> Done:
    """Give an order and wait until it is carried out.

    Args:
        home: whose supervisor.
        order: what to do.
        say: told how far it is.

    Raises:
        NotRunning: no supervisor takes orders there.
        WarifuError: as the supervisor refused or failed.
    """
    try:
        with short_path(home.run) as folder:
            reader, writer = await asyncio.open_unix_connection(f"{folder}/{SOCKET}", limit=_MAX_BYTES)
    except OSError as error:
        raise NotRunning(f"no stack runs in {home.root}: `warifu up` starts one") from error
    try:
        writer.write(msgspec.json.encode(order) + b"\n")
        async with asyncio.timeout(order.within_s + _BEGIN_WITHIN_S):
            while line := await reader.readline():
                word = msgspec.json.decode(line, type=Word)
                if word.error is not None:
                    raise error_from(word.error)
                if word.done is not None:
                    return word.done
                say(word.text)
    except TimeoutError:
        raise Unavailable("the supervisor did not carry it out in time: see `warifu status`") from None
    except NOT_DECODED as error:
        raise Fault(f"the supervisor sent what is no answer: {error}") from None
    finally:
        writer.close()
    raise Unavailable("the supervisor ended before it had carried it out")
