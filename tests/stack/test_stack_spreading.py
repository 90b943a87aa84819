"""How many connections each relay lets go, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warifu.stack.spreading import FIRST_PAUSE_S, LONGEST_PAUSE_S, Pace, Standing, steady, surplus

COUNTS = st.dictionaries(st.sampled_from([f"relay-{number}" for number in range(1, 7)]), st.integers(0, 500))


@pytest.mark.parametrize(
    ("connections", "expected"),
    [
        ({}, {}),
        ({"relay-1": 8}, {}),
        ({"relay-1": 0, "relay-2": 0}, {}),
        ({"relay-1": 1, "relay-2": 0}, {}),
        ({"relay-1": 2, "relay-2": 0}, {"relay-1": 1}),
        ({"relay-1": 0, "relay-2": 8}, {"relay-2": 4}),
        ({"relay-1": 4, "relay-2": 4, "relay-3": 0}, {"relay-1": 1, "relay-2": 1}),
        ({"relay-1": 2, "relay-2": 2, "relay-3": 0}, {"relay-2": 1}),
        ({"relay-1": 3, "relay-2": 5}, {"relay-2": 1}),
        ({"relay-1": 3, "relay-2": 2}, {}),
        ({"relay-1": 44, "relay-2": 36}, {}),
        ({"relay-1": 50, "relay-2": 30}, {"relay-1": 10}),
    ],
)
def test_each_relay_lets_go_what_is_above_an_equal_part(connections: dict[str, int], expected: dict[str, int]) -> None:
    assert surplus(connections) == expected


@given(COUNTS)
def test_when_all_have_moved_nobody_has_two_more_than_another_and_none_moved_needlessly(
    connections: dict[str, int],
) -> None:
    much = surplus(connections)
    if not much:
        return
    left = {name: count - much.get(name, 0) for name, count in connections.items()}
    lower = sum(connections.values()) // len(connections)
    for _ in range(sum(much.values())):  # as the balancer does: to who has the fewest
        left[min(left, key=lambda name: left[name])] += 1
    assert max(left.values()) - min(left.values()) <= 1
    needed = max(
        sum(max(0, count - lower - 1) for count in connections.values()),
        sum(max(0, lower - count) for count in connections.values()),
    )
    assert sum(much.values()) == needed
    assert surplus(left) == {}


def test_only_relays_that_have_been_in_rotation_for_a_while_are_there() -> None:
    table = {
        "relay-1": Standing("UP", 8, 60),
        "relay-2": Standing("UP", 0, 1),
        "relay-3": Standing("DOWN (agent)", 0, 60),
        "relay-4": Standing("DRAIN", 2, 60),
        "relay-5": Standing("UP 1/2", 3, 60),
    }
    assert steady(table) == {"relay-1": 8, "relay-5": 3}
    assert steady(table, 0) == {"relay-1": 8, "relay-2": 0, "relay-5": 3}


def test_a_relay_that_comes_and_goes_makes_connections_move_less_and_less_often() -> None:
    pace, now, pauses = Pace(), 1000.0, []
    assert pace.ready(now)
    for _ in range(8):
        pace.moved(now)
        began = now
        while not pace.ready(now):
            now += 0.5
        pauses.append(now - began)
    assert pauses == [FIRST_PAUSE_S, 4.0, 8.0, 16.0, 32.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    pace.moved(now + 3 * LONGEST_PAUSE_S)
    assert pace.ready(now + 3 * LONGEST_PAUSE_S + FIRST_PAUSE_S)
