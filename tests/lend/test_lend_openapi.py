"""The exported OpenAPI document is true of the HTTP edge: nothing that Schemathesis makes up finds a 500.

The edge is the real one on a real port; behind it stands a lent test CA.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from warifu.adapters.net.http import HttpServer, serve_http
from warifu.contract.schema import openapi
from warifu.lend import service
from warifu.lend.authority import LendingAuthority

NOW_MS = 1_795_000_000_000
HOST = "127.0.0.1"
WITHIN_S = 20.0
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance]
schema = schemathesis.openapi.from_dict(dict(openapi()))


@schemathesis.serializer("application/ocsp-request")
def as_bytes(_context: Any, value: Any) -> bytes:
    """DER is bytes; what the schema calls a string is taken as such."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


class Troubles:
    """A log that remembers what went wrong."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def info(self, event: str, **fields: str | float) -> None:
        """Nothing to remember."""

    def trouble(self, event: str, **fields: str | float) -> None:
        self.events.append(f"{event} {fields}")


class Edge:
    """The edge in a thread of its own, with a loop of its own."""

    def __init__(self, folder: Path) -> None:
        self.log = Troubles()
        self._handler = service.edge(LendingAuthority(folder, NOW_MS), lambda: NOW_MS)
        self._loop = asyncio.new_event_loop()
        self._server: HttpServer | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def start(self) -> str:
        self._thread.start()
        begun = asyncio.run_coroutine_threadsafe(serve_http(self._handler, HOST, 0, log=self.log), self._loop)
        self._server = begun.result(WITHIN_S)
        return f"http://{HOST}:{self._server.port}"

    def stop(self) -> None:
        assert self._server is not None
        asyncio.run_coroutine_threadsafe(self._server.stop(0.5), self._loop).result(WITHIN_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(WITHIN_S)
        self._loop.close()


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Troubles]]:
    served = Edge(tmp_path_factory.mktemp("lend"))
    url = served.start()
    try:
        yield url, served.log
    finally:
        served.stop()


@pytest.mark.real
@schema.parametrize()
@settings(
    max_examples=40, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
def test_nothing_that_is_asked_is_a_fault(case: schemathesis.Case[Any], edge: tuple[str, Troubles]) -> None:
    url, log = edge
    began = time.monotonic()
    response = case.call(base_url=url)
    case.validate_response(response, checks=CHECKS)
    assert time.monotonic() - began < WITHIN_S
    assert log.events == []
