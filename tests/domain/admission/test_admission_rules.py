"""Admission: openings by class, steps always; deliveries yield to nothing but deliveries and changes; retry budget."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warifu.contract.envelope import ServiceClass
from warifu.domain.admission import retry
from warifu.domain.admission.retry import FULL, RetryBudget, delay_ms
from warifu.domain.admission.rules import OPENING, RETRY_AFTER_MS, Limits, admit
from warifu.kernel.errors import ConnectionExcess
from warifu.nodes.cs import COUNTER

CLASSES: tuple[ServiceClass, ...] = get_args(ServiceClass)
LOADS = st.dictionaries(st.sampled_from(CLASSES), st.integers(0, 40))
LIMITS = st.builds(
    Limits, total=st.integers(1, 30), setup_and_bulk=st.integers(0, 30), change_reserve=st.integers(0, 8)
)


def admitted(kind: ServiceClass, load: dict[ServiceClass, int], limits: Limits, name: str = "center.open") -> bool:
    try:
        admit(name, kind, load, limits, 128)
    except ConnectionExcess:
        return False
    return True


@given(kind=st.sampled_from(CLASSES), load=LOADS, limits=LIMITS, name=st.sampled_from(sorted(COUNTER - OPENING)))
def test_a_step_of_an_admitted_operation_is_never_shed(
    kind: ServiceClass, load: dict[ServiceClass, int], limits: Limits, name: str
) -> None:
    assert admitted(kind, load, limits, name)


@given(load=LOADS, limits=LIMITS)
def test_a_delivery_is_refused_only_when_deliveries_and_changes_alone_fill_the_relay(
    load: dict[ServiceClass, int], limits: Limits
) -> None:
    alone = load.get("delivery", 0) + load.get("change", 0)
    assert admitted("delivery", load, limits) == (alone < limits.total)


@given(load=LOADS, limits=LIMITS)
def test_changes_have_a_share_that_nobody_else_takes(load: dict[ServiceClass, int], limits: Limits) -> None:
    if load.get("change", 0) < limits.change_reserve:
        assert admitted("change", load, limits)


@given(kind=st.sampled_from(["setup", "bulk"]), load=LOADS, limits=LIMITS)
def test_setups_and_bulk_leave_room_for_deliveries(
    kind: ServiceClass, load: dict[ServiceClass, int], limits: Limits
) -> None:
    if admitted(kind, load, limits):
        assert load.get("setup", 0) + load.get("bulk", 0) < limits.setup_and_bulk
        assert sum(load.values()) < limits.total


@given(load=LOADS, limits=LIMITS, kind=st.sampled_from(CLASSES))
def test_a_class_that_is_let_in_is_let_in_with_less_under_way_too(
    load: dict[ServiceClass, int], limits: Limits, kind: ServiceClass
) -> None:
    if admitted(kind, load, limits):
        assert admitted(kind, {name: count // 2 for name, count in load.items()}, limits)


@pytest.mark.parametrize(("jitter", "after"), [(0, RETRY_AFTER_MS), (255, 2 * RETRY_AFTER_MS)])
def test_a_refusal_says_when_to_come_back_and_the_place_in_line(jitter: int, after: int) -> None:
    with pytest.raises(ConnectionExcess) as refused:
        admit("center.open", "setup", {"setup": 2, "delivery": 3}, Limits(total=5), jitter)
    assert (refused.value.retry_after_ms, refused.value.place_in_line) == (after, 6)


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
