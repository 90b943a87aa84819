"""The tally: what the chip's last commit says of a card write that nobody saw end (F6)."""

import pytest
from cards_kit import BEFORE, OTHER, WRITE, card, chip, write
from hypothesis import given
from hypothesis import strategies as st

from warifu.domain.cards import plans, tally
from warifu.domain.cards.errors import AnotherCard, ChipDiffers


def test_a_write_that_the_chip_committed_is_finished() -> None:
    assert tally.outcome(card(), write(), chip(WRITE)) == "finished"


@pytest.mark.parametrize("before", ["", BEFORE], ids=["first-write", "later-write"])
def test_a_write_that_the_chip_does_not_know_is_undone(before: str) -> None:
    assert tally.outcome(card(write_id=before), write(), chip(before or None)) == "undone"


def test_a_script_that_never_was_made_cannot_be_finished() -> None:
    with pytest.raises(ChipDiffers):
        tally.outcome(card(), write(digest=b""), chip(WRITE))


def test_the_same_write_with_another_digest_is_an_inquiry() -> None:
    with pytest.raises(ChipDiffers):
        tally.outcome(card(), write(), chip(WRITE, b"\x02" * 32))


@pytest.mark.parametrize("known", [OTHER, None])
def test_a_commit_that_the_record_does_not_know_is_an_inquiry(known: str | None) -> None:
    with pytest.raises(ChipDiffers):
        tally.outcome(card(), write(), chip(known))


def test_another_card_on_the_reader_settles_nothing() -> None:
    with pytest.raises(AnotherCard):
        tally.outcome(card(), write(), chip(WRITE, card_id="WRF000000000002"))


def test_without_an_open_write_chip_and_record_must_be_equal() -> None:
    tally.require_equal(card(), chip())
    tally.require_equal(card(write_id=""), chip(None))
    for differing in (chip(WRITE), chip(None)):
        with pytest.raises(ChipDiffers):
            tally.require_equal(card(), differing)
    with pytest.raises(AnotherCard):
        tally.require_equal(card(), chip(card_id="WRF000000000002"))


# ---- plans -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "done", "windows", "expected"),
    [
        ("setup", 0, (), "set_up"),
        ("setup", 1, (), None),
        ("delivery", 0, (), "open_windows"),
        ("delivery", 1, ("text",), "enter_pins"),
        ("delivery", 1, ("signature", "authentication", "text", "juki"), "enter_pins"),
        ("delivery", 1, (), "activate"),
        ("delivery", 2, (), None),
        ("pin_reset", 0, (), "open_windows"),
        ("pin_reset", 1, ("juki",), "enter_pins"),
        ("pin_reset", 1, (), None),
        ("continuation", 0, (), "prove_holder"),
        ("continuation", 1, (), None),
        ("resumption", 0, (), "prove_holder"),
        ("resumption", 1, (), None),
        ("abolition", 0, ("text",), "terminate"),
    ],
)
def test_what_comes_next(kind: str, done: int, windows: tuple[str, ...], expected: str | None) -> None:
    steps = plans.plan(kind, plans.ALL_PINS)  # type: ignore[arg-type]
    position = plans.next_step(steps, done, windows)  # type: ignore[arg-type]
    assert (steps[position].name if position < len(steps) else None) == expected


@given(
    kind=st.sampled_from(sorted(plans.STATES)),
    done=st.integers(0, 4),
    windows=st.lists(st.sampled_from(plans.ALL_PINS), unique=True),
)
def test_a_plan_never_goes_back_behind_a_write_that_is_done(kind: str, done: int, windows: list[str]) -> None:
    steps = plans.plan(kind, plans.ALL_PINS)  # type: ignore[arg-type]
    position = plans.next_step(steps, done, tuple(windows))  # type: ignore[arg-type]
    earlier = sum(step.action == "write" for step in steps[:position])
    assert earlier <= done
    if position < len(steps) and steps[position].action == "write":
        assert earlier == done


def test_a_card_without_certificates_needs_jpki_for_no_window() -> None:
    windows, _ = plans.plan("pin_reset", ("text", "juki"))
    assert not windows.with_jpki
    _, continued = plans.plan("continuation", ("authentication", "text", "juki"))
    assert not continued.with_jpki


def test_every_card_write_of_every_plan_has_its_purpose_at_jpki() -> None:
    steps = {step.name for kind in plans.STATES for step in plans.plan(kind, plans.ALL_PINS) if step.with_jpki}
    assert steps == set(plans.JPKI_PURPOSES)
