"""Serves a web application for people (ASGI) in the node's own event loop: uvicorn, without its signal handlers.

What uvicorn leaves open is closed here: how long a request may take to arrive, how much may come before its body, how
long a browser may leave an answer unread; and an error that escapes the application is logged without its text, which
may hold what a resident entered.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, Final

import uvicorn
from msgspec import Struct
from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from warifu.adapters.net.telling import Telling
from warifu.ports.log import Log

BEGIN_WITHIN_S: Final = 10
_BACKLOG: Final = 128
_TOO_SLOW: Final = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LONG: Final = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"

Message = MutableMapping[str, Any]
App = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class WebLimits(Struct, frozen=True, kw_only=True):
    """What one client may take of a server for people."""

    connections: int = 256
    keep_alive_s: float = 30
    head_s: float = 10
    """From the connection, or a request's first byte, to the end of its head."""
    head_bytes: int = 32 * 1024
    body_s: float = 120
    """A portrait over a slow telephone line takes a minute."""
    unread_s: float = 60
    """An answer that nobody reads."""


class WebServer:
    """A server that runs until it is stopped."""

    def __init__(self, server: "_Server", serving: asyncio.Task[None], listener: socket.socket) -> None:
        self._server = server
        self._serving = serving
        self._listener = listener

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    async def stop(self, grace_s: float) -> None:
        """Answer what is under way for so long, then end."""
        self._server.should_exit = True
        await asyncio.wait({self._serving}, timeout=grace_s + 1)
        self._serving.cancel()
        self._listener.close()


class _Server(uvicorn.Server):
    """Signals are the node's business."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when it serves."""
        await super().startup(sockets)
        self.ready.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take none."""
        yield


async def serve_web(app: App, host: str, port: int, *, log: Log, limits: WebLimits | None = None) -> WebServer:
    """Serve an application. ``OSError`` when the address is taken."""
    limits = limits or WebLimits()
    _silence()
    config = uvicorn.Config(
        _watched(app, log),
        host=host,
        port=port,
        http=_bounded(limits, Telling(log)),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # addresses are nobody's business; applications log what matters
        server_header=False,
        proxy_headers=False,
        limit_concurrency=limits.connections,
        timeout_keep_alive=limits.keep_alive_s,  # type: ignore[arg-type]  # seconds for the loop's call_later
        timeout_graceful_shutdown=1,
    )
    listener = _listening(host, port)
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listener]), name="web")
    async with asyncio.timeout(BEGIN_WITHIN_S):
        await server.ready.wait()
    return WebServer(server, serving, listener)


def _listening(host: str, port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - the standard library's form
    except OSError:
        listener.close()
        raise
    return listener


def _silence() -> None:
    """Uvicorn's own log repeats errors' texts; ours do not."""
    logger = logging.getLogger("uvicorn.error")
    logger.propagate = False
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _watched(app: App, log: Log) -> App:
    async def watched(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI's own types are loose
        try:
            await app(scope, receive, send)
        except ClientDisconnect:
            return  # went away in the middle of a request: nothing was done
        except Exception as error:  # noqa: BLE001 - the type only, since the text may hold anything
            log.trouble("web.handler_fault", error=type(error).__name__)

    return watched


# ---- bounds ----------------------------------------------------------------------------------------------------------


class _Bounded(HttpToolsProtocol):
    """One connection: at any moment either a deadline runs, or the application is at work."""

    limits = WebLimits()
    telling: Telling
    _deadline: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._within(self.limits.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(self._deadline)
        self._end(self._unread)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._deadline is None and not self._at_work():
            self._within(self.limits.head_s)  # also what is no request yet, such as empty lines
        self._head_bytes += len(data)
        super().data_received(data)
        if not self._in_body and self._head_bytes > self.limits.head_bytes and not self.transport.is_closing():
            self._refuse(_TOO_LONG, "431")

    def on_headers_complete(self) -> None:
        self._in_body = True
        self._within(self.limits.body_s)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._end(self._deadline)
        self._deadline, self._in_body, self._head_bytes = None, False, 0
        super().on_message_complete()
        if not self._at_work():  # refused before its body had come: nothing else waits for the next request
            self._within(self.limits.keep_alive_s)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread = self.loop.call_later(self.limits.unread_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._end(self._unread)

    def _at_work(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # none before the first request, whatever uvicorn's type says
        return cycle is not None and not cycle.response_complete

    def _within(self, seconds: float) -> None:
        self._end(self._deadline)
        self._deadline = self.loop.call_later(seconds, self._too_slow)

    def _too_slow(self) -> None:
        if self._in_body:
            self.telling.count("web.refused", status="408")
            self.transport.abort()  # whoever waits for the rest of it is told that it does not come
        else:
            self._refuse(_TOO_SLOW, "408")

    def send_400_response(self, msg: str) -> None:
        self.telling.count("web.refused", status="400")
        super().send_400_response(msg)

    def _refuse(self, answer: bytes, status: str) -> None:
        self.telling.count("web.refused", status=status)
        if not self._at_work():
            self.transport.write(answer)
        self.transport.close()

    @staticmethod
    def _end(timer: asyncio.TimerHandle | None) -> None:
        if timer is not None:
            timer.cancel()


def _bounded(limits: WebLimits, telling: Telling) -> type[_Bounded]:
    """Uvicorn makes its protocols itself, from a class."""
    return type("_BoundedSo", (_Bounded,), {"limits": limits, "telling": telling})
