"""The documents' figures at the relays' door (third-party evaluation of September 2016, table 4, notes 4 and 5)."""

import heapq
from collections import Counter

from warifu.contract.envelope import ServiceClass
from warifu.domain.admission.leases import Asking, Lease, Leases
from warifu.domain.admission.rules import Limits
from warifu.kernel.errors import ConnectionExcess

CONNECTIONS = 94
HELD_MS = 3_500
"""70 connections carried 12,000 messages in ten minutes."""
MOVES, DELIVERIES = 4_000, 12_000
"""Messages in ten minutes: those set aside for updates of moves in March, and those that deliveries are given."""
TEN_MINUTES_MS = 600_000
LIMITS = Limits(total=CONNECTIONS, setup_and_bulk=CONNECTIONS, change_reserve=24)


def refused(offered: dict[ServiceClass, int]) -> Counter[str]:
    """What a relay refuses of so much in ten minutes, each an operation of one message, evenly spread."""
    leases, none = Leases(LIMITS), Counter[str]()
    under_way: list[tuple[int, str, Lease]] = []
    arrivals = sorted(
        (number * TEN_MINUTES_MS // count, f"{kind}-{number}", kind)
        for kind, count in offered.items()
        for number in range(count)
    )
    for now_ms, operation_id, kind in arrivals:
        while under_way and under_way[0][0] <= now_ms:
            ended_ms, ended_id, ended = heapq.heappop(under_way)
            leases.leave(ended_id, ended, ended_ms, over=True)
        try:
            lease = leases.enter(Asking("center.open", operation_id, kind, "141003"), now_ms, 0)
        except ConnectionExcess:
            none[kind] += 1
        else:
            assert lease is not None
            heapq.heappush(under_way, (now_ms + HELD_MS, operation_id, lease))
    return none


def test_moves_and_deliveries_of_the_estimate_fit_without_excess() -> None:
    assert not refused({"change": MOVES, "delivery": DELIVERIES})


def test_deliveries_beyond_their_part_take_nothing_from_moves() -> None:
    found = refused({"change": MOVES, "delivery": 2 * DELIVERIES})
    assert set(found) == {"delivery"}


def test_set_ups_take_nothing_from_either() -> None:
    found = refused({"change": MOVES, "delivery": DELIVERIES, "setup": DELIVERIES})
    assert set(found) == {"setup"}
