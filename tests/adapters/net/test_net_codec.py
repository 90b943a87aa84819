"""Envelope and reply on the wire."""

from functools import partial

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from net_kit import request

from warifu.adapters.net.codec import (
    UnknownVersion,
    decode_envelope,
    decode_reply,
    encode_envelope,
    encode_reply,
)
from warifu.contract.center import OpenOperation
from warifu.contract.codec import decode as contract_decode
from warifu.contract.envelope import MAX_BODY_BYTES, ErrorBody, Reply
from warifu.kernel.errors import Malformed


@given(st.binary(max_size=2000), st.sampled_from(["delivery", "setup", "bulk", "change"]), st.integers(1, 600_000))
def test_an_envelope_comes_back_as_it_was(body: bytes, service_class: str, remaining_ms: int) -> None:
    envelope = request(body, service_class=service_class, remaining_ms=remaining_ms, municipality="131016")
    assert decode_envelope(encode_envelope(envelope)) == envelope


@pytest.mark.parametrize("reply", [Reply(body=b""), Reply(body=b"x"), Reply(error=ErrorBody(code="card.not_found"))])
def test_a_reply_comes_back_as_it_was(reply: Reply) -> None:
    assert decode_reply(encode_reply(reply)) == reply


@pytest.mark.parametrize("version", [0, 2, 99])
def test_a_version_of_tomorrow_has_its_own_code_whatever_else_changed(version: int) -> None:
    data = msgspec.msgpack.encode({"version": version, "quite": "different"})
    with pytest.raises(UnknownVersion) as caught:
        decode_envelope(data)
    assert caught.value.code == "request.unknown_version"


@pytest.mark.parametrize("field", ["name", "operation_id", "step", "sender", "service_class", "municipality", "actor"])
def test_the_text_names_the_field_and_never_what_was_in_it(field: str) -> None:
    data = msgspec.msgpack.encode(msgspec.to_builtins(request(), builtin_types=(bytes,)) | {field: "髙﨑 4711"})
    with pytest.raises(Malformed, match=field) as caught:
        decode_envelope(data)
    assert "4711" not in str(caught.value)
    assert caught.value.__cause__ is None


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_malformed_and_nothing_else(data: bytes) -> None:
    for decode in (decode_envelope, decode_reply):
        with pytest.raises(Malformed):
            decode(data)


DEEP = b"\x81\xa4more" + b"\x91" * 30_000 + b"\xc0"


@pytest.mark.parametrize("data", [b"\x81\xa5actor\xa2\xff\xff", b"\x81\xa5error\x81\xa4code\xa2\xff\xff", DEEP])
def test_neither_broken_text_nor_endless_nesting_is_a_fault(data: bytes) -> None:
    """Python's own errors for both are none of the decoder's."""
    for decode in (decode_envelope, decode_reply, partial(contract_decode, OpenOperation)):
        with pytest.raises(Malformed):
            decode(data)


@pytest.mark.parametrize("reply", [Reply(), Reply(body=b"", error=ErrorBody(code="a.b"))])
def test_a_reply_has_either_a_body_or_an_error(reply: Reply) -> None:
    with pytest.raises(Malformed):
        encode_reply(reply)
    with pytest.raises(Malformed):
        decode_reply(msgspec.msgpack.encode(reply))


def test_a_body_longer_than_the_contract_allows_does_not_pass() -> None:
    envelope, reply = request(bytes(MAX_BODY_BYTES + 1)), Reply(body=bytes(MAX_BODY_BYTES + 1))
    with pytest.raises(Malformed):
        encode_envelope(envelope)
    with pytest.raises(Malformed):
        decode_envelope(msgspec.msgpack.encode(envelope))
    with pytest.raises(Malformed):
        decode_reply(msgspec.msgpack.encode(reply))
