"""A relay's leases: taken when an operation opens, given back when it ends or rests; steps never refused; a line."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from warifu.contract.envelope import ServiceClass
from warifu.domain.admission.leases import (
    FIRST_BACK_MS,
    KEPT_FREE_MS,
    LAST_BACK_MS,
    LEASED,
    MOVED_REST_MS,
    MOVING_MS,
    Asking,
    Lease,
    Leases,
)
from warifu.domain.admission.line import PATIENCE_MS, Line
from warifu.domain.admission.rules import OPENING, Limits
from warifu.kernel.errors import ConnectionExcess

CLASSES: tuple[ServiceClass, ...] = get_args(ServiceClass)
SMALL = Limits(total=4, setup_and_bulk=3, change_reserve=1, lease_ms=1_000)
LONG = Limits(total=4, setup_and_bulk=3, change_reserve=1, lease_ms=30_000)
STEPS = sorted(LEASED - OPENING)


def opening(number: int, kind: ServiceClass = "setup", place: str = "131016", *, known: bool = False) -> Asking:
    return Asking("center.open", f"op-{number}", kind, place, known)


def step(number: int, kind: ServiceClass = "setup", name: str = "center.write") -> Asking:
    return Asking(name, f"op-{number}", kind, "131016")


def open_and_rest(leases: Leases, asking: Asking, now_ms: int = 0) -> None:
    leases.leave(asking.operation_id, leases.enter(asking, now_ms, 0), now_ms, over=False)


def full() -> Leases:
    leases = Leases(SMALL)
    for number in range(3):
        open_and_rest(leases, opening(number))
    return leases


def test_an_operation_holds_its_place_between_its_steps() -> None:
    leases = full()
    with pytest.raises(ConnectionExcess):
        leases.enter(opening(9), 10, 0)
    assert leases.held["setup"] == 3


def test_a_place_is_given_back_when_the_operation_ends() -> None:
    leases = full()
    leases.leave("op-1", leases.enter(step(1), 10, 0), 10, over=True)
    assert leases.held["setup"] == 2
    assert leases.enter(opening(9), 10, 0) is not None


def test_an_operation_ends_with_its_last_message_under_way() -> None:
    leases = full()
    first, second = leases.enter(step(1), 10, 0), leases.enter(step(1), 10, 0)
    leases.leave("op-1", first, 10, over=True)
    assert leases.held["setup"] == 3
    leases.leave("op-1", second, 10, over=False)
    assert leases.held["setup"] == 2


def test_an_operation_that_rests_gives_its_place_back_and_its_steps_still_pass() -> None:
    leases = full()
    leases.enter(opening(9), 1_001, 0)
    assert leases.held["setup"] == 1
    assert leases.enter(step(0), 1_001, 0) is not None
    assert leases.held["setup"] == 2


def test_operations_that_moved_with_their_callers_give_their_places_back_soon_and_those_that_stayed_do_not() -> None:
    leases = Leases(LONG)
    for number in range(3):
        open_and_rest(leases, opening(number))
    under_way = leases.enter(step(2), 900, 0)
    leases.moving(1_000)
    leases.leave("op-2", under_way, 1_000 + MOVING_MS - 1, over=False)
    open_and_rest(leases, step(0), 1_000 + MOVING_MS)
    with pytest.raises(ConnectionExcess):
        leases.enter(opening(8), 999 + MOVED_REST_MS, 0)
    assert leases.enter(opening(9), 1_000 + MOVED_REST_MS, 0) is not None
    assert leases.enter(step(1), 1_000 + MOVED_REST_MS, 0) is not None
    leases.enter(step(9), 1_000 + MOVING_MS + MOVED_REST_MS, 0)
    assert leases.held["setup"] == 3
    leases.enter(step(9), 1_000 + MOVING_MS + LONG.lease_ms, 0)
    assert leases.held["setup"] == 2


def test_while_callers_move_no_place_is_kept_longer_than_else() -> None:
    leases = full()
    leases.moving(500)
    leases.enter(opening(9), 1_001, 0)
    assert leases.held["setup"] == 1


def test_a_message_under_way_keeps_its_place_however_long_it_takes() -> None:
    leases = Leases(SMALL)
    leases.enter(opening(1), 0, 0)
    leases.enter(step(2, "delivery"), 50_000, 0)
    assert leases.held == {"setup": 1, "delivery": 1}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_another_relay_admitted_is_taken_over_beyond_every_limit(name: str) -> None:
    leases = full()
    assert leases.enter(step(77, "setup", name), 10, 0) is not None
    assert leases.held["setup"] == 4


def test_an_opening_that_takes_an_operation_up_again_is_a_step() -> None:
    leases = full()
    assert leases.enter(opening(1), 10, 0) is not None
    assert leases.enter(opening(78, known=True), 10, 0) is not None


def test_a_look_takes_no_place() -> None:
    leases = full()
    assert leases.enter(Asking("center.card", "op-5", "delivery", "131016"), 10, 0) is None
    assert len(leases) == 3


def test_leases_taken_unasked_are_bounded_and_steps_still_pass() -> None:
    leases = Leases(SMALL)
    for number in range(100):
        leases.enter(step(number), 0, 0)
    assert len(leases) == 8 * SMALL.total


def test_whoever_is_refused_keeps_the_place_in_line_until_it_is_in() -> None:
    leases = full()
    places = []
    for number in (10, 11, 10):
        with pytest.raises(ConnectionExcess) as refused:
            leases.enter(opening(number), 10, 0)
        places.append(refused.value.place_in_line)
    assert places == [1, 2, 1]
    leases.leave("op-1", leases.enter(step(1), 10, 0), 10, over=True)
    leases.enter(opening(10), 10, 0)
    with pytest.raises(ConnectionExcess) as refused:
        leases.enter(opening(11), 10, 0)
    assert refused.value.place_in_line == 1


@given(jitter=st.integers(0, 255), waiting=st.integers(0, 50))
def test_the_time_to_come_back_is_spread_and_bounded(jitter: int, waiting: int) -> None:
    leases = full()
    for number in range(waiting):
        with pytest.raises(ConnectionExcess):
            leases.enter(opening(100 + number), 10, jitter)
    with pytest.raises(ConnectionExcess) as refused:
        leases.enter(opening(99), 10, jitter)
    assert FIRST_BACK_MS <= refused.value.retry_after_ms <= LAST_BACK_MS * 3 // 2
    assert refused.value.retry_after_ms >= FIRST_BACK_MS * (1 + jitter / 510) - 1


def test_a_municipality_with_its_share_yields_to_one_that_waits_with_less() -> None:
    leases = full()
    with pytest.raises(ConnectionExcess):
        leases.enter(opening(50, place="141003"), 10, 0)
    leases.leave("op-1", leases.enter(step(1), 20, 0), 20, over=True)
    with pytest.raises(ConnectionExcess):
        leases.enter(opening(51), 20, 0)  # it has two of three
    assert leases.enter(opening(50, place="141003"), 20, 0) is not None


def test_no_more_places_stay_free_than_those_with_less_may_want() -> None:
    leases = full()
    with pytest.raises(ConnectionExcess):
        leases.enter(opening(50, place="141003"), 10, 0)
    leases.leave("op-1", leases.enter(step(1), 20, 0), 20, over=True)
    leases.leave("op-2", leases.enter(step(2), 20, 0), 20, over=True)
    assert leases.enter(opening(51), 20, 0) is not None  # one place is left for the one that waits
    with pytest.raises(ConnectionExcess):
        leases.enter(opening(52), 20, 0)
    assert leases.enter(opening(50, place="141003"), 20, 0) is not None


def test_a_set_up_in_line_counts_on_the_places_that_set_ups_have() -> None:
    """Deliveries hold most places: what is left becomes free less often, so one comes back later."""
    backs = []
    for deliveries in (0, 38):
        leases = Leases(Limits(total=40, setup_and_bulk=40, lease_ms=60_000))
        for number in range(deliveries):
            open_and_rest(leases, opening(1000 + number, "delivery"))
        for number in range(40 - deliveries):
            open_and_rest(leases, opening(number))
        for number in range(100, 119):
            with pytest.raises(ConnectionExcess):
                leases.enter(opening(number), 10, 0)
        with pytest.raises(ConnectionExcess) as refused:
            leases.enter(opening(119), 10, 0)
        backs.append(refused.value.retry_after_ms)
    assert backs == [FIRST_BACK_MS, LAST_BACK_MS]


def test_nobody_is_turned_away_for_those_who_may_come_back_long_after_there_was_room_again() -> None:
    leases = Leases(Limits(total=3, setup_and_bulk=3, lease_ms=60_000))
    for number in range(3):
        open_and_rest(leases, opening(number))
    for number in range(20):
        with pytest.raises(ConnectionExcess):
            leases.enter(opening(50 + number, place="141003"), 10, 0)
    leases.leave("op-1", leases.enter(step(1), 20, 0), 20, over=True)
    with pytest.raises(ConnectionExcess):
        leases.enter(opening(90), 10 + KEPT_FREE_MS, 0)
    assert leases.enter(opening(90), 11 + KEPT_FREE_MS, 0) is not None


def test_a_place_is_kept_for_nobody_who_went_home() -> None:
    leases = full()
    with pytest.raises(ConnectionExcess) as refused:
        leases.enter(opening(50, place="141003"), 0, 0)
    later = refused.value.retry_after_ms + PATIENCE_MS + 1
    for number in range(2):
        leases.enter(step(number), later - 1, 0)
    assert leases.enter(opening(51), later, 0) is not None


def test_bulk_yields_to_setups_in_line() -> None:
    leases = Leases(SMALL)
    for number in range(3):
        open_and_rest(leases, opening(number, "bulk"))
    with pytest.raises(ConnectionExcess):
        leases.enter(opening(10, "setup"), 10, 0)
    leases.leave("op-0", leases.enter(step(0, "bulk"), 20, 0), 20, over=True)
    with pytest.raises(ConnectionExcess):
        leases.enter(opening(11, "bulk"), 20, 0)
    assert leases.enter(opening(10, "setup"), 20, 0) is not None


def test_deliveries_stand_before_setups_in_line() -> None:
    line = Line()
    line.join("s", "setup", "131016", 1_000)
    line.join("d", "delivery", "131016", 1_000)
    assert (line.place("d2", "delivery"), line.place("s2", "setup")) == (2, 3)
    assert line.waiting() == {"131016": 1}
    line.sweep(1_000 + PATIENCE_MS + 1)
    assert (len(line), dict(line.waiting())) == (0, {})


class LeasesAreCounted(RuleBasedStateMachine):
    """Whatever comes in whatever order: what is held is what is there, and nothing is counted twice."""

    def __init__(self) -> None:
        super().__init__()
        self.leases = Leases(SMALL)
        self.inside: list[tuple[str, Lease | None]] = []
        self.now_ms = 0

    @rule(number=st.integers(0, 12), kind=st.sampled_from(CLASSES), name=st.sampled_from(sorted(LEASED)))
    def comes(self, number: int, kind: ServiceClass, name: str) -> None:
        asking = Asking(name, f"op-{number}", kind, f"{number % 3}")
        try:
            self.inside.append((asking.operation_id, self.leases.enter(asking, self.now_ms, 0)))
        except ConnectionExcess:
            assert name in OPENING

    @precondition(lambda self: self.inside)
    @rule(which=st.integers(0, 100), over=st.booleans())
    def goes(self, which: int, over: bool) -> None:  # noqa: FBT001 - drawn
        operation_id, lease = self.inside.pop(which % len(self.inside))
        self.leases.leave(operation_id, lease, self.now_ms, over=over)

    @rule(passed_ms=st.sampled_from([1, 500, 1_001, 20_000]))
    def time_passes(self, passed_ms: int) -> None:
        self.now_ms += passed_ms

    @invariant()
    def held_is_what_is_there(self) -> None:
        there = list(self.leases._leases.values())
        assert sum(self.leases.held.values()) == len(there)
        assert all(self.leases.held[kind] == sum(lease.kind == kind for lease in there) for kind in CLASSES)
        busy = sum(lease.busy for lease in there)
        assert busy == sum(lease is not None for _, lease in self.inside)


TestLeasesAreCounted = LeasesAreCounted.TestCase
