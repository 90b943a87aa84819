"""A loss is heard from who knows application ID and birth date; guessing ends after five tries a day."""

import pytest

from warifu.contract.center import LiveCard
from warifu.domain.applications import loss
from warifu.domain.applications.records import Application, LossTries
from warifu.ports.store import Insert, Update

ID, NOW = "1" * 23, 1_775_012_400_000
APPLICATION = Application(version=2, application_id=ID, resident_id="0" * 26, state="accepted", changed_ms=1)


def tries(failures: int, since_ms: int = NOW) -> LossTries:
    return LossTries(version=3, application_id=ID, failures=failures, since_ms=since_ms)


def test_an_unknown_application_and_a_wrong_birth_date_are_told_alike() -> None:
    with pytest.raises(loss.HolderUnknown):
        loss.may_try(None, None, NOW)


@pytest.mark.parametrize("failures", [0, 1, loss.MAX_TRIES - 1])
def test_a_few_mistakes_are_forgiven(failures: int) -> None:
    assert loss.may_try(APPLICATION, tries(failures), NOW) == APPLICATION


def test_after_too_many_nobody_is_heard_for_a_day() -> None:
    blocked = tries(loss.MAX_TRIES)
    with pytest.raises(loss.TooManyTries):
        loss.may_try(APPLICATION, blocked, NOW + loss.TRIES_LAST_MS - 1)
    assert loss.may_try(APPLICATION, blocked, NOW + loss.TRIES_LAST_MS) == APPLICATION


def test_mistakes_are_counted_from_the_first_of_a_day() -> None:
    assert loss.failed(ID, None, NOW) == Insert(LossTries(application_id=ID, failures=1, since_ms=NOW))
    assert loss.failed(ID, tries(2), NOW + 1) == Update(tries(3))
    later = NOW + loss.TRIES_LAST_MS
    assert loss.failed(ID, tries(5), later) == Update(tries(1, later))


@pytest.mark.parametrize("state", ["in_use", "suspended"])
def test_a_card_the_resident_holds_is_suspended(state: str) -> None:
    assert loss.card_to_suspend(LiveCard(card_id="WRF000000000001", state=state)) == "WRF000000000001"


@pytest.mark.parametrize("state", ["", "ordered", "received", "set_up"])
def test_a_card_the_resident_does_not_hold_cannot_be_lost(state: str) -> None:
    with pytest.raises(loss.NoCardInUse):
        loss.card_to_suspend(LiveCard(card_id="WRF000000000001" if state else "", state=state))
