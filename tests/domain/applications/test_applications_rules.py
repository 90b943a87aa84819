"""An application: form sent → received → checked or rejected → accepted; the form goes out once."""

from collections.abc import Callable

import msgspec
import pytest

from warifu.contract.center import OrderCard
from warifu.contract.codec import decode
from warifu.contract.intake import ApplicationState, Apply, AskNewForm, Followed, NewForm, Notify
from warifu.domain.applications import rules
from warifu.domain.applications.records import Application, NotificationCard, StoredPhoto
from warifu.domain.applications.rules import CardHeld, WrongState
from warifu.domain.decision import Asked, Decision
from warifu.kernel.errors import NotFound, Stale
from warifu.ports.store import Insert, Update

ID, RESIDENT = "1" * 23, "0" * 26
ASKED = Asked(operation_id="1" * 26, step="s", actor="driver/clerk", now_ms=1_775_012_400_000)
APPLY = Apply(application_id=ID, photo=b"photo", wants_signature=False)
STATES: tuple[ApplicationState, ...] = ("form_sent", "received", "checked", "rejected", "accepted")


def application(state: ApplicationState) -> Application:
    return Application(version=2, application_id=ID, resident_id=RESIDENT, state=state, changed_ms=1)


def after(decision: Decision) -> Application:
    (found,) = [each.record for each in decision.writes if isinstance(each.record, Application)]
    assert isinstance(decision.answer, Followed)
    assert decision.answer.state == found.state
    return found


MOVES: dict[str, tuple[Callable[[Application], Decision], set[ApplicationState], ApplicationState]] = {
    "apply": (lambda found: rules.apply(found, None, APPLY, ASKED), {"form_sent", "rejected"}, "received"),
    "check, well": (lambda found: rules.check(found, ID, (), ASKED), {"received"}, "checked"),
    "check, not well": (lambda found: rules.check(found, ID, ("photo.blank",), ASKED), {"received"}, "rejected"),
    "accept": (lambda found: rules.accept(found, ID, ASKED), {"checked"}, "accepted"),
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("state", STATES)
def test_each_move_has_its_states(move: str, state: ApplicationState) -> None:
    make, allowed, end = MOVES[move]
    if state in allowed:
        assert after(make(application(state))).state == end
    else:
        with pytest.raises(WrongState):
            make(application(state))


def test_an_unknown_application_is_not_found() -> None:
    for ask in (
        lambda: rules.apply(None, None, APPLY, ASKED),
        lambda: rules.check(None, ID, (), ASKED),
        lambda: rules.accept(None, ID, ASKED),
        lambda: rules.follow(None, ID),
    ):
        with pytest.raises(NotFound):
            ask()


def test_the_form_goes_out_once_for_each_resident() -> None:
    notify = Notify(resident_id=RESIDENT, municipality="131016")
    first = rules.notify(None, notify, ID, ASKED)
    kinds = [type(each.record) for each in first.writes]
    assert kinds == [NotificationCard, Application]
    sent = first.writes[0].record
    assert isinstance(sent, NotificationCard)
    assert rules.notify(sent, notify, "2" * 23, ASKED).writes == ()


def test_a_rejected_application_comes_again_with_another_photo() -> None:
    old = msgspec.structs.replace(application("rejected"), findings=("photo.blank",))
    photo = StoredPhoto(version=4, application_id=ID, photo=b"old")
    decision = rules.apply(old, photo, APPLY, ASKED)
    assert (after(decision).findings, after(decision).wants_signature) == ((), False)
    (kept,) = [each for each in decision.writes if isinstance(each.record, StoredPhoto)]
    assert isinstance(kept, Update)
    assert kept.record == msgspec.structs.replace(photo, photo=b"photo")
    (fresh,) = [e for e in rules.apply(old, None, APPLY, ASKED).writes if isinstance(e.record, StoredPhoto)]
    assert isinstance(fresh, Insert)


def test_acceptance_orders_the_card_as_wished() -> None:
    (message,) = rules.accept(msgspec.structs.replace(application("checked"), wants_signature=False), ID, ASKED).outbox
    order = decode(OrderCard, message.body)
    assert (message.destination, order.resident_id) == ("center", RESIDENT)
    assert (order.wants_signature, order.wants_authentication) == (False, True)


def test_findings_are_kept_for_who_asks() -> None:
    rejected = after(rules.check(application("received"), ID, ("photo.blank", "card.already_held"), ASKED))
    assert rules.follow(rejected, ID).findings == ("photo.blank", "card.already_held")


def notified(application_id: str = ID) -> NotificationCard:
    return NotificationCard(
        version=1, resident_id=RESIDENT, application_id=application_id, municipality="131016", sent_ms=1
    )


def asked_anew(state: ApplicationState, *, has_card: bool = False, sent: NotificationCard | None = None) -> Decision:
    request = AskNewForm(resident_id=RESIDENT, reason="lost")
    return rules.new_form(
        sent or notified(), application(state), request, has_card=has_card, application_id="2" * 23, asked=ASKED
    )


def test_a_new_form_takes_the_place_of_one_whose_card_has_ended() -> None:
    decision = asked_anew("accepted")
    in_force, form = (each.record for each in decision.writes)
    assert decision.answer == NewForm(application_id="2" * 23)
    assert isinstance(in_force, NotificationCard)
    assert isinstance(form, Application)
    assert (in_force.application_id, in_force.version) == ("2" * 23, 1)
    assert (form.application_id, form.state) == ("2" * 23, "form_sent")


@pytest.mark.parametrize("state", ["form_sent", "rejected"])
def test_a_form_that_may_still_be_used_stays_the_one(state: ApplicationState) -> None:
    decision = asked_anew(state)
    assert (decision.answer, decision.writes) == (NewForm(application_id=ID), ())


@pytest.mark.parametrize("state", ["received", "checked"])
def test_nobody_applies_twice_at_a_time(state: ApplicationState) -> None:
    with pytest.raises(WrongState):
        asked_anew(state)


def test_who_has_a_card_gets_no_new_form() -> None:
    with pytest.raises(CardHeld):
        asked_anew("accepted", has_card=True)


def test_a_form_given_meanwhile_is_seen_before_another_is_given() -> None:
    with pytest.raises(Stale):
        asked_anew("accepted", sent=notified("3" * 23))


def test_without_a_notification_there_is_no_form() -> None:
    with pytest.raises(NotFound):
        rules.new_form(
            None, None, AskNewForm(resident_id=RESIDENT, reason="lost"),
            has_card=False, application_id=ID, asked=ASKED,
        )  # fmt: skip
