"""Settling a card write: once the chip has spoken, record, operation and journal move together, and JPKI is told."""

from typing import Final, Literal

import msgspec
from msgspec import Struct

from warifu.contract.authority import RevokeCertificates, WriteSettled
from warifu.contract.values import CertificateEvent, ChipStatus
from warifu.domain.cards import plans, tally
from warifu.domain.cards.lapsing import UNDELIVERED
from warifu.domain.cards.records import Card, CardWrite, Operation
from warifu.domain.decision import Asked
from warifu.kernel.errors import Fault
from warifu.ports.store import JournalEntry, OutboxMessage, Update, Write

APPENDING: Final = frozenset({"continue", "update"})
"""Card writes that add an entry to the space for appended particulars."""


class Settlement(Struct, frozen=True):
    """The records after settling, and what goes with them. ``writes`` holds only the journal row's change."""

    card: Card
    operation: Operation
    result: Literal["none", "finished", "undone"]
    writes: tuple[Write, ...] = ()
    journal: tuple[JournalEntry, ...] = ()
    outbox: tuple[OutboxMessage, ...] = ()


def settle(card: Card, operation: Operation, write: CardWrite | None, chip: ChipStatus, asked: Asked) -> Settlement:
    """Settle the operation's pending write by what the chip says; without one, chip and record must be equal.

    Raises:
        AnotherCard, ChipDiffers: see ``tally``.
    """
    if not operation.pending_write:
        tally.require_equal(card, chip)
        return Settlement(card, operation, "none")
    if write is None or write.write_id != operation.pending_write:
        raise Fault("the pending write has no journal row")
    return settle_as(card, operation, write, tally.outcome(card, write, chip), asked)


def settle_as(card: Card, operation: Operation, write: CardWrite, result: tally.Outcome, asked: Asked) -> Settlement:
    """What goes with a pending write's known end."""
    finished = result == "finished"
    return Settlement(
        card=_after(card, operation, write, asked) if finished else card,
        operation=msgspec.structs.replace(
            operation,
            pending_write="",
            writes_done=operation.writes_done + finished,
            changed_ms=asked.now_ms,
        ),
        result=result,
        writes=(Update(tally.settled(write, result, asked.now_ms)),),
        journal=(asked.journal(f"card:{card.card_id}", f"write_{result}", write=write.write_id, step=write.step_name),),
        outbox=_tell_jpki(card, operation, write, result, asked),
    )


def _lost_again(card: Card, operation: Operation) -> bool:
    """A loss was reported after the resumption began: the card stays suspended, and its new certificates are held."""
    return card.suspended_ms is not None and card.suspended_ms > operation.opened_ms


def _after(card: Card, operation: Operation, write: CardWrite, asked: Asked) -> Card:
    state: str = plans.STATE_AFTER.get(write.step_name, card.state)
    # What ended meanwhile (the holder died) stays ended, whatever the chip was told before.
    if card.state == "abolished" or (write.step_name == "resume" and _lost_again(card, operation)):
        state = card.state
    after = msgspec.structs.replace(
        card,
        write_id=write.write_id,
        state=state,
        entries=card.entries + (write.step_name in APPENDING),
        changed_ms=asked.now_ms,
    )
    if write.step_name == "continue":
        return _continued(after, operation.municipality)
    if write.step_name == "terminate":
        return msgspec.structs.replace(after, live_resident_id=None)
    return after


def _continued(card: Card, municipality: str) -> Card:
    """The card belongs to the municipality that wrote it; a further move since then still waits for its own."""
    after = msgspec.structs.replace(card, municipality=municipality)
    if card.continuation_municipality != municipality:
        return after
    return msgspec.structs.replace(after, continuation_municipality="", continuation_due=None)


def _tell_jpki(
    card: Card, operation: Operation, write: CardWrite, result: tally.Outcome, asked: Asked
) -> tuple[OutboxMessage, ...]:
    told: list[OutboxMessage] = []
    if write.with_jpki:
        settled = WriteSettled(card_id=card.card_id, write_id=write.write_id, outcome=result)
        told.append(asked.outbox("authority", settled, order_key=card.card_id))
    event: CertificateEvent | None = None
    if result == "finished" and write.step_name == "terminate":
        event = "cancelled_delivery" if card.state in UNDELIVERED else "abolition"
    elif result == "finished" and write.step_name == "resume" and _lost_again(card, operation):
        event = "suspension"
    if event is not None:
        revoke = RevokeCertificates(card_id=card.card_id, event=event)
        told.append(asked.outbox("authority", revoke, order_key=card.card_id))
    return tuple(told)
