"""The envelope: what every message carries beside its body, whoever sends it.

Identity: ``(operation_id, step)`` with the request's digest is the idempotency key everywhere. ``operation_id`` also is
the one identifier that ties log records, journal, audit and chip together, from the click to the chip and back.
"""

import hashlib
from typing import Annotated, Literal

from msgspec import Meta, Struct

VERSION = 1
MAX_BODY_BYTES = 1 << 20
MAX_REMAINING_MS = 600_000

ServiceClass = Literal["delivery", "setup", "bulk", "change"]

OperationId = Annotated[str, Meta(pattern=r"^[0-9A-HJKMNP-TV-Z]{26}$")]
"""A ULID: 48 bits of milliseconds, 80 random bits, Crockford base 32; minted where the operation starts."""
Step = Annotated[str, Meta(pattern=r"^[a-z0-9._:-]{1,96}$")]
MessageName = Annotated[str, Meta(pattern=r"^[a-z_]+\.[a-z_]+$")]


class Envelope(Struct, frozen=True, kw_only=True):
    """A request on its way."""

    version: Annotated[int, Meta(ge=1, le=VERSION)] = VERSION
    name: MessageName
    """Which request the body is, e.g. ``center.open``."""
    operation_id: OperationId
    step: Step
    sender: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,40}$")]
    """Name of the node (or driver) that sends it; the server checks it against the peer's certificate."""
    service_class: ServiceClass = "delivery"
    municipality: Annotated[str, Meta(pattern=r"^([0-9]{6})?$")] = ""
    ordering_key: Annotated[str, Meta(max_length=40)] = ""
    """Whose turn it is: first in, first out per CS and key. At the counter the card stands for its resident (nobody has
    two live cards), because the terminal knows it before it knows whose it is. Empty: no order."""
    remaining_ms: Annotated[int, Meta(ge=1, le=MAX_REMAINING_MS)]
    """Time left for the answer; lowered at every hop, never raised."""
    actor: Annotated[str, Meta(pattern=r"^[a-z0-9@._-]{1,60}$")] = "system"
    """Who asks, for the audit: a clerk's login or a node."""
    body: bytes
    """The request, encoded (``warifu.contract.codec``). Not shown in logs."""

    def digest(self) -> bytes:
        """SHA-256 of name and body: two requests are the same if and only if this is."""
        return hashlib.sha256(self.name.encode() + b"\0" + self.body).digest()

    def __repr__(self) -> str:
        """Without the body, which may hold personal data."""
        return f"Envelope({self.name} {self.operation_id}/{self.step} from {self.sender})"


class ErrorBody(Struct, frozen=True, kw_only=True):
    """Why a request has no answer: a code of ``warifu.kernel.errors``'s tree, and what a person may read."""

    code: Annotated[str, Meta(pattern=r"^[a-z_.]{1,60}$")]
    text: Annotated[str, Meta(max_length=300)] = ""
    kind: Literal["refused", "try_again", "fault"] = "fault"
    """Which branch of the tree, so that an unknown code can still be acted on."""
    retry_after_ms: Annotated[int, Meta(ge=0)] = 0
    place_in_line: Annotated[int, Meta(ge=0)] = 0


class Reply(Struct, frozen=True, kw_only=True):
    """Exactly one of ``body`` (the encoded answer) and ``error``."""

    body: bytes | None = None
    error: ErrorBody | None = None

    def __repr__(self) -> str:
        """Without the body."""
        return f"Reply(error={self.error.code})" if self.error else "Reply(ok)"
