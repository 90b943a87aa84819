"""How a message between CS and relay is sealed: nonce, context, and what the session key is bound to."""

from typing import Final, Literal

SESSION_INFO: Final = b"warifu cs-relay v1 "
"""HPKE ``info``, followed by the session id: a key agreed for one session opens no other."""


def nonce(direction: Literal[0, 1], counter: int) -> bytes:
    """12 bytes: direction (0 up, 1 down), three zero bytes, counter. Never the same twice under one key."""
    return bytes((direction, 0, 0, 0)) + counter.to_bytes(8, "big")


def context(session: bytes, counter: int) -> bytes:
    """What is authenticated beside the message."""
    return session + counter.to_bytes(8, "big") + b"warifu.v1"
