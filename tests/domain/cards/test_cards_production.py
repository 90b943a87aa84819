"""Beside the counter: cards ordered, made, shipped, received; losses; changes of the holder's record."""

import datetime
from typing import Any

import pytest
from cards_kit import ASKED, BEFORE, CARD, HERE, THERE, TODAY, at, card, chip, told, written

from warifu.contract.center import CardMade, CardsReceived, CardsShipped, OrderCard, Ordered
from warifu.contract.registry import ResidentChanged
from warifu.contract.values import ResidentEvent
from warifu.domain.cards import production
from warifu.domain.cards.errors import AnotherCard, WrongCardState, WrongMunicipality
from warifu.domain.cards.records import Card
from warifu.domain.decision import Decision
from warifu.kernel.errors import NotFound
from warifu.ports.store import Insert

BATCH, OTHER_BATCH = "0" * 25 + "7", "0" * 25 + "8"
ORDER = OrderCard(application_id="1" * 23, resident_id="0" * 26, wants_signature=True, wants_authentication=False)


def ordered(existing: Card | None = None, live: Card | None = None) -> Decision:
    return production.order(existing, live, ORDER, card_id=CARD, municipality=HERE, asked=ASKED)


def test_an_order_makes_the_record_of_a_live_card() -> None:
    decision = ordered()
    (insert,) = decision.writes
    assert isinstance(insert, Insert)
    mine = written(decision, Card)
    assert (mine.state, mine.live_resident_id, mine.wants_signature, mine.wants_authentication) == (
        "ordered",
        ORDER.resident_id,
        True,
        False,
    )


def test_the_same_application_orders_one_card() -> None:
    decision = ordered(existing=card(card_id="WRF000000000009"))
    assert decision == Decision(answer=Ordered(card_id="WRF000000000009"))


def test_nobody_has_two_live_cards_and_a_void_application_is_answered() -> None:
    decision = ordered(live=card())
    assert (decision.writes, decision.answer, decision.journal[0].event) == ((), Ordered(card_id=""), "void")


def test_municipality_and_validity_are_fixed_once_and_for_the_factory_alone() -> None:
    later = TODAY + datetime.timedelta(days=5)
    fresh = production.fix_data(card(state="ordered", issued_on=None, expires_on=None), THERE, TODAY, later)
    assert (fresh.municipality, fresh.issued_on, fresh.expires_on) == (THERE, TODAY, later)
    assert production.fix_data(fresh, HERE, later, later) is fresh
    with pytest.raises(WrongCardState):
        production.fix_data(card(state="in_use"), THERE, TODAY, later)


def made(mine: Card | None, **changes: Any) -> Decision:
    request = CardMade(card_id=CARD, chip=chip(BEFORE, **changes))
    return production.made(mine, request, ["authentication"], ASKED)


def test_a_made_card_has_its_first_write_and_what_was_issued() -> None:
    decision = made(card(state="ordered", write_id="", has_signature=False, has_authentication=False))
    mine = written(decision, Card)
    assert (mine.state, mine.write_id, mine.has_signature, mine.has_authentication) == ("made", BEFORE, False, True)
    assert told(decision) == ["authority.settled"]


def test_a_card_is_made_once() -> None:
    assert made(card(state="made")).writes == ()
    for state in ("shipped", "in_use"):
        with pytest.raises(WrongCardState):
            made(card(state=state))
    with pytest.raises(NotFound):
        made(None)
    with pytest.raises(AnotherCard):
        made(card(state="ordered"), card_id="WRF000000000009")


def shipped(*cards: Card) -> Decision:
    request = CardsShipped(batch_id=BATCH, municipality=HERE, card_ids=(CARD,))
    return production.shipped(cards, request, ASKED)


def test_a_batch_ships_cards_that_are_made_once() -> None:
    mine = written(shipped(card(state="made")), Card)
    assert (mine.state, mine.batch_id) == ("shipped", BATCH)
    assert shipped(card(state="shipped", batch_id=BATCH)).writes == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"state": "ordered"},
        {"state": "made", "municipality": THERE},
        {"state": "shipped", "batch_id": OTHER_BATCH},
        {"state": "in_use"},
    ],
)
def test_other_cards_do_not_leave_with_it(wrong: dict[str, str]) -> None:
    with pytest.raises(WrongCardState):
        shipped(card(**wrong))
    with pytest.raises(NotFound):
        shipped()


def received(*cards: Card, place: str = HERE) -> Decision:
    return production.received(cards, CardsReceived(batch_id=BATCH, card_ids=(CARD,)), at(place))


def test_a_counted_batch_is_at_its_municipality() -> None:
    assert written(received(card(state="shipped", batch_id=BATCH)), Card).state == "received"
    assert received(card(state="received", batch_id=BATCH)).writes == ()


def test_a_card_is_received_only_where_it_was_sent() -> None:
    for mine, place in ((card(state="shipped", batch_id=BATCH), THERE), (card(state="shipped", batch_id=None), HERE)):
        with pytest.raises(WrongMunicipality):
            received(mine, place=place)
    with pytest.raises(WrongCardState):
        received(card(state="made", batch_id=BATCH))
    with pytest.raises(NotFound):
        received()


# ---- losses and changes ------------------------------------------------------------------------------------------


def test_a_loss_suspends_the_record_and_holds_the_certificates_once() -> None:
    decision = production.suspend(card(state="in_use"), CARD, ASKED)
    assert (written(decision, Card).state, told(decision)) == ("suspended", ["authority.revoke"])
    assert written(decision, Card).suspended_ms == ASKED.now_ms
    again = production.suspend(card(state="suspended"), CARD, ASKED)
    # Told again: certificates of a resumption under way are to be held too.
    assert (written(again, Card).suspended_ms, told(again)) == (ASKED.now_ms, ["authority.revoke"])


def test_a_lost_card_ends_without_its_chip() -> None:
    decision = production.abolish(card(state="suspended"), CARD, ASKED)
    mine = written(decision, Card)
    assert (mine.state, mine.live_resident_id, told(decision)) == ("abolished", None, ["authority.revoke"])
    assert production.abolish(mine, CARD, ASKED).writes == ()
    with pytest.raises(WrongCardState):
        production.abolish(card(state="made"), CARD, ASKED)


def test_a_card_that_ended_meanwhile_does_not_hold_up_its_batch() -> None:
    ended = card(state="abolished", live_resident_id=None)
    assert written(made(ended), Card).state == "abolished"
    mine = written(shipped(ended), Card)
    assert (mine.state, mine.batch_id) == ("abolished", BATCH)
    assert received(mine).writes == ()


@pytest.mark.parametrize("state", ["ordered", "received", "set_up", "abolished"])
def test_only_a_card_in_use_is_suspended(state: str) -> None:
    with pytest.raises(WrongCardState):
        production.suspend(card(state=state), CARD, ASKED)
    with pytest.raises(NotFound):
        production.suspend(None, CARD, ASKED)


def changed(event: ResidentEvent, mine: Card | None) -> Decision:
    request = ResidentChanged(
        resident_id="0" * 26,
        event=event,
        resident_version=2,
        municipality_before=HERE,
        municipality_after=THERE,
        occurred_on=TODAY,
    )
    return production.resident_changed(mine, request, ASKED)


def test_a_move_asks_for_continued_use_where_the_holder_went() -> None:
    mine = written(changed("move", card(state="in_use")), Card)
    assert (mine.continuation_municipality, mine.continuation_due) == (THERE, TODAY + datetime.timedelta(days=90))
    assert (mine.state, mine.municipality) == ("in_use", HERE)


def test_a_death_ends_the_card_even_in_the_middle_of_an_operation() -> None:
    mine = written(changed("death", card(state="set_up", open_operation="x")), Card)
    assert (mine.state, mine.live_resident_id, mine.open_operation) == ("abolished", None, "x")


@pytest.mark.parametrize("event", ["name", "address", "birth_date", "sex"])
def test_other_changes_leave_the_card_as_it_is(event: ResidentEvent) -> None:
    decision = changed(event, card(state="in_use"))
    assert (decision.writes, len(decision.journal)) == ((), 1)


def test_a_change_of_somebody_without_a_card_is_nothing_to_the_centre() -> None:
    assert changed("death", None).writes == ()
