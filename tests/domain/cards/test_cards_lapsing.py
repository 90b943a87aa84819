"""A card ends by the calendar: past its last day, past the days for continued use, or when its holder moves again."""

import datetime

import msgspec
import pytest
from cards_kit import ASKED, CARD, HERE, THERE, TODAY, at, card, moved, told, written

from warifu.contract.registry import ResidentChanged
from warifu.domain.cards import production
from warifu.domain.cards.lapsing import UNDELIVERED, lapse, why_over
from warifu.domain.cards.records import Card
from warifu.kernel.calendar import jst_date

DAY = datetime.timedelta(days=1)


@pytest.mark.parametrize(("days", "why"), [(-1, None), (0, None), (1, "expired"), (400, "expired")])
def test_a_card_is_over_the_day_after_its_last_one(days: int, why: str | None) -> None:
    mine = card(state="in_use", expires_on=TODAY)
    assert why_over(mine, TODAY + days * DAY) == why


@pytest.mark.parametrize(("days", "why"), [(89, None), (90, None), (91, "not_continued")])
def test_a_card_that_was_not_continued_within_its_days_is_over(days: int, why: str | None) -> None:
    assert why_over(moved(state="in_use"), TODAY + days * DAY) == why


@pytest.mark.parametrize("state", sorted(UNDELIVERED))
def test_a_card_that_nobody_holds_has_nothing_to_continue(state: str) -> None:
    assert why_over(moved(state=state), TODAY + 91 * DAY) is None


def test_what_has_ended_does_not_end_again() -> None:
    assert why_over(card(state="abolished", expires_on=TODAY), TODAY + DAY) is None


def test_the_end_frees_the_resident_for_another_card_and_revokes_what_is_on_this_one() -> None:
    decision = lapse(card(state="suspended", expires_on=TODAY), at(HERE, day=TODAY + DAY))
    assert decision is not None
    after = written(decision, Card)
    assert (after.state, after.live_resident_id) == ("abolished", None)
    assert told(decision) == ["authority.revoke"]
    assert [(each.action, each.subject) for each in decision.audit] == [("card.lapse", after.resident_id)]


def test_the_calendar_is_japans() -> None:
    mine = card(state="in_use", expires_on=TODAY)
    midnight = msgspec.structs.replace(ASKED, now_ms=ASKED.now_ms + 12 * 3_600_000)  # 15:00 UTC is 0:00 in Japan
    before = msgspec.structs.replace(midnight, now_ms=midnight.now_ms - 1)
    assert jst_date(before.now_ms) == TODAY
    assert lapse(mine, before) is None
    assert lapse(mine, midnight) is not None


def moved_again(mine: Card) -> Card:
    request = ResidentChanged(
        resident_id="0" * 26, event="move", resident_version=3,
        municipality_before=THERE, municipality_after=HERE, occurred_on=TODAY,
    )  # fmt: skip
    return written(production.resident_changed(mine, request, ASKED), Card)


def test_who_moves_again_before_continued_use_has_lost_the_card() -> None:
    after = moved_again(moved(state="in_use"))
    assert (after.card_id, after.state, after.live_resident_id) == (CARD, "abolished", None)


def test_a_card_not_handed_over_yet_survives_another_move() -> None:
    assert moved_again(moved(state="set_up")).state == "set_up"
