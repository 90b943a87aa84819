"""The front's OpenAPI document is true of its edge: nothing that Schemathesis makes up finds a 500.

The edge is the real one on a real port, and behind it stand the real front and the real JPKI over their memory twins.
"""

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import schemathesis
from nodes_house import House

from edge_kit import ASKED, Edge
from warifu.adapters.net.checking import LIMITS, verifier_edge
from warifu.adapters.net.http import HttpHandler
from warifu.contract.front import ApproveVerifier, RegisterVerifier
from warifu.contract.message import Request
from warifu.contract.openapi_front import openapi_front

SECRET = bytes(range(32))
CREDENTIALS = {"signature": "sign-bank", "authentication": "login-bank"}
schema = schemathesis.openapi.from_dict(openapi_front())


async def tell(house: House, request: Request, person: str) -> None:
    envelope = msgspec.structs.replace(house.envelope(request, sender="driver"), actor=person)
    assert (await house.send("front", envelope)).error is None


@asynccontextmanager
async def opening() -> AsyncIterator[HttpHandler]:
    house = House()
    async with house.running():
        for kind, name in CREDENTIALS.items():
            proposal = RegisterVerifier(verifier_id=name, kind=kind, name="Town Bank", approval="MIC 2016-3")  # type: ignore[arg-type]  # the two kinds
            await tell(house, proposal, "alice")
            approval = ApproveVerifier(verifier_id=name, credential=hashlib.sha256(SECRET).digest())
            await tell(house, approval, "bob")
        yield verifier_edge(house.front)


@pytest.fixture(scope="module")
def edge() -> Iterator[Edge]:
    with Edge(opening, LIMITS).served() as served:
        yield served


@pytest.mark.real
@schema.parametrize()
@ASKED
def test_nothing_that_a_verifier_asks_is_a_fault(case: schemathesis.Case[Any], edge: Edge) -> None:
    name = CREDENTIALS.get(str(case.path_parameters.get("ca")), "login-bank")
    edge.is_true_of(case, authorization=f"Bearer {name}:{SECRET.hex()}")
