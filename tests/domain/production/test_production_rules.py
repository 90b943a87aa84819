"""Shipping: every card leaves in exactly one batch of its own municipality."""

from hypothesis import given
from hypothesis import strategies as st

from warifu.contract.center import CardsShipped
from warifu.contract.codec import decode
from warifu.domain.decision import Asked
from warifu.domain.production import rules
from warifu.domain.production.records import Batch, ProducedCard
from warifu.domain.production.rules import BATCH_MAX
from warifu.kernel.ids import card_id
from warifu.ports.store import Insert, Update

ASKED = Asked(operation_id="1" * 26, step="s", actor="driver/factory", now_ms=5)
BATCH = "0" * 25 + "A"


def cards(places: list[str]) -> list[ProducedCard]:
    return [
        ProducedCard(version=1, card_id=card_id(number), municipality=place, state="made", changed_ms=1)
        for number, place in enumerate(places)
    ]


@given(st.lists(st.sampled_from(["131016", "132217", "011002"]), max_size=3 * BATCH_MAX))
def test_each_card_is_in_exactly_one_batch_of_its_municipality(places: list[str]) -> None:
    made = cards(places)
    batches = rules.batches(made)
    assert sorted(card.card_id for batch in batches for card in batch) == [card.card_id for card in made]
    for batch in batches:
        assert len({card.municipality for card in batch}) == 1
        assert 0 < len(batch) <= BATCH_MAX
    assert rules.batches(made[::-1]) == batches


def test_a_batch_is_recorded_with_its_cards_and_the_centre_is_told_once() -> None:
    group = cards(["131016"] * 3)
    decision = rules.ship(group, BATCH, ASKED)
    insert, *updates = decision.writes
    assert isinstance(insert, Insert)
    batch = insert.record
    assert isinstance(batch, Batch)
    for update in updates:
        assert isinstance(update, Update)
        assert isinstance(update.record, ProducedCard)
        assert (update.record.state, update.record.batch_id) == ("shipped", BATCH)
    (message,) = decision.outbox
    told = decode(CardsShipped, message.body)
    assert (message.destination, told.batch_id, told.card_ids) == ("center", BATCH, batch.card_ids)
    assert rules.shipment(batch).card_ids == told.card_ids


def test_two_batches_of_one_run_are_two_messages() -> None:
    first, second = (rules.ship(cards(["131016"]), batch, ASKED).outbox[0] for batch in (BATCH, "0" * 25 + "B"))
    assert first.message_id != second.message_id
