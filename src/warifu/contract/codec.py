"""Bytes and messages: MessagePack by msgspec, strict. The register of all requests by name."""

from typing import Final, TypeVar

import msgspec

from warifu.contract import (
    authority,
    center,
    front,
    health,
    intake,
    issuance,
    numbering,
    registry,
    relay,
    terminal,
    unsettled,
)
from warifu.contract.message import Answer, Request
from warifu.kernel.decoding import NOT_DECODED
from warifu.kernel.errors import Malformed

MODULES = (health, registry, numbering, intake, center, authority, front, issuance, relay, terminal, unsettled)

T = TypeVar("T", bound=msgspec.Struct)


class UnknownMessage(Malformed):
    """No request of this name in this version of the contract."""

    code = "request.unknown_message"


def _register() -> dict[str, type[Request]]:
    found: dict[str, type[Request]] = {}
    for module in MODULES:
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Request) and value is not Request:
                found.setdefault(value.NAME, value)
    return found


REQUESTS: dict[str, type[Request]] = _register()
"""Every request of the contract, by its name."""

_LARGE: Final = b"\xcf"
"""How MessagePack begins an unsigned integer of 64 bits."""
_MOST: Final = 2**63 - 1
_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type, msgspec.msgpack.Decoder[msgspec.Struct]] = {}


def encode(value: msgspec.Struct) -> bytes:
    """A message's bytes; the same value always gives the same bytes."""
    return _encoder.encode(value)


def decode(kind: type[T], data: bytes) -> T:
    """The value in the bytes.

    Raises:
        Malformed: not a valid value of this kind. The text names the field, never its content.
    """
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        return decoder.decode(data)  # type: ignore[return-value]  # the decoder was made for this kind
    except NOT_DECODED as error:
        raise Malformed(f"{kind.__name__}: {_where(error)}") from None


def _where(error: Exception) -> str:
    """The field that is wrong. The library's own text may quote what stands in it."""
    _, separator, path = str(error).rpartition(" - at ")
    return f"wrong at {path[:100]}" if separator else "not a message"


def decode_request(name: str, body: bytes) -> Request:
    """The request in an envelope's body.

    Raises:
        UnknownMessage: no such name.
        Malformed: the body does not fit it, or holds what nobody could keep.
    """
    kind = REQUESTS.get(name)
    if kind is None:
        raise UnknownMessage(name[:60])
    request = decode(kind, body)
    if (b"\0" in body or _LARGE in body) and _unkept(request):
        raise Malformed(f"{kind.__name__}: a text with NUL, or a number of more than 64 bits")
    return request


def _unkept(value: object) -> bool:
    """Whether something in it is what no store keeps: PostgreSQL has no NUL in texts, and its integers have a sign."""
    match value:
        case str():
            return "\0" in value
        case int():
            return value > _MOST
        case msgspec.Struct():
            return any(_unkept(getattr(value, name)) for name in value.__struct_fields__)
        case tuple():
            return any(map(_unkept, value))
        case dict():
            return any(_unkept(name) or _unkept(inner) for name, inner in value.items())
        case _:
            return False


def decode_answer(kind: type[Answer], body: bytes) -> Answer:
    """The answer in a reply's body. ``Malformed`` if it does not fit."""
    return decode(kind, body)
