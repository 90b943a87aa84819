"""The audit chain: who looked at what, sealed in batches so that a change made afterwards shows.

A seal's head is SHA-256 over the head before it and the rows of its batch, each as a canonical JSON array preceded by
its length. A seal says through which row it reaches; the rows between two seals are therefore known to be complete, and
a row that was changed, removed or added later breaks the chain. Verification needs only the export: no database.

Cutting off the last seals together with their rows leaves a shorter chain that is whole in itself: that shows only
against a head kept elsewhere (``expected_head``) or against the signer's own count of seals.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from warifu.kernel.errors import Refused
from warifu.ports.store import AuditEntry

FIRST_HEAD: Final = hashlib.sha256(b"warifu audit chain 1").digest()
"""What the first seal is chained to."""


class AuditBroken(Refused):
    """The export is not what was sealed; the text names the batch, never a row's content."""

    code = "audit.broken"


class AuditRow(Struct, frozen=True):
    """One audit entry as it stands in the table. Rows are ordered by (transaction, id)."""

    transaction: int
    """The database transaction that wrote it: later transactions may commit earlier, so the id alone is no order."""
    id: int
    at_ms: int
    entry: AuditEntry

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands in the chain."""
        return self.transaction, self.id


class Seal(Struct, frozen=True):
    """A batch's end. The table ``audit_seals`` holds one row each."""

    batch: int
    """1, 2, 3 … without gaps."""
    through: tuple[int, int]
    """Place of the last row of the batch."""
    count: int
    """Rows in the batch, at least 1."""
    head: bytes
    """SHA-256, 32 bytes."""
    at_ms: int
    signature: bytes = b""
    """Over ``head``, by whom the operator chose; empty when nobody signs."""


class AuditReport(Struct, frozen=True):
    """What a verification saw."""

    seals: int
    sealed: int
    """Rows that the seals cover."""
    unsealed: int
    """Rows after the last seal: nothing is known of them yet."""
    head: bytes
    signed: int = 0
    """Seals whose signature is there; checked when there was somebody to check them."""


def next_seal(previous: Seal | None, rows: Sequence[AuditRow], at_ms: int) -> Seal:
    """The seal of the next batch: ``rows`` in the order of their places, none left out, at least one."""
    head = previous.head if previous else FIRST_HEAD
    batch = previous.batch + 1 if previous else 1
    return Seal(batch, rows[-1].place, len(rows), _head(head, batch, at_ms, rows), at_ms)


def verify_export(
    rows: Sequence[AuditRow],
    seals: Sequence[Seal],
    *,
    expected_head: bytes | None = None,
    check_signature: Callable[[Seal], None] | None = None,
) -> AuditReport:
    """Verify a schema's exported rows against its seals, both in any order.

    Args:
        rows: all rows of the audit table.
        seals: all rows of the seals table.
        expected_head: a head kept elsewhere; it must be among the seals' (the chain may have grown since).
        check_signature: raises when a seal's signature is not good; asked for every seal from the first signed one on,
            and for the last one in any case. What was sealed before signing began is covered by the first signed head.

    Raises:
        AuditBroken: a row or a seal was changed, removed or added after the fact.
    """
    ordered = sorted(rows, key=lambda row: row.place)
    done = 0
    previous: Seal | None = None
    signed_from = _signed_from(seals)
    for seal in sorted(seals, key=lambda seal: seal.batch):
        batch = _take_batch(ordered, done, previous, seal)
        if next_seal(previous, batch, seal.at_ms) != msgspec.structs.replace(seal, signature=b""):
            raise AuditBroken(f"batch {seal.batch}: its rows are not those that were sealed")
        if check_signature is not None and seal.batch >= signed_from:
            check_signature(seal)
        done += len(batch)
        previous = seal
    if expected_head is not None and expected_head not in {seal.head for seal in seals}:
        raise AuditBroken("the expected head is not in the chain: it was cut or made anew")
    head, signed = previous.head if previous else FIRST_HEAD, sum(bool(seal.signature) for seal in seals)
    return AuditReport(len(seals), done, len(rows) - done, head, signed)


def _signed_from(seals: Sequence[Seal]) -> int:
    """The first batch with a signature; where none has one, the last, which then is told of."""
    signed = [seal.batch for seal in seals if seal.signature]
    return min(signed) if signed else max((seal.batch for seal in seals), default=0)


def _take_batch(ordered: Sequence[AuditRow], done: int, previous: Seal | None, seal: Seal) -> Sequence[AuditRow]:
    """The rows up to the seal's last place; there must be as many as it counted."""
    if seal.batch != (previous.batch + 1 if previous else 1):
        raise AuditBroken(f"batch {seal.batch}: the seal before it is missing, or it is there twice")
    after = done + max(seal.count, 0)
    batch = ordered[done:after]
    followed = len(ordered) > after and ordered[after].place <= seal.through
    if not batch or len(batch) != seal.count or batch[-1].place != seal.through or followed:
        raise AuditBroken(f"batch {seal.batch}: rows were removed or added")
    return batch


def _head(previous: bytes, batch: int, at_ms: int, rows: Sequence[AuditRow]) -> bytes:
    digest = hashlib.sha256(previous)
    for part in ((batch, at_ms, len(rows)), *map(_row, rows)):
        encoded = msgspec.json.encode(part)
        digest.update(len(encoded).to_bytes(4, "big"))
        digest.update(encoded)
    return digest.digest()


def _row(row: AuditRow) -> tuple[int | str, ...]:
    """Every column of the row, in a fixed order."""
    entry = row.entry
    fields = (entry.actor, entry.action, entry.subject, entry.operation_id, entry.purpose)
    return (row.transaction, row.id, row.at_ms, *fields)
