"""The residents of a run: both municipalities, every event, PINs that nobody sees."""

import datetime
import re

import pytest

from warifu.adapters.clock import SystemClock
from warifu.adapters.entropy import SystemEntropy
from warifu.demo.people import PLACES, SPREAD, Holder, choose, happenings, moved, new_pins, other_pin, pin_names

TODAY = datetime.date(2026, 11, 22)


def holders(count: int, seed: int = 1) -> tuple[Holder, ...]:
    return choose(count, seed, TODAY, SystemClock(), SystemEntropy())


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 20])
def test_every_event_happens_to_somebody(count: int) -> None:
    assert {event for one in happenings(count) for event in one} == set(SPREAD)


def test_of_twenty_each_event_happens_to_several() -> None:
    for event in SPREAD:
        assert sum(event in one for one in happenings(20)) >= 2


def test_all_of_it_happens_to_one_alone() -> None:
    assert happenings(1) == (frozenset(SPREAD),)


def test_half_live_in_each_municipality() -> None:
    people = holders(20)
    assert [sum(one.person.municipality == place for one in people) for place in PLACES] == [10, 10]
    assert len({one.resident_id for one in people}) == 20


@pytest.mark.parametrize("seed", range(60))
def test_the_first_has_both_certificates_whatever_the_seed(seed: int) -> None:
    assert holders(1, seed)[0].may_sign(TODAY)


def test_children_have_no_signature_pin() -> None:
    grown, child = (next(one for one in holders(60) if one.may_sign(TODAY) is wanted) for wanted in (True, False))
    assert set(pin_names(grown, TODAY)) - set(pin_names(child, TODAY)) == {"signature"}


def test_a_move_changes_municipality_and_address_alone() -> None:
    one = holders(1)[0]
    after = moved(one)
    assert after.municipality == one.other_place != one.person.municipality
    assert after.address != one.person.address
    assert (after.name, after.birth_date) == (one.person.name, one.person.birth_date)


def test_pins_have_their_form_and_stay_hidden() -> None:
    for _ in range(50):
        pins = new_pins(SystemEntropy())
        assert re.fullmatch(r"(?=.*[A-Z])(?=.*[0-9])[A-Z0-9]{6,16}", pins.signature)
        for pin in (pins.authentication, pins.text, pins.juki):
            assert re.fullmatch(r"[0-9]{4}", pin)
            assert other_pin(pin) != pin
    one = holders(1)[0]
    shown = repr(one) + repr(one.pins)
    assert one.pins.signature not in shown
    assert one.person.name not in shown
