"""What the tests of nodes on the wire share: servers, callers, and peers that do not behave."""

import asyncio
import itertools
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from warifu.adapters.net.client import Address, Affinity, Destination, NetTransport
from warifu.adapters.net.codec import encode_envelope
from warifu.adapters.net.frames import PING, REQUEST, Frame, FrameParser, encode_frame
from warifu.adapters.net.handling import Handler, Peer
from warifu.adapters.net.limits import Limits
from warifu.adapters.net.server import NetServer, serve
from warifu.adapters.net.tls import NodeTls, client_context, server_context
from warifu.contract.envelope import Envelope, Reply

DEADLINE_S = 30
HOST = "127.0.0.1"
T = TypeVar("T")


@dataclass(frozen=True)
class Certificates:
    cs: NodeTls
    relay: NodeTls
    second_relay: NodeTls
    strange_cs: NodeTls
    strange_relay: NodeTls


@dataclass
class RecordingLog:
    """Keeps the records, and lets a test wait for one."""

    records: list[tuple[str, dict[str, str | float]]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def info(self, event: str, **fields: str | float) -> None:
        self.records.append((event, fields))
        self.changed.set()

    trouble = info

    def of(self, event: str) -> list[dict[str, str | float]]:
        return [fields for name, fields in self.records if name == event]

    async def wait_for(self, event: str) -> dict[str, str | float]:
        while not self.of(event):
            self.changed.clear()
            await self.changed.wait()
        return self.of(event)[0]


def request(body: bytes = b"body", **fields: Any) -> Envelope:
    given: dict[str, Any] = {
        "name": "relay.echo",
        "operation_id": "0" * 26,
        "step": "1",
        "sender": "cs-1",
        "remaining_ms": 20_000,
    }
    return Envelope(**(given | fields), body=body)


async def echo(envelope: Envelope, peer: Peer) -> Reply:
    assert peer.name == "cs-1"
    return Reply(body=envelope.body)


class Gate:
    """A handler that says when a request came and answers when it is let."""

    def __init__(self) -> None:
        self.entered = asyncio.Semaphore(0)
        self.opened = asyncio.Event()
        self.begun = 0
        self.ended = 0

    async def __call__(self, envelope: Envelope, peer: Peer) -> Reply:
        self.begun += 1
        self.entered.release()
        await self.opened.wait()
        self.ended += 1
        return await echo(envelope, peer)


@asynccontextmanager
async def serving(
    handler: Handler, tls: NodeTls, log: RecordingLog, limits: Limits | None = None, port: int = 0
) -> AsyncIterator[NetServer]:
    server = await serve(handler, HOST, port, tls, log=log, limits=limits)
    try:
        yield server
    finally:
        await server.stop(grace_s=0.5)


@asynccontextmanager
async def calling(
    *ports: int,
    tls: NodeTls,
    limits: Limits | None = None,
    connections: int = 2,
    accepted: tuple[str, ...] = ("relay-1",),
    accepted_kind: str = "",
    affinity: Affinity = "none",
) -> AsyncIterator[NetTransport]:
    addresses: tuple[Address, ...] = tuple((HOST, port) for port in ports)
    destination = Destination(
        addresses=addresses,
        accepted=frozenset(accepted),
        accepted_kind=accepted_kind,
        connections=connections,
        affinity=affinity,
    )
    transport = NetTransport({"relay": destination}, tls, limits, jitter=lambda: 0.0)
    try:
        yield transport
    finally:
        await transport.aclose()


@dataclass
class RawPeer:
    """One end of a TLS connection, byte by byte."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    parser: FrameParser = field(default_factory=lambda: FrameParser(1 << 21))

    def send(self, *frames: Frame) -> None:
        self.writer.write(b"".join(encode_frame(frame) for frame in frames))

    def ask(self, request_id: int, envelope: Envelope) -> None:
        self.send(Frame(request_id, REQUEST, encode_envelope(envelope)))

    async def receive(self, kind: int | None = None) -> Frame | None:
        """The next frame (of a kind), or None when the connection has ended."""
        while True:
            frame = self.parser.next()
            if frame is not None and kind in (None, frame.kind):
                return frame
            if frame is None:
                try:
                    data = await self.reader.read(1 << 16)
                except ConnectionError:
                    return None
                if not data:
                    return None
                self.parser.feed(data)

    def close(self) -> None:
        self.writer.transport.abort()


@asynccontextmanager
async def raw_client(port: int, tls: NodeTls) -> AsyncIterator[RawPeer]:
    context = client_context(tls)
    peer = RawPeer(*await asyncio.open_connection(HOST, port, ssl=context, server_hostname="relay.warifu.internal"))
    try:
        yield peer
    finally:
        peer.close()


@asynccontextmanager
async def raw_server(
    behave: Callable[[RawPeer], Awaitable[None]], tls: NodeTls, *, greet: bool = True
) -> AsyncIterator[int]:
    """A server of one connection's behaviour; the port."""
    peers: list[RawPeer] = []

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = RawPeer(reader, writer)
        peers.append(peer)
        if greet:
            peer.send(Frame(0, PING, b""))
        await behave(peer)

    server = await asyncio.start_server(met, HOST, 0, ssl=server_context(tls))
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for peer in peers:
            peer.close()


def cancel_at(call: Coroutine[Any, Any, T], point: int) -> Awaitable[T]:
    """Await ``call``, but cancel the task at its await number ``point`` (from 0), wherever in the depth that is."""

    @types.coroutine
    def steps() -> Generator[Any, Any, T]:
        push: Callable[[Any], Any] = call.send
        argument: Any = None
        for step in itertools.count():
            try:
                waited = push(argument)
            except StopIteration as done:
                return done.value  # type: ignore[no-any-return]
            task = asyncio.current_task()
            if step == point and task is not None:
                task.cancel()
            try:
                argument = yield waited
                push = call.send
            except BaseException as error:  # noqa: BLE001 - passed on, as a task would
                argument, push = error, call.throw
        raise AssertionError

    return steps()
