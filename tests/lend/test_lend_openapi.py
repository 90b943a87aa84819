"""The exported OpenAPI document is true of the HTTP edge: nothing that Schemathesis makes up finds a 500.

The edge is the real one on a real port; behind it stands a lent test CA.
"""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, status_code_conformance

from edge_kit import WITHIN_S, Edge, Troubles
from warifu.adapters.net.http import HttpHandler
from warifu.contract.schema import openapi
from warifu.lend import service
from warifu.lend.authority import LendingAuthority

NOW_MS = 1_795_000_000_000
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance]
schema = schemathesis.openapi.from_dict(dict(openapi()))


@schemathesis.serializer("application/ocsp-request")
def as_bytes(_context: Any, value: Any) -> bytes:
    """DER is bytes; what the schema calls a string is taken as such."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Troubles]]:
    folder = tmp_path_factory.mktemp("lend")

    @asynccontextmanager
    async def opening() -> AsyncIterator[HttpHandler]:
        yield service.edge(LendingAuthority(folder, NOW_MS), lambda: NOW_MS)

    served = Edge(opening)
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
