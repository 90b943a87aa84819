"""``LocalTransport``: the ``Transport`` port inside one process, with the wire's own rules."""

import asyncio
from collections.abc import Mapping

from warifu.adapters.net import codec
from warifu.adapters.net.handling import Handler, Peer, answer, check_sender, refusal
from warifu.contract.envelope import Envelope, Reply
from warifu.kernel.errors import DeadlinePassed, NotAllowed, Unreachable
from warifu.ports.log import Log

_LOCAL = "local"


class LocalTransport:
    """Names to handlers. Requests and replies pass the codec, and a handler ends even when its caller goes away.

    Args:
        handlers: by node name; may be added to later.
        name: this node's name, checked against the envelope's sender as a server would.
        log: where faults of handlers are told.
    """

    def __init__(self, handlers: Mapping[str, Handler], name: str, log: Log) -> None:
        self._handlers = handlers
        self._peer = Peer(name, _LOCAL)
        self._log = log
        self._handling: set[asyncio.Task[Reply]] = set()

    async def call(self, destination: str, envelope: Envelope) -> Reply:
        """See ``ports.transport``."""
        handler = self._handlers.get(destination)
        if handler is None:
            raise Unreachable(f"no address is known for {destination}")
        received = codec.decode_envelope(codec.encode_envelope(envelope))
        try:
            check_sender(received, self._peer)
        except NotAllowed as error:
            return refusal(error)
        task = self._start(handler, received)
        done, _ = await asyncio.wait({task}, timeout=envelope.remaining_ms / 1000)
        if not done:
            raise DeadlinePassed(f"no reply from {destination} in time")
        return codec.decode_reply(codec.encode_reply(task.result()))

    async def aclose(self, grace_s: float = 10.0) -> None:
        """Let handlers end, within the grace; then cancel them."""
        if self._handling:
            _, late = await asyncio.wait(set(self._handling), timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _start(self, handler: Handler, envelope: Envelope) -> "asyncio.Task[Reply]":
        task = asyncio.get_running_loop().create_task(answer(handler, envelope, self._peer, self._log))
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)
        return task
