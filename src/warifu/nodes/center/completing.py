"""The completer: finds operations that nobody came back for, ends what is provable, and tells people of the rest (F6).

Every centre looks. Two that do so at once meet at the operation's version: one ends it, the other finds it ended. What
only the card can settle is counted in the health part ``unsettled`` and the log, and listed by ``center.unsettled``.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Final, cast

from msgspec import Struct

from warifu.contract.unsettled import AskUnsettled, Unsettled, UnsettledCards
from warifu.contract.values import OperationKind
from warifu.domain.cards.completing import Patience, complete, moved_ms, why_unsettled
from warifu.domain.cards.operations import State
from warifu.domain.cards.records import Card, CardWrite, Operation
from warifu.domain.decision import Asked, Decision
from warifu.kernel.errors import Stale, TryAgain
from warifu.nodes.base import MAX_DECISIONS, Call, KeepingNode, expect
from warifu.ports.store import Change, Find, Get

UNKNOWN_AFTER_MS = 10 * 60_000
"""A message lives for a minute at most: a card write that nobody spoke of for so long is not on its way any more."""
LEFT_AFTER_MS = 30 * 60_000
"""A clerk and a resident may take a quarter of an hour for a form; after so long an operation has been left."""
EVERY_S = 60
PAGE = 100
PAGES_AT_ONCE: Final = 10
"""Pages that one question looks through."""
TOLD_AGAIN_MS: Final = 10 * 60_000


class Waiting(Struct, frozen=True):
    """Operations that wait for their card."""

    unknown: int = 0
    """With a card write whose end is unknown."""
    half_done: int = 0
    oldest_ms: int | None = None
    """When the oldest of them last moved."""

    def with_one(self, found: Unsettled) -> "Waiting":
        """One more."""
        return Waiting(
            unknown=self.unknown + (found.why == "unknown_write"),
            half_done=self.half_done + (found.why == "half_done"),
            oldest_ms=found.since_ms if self.oldest_ms is None else min(self.oldest_ms, found.since_ms),
        )


class Completer:
    """Looks at every open operation, again and again.

    Args:
        node: whose store, clock, entropy and log.
    """

    def __init__(self, node: KeepingNode) -> None:
        self._node = node
        self.waiting = Waiting()
        """As of the last look."""
        self._told = Waiting()
        self._told_ms = 0

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            try:
                await self.sweep()
            except TryAgain as error:
                self._node.world.log.info("completer.waits", code=error.code)
            await asyncio.sleep(EVERY_S)

    async def sweep(self) -> int:
        """End what can be ended, count what cannot. How many operations moved."""
        moved: Counter[str] = Counter()
        waiting = Waiting()
        async for operation in self._stale():
            state, done = await self._complete(operation)
            if done:
                moved[done] += 1
            elif found := self._unsettled(state):
                waiting = waiting.with_one(found)
        self.waiting = waiting
        self._tell(moved)
        return moved.total()

    async def probe(self) -> None:
        """The word of the last look; ``TryAgain`` while a municipality has a card to ask."""
        if self.waiting.oldest_ms is None:
            return
        minutes = (self._now_ms() - self.waiting.oldest_ms) // 60_000
        raise TryAgain(
            f"{self.waiting.unknown} card writes of unknown end, {self.waiting.half_done} operations half done, "
            f"the oldest since {minutes} min"
        )

    async def listed(self, call: Call) -> UnsettledCards:
        """Those of the municipality that asks; a national operator sees all."""
        request = expect(call.request, AskUnsettled)
        found: list[Unsettled] = []
        after = request.after
        for _ in range(PAGES_AT_ONCE):
            page = await self._page(after)
            for operation in page:
                after = operation.operation_id
                if call.envelope.municipality in {"", operation.municipality} and self._is_stale(operation):
                    one = self._unsettled(await self._state(operation.operation_id, operation.card_id))
                    found += [one] if one else []
                if len(found) == request.limit:
                    return UnsettledCards(unsettled=tuple(found), after=after)
            if len(page) < PAGE:
                return UnsettledCards(unsettled=tuple(found))
        return UnsettledCards(unsettled=tuple(found), after=after)

    # ---- parts -------------------------------------------------------------------------------------------------

    async def _stale(self) -> AsyncIterator[Operation]:
        after = ""
        while True:
            page = await self._page(after)
            for operation in filter(self._is_stale, page):
                yield operation
            if len(page) < PAGE:
                return
            after = page[-1].operation_id

    async def _page(self, after: str) -> tuple[Operation, ...]:
        find = Find(Operation, {"state": "open"}, PAGE, (after,) if after else None)
        return (await self._node.store.read(find)).all(0, Operation)

    def _is_stale(self, operation: Operation) -> bool:
        """Worth a second read."""
        return self._now_ms() - operation.changed_ms >= self._patience().unknown_ms

    async def _state(self, operation_id: str, card_id: str) -> State:
        snapshot = await self._node.store.read(
            Get(Card, (card_id,)),
            Get(Operation, (operation_id,)),
            Find(CardWrite, {"operation_id": operation_id, "state": "intent"}),
        )
        return State(snapshot.one(0, Card), snapshot.one(1, Operation), snapshot.one(2, CardWrite))

    async def _complete(self, operation: Operation) -> tuple[State, str]:
        """One operation, looked at again when its records moved meanwhile; what became of it, "" for nothing."""
        for _ in range(MAX_DECISIONS):
            state = await self._state(operation.operation_id, operation.card_id)
            decision = self._decide(state)
            if decision is None or state.operation is None:
                return state, ""
            change = Change(
                now_ms=self._now_ms(), writes=decision.writes, journal=decision.journal, outbox=decision.outbox
            )
            try:
                await self._node.store.commit(change)
            except Stale:
                continue
            self._node.kick_outbox()
            return state, _what(decision)
        raise Stale(f"operation {operation.operation_id}: the record kept changing")

    def _decide(self, state: State) -> Decision | None:
        if state.operation is None:
            return None
        asked = Asked(
            operation_id=state.operation.operation_id,
            # another centre that does the same says the same, and one of the two is heard
            step=f"completer.{state.operation.version}",
            actor=self._node.world.name,
            now_ms=self._now_ms(),
            municipality=state.operation.municipality,
        )
        return complete(state, self._patience(), self._node.world.entropy.random_bytes(8), asked)

    def _unsettled(self, state: State) -> Unsettled | None:
        why = why_unsettled(state, self._patience(), self._now_ms())
        operation = state.operation
        if why is None or operation is None:
            return None
        return Unsettled(
            card_id=operation.card_id,
            operation_id=operation.operation_id,
            kind=cast("OperationKind", operation.kind),
            municipality=operation.municipality,
            why=why,
            step_name=state.write.step_name if state.write is not None else "",
            since_ms=moved_ms(operation, state.write),
        )

    def _tell(self, moved: Counter[str]) -> None:
        """To the log: what was ended; and the alarm, when its counts change and every ten minutes while it lasts."""
        log, now_ms, waiting = self._node.world.log, self._now_ms(), self.waiting
        if moved:
            log.info("completer.ended", **{what: moved[what] for what in ("abandoned", "closed", "undone")})
        is_news = (waiting.unknown, waiting.half_done) != (self._told.unknown, self._told.half_done)
        if waiting.oldest_ms is None:
            if is_news:
                log.info("completer.all_settled")
        elif is_news or now_ms - self._told_ms >= TOLD_AGAIN_MS:
            self._told_ms = now_ms
            oldest_s = (now_ms - waiting.oldest_ms) // 1000
            log.trouble("completer.unsettled", unknown=waiting.unknown, half_done=waiting.half_done, oldest_s=oldest_s)
        self._told = waiting

    @staticmethod
    def _patience() -> Patience:
        return Patience(unknown_ms=UNKNOWN_AFTER_MS, left_ms=max(UNKNOWN_AFTER_MS, LEFT_AFTER_MS))

    def _now_ms(self) -> int:
        return self._node.world.clock.now_ms()


def _what(decision: Decision) -> str:
    """What the journal says of the operation, or of its write alone."""
    return next((entry.event for entry in decision.journal if entry.event in {"abandoned", "closed"}), "undone")
