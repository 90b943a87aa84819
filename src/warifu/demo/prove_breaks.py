"""``warifu lab prove screens-breaks``: every operation at the counters' screens, broken on purpose, ends right.

Counts cards. Each is set up, handed over, used, changed, lost, moved and ended at the screens of a running stack, as
people do it; at a random instant of each step its card is pulled, its terminal or the centre is killed, or the way to
the centre is cut or frozen. People go on at whichever terminal of the municipality. After each operation chip and
record must be equal, the PINs must be those that the resident chose, and nothing may be left open.
"""

import asyncio
import random
from collections.abc import Iterator
from contextlib import closing
from typing import Final

from warifu.adapters.reader.files import FileReader
from warifu.demo.broken_life import BrokenLife, Outside
from warifu.demo.connection import any_config, connected, database_urls
from warifu.demo.counters import Counters
from warifu.demo.facts import Database
from warifu.demo.faults import Faults
from warifu.demo.people import PLACES, Holder
from warifu.demo.rehearsal import Rehearsal, rehearsal
from warifu.kernel.errors import WarifuError
from warifu.lab.proofs.catalog import Part, Violation
from warifu.stack import status

AT_ONCE: Final = 10
"""Cards of one stack; more of them get another."""


def run(count: int, first: int) -> Iterator[Part]:
    """Let cards live, one after the other.

    Args:
        count: how many cards.
        first: the seed of the first: which faults strike its operations, and about when.
    """
    for begin in range(first, first + count, AT_ONCE):
        seeds = range(begin, min(begin + AT_ONCE, first + count))
        with rehearsal(max(len(seeds), len(PLACES)), second_terminals=True) as stage:
            counters = Counters(stage.home, Faults(stage.home, _dice(f"{begin} boxes")))
            with closing(counters):
                yield _received(counters, begin)
                for seed, holder in zip(seeds, stage.holders, strict=False):
                    counters.faults = Faults(stage.home, _dice(str(seed)))
                    yield _lived(stage, holder, counters, seed)


def _dice(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311 - the same for a seed


def _received(counters: Counters, seed: int) -> Part:
    """The boxes are counted in, broken too."""
    try:
        for place in PLACES:
            counters.receive(place)
    except WarifuError as error:
        return _part(counters, 0, Violation(seed, f"receiving: {error.code}: {error}", tuple(counters.faults.told)))
    return _part(counters, 0)


def _lived(stage: Rehearsal, holder: Holder, counters: Counters, seed: int) -> Part:
    try:
        asyncio.run(_live(stage, holder, counters))
    except WarifuError as error:
        text = f"card {holder.card_id}: {error.code}: {error}"
        return _part(counters, 1, Violation(seed, text, tuple(counters.faults.told)))
    return _part(counters, 1)


def _part(counters: Counters, count: int, *violations: Violation) -> Part:
    return Part(count, violations, dict(counters.faults.struck))


async def _live(stage: Rehearsal, holder: Holder, counters: Counters) -> None:
    own = any_config(stage.home, status.read(stage.home))
    async with connected(stage.home, own) as asker:
        database = Database(database_urls(stage.home, own), asker.patience)
        try:
            await BrokenLife(
                counters, Outside(asker, database, FileReader(stage.home.cards)), holder, counters.faults.dice
            ).live()
        finally:
            await database.close()
