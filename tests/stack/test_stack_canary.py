"""A canary is compared with the relays beside it, in what it refuses, fails and takes."""

import pytest

from warifu.contract.health import Work
from warifu.stack.canary import ENOUGH, between, complaints, together

OTHERS = Work(done=1_000, refused=10, failed=2, busy_ms=10_000)


def test_what_was_done_between_two_looks_is_their_difference() -> None:
    before, after = Work(done=5, refused=1, failed=1, busy_ms=50), Work(done=9, refused=2, failed=1, busy_ms=90)
    assert between(before, after) == Work(done=4, refused=1, failed=0, busy_ms=40)


def test_a_process_that_started_anew_in_between_counts_from_its_start() -> None:
    assert between(OTHERS, Work(done=3, busy_ms=9)) == Work(done=3, busy_ms=9)


def test_several_are_added_up() -> None:
    assert together([OTHERS, Work(done=1, failed=1, busy_ms=4)]) == Work(
        done=1_001, refused=10, failed=3, busy_ms=10_004
    )


@pytest.mark.parametrize(
    "canary",
    [
        Work(done=100, refused=1, failed=0, busy_ms=1_000),
        Work(done=100, refused=2, failed=2, busy_ms=2_400),
        Work(done=ENOUGH - 1, refused=ENOUGH - 1, busy_ms=60_000),
    ],
    ids=["like the others", "a little worse", "too little to compare"],
)
def test_a_canary_like_the_others_does_well(canary: Work) -> None:
    assert complaints(canary, OTHERS) == ()


@pytest.mark.parametrize(
    ("canary", "said"),
    [
        (Work(done=100, refused=4, busy_ms=1_000), "refused 4 of 100 messages, the others 10 of 1000"),
        (Work(done=100, failed=3, busy_ms=1_000), "failed 3 of 100 messages, the others 2 of 1000"),
        (Work(done=100, busy_ms=2_600), "26 ms a message, the others 10 ms"),
    ],
)
def test_a_canary_that_does_worse_is_said_to(canary: Work, said: str) -> None:
    assert complaints(canary, OTHERS) == (said,)


def test_a_canary_alone_at_work_is_judged_by_itself() -> None:
    assert complaints(Work(done=100, failed=50, busy_ms=9_000), Work()) == (
        "failed 50 of 100 messages, the others 0 of 0",
    )
