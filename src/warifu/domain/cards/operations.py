"""Rules of an operation at the counter: open, write (intent, script), confirm, close, abandon.

All of them first settle what an earlier break left unknown, so an operation can be taken up again at any point, at any
terminal of the municipality.
"""

import datetime
from typing import Literal, cast, get_args

import msgspec

from warifu.chip.layout import PARTICULARS_MAX
from warifu.contract.center import (
    AbandonOperation,
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
    NoRoomLeft,
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

    def both(self, asked: Asked) -> tuple[Card, Operation]:
        """The card and its open operation, asked for by the counter that opened it.

        Raises:
            NotFound: no such operation on this card at this counter.
            OperationEnded: it is closed or abandoned, or another has taken its place.
        """
        card, operation = self.card, self.operation
        if card is None or operation is None or operation.card_id != card.card_id:
            raise NotFound("operation")
        if operation.municipality != asked.municipality:
            raise NotFound("operation")
        if operation.state != "open" or card.open_operation != operation.operation_id:
            raise OperationEnded(operation.state)
        return card, operation


def steps_of(operation: Operation) -> tuple[PlannedStep, ...]:
    """The plan of an operation."""
    pins = tuple(cast("PinName", pin) for pin in operation.pins)
    return plans.plan(cast("OperationKind", operation.kind), pins)


def open_operation(state: State, request: OpenOperation, person: Person, challenge: bytes, asked: Asked) -> Decision:
    """Open an operation, or take it up again; a pending write that the chip has is settled first."""
    if state.card is None:
        raise NotFound(f"card {request.card_id}")
    if state.operation is not None:
        _require_same(state.operation, request, asked)
        if state.operation.state == "closed":
            return _done_before(state.card, state.operation, person, asked)
    if state.operation is None:
        settlement, first = _begin(state.card, request, challenge, asked), True
    else:
        card, operation = state.both(asked)
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
    # The end of a card waits for nobody: it takes the place of an operation that was left, once chip and record agree.
    if card.open_operation and request.kind != "abolition":
        raise OtherOperationOpen(card.open_operation)
    if card.state not in plans.STATES[request.kind] or request.chip.life_state == "terminated":
        raise WrongCardState(f"{request.kind} of a card that is {card.state}")
    _require_counter(card, request.kind, asked)
    _require_use_left(card, request.kind, asked)
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
    """Where an operation may be done.

    Continued use where the resident moved to; resumption and abolition there too; set-up and delivery where the card
    lies; everything else where the card belongs, and not before it was continued.
    """
    allowed = {card.municipality}
    if kind == "continuation":
        allowed = {card.continuation_municipality}
    elif kind in {"resumption", "abolition"} and card.continuation_municipality:
        allowed.add(card.continuation_municipality)
    if asked.municipality not in allowed:
        raise WrongMunicipality(kind)
    if card.continuation_municipality and kind in {"update", "pin_reset", "certificate_renewal"}:
        raise WrongCardState("the holder has moved: the card must be continued first")


def _require_use_left(card: Card, kind: OperationKind, asked: Asked) -> None:
    """Nothing is done for a card that is over but ending it; particulars are added as long as there is room."""
    if kind == "abolition":
        return
    today = jst_date(asked.now_ms)
    if card.expires_on is not None and today > card.expires_on:
        raise WrongCardState("the card has expired")
    if kind == "continuation" and card.continuation_due is not None and today > card.continuation_due:
        raise WrongCardState("the days for continued use have passed")
    if kind in {"continuation", "update"} and card.entries >= PARTICULARS_MAX:
        raise NoRoomLeft("the space for appended particulars is full: a new card is needed")


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
    card, operation = state.both(asked)
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


def intend_with_script(state: State, request: PrepareWrite, script: Script, asked: Asked) -> Decision:
    """``intend`` and ``script_made`` at once: for a write whose script was made without anybody else's doing."""
    writes = intend(state, request, script.write_id, asked)
    if not writes:
        raise WriteNotSettled(script.write_id)
    pending, intent = writes
    return Decision(
        answer=script, writes=(pending, Insert(msgspec.structs.replace(intent.record, digest=script.digest)))
    )


def _require_next(card: Card, operation: Operation, request: PrepareWrite) -> PlannedStep:
    settle(card, operation, None, request.chip, _NOBODY)
    if card.state not in plans.STATES[cast("OperationKind", operation.kind)]:
        # The holder died, or lost the card, while the operation was open.
        raise WrongCardState(f"{operation.kind} of a card that is {card.state}")
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
    _, operation = state.both(asked)
    write = state.write
    if write is None or operation.pending_write != write_id or write.write_id != write_id:
        raise WriteNotSettled("the write was settled meanwhile")
    return Decision(
        answer=Script(write_id=write_id, parts=parts, digest=digest),
        writes=(Update(msgspec.structs.replace(write, digest=digest, changed_ms=asked.now_ms)),),
    )


def confirm(state: State, request: ConfirmWrite, challenge: bytes, asked: Asked) -> Decision:
    """Settle a write by what the chip says; honestly unknown when it could not be asked."""
    card, operation = state.both(asked)
    if operation.pending_write and operation.pending_write != request.write_id:
        raise WriteNotSettled(operation.pending_write)
    if request.chip is None:
        return _unasked(card, operation, request)
    settlement = settle(card, operation, state.write, request.chip, asked)
    operation = msgspec.structs.replace(settlement.operation, host_challenge=challenge)
    finished = settlement.card.write_id == request.write_id
    steps = steps_of(operation)
    position = plans.next_step(steps, operation.writes_done, request.chip.open_windows)
    answer = Confirmed(
        result="finished" if finished else "undone",
        card_state=cast("CardState", settlement.card.state),
        next_step=position,
        host_challenge=challenge,
    )
    if request.close and finished and position == len(steps):
        ended = end_operation(msgspec.structs.replace(settlement, operation=operation), "closed", asked)
        return msgspec.structs.replace(ended, answer=msgspec.structs.replace(answer, closed=True))
    return Decision(
        answer=answer,
        writes=(Update(settlement.card), Update(operation), *settlement.writes),
        journal=settlement.journal,
        outbox=settlement.outbox,
    )


def _unasked(card: Card, operation: Operation, request: ConfirmWrite) -> Decision:
    """The chip could not be asked: what the record knows of this write, which may have been settled meanwhile.

    It names the last finished write alone: of two or more it cannot tell an earlier one from one that was undone.
    """
    result: Literal["unknown", "finished", "undone"] = "unknown"
    if not operation.pending_write and card.write_id == request.write_id:
        result = "finished"
    elif not operation.pending_write and operation.writes_done <= 1:
        result = "undone"
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
    if _closed_here(state, asked) and state.card is not None:
        return Decision(answer=card_view(state.card))
    card, operation = state.both(asked)
    if operation.pending_write:
        raise WriteNotSettled(operation.pending_write)
    settlement = settle(card, operation, state.write, chip, asked)
    steps = steps_of(operation)
    if plans.next_step(steps, settlement.operation.writes_done, chip.open_windows) < len(steps):
        raise WrongStep("the plan is not done")
    return end_operation(settlement, "closed", asked)


def _closed_here(state: State, asked: Asked) -> bool:
    card, operation = state.card, state.operation
    if card is None or operation is None or operation.state != "closed":
        return False
    return (operation.card_id, operation.municipality) == (card.card_id, asked.municipality)


def abandon(state: State, request: AbandonOperation, asked: Asked) -> Decision:
    """Give up an operation whose card writes are all settled.

    What they did stays done: a card whose windows are open waits for another delivery or reset, which opens them anew.
    """
    card, operation = state.both(asked)
    if operation.pending_write:
        raise WriteNotSettled("how a card write ended is not known: take the operation up again")
    if operation.writes_done and request.chip is None:
        raise WriteNotSettled("a card write was done: the chip must be asked")
    settlement = Settlement(card, operation, "none")
    if request.chip is not None:
        settlement = settle(card, operation, None, request.chip, asked)
    return end_operation(settlement, "abandoned", asked)


def end_operation(settlement: Settlement, how: Literal["closed", "abandoned"], asked: Asked) -> Decision:
    """End an operation whose card writes are all settled; the card is free."""
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
