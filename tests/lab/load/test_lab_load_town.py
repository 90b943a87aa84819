"""Cards made ahead: deliveries that come before set-ups find theirs, and nothing of it is measured."""

import asyncio
import itertools
import random
from collections import Counter
from typing import Any

from warifu.contract.values import OperationKind
from warifu.lab.load.meter import Meter, Sample
from warifu.lab.load.town import DELIVERED, bunch, stock_ahead

PLACES = ("131016", "141003", "275069")
OPERATIONS = 2_000


class Counted:
    """Counters that serve at once, and count."""

    places = PLACES

    def __init__(self) -> None:
        self.meter = Meter()
        self.set_up: Counter[str] = Counter()
        self.in_use: Counter[str] = Counter()

    async def serve(self, place: str, kind: OperationKind) -> str:
        if kind == "delivery" and not self.set_up[place]:
            return "no_card"
        self.set_up[place] += 1 if kind == "setup" else -1
        self.in_use[place] += kind == "delivery"
        self.meter.operations.append(Sample(0.0, 1.0, kind, "ok", place))
        return "ok"


def stocked() -> Counted:
    counters: Any = Counted()
    asyncio.run(stock_ahead(counters, OPERATIONS))
    return counters  # type: ignore[no-any-return]  # it stands in for the real ones


def test_every_town_has_cards_in_use_and_so_many_set_up_as_bunches_may_want() -> None:
    counters = stocked()
    assert counters.in_use == dict.fromkeys(PLACES, DELIVERED)
    assert sum(counters.set_up.values()) == bunch(OPERATIONS)
    assert max(counters.set_up.values()) - min(counters.set_up.values()) <= 1


def test_making_them_is_not_measured() -> None:
    assert stocked().meter.operations == []


def test_deliveries_as_many_as_set_ups_do_not_run_out_of_cards() -> None:
    """In the order in which the dice let them come; without a stock they do."""
    lacked = [-least(random.Random(seed)) for seed in range(100)]  # noqa: S311 - repeatable on purpose
    assert max(lacked) <= bunch(OPERATIONS)
    assert sum(cards > 0 for cards in lacked) > 90


def least(dice: random.Random) -> int:
    """Cards set up and not delivered, where there are fewest; below zero they are lacking."""
    return min(itertools.accumulate(dice.choice((1, -1)) for _ in range(OPERATIONS)))
