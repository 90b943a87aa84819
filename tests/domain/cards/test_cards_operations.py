"""Operations at the counter: open, intend, confirm, close, abandon; and taken up again after any break."""

import datetime

import msgspec
import pytest
from cards_kit import (
    ALL_PINS,
    ASKED,
    BEFORE,
    CARD,
    CHALLENGE,
    DIGEST,
    ELSEWHERE,
    HERE,
    OPERATION,
    OTHER,
    PERSON,
    THERE,
    TODAY,
    WRITE,
    at,
    card,
    chip,
    confirming,
    moved,
    opening,
    operation,
    pending,
    preparing,
    told,
    write,
    written,
)

from warifu.contract.center import AbandonOperation, CardView, Confirmed, Opened, OpenOperation, Script
from warifu.contract.values import ChipStatus, OperationKind
from warifu.domain.cards import operations, plans
from warifu.domain.cards.errors import (
    AnotherCard,
    ChipDiffers,
    NoRoomLeft,
    OperationEnded,
    OtherOperationOpen,
    TakenUpAgain,
    WriteNotSettled,
    WrongCardState,
    WrongMunicipality,
    WrongStep,
)
from warifu.domain.cards.operations import State
from warifu.domain.cards.records import Card, CardWrite, Operation
from warifu.domain.decision import Asked, Decision
from warifu.kernel.errors import Fault, NotAllowed, NotFound
from warifu.ports.store import Insert, Update

DUE = TODAY + datetime.timedelta(days=90)
NEW = b"87654321"


def opened(state: State, request: OpenOperation | None = None, asked: Asked = ASKED) -> Decision:
    return operations.open_operation(state, request or opening(), PERSON, NEW, asked)


# ---- opening -----------------------------------------------------------------------------------------------------


def test_opening_marks_the_card_and_plans_the_steps() -> None:
    decision = opened(State(card(), None, None))
    answer = decision.answer
    assert isinstance(answer, Opened)
    assert [step.name for step in answer.plan] == ["open_windows", "enter_pins", "activate"]
    assert (answer.next_step, answer.settled, answer.host_challenge) == (0, "none", NEW)
    assert written(decision, Card).open_operation == OPERATION
    assert written(decision, Operation).pins == ALL_PINS
    assert [entry.purpose for entry in decision.audit] == ["operation.delivery"]


@pytest.mark.parametrize("kind", sorted(plans.STATES))
@pytest.mark.parametrize(
    "state", ["ordered", "made", "shipped", "received", "set_up", "in_use", "suspended", "abolished"]
)
def test_an_operation_starts_only_in_its_states(kind: OperationKind, state: str) -> None:
    mine = moved(state=state) if kind == "continuation" else card(state=state)
    request = opening(kind, pins=("text",) if kind == "pin_reset" else ())
    asked = at(THERE) if kind == "continuation" else ASKED
    if state in plans.STATES[kind]:
        assert isinstance(opened(State(mine, None, None), request, asked).answer, Opened)
    else:
        with pytest.raises(WrongCardState):
            opened(State(mine, None, None), request, asked)


def test_an_unknown_card_is_not_found() -> None:
    with pytest.raises(NotFound):
        opened(State(None, None, None))


def test_another_open_operation_is_named_and_refused() -> None:
    with pytest.raises(OtherOperationOpen):
        opened(State(card(open_operation=OTHER), None, None))


def test_a_chip_that_differs_from_the_record_opens_nothing() -> None:
    for differing, error in ((chip(OTHER), ChipDiffers), (chip(card_id="WRF000000000009"), AnotherCard)):
        with pytest.raises(error):
            opened(State(card(), None, None), opening(chip=differing))


def test_another_municipalitys_counter_is_refused() -> None:
    with pytest.raises(WrongMunicipality):
        opened(State(card(), None, None), asked=at(ELSEWHERE))


def test_a_card_without_a_certificate_has_no_pin_for_it() -> None:
    decision = opened(State(card(has_signature=False), None, None))
    assert written(decision, Operation).pins == ("authentication", "text", "juki")


def test_a_pin_reset_names_pins_that_the_card_has() -> None:
    mine = State(card(state="in_use", has_signature=False), None, None)
    decision = opened(mine, opening("pin_reset", pins=("juki", "text")))
    assert written(decision, Operation).pins == ("text", "juki")
    for pins in ((), ("signature",), ("text", "signature")):
        with pytest.raises(NotAllowed):
            opened(mine, opening("pin_reset", pins=pins))


# ---- continued use -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("day", "allowed"), [(DUE, True), (DUE + datetime.timedelta(days=1), False)])
def test_continued_use_ends_with_the_ninetieth_day(day: datetime.date, allowed: bool) -> None:  # noqa: FBT001
    assert operations.continuation_due(TODAY) == DUE
    asked = at(THERE, day=day)
    if allowed:
        opened(State(moved(), None, None), opening("continuation"), asked)
    else:
        with pytest.raises(WrongCardState):
            opened(State(moved(), None, None), opening("continuation"), asked)


@pytest.mark.parametrize("place", [HERE, ELSEWHERE])
def test_continued_use_happens_where_the_holder_moved_to(place: str) -> None:
    with pytest.raises(WrongMunicipality):
        opened(State(moved(), None, None), opening("continuation"), at(place))


def test_an_expired_card_is_not_continued() -> None:
    expired = moved(expires_on=TODAY - datetime.timedelta(days=1))
    with pytest.raises(WrongCardState):
        opened(State(expired, None, None), opening("continuation"), at(THERE))
    opened(State(moved(expires_on=TODAY), None, None), opening("continuation"), at(THERE))


def test_after_a_move_the_old_counter_can_only_abolish() -> None:
    opened(State(moved(), None, None), opening("abolition"))
    with pytest.raises(WrongCardState):
        opened(State(moved(), None, None), opening("pin_reset", pins=("text",)))


def test_a_card_that_nobody_moved_is_continued_nowhere() -> None:
    with pytest.raises(WrongMunicipality):
        opened(State(card(state="in_use"), None, None), opening("continuation"), at(THERE))


# ---- taking up again ---------------------------------------------------------------------------------------------


def test_opening_again_settles_a_write_that_the_chip_has_and_names_one_that_it_does_not_have() -> None:
    """The opening may have been on its way since before the write began (laboratory, counter:156)."""
    finished = opened(pending(), opening(chip=chip(WRITE, open_windows=("text",))))
    answer = finished.answer
    assert isinstance(answer, Opened)
    assert (answer.settled, answer.plan[answer.next_step].name) == ("finished", "enter_pins")
    assert (written(finished, Card).write_id, written(finished, CardWrite).state) == (WRITE, "finished")
    assert told(finished) == ["authority.settled"]

    unknown = opened(pending(), opening(chip=chip(BEFORE)))
    answer = unknown.answer
    assert isinstance(answer, Opened)
    assert (answer.settled, answer.pending_write) == ("none", WRITE)
    assert (written(unknown, Card).write_id, written(unknown, Operation).pending_write) == (BEFORE, WRITE)
    assert told(unknown) == []


def test_a_run_whose_operation_was_taken_up_again_begins_anew() -> None:
    """Its channels were begun for a challenge that is not the operation's any more (laboratory, counter:200)."""
    state = State(card(open_operation=OPERATION), operation(), None)
    request = msgspec.structs.replace(preparing("open_windows"), host_challenge=NEW)
    with pytest.raises(TakenUpAgain):
        operations.intend(state, request, WRITE, ASKED)


def test_the_operation_id_names_one_operation() -> None:
    state = State(card(open_operation=OPERATION, state="in_use"), operation("delivery"), None)
    for request, asked in ((opening("abolition"), ASKED), (opening(), at(ELSEWHERE))):
        with pytest.raises(NotAllowed):
            opened(state, request, asked)


def test_a_closed_operation_opened_again_has_nothing_left_to_do() -> None:
    state = State(card(state="in_use", write_id=WRITE), operation(state="closed", writes_done=2), None)
    decision = opened(state, opening(chip=chip(WRITE)))
    answer = decision.answer
    assert isinstance(answer, Opened)
    assert (answer.next_step, decision.writes) == (len(answer.plan), ())
    view = operations.close(state, chip(WRITE), ASKED)
    assert (view.writes, isinstance(view.answer, CardView)) == ((), True)


def test_an_abandoned_operation_is_ended() -> None:
    state = State(card(), operation(state="abandoned"), None)
    with pytest.raises(OperationEnded):
        opened(state)
    with pytest.raises(OperationEnded):
        operations.close(state, chip(), ASKED)


# ---- the intent --------------------------------------------------------------------------------------------------


def test_the_intent_is_recorded_before_anything_can_reach_the_chip() -> None:
    state = State(card(open_operation=OPERATION), operation(), None)
    pending_update, insert = operations.intend(state, preparing("open_windows"), WRITE, ASKED)
    assert isinstance(pending_update, Update)
    assert isinstance(insert, Insert)
    assert isinstance(insert.record, CardWrite)
    assert (insert.record.state, insert.record.digest) == ("intent", b"")


def test_the_same_intent_again_is_recorded_once() -> None:
    assert operations.intend(pending(), preparing("open_windows"), WRITE, ASKED) == ()


def test_no_second_write_begins_before_the_first_is_settled() -> None:
    with pytest.raises(WriteNotSettled):
        operations.intend(pending(), preparing("open_windows"), OTHER, ASKED)


@pytest.mark.parametrize(
    ("done", "windows", "step"),
    [
        (0, (), "activate"),
        (1, ("text",), "activate"),
        (1, (), "open_windows"),
        (2, (), "activate"),
        (1, (), "enter_pins"),
    ],
)
def test_only_the_next_step_is_written(done: int, windows: tuple[str, ...], step: str) -> None:
    state = State(card(open_operation=OPERATION), operation(writes_done=done), None)
    with pytest.raises(WrongStep):
        operations.intend(state, preparing(step, chip=chip(open_windows=windows)), WRITE, ASKED)


def test_a_proof_between_resident_and_chip_does_not_hold_up_the_write() -> None:
    state = State(moved(open_operation=OPERATION), operation("continuation", municipality=THERE), None)
    assert operations.intend(state, preparing("continue"), WRITE, at(THERE))


def test_a_chip_that_differs_gets_no_script() -> None:
    state = State(card(open_operation=OPERATION), operation(), None)
    with pytest.raises(ChipDiffers):
        operations.intend(state, preparing("open_windows", chip=chip(OTHER)), WRITE, ASKED)


def test_the_digest_is_recorded_before_the_script_goes_out() -> None:
    decision = operations.script_made(pending(), WRITE, DIGEST, (), ASKED)
    assert written(decision, CardWrite).digest == DIGEST


def test_a_script_of_the_centre_s_own_is_recorded_with_its_intent() -> None:
    state = State(card(open_operation=OPERATION), operation(), None)
    script = Script(write_id=WRITE, parts=(), digest=DIGEST)
    decision = operations.intend_with_script(state, preparing("open_windows"), script, ASKED)
    apart = operations.intend(state, preparing("open_windows"), WRITE, ASKED)
    assert decision.answer == script
    assert decision.writes[0] == apart[0]
    assert decision.writes[1].record == msgspec.structs.replace(apart[1].record, digest=DIGEST)


def test_an_intent_that_stands_is_not_recorded_again_with_another_script() -> None:
    for write_id in (WRITE, OTHER):
        script = Script(write_id=write_id, parts=(), digest=DIGEST)
        with pytest.raises(WriteNotSettled):
            operations.intend_with_script(pending(), preparing("open_windows"), script, ASKED)


def test_a_script_for_a_write_that_was_settled_meanwhile_never_goes_out() -> None:
    for state in (State(card(open_operation=OPERATION), operation(), None), pending()):
        with pytest.raises(WriteNotSettled):
            operations.script_made(state, OTHER, DIGEST, (), ASKED)


# ---- confirming --------------------------------------------------------------------------------------------------


def confirmed(decision: Decision) -> Confirmed:
    assert isinstance(decision.answer, Confirmed)
    return decision.answer


def test_what_the_chip_says_settles_the_write() -> None:
    after = operations.confirm(pending(), confirming(chip(WRITE)), NEW, ASKED)
    assert (confirmed(after).result, confirmed(after).host_challenge) == ("finished", NEW)
    assert written(after, Operation).writes_done == 1
    again = operations.confirm(pending(), confirming(chip(BEFORE)), NEW, ASKED)
    assert confirmed(again).result == "undone"
    assert written(again, Operation).writes_done == 0


def test_a_chip_that_could_not_be_asked_leaves_the_write_unknown() -> None:
    decision = operations.confirm(pending(), confirming(None), NEW, ASKED)
    assert (confirmed(decision).result, decision.writes) == ("unknown", ())
    assert confirmed(decision).host_challenge == CHALLENGE


@pytest.mark.parametrize(("known", "result"), [(WRITE, "finished"), (BEFORE, "undone")])
def test_of_a_write_settled_meanwhile_the_record_tells_the_end(known: str, result: str) -> None:
    state = State(card(open_operation=OPERATION, write_id=known), operation(writes_done=int(known == WRITE)), None)
    assert confirmed(operations.confirm(state, confirming(None), NEW, ASKED)).result == result
    assert confirmed(operations.confirm(state, confirming(chip(known)), NEW, ASKED)).result == result


@pytest.mark.parametrize(("done", "result"), [(0, "undone"), (1, "undone"), (2, "unknown")])
def test_without_its_chip_a_write_is_called_undone_only_if_no_earlier_one_can_be_it(done: int, result: str) -> None:
    """The record names the last finished write; a run that was overtaken may ask of the one before."""
    state = State(card(write_id=OTHER, open_operation=OPERATION), operation(writes_done=done), None)
    assert confirmed(operations.confirm(state, confirming(None), NEW, ASKED)).result == result


def test_another_write_is_not_confirmed_in_its_place() -> None:
    request = msgspec.structs.replace(confirming(chip(WRITE)), write_id=OTHER)
    with pytest.raises(WriteNotSettled):
        operations.confirm(pending(), request, NEW, ASKED)


def test_a_pending_write_without_its_journal_row_is_a_fault() -> None:
    state = msgspec.structs.replace(pending(), write=None)
    with pytest.raises(Fault):
        operations.confirm(state, confirming(chip(WRITE)), NEW, ASKED)


@pytest.mark.parametrize(
    ("step", "kind", "before", "after"),
    [
        ("set_up", "setup", "received", "set_up"),
        ("open_windows", "delivery", "set_up", "set_up"),
        ("activate", "delivery", "set_up", "in_use"),
        ("resume", "resumption", "suspended", "in_use"),
        ("renew", "certificate_renewal", "in_use", "in_use"),
        ("terminate", "abolition", "in_use", "abolished"),
    ],
)
def test_what_a_finished_write_makes_of_the_card(step: str, kind: OperationKind, before: str, after: str) -> None:
    state = pending(kind, step, card(state=before, open_operation=OPERATION))
    decision = operations.confirm(state, confirming(chip(WRITE)), NEW, ASKED)
    mine = written(decision, Card)
    assert (mine.state, mine.live_resident_id is None) == (after, after == "abolished")
    assert told(decision) == ["authority.settled"] + ["authority.revoke"] * (after == "abolished")


def test_a_holder_who_died_meanwhile_stays_without_a_card() -> None:
    dead = card(state="abolished", live_resident_id=None, open_operation=OPERATION)
    for step, kind in (("activate", "delivery"), ("set_up", "setup"), ("resume", "resumption")):
        state = pending(kind, step, dead)  # type: ignore[arg-type]
        mine = written(operations.confirm(state, confirming(chip(WRITE)), NEW, ASKED), Card)
        assert (mine.state, mine.live_resident_id, mine.write_id) == ("abolished", None, WRITE)


def test_a_continued_card_belongs_to_the_counter_that_wrote_it() -> None:
    state = pending("continuation", "continue", moved(open_operation=OPERATION), municipality=THERE)
    mine = written(operations.confirm(state, confirming(chip(WRITE)), NEW, at(THERE)), Card)
    assert (mine.municipality, mine.continuation_municipality, mine.continuation_due) == (THERE, "", None)


def test_a_further_move_during_continued_use_still_waits_for_its_own_counter() -> None:
    again = moved(open_operation=OPERATION, continuation_municipality=ELSEWHERE)
    state = pending("continuation", "continue", again, municipality=THERE)
    mine = written(operations.confirm(state, confirming(chip(WRITE)), NEW, at(THERE)), Card)
    assert (mine.municipality, mine.continuation_municipality, mine.continuation_due) == (THERE, ELSEWHERE, DUE)


def test_jpki_is_told_only_of_writes_that_it_had_a_part_in() -> None:
    state = msgspec.structs.replace(pending(), write=write(with_jpki=False))
    assert told(operations.confirm(state, confirming(chip(WRITE)), NEW, ASKED)) == []


# ---- ending ------------------------------------------------------------------------------------------------------


def test_an_operation_closes_when_its_plan_is_done() -> None:
    state = State(card(state="in_use", open_operation=OPERATION), operation(writes_done=2), None)
    decision = operations.close(state, chip(), ASKED)
    assert (written(decision, Card).open_operation, written(decision, Operation).state) == ("", "closed")


def test_nothing_closes_while_a_write_is_pending() -> None:
    with pytest.raises(WriteNotSettled):
        operations.close(pending(step="activate", writes_done=1), chip(WRITE), ASKED)


def test_the_last_write_closes_its_operation_when_asked() -> None:
    state = pending(step="set_up", kind="setup")
    asked_to = msgspec.structs.replace(confirming(chip(WRITE)), close=True)
    decision = operations.confirm(state, asked_to, NEW, ASKED)
    assert confirmed(decision).closed
    assert (written(decision, Card).open_operation, written(decision, Operation).state) == ("", "closed")
    undone = operations.confirm(state, msgspec.structs.replace(asked_to, chip=chip(BEFORE)), NEW, ASKED)
    assert not confirmed(undone).closed


@pytest.mark.parametrize(("done", "windows"), [(0, ()), (1, ()), (1, ("text",))])
def test_an_operation_does_not_close_before(done: int, windows: tuple[str, ...]) -> None:
    state = State(card(open_operation=OPERATION), operation(writes_done=done), None)
    with pytest.raises(WrongStep):
        operations.close(state, chip(open_windows=windows), ASKED)


def giving_up(status: ChipStatus | None = None) -> AbandonOperation:
    return AbandonOperation(card_id=CARD, chip=status)


def test_an_operation_is_abandoned_once_its_writes_are_settled() -> None:
    for state, request in (
        (State(card(open_operation=OPERATION), operation(), None), giving_up()),
        (State(card(open_operation=OPERATION), operation(writes_done=1), None), giving_up(chip())),
    ):
        decision = operations.abandon(state, request, ASKED)
        assert (written(decision, Card).open_operation, written(decision, Operation).state) == ("", "abandoned")
    for state in (pending(), State(card(open_operation=OPERATION), operation(writes_done=1), None)):
        with pytest.raises(WriteNotSettled):
            operations.abandon(state, giving_up(), ASKED)


# ---- whose operation it is ---------------------------------------------------------------------------------------


def test_an_operation_is_its_cards_and_its_counters_alone() -> None:
    mine = operation()
    elsewhere = msgspec.structs.replace(ASKED, municipality=THERE)
    for state, asked in (
        (State(card(card_id="WRF000000000009", open_operation=OPERATION), mine, None), ASKED),
        (State(card(open_operation=OPERATION), mine, None), elsewhere),
    ):
        with pytest.raises(NotFound):
            operations.intend(state, preparing("set_up"), WRITE, asked)
        with pytest.raises(NotFound):
            operations.confirm(state, confirming(chip(WRITE)), NEW, asked)
        with pytest.raises(NotFound):
            operations.close(state, chip(), asked)
        with pytest.raises(NotFound):
            operations.abandon(state, giving_up(), asked)


@pytest.mark.parametrize("state", ["abolished", "suspended"])
def test_no_write_begins_for_a_holder_who_died_or_lost_the_card_meanwhile(state: str) -> None:
    mine = operation(kind="certificate_renewal", pins=("authentication",))
    with pytest.raises(WrongCardState):
        operations.intend(
            State(card(state=state, open_operation=OPERATION), mine, None), preparing("renew"), WRITE, ASKED
        )


def test_the_end_of_a_card_waits_for_no_operation_that_was_left() -> None:
    left = card(state="in_use", open_operation="01JZZZZZZZZZZZZZZZZZZZZZZY")
    request = opening("abolition")
    decision = opened(State(left, None, None), request)
    assert written(decision, Card).open_operation == OPERATION
    with pytest.raises(OtherOperationOpen):
        opened(State(left, None, None), opening("update"))


def test_a_ninth_entry_has_no_room() -> None:
    full = card(state="in_use", entries=8)
    with pytest.raises(NoRoomLeft):
        opened(State(full, None, None), opening("update"))


def test_a_loss_reported_during_a_resumption_keeps_the_card_suspended() -> None:
    state = pending(step="resume", kind="resumption")
    assert state.card is not None
    lost = msgspec.structs.replace(state.card, state="suspended", suspended_ms=ASKED.now_ms + 1)
    decision = operations.confirm(State(lost, state.operation, state.write), confirming(chip(WRITE)), NEW, ASKED)
    assert written(decision, Card).state == "suspended"
    assert told(decision) == ["authority.settled", "authority.revoke"]


def test_nothing_is_done_for_an_operation_nobody_opened() -> None:
    state = State(card(), None, None)
    with pytest.raises(NotFound):
        operations.intend(state, preparing("set_up"), WRITE, ASKED)
    with pytest.raises(NotFound):
        operations.abandon(state, giving_up(), ASKED)
