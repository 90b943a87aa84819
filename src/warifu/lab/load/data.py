"""Bulk data for load runs: residents, notification cards, applications and cards, copied into a stack's database."""

import datetime
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Final

from msgspec import Struct

from warifu.adapters.store.bulk import BulkWriter
from warifu.domain.applications.records import Application, NotificationCard
from warifu.domain.cards.records import Card
from warifu.domain.residents.records import Resident
from warifu.kernel.municipalities import Municipality
from warifu.synthetic.bulk import BulkResident, bulk

BATCH: Final = 5_000
ROWS_EACH: Final = 4
"""Tables that a resident has a row in."""


class Wanted(Struct, frozen=True, kw_only=True):
    """Which data: ``count`` residents of ``seed``, from number ``first`` on."""

    seed: int
    count: int
    first: int = 0
    today: datetime.date
    places: tuple[Municipality, ...]
    now_ms: int


class Loaded(Struct, frozen=True, kw_only=True):
    """What was copied, as in ``--json``."""

    residents: int
    rows: int
    seconds: float

    @property
    def rows_per_second(self) -> float:
        """Rate of all of it, drawing included."""
        return self.rows / max(self.seconds, 0.001)


async def load(url: str, wanted: Wanted, keep: Callable[[Sequence[BulkResident]], None] = lambda _: None) -> Loaded:
    """Copy them.

    Args:
        url: the database of registry, intake and centre; secret.
        wanted: which.
        keep: given each batch once it is in the database.

    Raises:
        Stale: some of this seed are there already: take another one.
        WarifuError: the database does not take them.
    """
    began = time.perf_counter()
    people = bulk(wanted.seed, wanted.count, wanted.today, wanted.places, now_ms=wanted.now_ms, first=wanted.first)
    rows = done = 0
    async with BulkWriter(url) as writer:
        while batch := list(islice(people, BATCH)):
            rows += await writer.copy("registry", Resident, [one.resident for one in batch])
            rows += await writer.copy("intake", NotificationCard, [one.notification for one in batch])
            rows += await writer.copy("intake", Application, [one.application for one in batch])
            rows += await writer.copy("center", Card, [one.card for one in batch])
            done += len(batch)
            keep(batch)
    return Loaded(residents=done, rows=rows, seconds=time.perf_counter() - began)
