"""An HTTP edge on a real port, in a thread with a loop of its own, so that a client that blocks can ask it."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager

from warifu.adapters.net.http import HttpHandler, serve_http

HOST = "127.0.0.1"
WITHIN_S = 20.0


class Troubles:
    """A log that remembers what went wrong."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def info(self, event: str, **fields: str | float) -> None:
        """Nothing to remember."""

    def trouble(self, event: str, **fields: str | float) -> None:
        self.events.append(f"{event} {fields}")


class Edge:
    """The edge; ``opening`` makes the handler, in the edge's own loop and task."""

    def __init__(self, opening: Callable[[], AbstractAsyncContextManager[HttpHandler]]) -> None:
        self.log = Troubles()
        self._opening = opening
        self._port: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    def start(self) -> str:
        """The address."""
        self._thread.start()
        return f"http://{HOST}:{self._port.result(WITHIN_S)}"

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with self._opening() as handler:
            server = await serve_http(handler, HOST, 0, log=self.log)
            self._port.set_result(server.port)
            await self._over.wait()
            await server.stop(0.5)
