"""What runs over the socket between a node and its worker.

A frame is ``length(4) | number(4) | body``: big-endian, ``length`` counts number and body, ``body`` is MessagePack. The
first frame of the parent (number 0) is a ``Hello``, answered with ``Ready`` or ``Failed``; then commands, numbered
from 1, each answered under its number.
"""

from typing import Final

import msgspec
from msgspec import Struct

from warifu.adapters.hsm.config import HsmConfig
from warifu.ports.hsm import DecryptMessage, EncryptMessage, HsmCommand, HsmReply

LENGTH_BYTES: Final = 4
NUMBER_BYTES: Final = 4
HEAD_BYTES: Final = LENGTH_BYTES + NUMBER_BYTES
MAX_BODY_BYTES: Final = 4 << 20
"""Four times a message between nodes."""
MAX_NUMBER: Final = (1 << 32) - 1


class Hello(Struct, frozen=True, tag=True):
    """What a worker is to do: its name (for its own words on stderr) and its device."""

    name: str
    config: HsmConfig


class Ready(Struct, frozen=True, tag=True):
    """Logged in."""


class Failed(Struct, frozen=True, tag=True):
    """The device is not there."""

    text: str


class Messages(Struct, frozen=True, tag=True):
    """Several message commands in one frame, done one after another; answered with ``Replies``."""

    commands: tuple[DecryptMessage | EncryptMessage, ...]


class Replies(Struct, frozen=True, tag=True):
    """A reply to each, in their order: what one is refused is no other's."""

    replies: tuple[HsmReply, ...]


encode: Final = msgspec.msgpack.Encoder().encode
decode_hello: Final = msgspec.msgpack.Decoder(Hello).decode
decode_greeting: Final = msgspec.msgpack.Decoder(Ready | Failed).decode
decode_command: Final = msgspec.msgpack.Decoder(HsmCommand | Messages).decode
decode_reply: Final = msgspec.msgpack.Decoder(HsmReply | Replies).decode


def frame(number: int, body: bytes) -> bytes:
    """One frame."""
    return (NUMBER_BYTES + len(body)).to_bytes(LENGTH_BYTES, "big") + number.to_bytes(NUMBER_BYTES, "big") + body


def head(data: bytes | bytearray | memoryview) -> tuple[int, int]:
    """Length of the body and number, from the first ``HEAD_BYTES``.

    Raises:
        ValueError: the length is out of bounds.
    """
    length = int.from_bytes(data[:LENGTH_BYTES], "big") - NUMBER_BYTES
    if not 0 <= length <= MAX_BODY_BYTES:
        raise ValueError("frame out of bounds")
    return length, int.from_bytes(data[LENGTH_BYTES:HEAD_BYTES], "big")
