"""Rules of an operation at the counter: open, write (intent, script), confirm, close, abandon.

All of them first settle what an earlier break left unknown, so an operation can be taken up again at any point, at any
terminal of the municipality.
"""

import datetime
from typing import Literal, cast, get_args

import msgspec

from warifu.contract.center import (
    Confirmed,
    ConfirmWrite,
    Opened,
    OpenOperation,
    PlannedStep,
    PrepareWrite,
    Script,
    ScriptPart,
)
from warifu.contract.values import CardState, ChipStatus, OperationKind, Person, PinName
from warifu.domain.cards import plans
from warifu.domain.cards.errors import (
    OperationEnded,
    OtherOperationOpen,
    TakenUpAgain,
    WriteNotSettled,
    WrongCardState,
    WrongMunicipality,
    WrongStep,
)
from warifu.domain.cards.records import Card, CardWrite, Operation
from warifu.domain.cards.settling import Settlement, settle
from warifu.domain.cards.tally import require_same_card
from warifu.domain.cards.views import card_view
from warifu.domain.decision import Asked, Decision
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import NotAllowed, NotFound
from warifu.ports.store import Insert, Update, Write


class State(msgspec.Struct, frozen=True):
    """What a rule sees of the store: the card, the operation, and its pending write."""

    card: Card | None
    operation: Operation | None
    write: CardWrite | None

    def both(self) -> tuple[Card, Operation]:
        """Card and open operation. ``NotFound`` or ``OperationEnded`` otherwise."""
        if self.card is None or self.operation is None:
            raise NotFound("operation")
        if self.operation.state != "open":
            raise OperationEnded(self.operation.state)
        return self.card, self.operation


def steps_of(operation: Operation) -> tuple[PlannedStep, ...]:
    """The plan of an operation."""
    pins = tuple(cast("PinName", pin) for pin in operation.pins)
    return plans.plan(cast("OperationKind", operation.kind), pins)


def open_operation(state: State, request: OpenOperation, person: Person, challenge: bytes, asked: Asked) -> Decision:
    """Open an operation, or take it up again; a pending write that the chip has is settled first."""
    if state.card is None:
        raise NotFound(f"card {request.card_id}")
    if state.operation is not None and state.operation.state == "closed":
        _require_same(state.operation, request, asked)
        return _done_before(state.card, state.operation, person, asked)
    if state.operation is None:
        settlement, first = _begin(state.card, request, challenge, asked), True
    else:
        card, operation = state.both()
        _require_same(operation, request, asked)
        settlement, first = _taken_up(card, operation, state.write, request.chip, asked), False
    operation = msgspec.structs.replace(settlement.operation, host_challenge=challenge, changed_ms=asked.now_ms)
    steps = steps_of(operation)
    card = settlement.card
    return Decision(
        answer=_opened(
            card,
            operation,
            person,
            next_step=plans.next_step(steps, operation.writes_done, request.chip.open_windows),
            settled=settlement.result,
        ),
        writes=(Update(card), Insert(operation) if first else Update(operation), *settlement.writes),
        journal=(asked.journal(f"card:{card.card_id}", "opened", kind=request.kind), *settlement.journal),
        audit=(asked.audit("card.open", card.resident_id, f"operation.{request.kind}"),),
        outbox=settlement.outbox,
    )


def _taken_up(card: Card, operation: Operation, write: CardWrite | None, chip: ChipStatus, asked: Asked) -> Settlement:
    """What an opening may settle: a chip that has the pending write has it for ever.

    A chip without it proves nothing here. The request may have been on its way since before the write began, and
    another run, with the card, may be about to commit. Who has the card now asks it again, and confirms.
    """
    settlement = settle(card, operation, write, chip, asked)
    return Settlement(card, operation, "none") if settlement.result == "undone" else settlement


def _opened(
    card: Card, operation: Operation, person: Person, *, next_step: int, settled: Literal["none", "finished", "undone"]
) -> Opened:
    return Opened(
        card_id=card.card_id,
        resident_id=card.resident_id,
        kind=cast("OperationKind", operation.kind),
        card_state=cast("CardState", card.state),
        person=person,
        plan=steps_of(operation),
        next_step=next_step,
        settled=settled,
        host_challenge=operation.host_challenge,
        pending_write=operation.pending_write,
    )


def _done_before(card: Card, operation: Operation, person: Person, asked: Asked) -> Decision:
    """Closed already, but whoever closed it never heard: nothing is left to do, and closing again says so."""
    return Decision(
        answer=_opened(card, operation, person, next_step=len(steps_of(operation)), settled="none"),
        audit=(asked.audit("card.open", card.resident_id, f"operation.{operation.kind}"),),
    )


def _begin(card: Card, request: OpenOperation, challenge: bytes, asked: Asked) -> Settlement:
    if card.open_operation:
        raise OtherOperationOpen(card.open_operation)
    if card.state not in plans.STATES[request.kind]:
        raise WrongCardState(f"{request.kind} of a card that is {card.state}")
    _require_counter(card, request.kind, asked)
    operation = Operation(
        operation_id=asked.operation_id,
        card_id=card.card_id,
        kind=request.kind,
        municipality=asked.municipality,
        pins=_pins(card, request),
        state="open",
        host_challenge=challenge,
        opened_ms=asked.now_ms,
        changed_ms=asked.now_ms,
    )
    settlement = settle(card, operation, None, request.chip, asked)
    opened = msgspec.structs.replace(card, open_operation=asked.operation_id, changed_ms=asked.now_ms)
    return msgspec.structs.replace(settlement, card=opened)


def _require_counter(card: Card, kind: OperationKind, asked: Asked) -> None:
    """Continued use happens where the resident moved to, within its days; everything else where the card belongs."""
    if kind != "continuation":
        if asked.municipality != card.municipality:
            raise WrongMunicipality(kind)
        if card.continuation_municipality and kind != "abolition":
            raise WrongCardState("the holder has moved: the card must be continued first")
        return
    if asked.municipality != card.continuation_municipality:
        raise WrongMunicipality(kind)
    if card.continuation_due is not None and jst_date(asked.now_ms) > card.continuation_due:
        raise WrongCardState("the days for continued use have passed")
    if card.expires_on is not None and jst_date(asked.now_ms) > card.expires_on:
        raise WrongCardState("the card has expired")


def _pins(card: Card, request: OpenOperation) -> tuple[PinName, ...]:
    mine = tuple(
        pin
        for pin in get_args(PinName)
        if (pin != "signature" or card.has_signature) and (pin != "authentication" or card.has_authentication)
    )
    if request.kind != "pin_reset":
        return mine
    if not request.pins or not set(request.pins) <= set(mine):
        raise NotAllowed("pin_reset names the PINs of this card to set anew")
    return tuple(pin for pin in mine if pin in request.pins)


def _require_same(operation: Operation, request: OpenOperation, asked: Asked) -> None:
    if (operation.card_id, operation.kind, operation.municipality) != (
        request.card_id,
        request.kind,
        asked.municipality,
    ):
        raise NotAllowed("the operation id names another operation")


def intend(state: State, request: PrepareWrite, write_id: str, asked: Asked) -> tuple[Write, ...]:
    """Record the intent of the operation's next card write, before anything of it can reach the chip.

    Returns:
        What to commit; empty when this very intent is recorded already (a repeated request).
    """
    card, operation = state.both()
    require_same_card(card, request.chip)
    if request.host_challenge and request.host_challenge != operation.host_challenge:
        raise TakenUpAgain(operation.operation_id)
    if operation.pending_write == write_id:
        return ()
    if operation.pending_write:
        raise WriteNotSettled(operation.pending_write)
    step = _require_next(card, operation, request)
    write = CardWrite(
        write_id=write_id,
        card_id=card.card_id,
        operation_id=operation.operation_id,
        step_name=step.name,
        with_jpki=step.with_jpki,
        state="intent",
        changed_ms=asked.now_ms,
    )
    pending = msgspec.structs.replace(operation, pending_write=write_id, changed_ms=asked.now_ms)
    return (Update(pending), Insert(write))


def _require_next(card: Card, operation: Operation, request: PrepareWrite) -> PlannedStep:
    settle(card, operation, None, request.chip, _NOBODY)
    steps = steps_of(operation)
    position = plans.next_step(steps, operation.writes_done, request.chip.open_windows)
    if position < len(steps) and steps[position].action == "check_pin":
        position += 1  # between resident and chip; the terminal vouches for it
    if position == len(steps) or steps[position].name != request.step_name or steps[position].action != "write":
        raise WrongStep(request.step_name)
    return steps[position]


_NOBODY = Asked("", "", "", 0)


def script_made(state: State, write_id: str, digest: bytes, parts: tuple[ScriptPart, ...], asked: Asked) -> Decision:
    """The script is made: its digest goes into the journal before the script goes out."""
    _, operation = state.both()
    write = state.write
    if write is None or operation.pending_write != write_id or write.write_id != write_id:
        raise WriteNotSettled("the write was settled meanwhile")
    return Decision(
        answer=Script(write_id=write_id, parts=parts, digest=digest),
        writes=(Update(msgspec.structs.replace(write, digest=digest, changed_ms=asked.now_ms)),),
    )


def confirm(state: State, request: ConfirmWrite, challenge: bytes, asked: Asked) -> Decision:
    """Settle a write by what the chip says; honestly unknown when it could not be asked."""
    card, operation = state.both()
    if operation.pending_write and operation.pending_write != request.write_id:
        raise WriteNotSettled(operation.pending_write)
    if request.chip is None:
        return _unasked(card, operation, request)
    settlement = settle(card, operation, state.write, request.chip, asked)
    operation = msgspec.structs.replace(settlement.operation, host_challenge=challenge)
    finished = settlement.card.write_id == request.write_id
    steps = steps_of(operation)
    return Decision(
        answer=Confirmed(
            result="finished" if finished else "undone",
            card_state=cast("CardState", settlement.card.state),
            next_step=plans.next_step(steps, operation.writes_done, request.chip.open_windows),
            host_challenge=challenge,
        ),
        writes=(Update(settlement.card), Update(operation), *settlement.writes),
        journal=settlement.journal,
        outbox=settlement.outbox,
    )


def _unasked(card: Card, operation: Operation, request: ConfirmWrite) -> Decision:
    """The chip could not be asked: what the record knows of this write, which may have been settled meanwhile."""
    result: Literal["unknown", "finished", "undone"] = "unknown"
    if not operation.pending_write:
        result = "finished" if card.write_id == request.write_id else "undone"
    return Decision(
        answer=Confirmed(
            result=result,
            card_state=cast("CardState", card.state),
            next_step=plans.next_step(steps_of(operation), operation.writes_done, ()),
            host_challenge=operation.host_challenge,
        )
    )


def close(state: State, chip: ChipStatus, asked: Asked) -> Decision:
    """Close an operation whose whole plan is done. Doing it again changes nothing."""
    if state.card is not None and state.operation is not None and state.operation.state == "closed":
        return Decision(answer=card_view(state.card))
    card, operation = state.both()
    settlement = settle(card, operation, state.write, chip, asked)
    steps = steps_of(operation)
    if plans.next_step(steps, settlement.operation.writes_done, chip.open_windows) < len(steps):
        raise WrongStep("the plan is not done")
    return _end(settlement, "closed", asked)


def abandon(state: State, asked: Asked) -> Decision:
    """Give up an operation: only before its first card write."""
    card, operation = state.both()
    if operation.pending_write or operation.writes_done:
        raise WriteNotSettled("a card write has begun: take the operation up again")
    return _end(Settlement(card, operation, "none"), "abandoned", asked)


def _end(settlement: Settlement, how: str, asked: Asked) -> Decision:
    card = msgspec.structs.replace(settlement.card, open_operation="", changed_ms=asked.now_ms)
    ended = msgspec.structs.replace(settlement.operation, state=how, changed_ms=asked.now_ms)
    return Decision(
        answer=card_view(card),
        writes=(Update(card), Update(ended), *settlement.writes),
        journal=(asked.journal(f"card:{card.card_id}", how, kind=ended.kind), *settlement.journal),
        outbox=settlement.outbox,
    )


def continuation_due(occurred_on: datetime.date) -> datetime.date:
    """The last day for continued use: 90 days after the move (card.md 3.3)."""
    return occurred_on + datetime.timedelta(days=90)
