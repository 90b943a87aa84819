"""A request's bytes: what no store could keep is refused where it comes in, not found to be a fault behind it."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from warifu.contract.codec import REQUESTS, decode_request
from warifu.kernel.errors import Malformed

GOLDEN = Path(__file__).parent / "golden"


def body(name: str, *path: str, value: object) -> bytes:
    """The golden example of a request with one value in it put in the place of another."""
    content = msgspec.msgpack.decode((GOLDEN / f"{REQUESTS[name].__name__}.msgpack").read_bytes())
    inside: Any = content
    for step in path[:-1]:
        inside = inside[step]
    inside[path[-1]] = value
    return msgspec.msgpack.encode(content)


@pytest.mark.parametrize(
    ("name", "path", "value"),
    [
        ("registry.register", ("person", "name"), "割符\0花子"),
        ("issuance.shipments", ("after",), "\0"),
        ("authority.resident_changed", ("resident_version",), 2**63),
    ],
)
def test_what_no_store_keeps_is_malformed_and_not_quoted(name: str, path: tuple[str, ...], value: object) -> None:
    with pytest.raises(Malformed) as caught:
        decode_request(name, body(name, *path, value=value))
    assert "花子" not in str(caught.value)


def test_bytes_may_hold_anything_and_numbers_reach_as_far_as_a_store_keeps_them() -> None:
    decode_request("responder.ocsp", body("responder.ocsp", "request", value=b"\0\xcf"))
    decode_request(
        "authority.resident_changed", body("authority.resident_changed", "resident_version", value=2**63 - 1)
    )
