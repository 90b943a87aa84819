"""An HTTP edge on a real port, in a thread with a loop of its own, so that a client that blocks can ask it."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Self

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from warifu.adapters.net.http import HttpHandler, HttpLimits, serve_http

HOST = "127.0.0.1"
WITHIN_S = 20.0
ASKED = settings(
    max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
"""How much Schemathesis makes up for each operation of a document."""


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

    def __init__(
        self, opening: Callable[[], AbstractAsyncContextManager[HttpHandler]], limits: HttpLimits | None = None
    ) -> None:
        self.log = Troubles()
        self._limits = limits
        self._opening = opening
        self._port: Future[int] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    @contextmanager
    def served(self) -> Iterator[Self]:
        """It answers within."""
        self._thread.start()
        try:
            self._url = f"http://{HOST}:{self._port.result(WITHIN_S)}"
            yield self
        finally:
            self._stop()

    def is_true_of(self, case: schemathesis.Case[Any], **headers: str) -> None:
        """What the case asks is answered as the document says: in time, no 500, and no trouble in the log."""
        began = time.monotonic()
        response = case.call(base_url=self._url, headers=headers)
        case.validate_response(response, checks=[not_a_server_error, status_code_conformance, content_type_conformance])
        assert time.monotonic() - began < WITHIN_S
        assert self.log.events == []

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        async with self._opening() as handler:
            server = await serve_http(handler, HOST, 0, log=self.log, limits=self._limits)
            self._port.set_result(server.port)
            await self._over.wait()
            await server.stop(0.5)
