"""The exported OpenAPI document is true of the HTTP edge: nothing that Schemathesis makes up finds a 500.

The edge is the real one on a real port; behind it stands a lent test CA.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import schemathesis

from edge_kit import ASKED, Edge
from warifu.adapters.net.http import HttpHandler
from warifu.contract.schema import openapi
from warifu.lend import service
from warifu.lend.authority import LendingAuthority

NOW_MS = 1_795_000_000_000
schema = schemathesis.openapi.from_dict(dict(openapi()))


@schemathesis.serializer("application/ocsp-request")
def as_bytes(_context: Any, value: Any) -> bytes:
    """DER is bytes; what the schema calls a string is taken as such."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    folder = tmp_path_factory.mktemp("lend")

    @asynccontextmanager
    async def opening() -> AsyncIterator[HttpHandler]:
        yield service.edge(LendingAuthority(folder, NOW_MS), lambda: NOW_MS)

    with Edge(opening).served() as served:
        yield served


@pytest.mark.real
@schema.parametrize()
@ASKED
def test_nothing_that_is_asked_is_a_fault(case: schemathesis.Case[Any], edge: Edge) -> None:
    edge.is_true_of(case)
