"""What happened in a run, one event a line: the same for the simulation and for fault runs on the real stack.

Properties judge a history and nothing else. No personal data: identifiers, names of messages, digests, codes.
"""

from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec import Struct

DIGEST_SHOWN = 16
"""Hexadecimal digits of a digest that a history keeps."""

EventKind = Literal[
    "invoke",  # a driver starts a request (its first sending; retries are sends)
    "answer",  # the driver has its answer; outcome is "ok" or the refusal's code
    "send",  # a request leaves a node (peer: destination)
    "deliver",  # a request reaches a node (peer: sender)
    "begin",  # the node begins to answer it: what asks for an order has it from here on
    "reply",  # a node's reply leaves it (peer: to whom); outcome is "ok" or a code, digest the answer's
    "fail",  # the sender's call ended without a reply; outcome is the code
    "effect",  # a change was committed by a node of this kind (node: the store's name)
    "outbox",  # a committed change left a message to be sent (peer: destination, step: its id, ordering_key: its order)
    "hsm",  # of a worker (node); outcome: spawn, command (name), answer, kill (step: the worker's number)
    "chip",  # of a card (node): committed a write (step: its id), or at the end: holds (detail: its life)
    "record",  # a row as it stands in the end (name: its table; node: the store's name)
    "fault",  # the world did something (outcome: the fault's kind)
    "log",  # a node's log record (outcome: the event)
]


class Event(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event."""

    at_ms: int
    kind: EventKind
    node: str
    """Whose event; for effects and outbox messages the store's name, which is the kind of node."""
    peer: str = ""
    operation_id: str = ""
    step: str = ""
    name: str = ""
    """The message's name."""
    ordering_key: str = ""
    digest: str = ""
    """First 16 hexadecimal digits of SHA-256: of the request, or for a reply of the answer."""
    outcome: str = ""
    detail: str = ""

    @property
    def request(self) -> tuple[str, str]:
        """Whose event it is: operation and step."""
        return self.operation_id, self.step


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Event)


def to_line(event: Event) -> str:
    """One JSON line, without its newline."""
    return _encoder.encode(event).decode()


def from_lines(lines: Iterable[str]) -> list[Event]:
    """The events of a JSON-lines text; blank lines are skipped."""
    return [_decoder.decode(line) for line in lines if line.strip()]
