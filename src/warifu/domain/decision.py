"""What a pure rule returns: everything to write, and the answer. The node commits it whole."""

import hashlib

from msgspec import Struct

from warifu.contract.codec import encode
from warifu.contract.message import Answer, Request
from warifu.ports.store import AuditEntry, JournalEntry, OutboxMessage, Write


class Decision(Struct, frozen=True):
    """Everything one step writes, and its answer."""

    answer: Answer
    writes: tuple[Write, ...] = ()
    journal: tuple[JournalEntry, ...] = ()
    audit: tuple[AuditEntry, ...] = ()
    outbox: tuple[OutboxMessage, ...] = ()


class Asked(Struct, frozen=True):
    """Who asked, under which operation and step, and when: what rules need of a call."""

    operation_id: str
    step: str
    actor: str
    """``sender/login``, for the audit."""
    now_ms: int
    municipality: str = ""
    """The municipality whose counter asks; "" for national systems."""

    def audit(self, action: str, subject: str, purpose: str) -> AuditEntry:
        """An audit entry in the asker's name."""
        return AuditEntry(
            actor=self.actor, action=action, subject=subject, operation_id=self.operation_id, purpose=purpose
        )

    def journal(self, stream: str, event: str, **detail: object) -> JournalEntry:
        """A journal entry under the asker's operation."""
        return JournalEntry(stream=stream, event=event, operation_id=self.operation_id, detail=detail)

    def outbox(self, destination: str, request: Request, order_key: str = "") -> OutboxMessage:
        """A message to another node; its identity follows from this step, so that repeating the step repeats it."""
        origin = hashlib.sha256(f"{self.operation_id}|{self.step}|{request.NAME}".encode()).hexdigest()
        return OutboxMessage(
            message_id=f"outbox.{origin[:32]}",
            destination=destination,
            name=request.NAME,
            body=encode(request),
            operation_id=self.operation_id,
            order_key=order_key,
        )
