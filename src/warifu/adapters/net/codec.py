"""Envelope and reply to bytes and back: MessagePack, validated strictly by the contract's own types."""

import msgspec

from warifu.contract.envelope import MAX_BODY_BYTES, VERSION, Envelope, Reply
from warifu.kernel.decoding import NOT_DECODED
from warifu.kernel.errors import Malformed

_ENCODER = msgspec.msgpack.Encoder()
_ENVELOPE = msgspec.msgpack.Decoder(Envelope)
_REPLY = msgspec.msgpack.Decoder(Reply)


class UnknownVersion(Malformed):
    """The envelope says a version that this program does not know."""

    code = "request.unknown_version"


class _VersionOnly(msgspec.Struct):
    version: int = VERSION


_VERSION = msgspec.msgpack.Decoder(_VersionOnly)


def encode_envelope(envelope: Envelope) -> bytes:
    """The request's bytes. ``Malformed`` when the body is longer than the contract allows."""
    _check_body(envelope.body)
    return _ENCODER.encode(envelope)


def decode_envelope(data: bytes) -> Envelope:
    """The inverse, trusting nothing.

    Raises:
        UnknownVersion: a version of tomorrow.
        Malformed: anything else that the contract does not allow; the text names the field, never its value.
    """
    try:
        envelope = _ENVELOPE.decode(data)
    except NOT_DECODED as error:
        _check_version(data)
        raise Malformed(f"not an envelope{_where(error)}") from None
    _check_body(envelope.body)
    return envelope


def encode_reply(reply: Reply) -> bytes:
    """The reply's bytes. ``Malformed`` when it has not exactly one of body and error, or too long a body."""
    _check_reply(reply)
    return _ENCODER.encode(reply)


def decode_reply(data: bytes) -> Reply:
    """The inverse. ``Malformed`` as above."""
    try:
        reply = _REPLY.decode(data)
    except NOT_DECODED as error:
        raise Malformed(f"not a reply{_where(error)}") from None
    _check_reply(reply)
    return reply


def _check_body(body: bytes) -> None:
    if len(body) > MAX_BODY_BYTES:
        raise Malformed(f"a body of {len(body)} bytes, {MAX_BODY_BYTES} are allowed")


def _check_reply(reply: Reply) -> None:
    if (reply.body is None) == (reply.error is None):
        raise Malformed("a reply has either a body or an error")
    _check_body(reply.body or b"")


def _check_version(data: bytes) -> None:
    try:
        version = _VERSION.decode(data).version
    except NOT_DECODED:
        return
    if not 1 <= version <= VERSION:
        raise UnknownVersion(f"version {version}, known is up to {VERSION}")


def _where(error: Exception) -> str:
    """Only the path of msgspec's text: the rest may quote what was received."""
    _, found, path = str(error).rpartition(" - at ")
    return f" at {path.strip('`')}"[:80] if found else ""
