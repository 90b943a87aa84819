"""One request handled: within its deadline, and with every error rendered as a reply."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec import Struct

from warifu.contract.envelope import Envelope, Reply
from warifu.contract.errors import error_body
from warifu.kernel.errors import DeadlinePassed, Fault, NotAllowed, WarifuError
from warifu.ports.log import Log


class Peer(Struct, frozen=True):
    """Who is at the other end of a connection."""

    name: str
    """The node's name, from its certificate."""
    address: str
    """Host and port it came from."""


Handler = Callable[[Envelope, Peer], Awaitable[Reply]]


def refusal(error: WarifuError) -> Reply:
    """A reply that says only why there is no answer."""
    return Reply(error=error_body(error))


def check_sender(envelope: Envelope, peer: Peer) -> None:
    """``NotAllowed`` unless the envelope names the node whose certificate the connection has."""
    if envelope.sender != peer.name:
        raise NotAllowed(f"{peer.name} may not send as {envelope.sender}")


async def answer(handler: Handler, envelope: Envelope, peer: Peer, log: Log) -> Reply:
    """The handler's reply, or its error as one; never raises but for cancellation.

    An exception outside the tree is a fault of ours: its type and place are logged, never its text, which may hold
    personal data.
    """
    deadline = asyncio.timeout(envelope.remaining_ms / 1000)
    try:
        async with deadline:
            return await handler(envelope, peer)
    except WarifuError as error:
        if isinstance(error, Fault):
            _log_fault(log, envelope, error)
        return refusal(error)
    except Exception as raised:  # noqa: BLE001 - the edge: whatever a handler does, the caller gets a reply
        cause = _first(raised)
        if isinstance(cause, TimeoutError) and deadline.expired():
            return refusal(DeadlinePassed(f"{envelope.name} was not done in time"))
        if isinstance(cause, WarifuError) and not isinstance(cause, Fault):
            return refusal(cause)
        _log_fault(log, envelope, cause)
        return refusal(Fault("internal fault"))


def _first(error: Exception) -> Exception:
    """What really happened, when tasks of a group raised it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def _log_fault(log: Log, envelope: Envelope, error: Exception) -> None:
    log.trouble(
        "net.handler_fault",
        operation_id=envelope.operation_id,
        step=envelope.step,
        message=envelope.name,
        error=type(error).__name__,
        place=_place(error),
    )


def _place(error: Exception) -> str:
    """File and line where it was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
