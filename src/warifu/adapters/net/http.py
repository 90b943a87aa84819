"""A small HTTP/1.1 server for the public edges: OCSP answers (RFC 6960, appendix A) and revocation lists.

The bytes are parsed by httptools (Node's llhttp); bounds and clocks are ours, because the servers we measured do not
let one set them all (``docs/decisions/0002-node-protocol.md``). One request of a connection is handled at a time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from ssl import SSLContext
from typing import cast
from urllib.parse import unquote

import httptools
from msgspec import Struct, field

from warifu.adapters.net.strangers import Strangers
from warifu.adapters.net.telling import Telling
from warifu.kernel.errors import ConnectionExcess, DeadlinePassed, Fault, NotFound, Refused, TryAgain, WarifuError
from warifu.ports.log import Log

ALLOWED = ("GET", "HEAD", "POST")
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_LAST_S = 1.0
_PIECE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """Bounds of one server."""

    max_head_bytes: int = 16_384
    """Of request line and headers together; 431 above."""
    max_headers: int = 64
    max_body_bytes: int = 65_536
    """413 above."""
    max_pipelined: int = 16
    """Requests sent before the first is answered; 429 above."""
    max_connections: int = 1024
    request_ms: int = 10_000
    """From a request's first byte to its last; 408 after."""
    handler_ms: int = 10_000
    """503 after."""
    keep_alive_ms: int = 30_000
    """Between requests."""
    stall_ms: int = 10_000
    """How long a client may leave our bytes unread."""

    def tick_s(self) -> float:
        """How often a connection looks at its own clocks."""
        return min(self.request_ms, self.keep_alive_ms, self.stall_ms) / 4000


class HttpRequest(Struct, frozen=True, kw_only=True):
    """A request, complete."""

    method: str
    """GET, HEAD or POST; anything else is refused before (405). HEAD is answered as GET, its body left out."""
    path: str
    """Decoded, without the query."""
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    """By lower-case name; of a name that comes twice, the last."""
    body: bytes = b""
    address: str = ""
    """Where it comes from."""


class HttpResponse(Struct, frozen=True, kw_only=True):
    """An answer, complete. Content-Length, Date and Connection are added."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


HttpHandler = Callable[[HttpRequest], Awaitable[HttpResponse]]


async def serve_http(
    handler: HttpHandler,
    host: str,
    port: int,
    *,
    log: Log,
    tls: SSLContext | None = None,
    limits: HttpLimits | None = None,
) -> "HttpServer":
    """Listen (port 0: a free one) and answer requests until ``stop``. ``OSError`` when the address is taken."""
    server = HttpServer(handler, log, limits or HttpLimits())
    await server.listen(host, port, tls)
    return server


def render(error: WarifuError) -> HttpResponse:
    """The one place where an error of the tree becomes an HTTP answer; its code is the body."""
    headers = {"content-type": "text/plain; charset=utf-8"}
    if isinstance(error, NotFound):
        status = HTTPStatus.NOT_FOUND
    elif isinstance(error, Refused):
        status = HTTPStatus.BAD_REQUEST
    elif isinstance(error, TryAgain):
        status = HTTPStatus.SERVICE_UNAVAILABLE
        wait_ms = error.retry_after_ms if isinstance(error, ConnectionExcess) else 1000
        headers["retry-after"] = str(-(-wait_ms // 1000))
    else:
        status = HTTPStatus.INTERNAL_SERVER_ERROR
    return HttpResponse(status=status, headers=headers, body=f"{error.code}\n".encode())


class HttpServer:
    """A listening server. Made by ``serve_http``."""

    def __init__(self, handler: HttpHandler, log: Log, limits: HttpLimits) -> None:
        self.limits = limits
        self.connections: set[_HttpConnection] = set()
        self._handler = handler
        self._log = log
        self.telling = Telling(log)
        self._listener: asyncio.Server | None = None

    async def listen(self, host: str, port: int, tls: SSLContext | None) -> None:
        """Open the port."""
        if tls is not None:
            Strangers(self.telling, self.limits.request_ms / 1000).watch(tls)
        self._listener = await asyncio.get_running_loop().create_server(
            lambda: _HttpConnection(self),
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=None if tls is None else self.limits.request_ms / 1000,
            ssl_shutdown_timeout=None if tls is None else _LAST_S,
            backlog=self.limits.max_connections,
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        if self._listener is None or not self._listener.sockets:
            raise Fault("the server does not listen")
        return int(self._listener.sockets[0].getsockname()[1])

    async def stop(self, grace_s: float = 5.0) -> None:
        """Take no new connections and requests, finish those at work within the grace, then end them."""
        if self._listener is not None:
            self._listener.close()
        for connection in set(self.connections):
            connection.finish_up()
        for grace in (grace_s, _LAST_S):
            if self.connections:
                await asyncio.wait([connection.closed for connection in self.connections], timeout=grace)
            for connection in set(self.connections):
                connection.abort()

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """The handler's answer, or its error as one."""
        deadline = asyncio.timeout(self.limits.handler_ms / 1000)
        try:
            async with deadline:
                return await self._handler(request)
        except WarifuError as error:
            if isinstance(error, Fault):
                self.note_fault(error)
            return render(error)
        except Exception as error:  # noqa: BLE001 - the edge: whatever a handler does, the client gets an answer
            if isinstance(error, TimeoutError) and deadline.expired():
                return render(DeadlinePassed("not done in time"))
            self.note_fault(error)
            return render(Fault("internal fault"))

    def note_fault(self, error: Exception) -> None:
        """One log record; the type only, since the text may hold anything."""
        self._log.trouble("http.handler_fault", error=type(error).__name__)


class _Unfit(Exception):  # noqa: N818 - reads as a sentence
    """The bytes are no request we take; the connection ends with this status."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class RequestReader:
    """Makes requests of a stream of bytes. Its ``on_...`` methods are what httptools calls."""

    def __init__(self, limits: HttpLimits, address: str = "") -> None:
        self._limits = limits
        self._address = address
        self._parser = httptools.HttpRequestParser(self)
        self._ready: list[tuple[HttpRequest, bool]] = []
        self._unfit: HTTPStatus | None = None
        self._fed = 0
        self.begun = False
        self._start()

    def feed(self, data: bytes) -> list[tuple[HttpRequest, bool]]:
        """The requests that these bytes complete, each with whether the connection is to be kept after it.

        Raises:
            _Unfit: what comes is no request, or one beyond the limits.
        """
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise _Unfit(HTTPStatus.NOT_IMPLEMENTED) from None
        except httptools.HttpParserError:
            raise _Unfit(HTTPStatus.BAD_REQUEST) from None
        if self.begun and not self._head_done and self._fed > self._limits.max_head_bytes:
            self._unfit = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
        if self._unfit is not None:
            raise _Unfit(self._unfit)
        ready, self._ready = self._ready, []
        return ready

    def on_message_begin(self) -> None:
        """A request's first byte was read."""
        self._start()
        self.begun = True

    def on_url(self, piece: bytes) -> None:
        """The target, or a part of it."""
        self._url += piece
        self._count_head(len(piece))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._count_head(len(name) + len(value) + 4)
        if self._unfit is None:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")
            if len(self._headers) > self._limits.max_headers:
                self._unfit = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE

    def on_headers_complete(self) -> None:
        """The head is read; a body that announces too much is refused before it comes."""
        self._head_done = True
        announced = self._headers.get("content-length", "0")
        if len(announced) > len(str(self._limits.max_body_bytes)) or int(announced) > self._limits.max_body_bytes:
            self._unfit = HTTPStatus.REQUEST_ENTITY_TOO_LARGE

    def on_body(self, piece: bytes) -> None:
        """A part of the body."""
        if len(self._body) + len(piece) > self._limits.max_body_bytes:
            self._unfit = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        if self._unfit is None:
            self._body += piece

    def on_message_complete(self) -> None:
        """The request is whole."""
        self.begun = False
        self._fed = 0
        if len(self._ready) >= self._limits.max_pipelined:
            self._unfit = HTTPStatus.TOO_MANY_REQUESTS
        if self._unfit is None:
            self._ready.append((self._request(), self._parser.should_keep_alive()))

    def _request(self) -> HttpRequest:
        path, _, query = self._url.decode("latin-1").partition("?")
        return HttpRequest(
            method=self._parser.get_method().decode("latin-1"),
            path=unquote(path),
            query=query,
            headers=self._headers,
            body=bytes(self._body),
            address=self._address,
        )

    def _start(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()
        self._head_bytes = 0
        self._head_done = False

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > self._limits.max_head_bytes:
            self._unfit = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE


class _HttpConnection(asyncio.Protocol):
    """One connection: reads until requests are whole, answers them in order, then reads again."""

    def __init__(self, server: HttpServer) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = server
        self._limits = server.limits
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self._room: asyncio.Future[None] | None = None
        self._work: asyncio.Task[None] | None = None
        self._last = False
        self._heard_at = self._begun_at = self._stalled_at = self._loop.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = cast("asyncio.Transport", transport)
        address = "{0[0]}:{0[1]}".format(transport.get_extra_info("peername") or ("", 0))
        self._reader = RequestReader(self._limits, address)
        self._clock = self._loop.call_later(self._limits.tick_s(), self._tick)
        if len(self._server.connections) >= self._limits.max_connections:
            transport.close()
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        if self._last:
            return
        self._heard_at = self._loop.time()
        if not self._reader.begun:
            self._begun_at = self._heard_at
        try:
            requests = self._reader.feed(data)
        except _Unfit as unfit:
            self._refuse(unfit.status)
            return
        if requests:
            self._transport.pause_reading()
            self._work = self._loop.create_task(self._answer(requests))

    def pause_writing(self) -> None:
        """Called by asyncio."""
        self._room = self._loop.create_future()
        self._stalled_at = self._loop.time()

    def resume_writing(self) -> None:
        """Called by asyncio."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Called by asyncio. What the handler began, it ends."""
        self._last = True
        self._clock.cancel()
        self._server.connections.discard(self)
        self.resume_writing()
        if not self.closed.done():
            self.closed.set_result(None)

    def finish_up(self) -> None:
        """Take no further request; close when the one at work is answered."""
        self._last = True
        if self._work is None:
            self._transport.close()

    def abort(self) -> None:
        """End at once."""
        self._transport.abort()
        if self._work is not None:
            self._work.cancel()

    async def _answer(self, requests: list[tuple[HttpRequest, bool]]) -> None:
        try:
            for request, keep in requests:
                await self._answer_one(request, keep=keep)
                if self._last:
                    self._transport.close()
                    return
            self._heard_at = self._begun_at = self._loop.time()
            self._transport.resume_reading()
        finally:
            self._work = None

    async def _answer_one(self, request: HttpRequest, *, keep: bool) -> None:
        if request.method in ALLOWED:
            response = await self._server.answer(request)
        else:
            response = HttpResponse(status=HTTPStatus.METHOD_NOT_ALLOWED, headers={"allow": ", ".join(ALLOWED)})
        self._last = self._last or not keep
        await self._write(response, with_body=request.method != "HEAD")

    async def _write(self, response: HttpResponse, *, with_body: bool) -> None:
        try:
            head = encode_head(response, keep=not self._last)
        except Fault as fault:
            self._server.note_fault(fault)
            response = render(fault)
            head = encode_head(response, keep=not self._last)
        body = response.body if with_body else b""
        self._put(head + body[:_PIECE_BYTES])
        for start in range(_PIECE_BYTES, len(body), _PIECE_BYTES):
            if self._room is not None:
                await self._room  # the tick aborts a client that does not read
            self._put(body[start : start + _PIECE_BYTES])

    def _put(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)

    def _refuse(self, status: HTTPStatus) -> None:
        self._last = True
        self._server.telling.count("http.refused", status=str(status.value))
        self._put(encode_head(HttpResponse(status=status), keep=False))
        self._transport.close()

    def _tick(self) -> None:
        now = self._loop.time()
        self._clock = self._loop.call_later(self._limits.tick_s(), self._tick)
        if self._room is not None:
            if (now - self._stalled_at) * 1000 > self._limits.stall_ms:
                self._transport.abort()
        elif self._work is None:
            self._tick_reading(now)

    def _tick_reading(self, now: float) -> None:
        if self._reader.begun:
            if (now - self._begun_at) * 1000 > self._limits.request_ms:
                self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        elif (now - self._heard_at) * 1000 > self._limits.keep_alive_ms:
            self._transport.close()


def encode_head(response: HttpResponse, *, keep: bool) -> bytes:
    """Status line and headers. ``Fault`` when a header has a control character (a way to smuggle in another answer)."""
    first, others = _around_date(response.status, tuple(response.headers.items()), len(response.body), keep)
    return first + _date(int(time.time())) + others


@lru_cache(maxsize=256)
def _around_date(status: int, headers: tuple[tuple[str, str], ...], length: int, keep: bool) -> tuple[bytes, bytes]:  # noqa: FBT001 - one key of a cache
    """What is the same for answers with the same headers and of the same length: what stands around the date."""
    first = f"HTTP/1.1 {status} {_phrase(status)}"
    others = [f"{name}: {value}" for name, value in headers]
    others.append(f"Content-Length: {length}")
    if not keep:
        others.append("Connection: close")
    if not all(line.isprintable() and line.isascii() for line in (first, *others)):
        raise Fault("a header that cannot be sent")
    return f"{first}\r\nDate: ".encode("ascii"), ("\r\n".join(("", *others)) + "\r\n\r\n").encode("ascii")


@lru_cache(maxsize=2)
def _date(second: int) -> bytes:
    return formatdate(second, usegmt=True).encode("ascii")


def _phrase(status: int) -> str:
    phrase = _PHRASES.get(status)
    if phrase is None:
        raise Fault(f"there is no HTTP status {status}")
    return phrase
