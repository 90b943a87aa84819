"""Admission: deliveries yield to nothing but deliveries and changes; what is left is divided; the retry budget."""

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from warifu.contract.envelope import ServiceClass
from warifu.domain.admission import retry
from warifu.domain.admission.retry import FULL, QUEUE_MS, RetryBudget, delay_ms, may_queue
from warifu.domain.admission.rules import Limits, bulk_must_yield, has_room, must_yield

CLASSES: tuple[ServiceClass, ...] = get_args(ServiceClass)
LOADS = st.dictionaries(st.sampled_from(CLASSES), st.integers(0, 40))
LIMITS = st.builds(
    Limits, total=st.integers(1, 30), setup_and_bulk=st.integers(0, 30), change_reserve=st.integers(0, 8)
)
COUNT = st.integers(0, 30)


@given(load=LOADS, limits=LIMITS)
def test_a_delivery_is_refused_only_when_deliveries_and_changes_alone_fill_the_relay(
    load: dict[ServiceClass, int], limits: Limits
) -> None:
    alone = load.get("delivery", 0) + load.get("change", 0)
    assert has_room("delivery", load, limits) == (alone < limits.total)


@given(load=LOADS, limits=LIMITS)
def test_changes_have_a_share_that_nobody_else_takes(load: dict[ServiceClass, int], limits: Limits) -> None:
    if load.get("change", 0) < limits.change_reserve:
        assert has_room("change", load, limits)


@given(kind=st.sampled_from(["setup", "bulk"]), load=LOADS, limits=LIMITS)
def test_setups_and_bulk_divide_what_is_left(kind: ServiceClass, load: dict[ServiceClass, int], limits: Limits) -> None:
    mine = load.get("setup", 0) + load.get("bulk", 0)
    assert has_room(kind, load, limits) == (mine < limits.setup_and_bulk and sum(load.values()) < limits.total)


@given(load=LOADS, limits=LIMITS, kind=st.sampled_from(CLASSES))
def test_a_class_that_is_let_in_is_let_in_with_less_under_way_too(
    load: dict[ServiceClass, int], limits: Limits, kind: ServiceClass
) -> None:
    if has_room(kind, load, limits):
        assert has_room(kind, {name: count // 2 for name, count in load.items()}, limits)


@given(mine=COUNT, others=COUNT, claims=COUNT, limit=COUNT, free=COUNT)
def test_who_has_less_than_an_equal_share_yields_to_nobody(
    mine: int, others: int, claims: int, limit: int, free: int
) -> None:
    if must_yield(mine, others, claims, limit, free=free):
        assert mine * (others + 1) >= limit - others
        assert claims >= free


def test_who_has_its_share_yields_to_who_waits_with_less() -> None:
    assert must_yield(5, 1, 1, 10, free=1)
    assert not must_yield(4, 1, 1, 10, free=1)
    assert not must_yield(5, 1, 0, 10, free=1)
    assert not must_yield(9, 0, 0, 10, free=1)


def test_no_place_stands_empty_beyond_what_those_with_less_may_want() -> None:
    assert must_yield(5, 2, 3, 10, free=3)
    assert not must_yield(5, 2, 3, 10, free=4)


def test_bulk_keeps_a_quarter_while_setups_wait() -> None:
    limits = Limits(total=16, setup_and_bulk=8)
    assert not bulk_must_yield({"bulk": 1}, limits, setups_wait=True)
    assert bulk_must_yield({"bulk": 2}, limits, setups_wait=True)
    assert not bulk_must_yield({"bulk": 7}, limits, setups_wait=False)


# ---- the retry budget --------------------------------------------------------------------------------------------


@given(st.lists(st.booleans(), max_size=300))
def test_retries_never_exceed_the_first_stock_and_a_tenth_of_the_successes(tries: list[bool]) -> None:
    budget, retries, successes = RetryBudget(), 0, 0
    for success in tries:
        if success:
            budget, successes = budget.earn(), successes + 1
            continue
        spent = budget.spend()
        if spent is not None:
            budget, retries = spent, retries + 1
    assert retries <= FULL + successes / 10 + 1e-6
    assert 0 <= budget.tokens <= FULL


def test_an_empty_budget_allows_no_retry() -> None:
    assert RetryBudget(0.99).spend() is None
    assert RetryBudget(1.0).spend() == RetryBudget(0.0)


@given(attempt=st.integers(1, 50), after=st.integers(0, 60_000), jitter=st.integers(0, 255))
def test_the_wait_is_between_half_and_the_whole(attempt: int, after: int, jitter: int) -> None:
    whole = max(after, min(retry.MAX_DELAY_MS, retry.BASE_DELAY_MS << min(attempt, 10)))
    assert whole // 2 <= delay_ms(attempt, after, jitter) <= whole
    assert delay_ms(attempt, after, jitter) >= 1


@given(kind=st.sampled_from(CLASSES), waits=st.lists(st.integers(1, 5_000), max_size=20))
def test_an_opening_waits_unseen_for_no_longer_than_its_class_may(kind: ServiceClass, waits: list[int]) -> None:
    waited = 0
    for wait_ms in waits:
        if may_queue(kind, waited, wait_ms):
            waited += wait_ms
    assert waited <= QUEUE_MS[kind] <= 3_000


def test_a_set_up_waits_unseen_less_long_than_what_has_a_resident_waiting() -> None:
    assert max(QUEUE_MS["setup"], QUEUE_MS["bulk"]) < min(QUEUE_MS["delivery"], QUEUE_MS["change"])
