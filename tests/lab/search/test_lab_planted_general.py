"""Faults planted in node code that no property was made for alone: the general ones find them."""

import asyncio
from collections.abc import Callable

import pytest

from warifu.contract.values import CertificateKind
from warifu.kernel.errors import TryAgain
from warifu.lab.scenarios.nation import morning
from warifu.lab.search.search import run_batch
from warifu.nodes.answered import Answered
from warifu.nodes.center import lapsing
from warifu.nodes.center.lapsing import Lapser
from warifu.nodes.hsm_queue import Job, Queue
from warifu.nodes.leftovers import Leftover, Leftovers
from warifu.nodes.responder import Identity, Responder
from warifu.nodes.signing_together import SigningTogether


def a_gate_is_never_opened(patch: pytest.MonkeyPatch) -> None:
    remove = Leftovers._remove

    def silent(self: Leftovers, leftover: Leftover) -> None:
        key = leftover.envelope.ordering_key
        self._gates[key] = asyncio.Event()  # those who wait, wait for the one before
        remove(self, leftover)

    patch.setattr(Leftovers, "_remove", silent)


def signatures_are_forgotten_at_the_end(patch: pytest.MonkeyPatch) -> None:
    async def run(self: SigningTogether) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._hsm.size):
                    group.create_task(self._take_on())
        finally:
            self._closed = True
            self._waiting.clear()

    patch.setattr(SigningTogether, "run", run)


def signatures_are_kept_at_the_end(patch: pytest.MonkeyPatch) -> None:
    async def run(self: SigningTogether) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(self._hsm.size):
                group.create_task(self._take_on())

    patch.setattr(SigningTogether, "run", run)


def a_command_is_lost_on_its_way(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Queue, "put_back", lambda _self, _job: None)
    patch.setattr(Job, "fail", lambda _self, _error: None)


def only_the_first_leaves_the_outbox(patch: pytest.MonkeyPatch) -> None:
    take_out_all = Answered._take_out_all

    async def first(self: Answered, sequence: int) -> None:
        sent = self._store.sent

        async def one(*sequences: int) -> None:
            await sent(*sequences[:1])

        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(self._store, "sent", one)
            await take_out_all(self, sequence)

    patch.setattr(Answered, "_take_out_all", first)


def a_timer_skips_a_turn_after_an_error(patch: pytest.MonkeyPatch) -> None:
    async def run(self: Lapser) -> None:
        while True:
            try:
                await self.follow()
            except TryAgain:
                await asyncio.sleep(lapsing.EVERY_S)
            await asyncio.sleep(lapsing.EVERY_S)

    run.__qualname__ = "Lapser.run"
    patch.setattr(Lapser, "run", run)


def identities_are_prepared_beside_the_lock(patch: pytest.MonkeyPatch) -> None:
    async def identities(self: Responder, kind: CertificateKind) -> tuple[Identity, ...]:
        async with self._preparing:
            known = self._identities.get(kind, ())
        return known if known and self._last_long(known) else await self._prepare(kind)

    patch.setattr(Responder, "identities", identities)


@pytest.mark.parametrize(
    ("plant", "scenario", "broken"),
    [
        (a_gate_is_never_opened, "relay", "who waits can be woken"),
        (signatures_are_forgotten_at_the_end, "jpki", "who waits can be woken"),
        (signatures_are_kept_at_the_end, "jpki", "who waits for a part that ends is told"),
        (a_command_is_lost_on_its_way, "relay", "who waits can be woken"),
        (only_the_first_leaves_the_outbox, "tally", "what was answered leaves the outbox"),
        (a_timer_skips_a_turn_after_an_error, "calendar", "timers run"),
        (identities_are_prepared_beside_the_lock, "jpki", "what stands under a lock is done under it"),
    ],
)
def test_a_planted_fault_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], scenario: str, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    morning()  # made once a process, by nodes that are well
    plant(monkeypatch)
    assert [found.property for found in run_batch(range(120), (), scenario).found] == [broken]
