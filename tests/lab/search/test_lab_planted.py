"""Faults planted in node code, one for each property that nothing else here makes fail: the search finds them."""

import asyncio
import datetime
import hashlib
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from msgspec import structs

from warifu.contract.center import AbandonOperation
from warifu.domain.admission import leases
from warifu.domain.admission.leases import Lease, Leases
from warifu.domain.admission.retry import EARNED_BY_SUCCESS, RetryBudget
from warifu.domain.applications import loss
from warifu.domain.cards import lapsing as rules
from warifu.domain.cards import operations
from warifu.domain.cards.operations import State
from warifu.domain.cards.records import Card
from warifu.domain.decision import Asked, Decision
from warifu.kernel.errors import Unavailable
from warifu.kernel.ids import ULID_RANDOM_BYTES, new_ulid
from warifu.lab.scenarios.nation import morning
from warifu.lab.search.search import run_batch
from warifu.lab.simulation.keys import EPOCH_MS
from warifu.nodes import cs, relay, status_look
from warifu.nodes.authority.issuing import Issuer, Order, Standing
from warifu.nodes.base import Call, KeepingNode
from warifu.nodes.center import node as center
from warifu.nodes.front import Front
from warifu.nodes.hsm_pool import FenceReason, HsmPool, _Place
from warifu.nodes.leftovers import Leftover, Leftovers, Send
from warifu.nodes.relay import Passage
from warifu.nodes.responder import Kept, Responder
from warifu.nodes.status_look import Key, Known, Looks
from warifu.nodes.under_way import UnderWay
from warifu.ports.store import Pending


def places_never_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(relay, "_is_over", lambda *_: False)


def a_session_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    remember = HsmPool.message_session

    def forgetful(self: HsmPool, label: str, session: bytes, encapsulation: bytes, info: bytes) -> None:
        remember(self, label, session, encapsulation, info)
        self._sessions.popitem()

    patch.setattr(HsmPool, "message_session", forgetful)


def a_timer_ends(patch: pytest.MonkeyPatch) -> None:
    async def run_sealer(self: KeepingNode) -> None:
        await self.store.seal(self.world.clock.now_ms(), None)

    patch.setattr(KeepingNode, "run_sealer", run_sealer)


def a_cancellation_is_lost(patch: pytest.MonkeyPatch) -> None:
    async def run_sealer(_self: KeepingNode) -> None:
        while True:
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                continue

    patch.setattr(KeepingNode, "run_sealer", run_sealer)


def a_place_is_not_kept(patch: pytest.MonkeyPatch) -> None:
    leave = Leases.leave

    def early(self: Leases, operation_id: str, lease: Lease | None, now_ms: int, *, over: bool) -> None:
        leave(self, operation_id, lease, now_ms, over=over)
        if lease is not None:
            lease.until_ms -= 1

    patch.setattr(Leases, "leave", early)


def facts_are_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cs, "FACTS", frozenset())


def retries_are_saved_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RetryBudget, "earn", lambda self: RetryBudget(self.tokens + EARNED_BY_SUCCESS))


def answers_are_kept_for_ever(patch: pytest.MonkeyPatch) -> None:
    async def once(_self: KeepingNode) -> None:
        await asyncio.Event().wait()

    patch.setattr(KeepingNode, "run_purger", once)


def an_answer_is_given_again_unasked(patch: pytest.MonkeyPatch) -> None:
    async def again(_self: Responder, _data: bytes, kept: Kept) -> bytes:
        return kept.der

    patch.setattr(Responder, "_again", again)


def a_look_is_not_logged(patch: pytest.MonkeyPatch) -> None:
    async def silent(*_: object) -> None:
        return

    patch.setattr(Front, "_log", silent)


def a_card_ends_a_day_early(patch: pytest.MonkeyPatch) -> None:
    def early(card: Card, today: datetime.date) -> rules.Why | None:
        return "expired" if card.expires_on is not None and today >= card.expires_on else None

    patch.setattr(rules, "why_over", early)


def one_guess_more(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loss, "MAX_TRIES", 6)


def what_is_left_over_is_settled_first(patch: pytest.MonkeyPatch) -> None:
    deliver = Leftovers._deliver

    async def early(self: Leftovers, leftover: Leftover, send: Send) -> None:
        self._backlog.settle(leftover.number)
        await deliver(self, leftover, send)

    patch.setattr(Leftovers, "_deliver", early)


def what_fails_stays_at_the_head(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Leftovers, "_to_the_end", lambda *_: None)


def every_message_ends_its_operation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(relay, "Passage", partial(Passage, over=True))


def no_worker_is_steady(patch: pytest.MonkeyPatch) -> None:
    fence = HsmPool._fence

    async def counted(self: HsmPool, place: _Place, reason: FenceReason) -> None:
        failures = place.failures
        await fence(self, place, reason)
        place.failures = failures + 1

    patch.setattr(HsmPool, "_fence", counted)


def bulk_takes_the_place_of_set_ups(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(leases, "bulk_must_yield", lambda *_, **__: False)


def a_write_is_another_each_time(patch: pytest.MonkeyPatch) -> None:
    def fresh(call: Call) -> str:
        return new_ulid(EPOCH_MS, hashlib.sha256(str(call.now_ms).encode()).digest()[:ULID_RANDOM_BYTES])

    patch.setattr(center, "_write_id", fresh)


def what_is_pending_is_given_up(patch: pytest.MonkeyPatch) -> None:
    abandon = operations.abandon

    def careless(state: State, request: AbandonOperation, asked: Asked) -> Decision:
        settled = structs.replace(state.operation, pending_write="") if state.operation else None
        return abandon(State(state.card, settled, state.write), request, asked)

    patch.setattr(operations, "abandon", careless)


def what_has_moved_is_told_all_the_same(patch: pytest.MonkeyPatch) -> None:
    async def once(self: Looks, keys: Sequence[Key]) -> tuple[Known, ...]:
        told = await self._asked({key: self._known.get(key) for key in keys})
        return tuple(told[key] for key in keys)

    patch.setattr(Looks, "statuses", once)


def a_look_joins_the_one_under_way(patch: pytest.MonkeyPatch) -> None:
    async def run(self: Looks) -> None:
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                await self._read(dict(self._gathered))
                self._gathered = {read: future for read, future in self._gathered.items() if not future.done()}
        finally:
            self._closed = True
            status_look._fail(self._gathered, self._gathered, Unavailable("the responder is closing"))

    patch.setattr(Looks, "run", run)


def who_reads_beside_writes_is_not_seen(patch: pytest.MonkeyPatch) -> None:
    standing = Issuer._standing

    async def looked_at(self: Issuer, call: Call, order: Order) -> Standing:
        found = await standing(self, call, order)
        return structs.replace(found, touched=found.guards)

    patch.setattr(Issuer, "_standing", looked_at)


def what_was_sent_stays_under_way(patch: pytest.MonkeyPatch) -> None:
    leave = UnderWay.leave

    def kept(self: UnderWay, pending: Pending) -> None:
        destination = self._destinations[pending.sequence]
        leave(self, pending)
        self._destinations[pending.sequence] = destination

    patch.setattr(UnderWay, "leave", kept)


@pytest.mark.parametrize(
    ("plant", "scenario", "first", "broken"),
    [
        (places_never_end, "relay", 0, "a place ends with its operation"),
        (a_session_is_forgotten, "hsm", 0, "as many sessions as the limits say are kept"),
        (a_timer_ends, "tally", 0, "timers run"),
        (a_cancellation_is_lost, "tally", 0, "a node ends when it is told to"),
        (a_place_is_not_kept, "relay", 0, "a place lasts as long as its operation moves"),
        (facts_are_dropped, "counter", 0, "what a chip has done is told"),
        (retries_are_saved_up, "relay", 0, "retries stay within their budget"),
        (answers_are_kept_for_ever, "tally", 0, "answers are forgotten in time"),
        (an_answer_is_given_again_unasked, "jpki", 4, "what was revoked is answered revoked"),
        (a_look_is_not_logged, "jpki", 0, "every look leaves an audit row"),
        (a_card_ends_a_day_early, "calendar", 0, "a card's days end, and not before"),
        (one_guess_more, "factory", 0, "a birth date is not guessed at"),
        (what_is_left_over_is_settled_first, "relay", 0, "what a CS has taken on is recorded until it is answered"),
        (what_fails_stays_at_the_head, "relay", 0, "one card's trouble is not the others'"),
        (every_message_ends_its_operation, "relay", 0, "a place is not given back before its operation ends"),
        (no_worker_is_steady, "hsm", 0, "a fenced worker is replaced in time"),
        (a_write_is_another_each_time, "counter", 0, "a request that comes again finds its own intent"),
        (what_is_pending_is_given_up, "counter", 0, "nothing is given up whose card write is pending"),
        (
            what_has_moved_is_told_all_the_same,
            "jpki",
            0,
            "what is told of a certificate is the register's as it stood or later",
        ),
        (a_look_joins_the_one_under_way, "jpki", 0, "a look begins after its question"),
        (who_reads_beside_writes_is_not_seen, "jpki", 60, "nothing ended is valid"),
        (what_was_sent_stays_under_way, "tally", 0, "what is held is given back"),
        (bulk_takes_the_place_of_set_ups, "door", 0, "who has no room is refused"),
    ],
)
def test_a_planted_fault_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], scenario: str, first: int, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    morning()  # made once a process, by nodes that are well
    plant(monkeypatch)
    assert [found.property for found in run_batch(range(first, first + 240), (), scenario).found] == [broken]
