"""The promise of the limit test, on the rules alone: 0.8 C, 2 C with deliveries at most half of C, and 0.8 C again."""

import heapq
import itertools
import math
import random
from collections import Counter

import pytest
from msgspec import Struct

from warifu.contract.envelope import ServiceClass
from warifu.domain.admission.leases import Asking, Leases
from warifu.domain.admission.rules import Limits
from warifu.kernel.errors import ConnectionExcess

C = 40.0
"""Operations a second."""
LASTS_MS: dict[ServiceClass, int] = {"setup": 3_000, "delivery": 6_000}
PATIENCE_MS = 3_000
PLACES = {"141003": 0.45, "271004": 0.30, "401307": 0.17, "131016": 0.08}
QUIET_MS, OVER_MS = 15_000, 40_000
WITHIN_MS = 5_000
RELAYS = 2


class Visit(Struct, frozen=True):
    """Somebody who comes to a counter."""

    number: int
    began_ms: int
    kind: ServiceClass
    place: str
    relay: int


class Overload:
    """Two relays, sized for C, and the people of a storm; nobody among them waits longer than three seconds."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - arrivals, no secrets
        average = C * sum(LASTS_MS.values()) / 2000 / RELAYS
        places = math.ceil(average + 2 * math.sqrt(average))
        limits = Limits(total=places, setup_and_bulk=places)
        self._relays = [Leases(limits) for _ in range(RELAYS)]
        self._events: list[tuple[int, int, bool, Visit]] = []
        self._order = itertools.count()
        self.refused: list[Visit] = []
        self.done: list[Visit] = []

    def run(self) -> None:
        """All of it."""
        storm, after = QUIET_MS, QUIET_MS + OVER_MS
        self._offer(0, storm, {"setup": 0.4 * C, "delivery": 0.4 * C})
        self._offer(storm, after, {"setup": 1.5 * C, "delivery": 0.5 * C})
        self._offer(after, after + 2 * QUIET_MS, {"setup": 0.4 * C, "delivery": 0.4 * C})
        while self._events:
            now_ms, _, ends, visit = heapq.heappop(self._events)
            if ends:
                self._ends(visit, now_ms)
            else:
                self._comes(visit, now_ms)

    def _offer(self, since_ms: int, until_ms: int, rates: dict[ServiceClass, float]) -> None:
        for kind, rate in rates.items():
            at = since_ms + self._dice.expovariate(rate) * 1000
            while at < until_ms:
                place = self._dice.choices(list(PLACES), list(PLACES.values()))[0]
                self._at(int(at), Visit(next(self._order), int(at), kind, place, self._dice.randrange(RELAYS)))
                at += self._dice.expovariate(rate) * 1000

    def _at(self, now_ms: int, visit: Visit, *, ends: bool = False) -> None:
        heapq.heappush(self._events, (now_ms, next(self._order), ends, visit))

    def _comes(self, visit: Visit, now_ms: int) -> None:
        leases, operation_id = self._relays[visit.relay], str(visit.number)
        asking = Asking("center.open", operation_id, visit.kind, visit.place)
        try:
            lease = leases.enter(asking, now_ms, self._dice.randrange(256))
        except ConnectionExcess as error:
            back_ms = now_ms + error.retry_after_ms
            if back_ms - visit.began_ms > PATIENCE_MS:
                self.refused.append(visit)
            else:
                self._at(back_ms, visit)
            return
        leases.leave(operation_id, lease, now_ms, over=False)
        self._at(now_ms + LASTS_MS[visit.kind], visit, ends=True)

    def _ends(self, visit: Visit, now_ms: int) -> None:
        leases, operation_id = self._relays[visit.relay], str(visit.number)
        lease = leases.enter(Asking("center.close", operation_id, visit.kind, visit.place), now_ms, 0)
        leases.leave(operation_id, lease, now_ms, over=True)
        self.done.append(visit)


@pytest.fixture(scope="module", params=range(6))
def overload(request: pytest.FixtureRequest) -> Overload:
    run = Overload(request.param)
    run.run()
    return run


def test_five_seconds_after_the_storm_nobody_is_refused(overload: Overload) -> None:
    """Free places were left to people who had been told to come back, and were gone (22 November 2026)."""
    calm_ms = QUIET_MS + OVER_MS + WITHIN_MS
    assert [visit for visit in overload.refused if visit.began_ms >= calm_ms] == []


def test_before_the_storm_nobody_is_refused(overload: Overload) -> None:
    assert [visit for visit in overload.refused if visit.began_ms < QUIET_MS] == []


def test_no_delivery_is_refused(overload: Overload) -> None:
    assert [visit for visit in overload.refused if visit.kind == "delivery"] == []


def test_what_is_done_in_the_storm_is_what_the_relays_are_sized_for(overload: Overload) -> None:
    done = sum(QUIET_MS <= visit.began_ms < QUIET_MS + OVER_MS for visit in overload.done)
    assert done >= 0.95 * C * OVER_MS / 1000


def test_in_the_storm_small_municipalities_get_a_greater_part_of_what_they_ask_for(overload: Overload) -> None:
    during = [visit for visit in overload.done if QUIET_MS <= visit.began_ms < QUIET_MS + OVER_MS]
    refused = Counter(visit.place for visit in overload.refused)
    done = Counter(visit.place for visit in during if visit.kind == "setup")
    parts = {place: done[place] / (done[place] + refused[place]) for place in PLACES}
    assert parts["131016"] > parts["271004"] > parts["141003"]
