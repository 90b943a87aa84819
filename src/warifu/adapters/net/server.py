"""A handler behind a port: ``serve``."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from warifu.adapters.net import codec
from warifu.adapters.net.frames import (
    GOAWAY,
    NOW,
    ONCE_ELSEWHERE,
    PING,
    REPLY,
    REQUEST,
    Frame,
    FrameConnection,
    FrameError,
)
from warifu.adapters.net.handling import Handler, Peer, answer, check_sender, refusal
from warifu.adapters.net.limits import Limits
from warifu.adapters.net.strangers import Strangers
from warifu.adapters.net.telling import Telling
from warifu.adapters.net.tls import NodeTls, node_name, server_context
from warifu.contract.codec import UnknownMessage
from warifu.contract.envelope import Envelope, Reply
from warifu.kernel.errors import Fault, Malformed, NotAllowed, Unavailable, WarifuError
from warifu.ports.log import Log

_LAST_S = 1.0
"""What cancelled handlers and aborted connections get to end, after the grace."""
_LET_GO_EVERY_S = 0.01
"""Between two connections that are let go: whoever takes them has time for each handshake."""

_OUT_OF_PLACE = frozenset(error.code for error in (Malformed, NotAllowed, UnknownMessage))
"""What no program of ours is told, as long as both are of the same version and nobody pretends to be another."""


async def serve(
    handler: Handler, host: str, port: int, tls: NodeTls, *, log: Log, limits: Limits | None = None
) -> "NetServer":
    """Listen (port 0: a free one) and answer requests until ``stop``.

    A handler gets the time its envelope has left and is not cancelled when its client goes away: what it began, it
    ends, and the reply is dropped. ``OSError`` when the address is taken.
    """
    server = NetServer(handler, log, limits or Limits())
    await server.listen(host, port, tls)
    return server


class NetServer:
    """A listening server. Made by ``serve``."""

    def __init__(self, handler: Handler, log: Log, limits: Limits) -> None:
        self.limits = limits
        self._handler = handler
        self._log = log
        self._telling = Telling(log)
        self._strangers = Strangers(self._telling, limits.connect_ms / 1000)
        self._listener: asyncio.Server | None = None
        self._connections: set[_Served] = set()
        self._handling: set[asyncio.Task[None]] = set()

    async def listen(self, host: str, port: int, tls: NodeTls) -> None:
        """Open the port."""
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: _Served(self),
            host,
            port,
            ssl=self._strangers.watch(server_context(tls)),
            ssl_handshake_timeout=self.limits.connect_ms / 1000,
            ssl_shutdown_timeout=_LAST_S,
            backlog=self.limits.max_connections,
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._listener is None or not self._listener.sockets:
            raise Fault("the server does not listen")
        return int(self._listener.sockets[0].getsockname()[1])

    @property
    def handling(self) -> int:
        """Requests being handled now."""
        return len(self._handling)

    def let_go(self, most: int | None = None, sparing: str = "") -> int:
        """Ask clients to connect anew, elsewhere if a balancer says so, and then to leave with what is in flight.

        Each goes on here until it has another connection, so that nobody waits; they are asked one after another.

        Args:
            most: how many connections; of everybody's a few, those that were asked before first. None: all.
            sparing: a client whose connections stay.

        Returns:
            How many are asked.
        """
        chosen = _first_to_go([each for each in self._connections if each.peer.name != sparing])[:most]
        loop = asyncio.get_running_loop()
        for number, connection in enumerate(chosen):
            connection.asked_to_go = True
            loop.call_later(number * _LET_GO_EVERY_S, connection.send, GOAWAY, ONCE_ELSEWHERE)
        return len(chosen)

    async def stop(self, grace_s: float = 10.0) -> None:
        """Take no new connections, ask clients to go, finish what is in flight; after the grace, end it."""
        if self._listener is not None:
            self._listener.close()
        for connection in self._connections:
            connection.send(GOAWAY, NOW)
        try:
            async with asyncio.timeout(grace_s):
                await self._drained()
        except TimeoutError:
            self._log.trouble("net.stopped_in_flight", handling=self.handling, connections=len(self._connections))
        await self._end()

    async def _drained(self) -> None:
        """Clients close when they have their replies, so that none is lost to a request already on its way."""
        while waiting := [*self._handling, *(connection.closed for connection in self._connections)]:
            await asyncio.wait(waiting)

    async def _end(self) -> None:
        for task in self._handling:
            task.cancel()
        for connection in self._connections:
            connection.abort("the server has stopped")
        ending = [*self._handling, *(connection.closed for connection in self._connections)]
        if ending:
            await asyncio.wait(ending, timeout=_LAST_S)

    # What connections tell.

    def join(self, connection: "_Served") -> None:
        """A connection was made. ``Unavailable`` when there are too many."""
        if len(self._connections) >= self.limits.max_connections:
            raise Unavailable("too many connections")
        self._connections.add(connection)

    def leave(self, connection: "_Served") -> None:
        """A connection is gone; its handlers go on."""
        self._connections.discard(connection)

    def note(self, event: str, peer: Peer, reason: str) -> None:
        """One log record on a connection that was not as it should be."""
        self._log.trouble(event, peer=peer.name, address=peer.address, reason=reason)

    def start(self, connection: "_Served", frame: Frame) -> None:
        """Handle a request."""
        try:
            envelope = self._open(connection.peer, frame.payload)
        except WarifuError as error:
            self._telling.count("net.refused", peer=connection.peer.name, code=error.code)
            connection.finish(frame.request_id, refusal(error))
            return
        task = asyncio.get_running_loop().create_task(self._handle(connection, frame.request_id, envelope))
        self._handling.add(task)
        task.add_done_callback(self._handling.discard)

    def _open(self, peer: Peer, payload: bytes) -> Envelope:
        envelope = codec.decode_envelope(payload)
        check_sender(envelope, peer)
        if len(self._handling) >= self.limits.max_handlers:
            raise Unavailable("too many requests at work; nothing was done")
        return envelope

    async def _handle(self, connection: "_Served", request_id: int, envelope: Envelope) -> None:
        reply = await answer(self._handler, envelope, connection.peer, self._log)
        if reply.error is not None and reply.error.code in _OUT_OF_PLACE:
            self._telling.count("net.refused", peer=connection.peer.name, code=reply.error.code)
        connection.finish(request_id, reply)


def _first_to_go(connections: "Sequence[_Served]") -> "list[_Served]":
    """Those asked before; then of clients with most connections here, so that everybody's are spread; idle ones first.

    Whoever was asked and is still here is finishing, or found no other place: asking once more takes nobody else.
    """
    here: Counter[str] = Counter()
    rank: dict[_Served, tuple[bool, int, int]] = {}
    for connection in sorted(connections, key=lambda each: -each.in_flight):
        here[connection.peer.name] += not connection.asked_to_go
        rank[connection] = (not connection.asked_to_go, -here[connection.peer.name], connection.in_flight)
    return sorted(rank, key=lambda each: rank[each])


class _Served(FrameConnection):
    """The server's end of a connection."""

    def __init__(self, server: NetServer) -> None:
        super().__init__(server.limits)
        self.peer = Peer("", "")
        self._server = server
        self.in_flight = 0
        self.asked_to_go = False
        self._last_id = 0

    def on_open(self) -> None:
        """See who it is, and greet."""
        assert self.transport is not None  # noqa: S101 - just made
        address = "{0[0]}:{0[1]}".format(self.transport.get_extra_info("peername") or ("", 0))
        try:
            self.peer = Peer(node_name(self.transport.get_extra_info("peercert")), address)
            self._server.join(self)
        except (NotAllowed, Unavailable) as error:
            self.peer = Peer(self.peer.name, address)
            self.abort(str(error))
        else:
            self.send(PING, 0)

    def accepting(self) -> bool:
        """While there is room for one more, and the peer reads our replies."""
        return self.in_flight < self.limits.max_in_flight and self.writable

    def on_frame(self, frame: Frame) -> None:
        """Start on a request whose id is new."""
        if frame.kind == REQUEST:
            if frame.request_id <= self._last_id:
                raise FrameError("a request id that was used before")
            self._last_id = frame.request_id
            self.in_flight += 1
            self._server.start(self, frame)
        elif frame.kind in (REPLY, GOAWAY):
            raise FrameError("a client sends requests")

    def finish(self, request_id: int, reply: Reply) -> None:
        """Send the reply to a request; dropped when the connection is gone."""
        self.in_flight -= 1
        self.send(REPLY, request_id, self._encode(reply))
        self.take_frames()

    def on_malformed(self, error: FrameError) -> None:
        """Answer if it can be said to whom; log once."""
        if error.request_id is not None and error.request_id > self._last_id:
            self.send(REPLY, error.request_id, codec.encode_reply(refusal(Malformed(str(error)))))
        self._server.note("net.malformed", self.peer, str(error))

    def on_writable(self) -> None:
        """The peer reads again."""
        self.take_frames()

    def on_silence(self, silent_ms: float) -> None:
        """A living client pings; one that does not is gone."""
        if self.in_flight == 0 and silent_ms > self.limits.idle_ms:
            self.close("idle")

    def on_lost(self) -> None:
        """The handlers go on without it."""
        if self.aborted:
            self._server.note("net.connection_aborted", self.peer, self.reason)
        self._server.leave(self)

    def _encode(self, reply: Reply) -> bytes:
        try:
            return codec.encode_reply(reply)
        except Malformed as error:
            self._server.note("net.reply_fault", self.peer, str(error))
            return codec.encode_reply(refusal(Fault("the reply cannot be sent")))
