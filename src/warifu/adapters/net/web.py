"""Serves a web application for people (ASGI) in the node's own event loop: uvicorn, without its signal handlers."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any, Final

import uvicorn

CONNECTIONS: Final = 256
BEGIN_WITHIN_S: Final = 10
KEEP_ALIVE_S: Final = 30


class WebServer:
    """A server that runs until it is stopped."""

    def __init__(self, server: "_Server", serving: asyncio.Task[None], listener: socket.socket) -> None:
        self._server = server
        self._serving = serving
        self._listener = listener

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


async def serve_web(app: Any, host: str, port: int) -> WebServer:  # noqa: ANN401 - ASGI applications are callables
    """Serve an application. ``OSError`` when the address is taken."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,  # addresses are nobody's business; applications log what matters
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
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
        listener.listen(128)
        listener.setblocking(False)  # noqa: FBT003 - the standard library's form
    except OSError:
        listener.close()
        raise
    return listener
