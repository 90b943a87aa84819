"""The centre's calendar: each day it ends the records of cards whose days are over, wherever it was left off.

Every centre follows the calendar. Two that do so at once meet at a card's version: one ends it, the other finds it
ended.
"""

import asyncio
import datetime
from collections.abc import Sequence
from typing import Final

import msgspec

from warifu.domain.cards.lapsing import lapse
from warifu.domain.cards.records import CalendarMark, Card
from warifu.domain.decision import Asked
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import Stale, TryAgain
from warifu.kernel.ids import ULID_RANDOM_BYTES, new_ulid
from warifu.nodes.base import MAX_DECISIONS, KeepingNode
from warifu.ports.store import Change, Find, Get, Insert, Update

EVERY_S: Final = 600.0
PAGE: Final = 200
MARK: Final = "lapse"
COLUMNS: Final = ("expires_on", "continuation_due")


class Lapser:
    """Ends what the calendar ends.

    Args:
        node: whose store, clock, entropy and log.
    """

    def __init__(self, node: KeepingNode) -> None:
        self._node = node

    async def run(self) -> None:
        """Follow the calendar, for ever."""
        while True:
            try:
                await self.follow()
            except TryAgain as error:
                self._node.world.log.info("lapse.waits", code=error.code)
            await asyncio.sleep(EVERY_S)

    async def follow(self) -> int:
        """End every card whose last day has passed since the mark. How many it ended."""
        # One instant for all of it: were the clock set back meanwhile, the mark would pass cards that did not end.
        now_ms = self._node.world.clock.now_ms()
        yesterday = jst_date(now_ms) - datetime.timedelta(days=1)
        mark = (await self._node.store.read(Get(CalendarMark, (MARK,)))).one(0, CalendarMark)
        if mark is not None and mark.day >= yesterday:
            return 0
        ended = await self._from_the_start(now_ms) if mark is None else await self._since(mark.day, yesterday, now_ms)
        await self._set(mark, yesterday)
        if ended:
            self._node.world.log.info("lapse.ended", cards=ended)
        return ended

    async def _from_the_start(self, now_ms: int) -> int:
        """Nobody followed the calendar before: look at every card once."""
        return await self._end_all({}, now_ms)

    async def _since(self, day: datetime.date, until: datetime.date, now_ms: int) -> int:
        ended = 0
        while day < until:
            day += datetime.timedelta(days=1)
            for column in COLUMNS:
                ended += await self._end_all({column: day}, now_ms)
        return ended

    async def _end_all(self, where: dict[str, datetime.date], now_ms: int) -> int:
        ended, after = 0, None
        while True:
            cards = (await self._node.store.read(Find(Card, where, PAGE, after))).all(0, Card)
            ended += await self._end(cards, now_ms)
            if len(cards) < PAGE:
                return ended
            after = (cards[-1].card_id,)

    async def _end(self, cards: Sequence[Card], now_ms: int) -> int:
        ended = 0
        for card in cards:
            ended += await self._end_one(card, now_ms)
        return ended

    async def _end_one(self, card: Card | None, now_ms: int) -> int:
        """One card, looked at again when its record moved meanwhile."""
        for _ in range(MAX_DECISIONS):
            decision = None if card is None else lapse(card, self._asked(now_ms))
            if card is None or decision is None:
                return 0
            change = Change(
                now_ms=now_ms,
                writes=decision.writes,
                journal=decision.journal,
                audit=decision.audit,
                outbox=decision.outbox,
            )
            try:
                await self._node.store.commit(change)
            except Stale:
                card = (await self._node.store.read(Get(Card, (card.card_id,)))).one(0, Card)
                continue
            self._node.kick_outbox()
            return 1
        raise Stale(f"card {card.card_id if card else ''}: the record kept changing")

    async def _set(self, mark: CalendarMark | None, day: datetime.date) -> None:
        """Another centre may have set it meanwhile: then it saw what we saw."""
        new = CalendarMark(what=MARK, day=day) if mark is None else msgspec.structs.replace(mark, day=day)
        try:
            await self._node.store.commit(
                Change(
                    now_ms=self._node.world.clock.now_ms(),
                    writes=(Insert(new) if mark is None else Update(new),),
                )
            )
        except Stale:
            return

    def _asked(self, now_ms: int) -> Asked:
        world = self._node.world
        operation_id = new_ulid(now_ms, world.entropy.random_bytes(ULID_RANDOM_BYTES))
        return Asked(operation_id=operation_id, step="lapse", actor=world.name, now_ms=now_ms)
