"""Faults planted in node code that no property was made for alone: the general ones find them."""

import asyncio
from collections.abc import Callable, Sequence

import msgspec
import pytest

from chip_faults import free_tries
from warifu.chip.card import _PLAIN
from warifu.chip.image import Domain, Image, encode
from warifu.chip.state import ChipState
from warifu.contract.envelope import Envelope, Reply
from warifu.contract.errors import error_body
from warifu.contract.message import Done
from warifu.contract.values import CertificateKind
from warifu.domain.admission.retry import delay_ms
from warifu.domain.cards import plans, settling
from warifu.domain.cards.completing import Patience
from warifu.domain.cards.records import Card, CardWrite, Operation
from warifu.domain.certificates import rules as certificate_rules
from warifu.domain.certificates.records import ListRevision
from warifu.domain.decision import Asked, Decision
from warifu.kernel.errors import TryAgain
from warifu.lab.scenarios.nation import morning
from warifu.lab.scenarios.status_book import CURRENT
from warifu.lab.search.search import run_batch
from warifu.nodes import base, cs, signing_together
from warifu.nodes.answered import Answered
from warifu.nodes.authority import bulk, lists
from warifu.nodes.authority.bulk import Prepared, Standing
from warifu.nodes.base import Call
from warifu.nodes.center import completing, lapsing
from warifu.nodes.center import node as center_node
from warifu.nodes.center.completing import Completer
from warifu.nodes.center.lapsing import Lapser
from warifu.nodes.hsm_queue import Job, Queue
from warifu.nodes.leftovers import Leftover, Leftovers
from warifu.nodes.relay import Relay
from warifu.nodes.responder import Identity, Responder
from warifu.nodes.signing_together import SigningTogether, _Waiting
from warifu.nodes.status_look import Gathered, Looks
from warifu.ports.store import Insert, Write


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


def a_gate_opens_after_the_first(patch: pytest.MonkeyPatch) -> None:
    def early(self: Leftovers, leftover: Leftover) -> None:
        self._queue.remove(leftover)
        gate = self._gates.pop(leftover.envelope.ordering_key, None)
        if gate is not None:
            gate.set()
        if not self._queue:
            self._some.clear()

    patch.setattr(Leftovers, "_remove", early)


def every_retry_is_the_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cs, "delay_ms", lambda _attempt, retry_after_ms, jitter: delay_ms(0, retry_after_ms, jitter))


def certificates_are_read_before_their_revisions(patch: pytest.MonkeyPatch) -> None:
    read = Looks._read

    async def backwards(self: Looks, gathered: Gathered) -> None:
        first = {each: future for each, future in gathered.items() if each.table is not ListRevision}
        await read(self, first)
        await read(self, {each: future for each, future in gathered.items() if each not in first})

    patch.setattr(Looks, "_read", backwards)


def a_share_too_many(patch: pytest.MonkeyPatch) -> None:
    def share(self: SigningTogether) -> list[_Waiting]:
        found = [self._waiting.popleft()]
        while self._waiting and self._waiting[0].label == found[0].label and len(found) <= signing_together.AT_ONCE:
            found.append(self._waiting.popleft())
        return [each for each in found if not each.signature.done()]

    patch.setattr(SigningTogether, "_share", share)


def patience_ends_a_millisecond_early(patch: pytest.MonkeyPatch) -> None:
    def early() -> Patience:
        return Patience(unknown_ms=completing.UNKNOWN_AFTER_MS - 1, left_ms=completing.LEFT_AFTER_MS - 1)

    patch.setattr(Completer, "_patience", staticmethod(early))


def what_ended_is_set_up(patch: pytest.MonkeyPatch) -> None:
    after = settling._after

    def careless(card: Card, operation: Operation, write: CardWrite, asked: Asked) -> Card:
        state = plans.STATE_AFTER.get(write.step_name, card.state)
        return msgspec.structs.replace(after(card, operation, write, asked), state=state)

    patch.setattr(settling, "_after", careless)


def a_guess_is_not_guarded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(base, "unguarded", lambda *_: ())
    patch.setattr(center_node, "unguarded", lambda *_: ())


def a_chip_shows_first(patch: pytest.MonkeyPatch) -> None:
    def keep(self: ChipState, image: Image) -> None:
        if image != self.image:
            self.image = image
            self.save(encode(image))

    patch.setattr(ChipState, "keep", keep)


def a_wrong_pin_costs_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("warifu.chip.card._PLAIN", {**_PLAIN, (0x00, 0x20): free_tries})


def who_is_known_is_not_guarded(patch: pytest.MonkeyPatch) -> None:
    guards = bulk._guards

    def fewer(call: Call, prepared: Sequence[Prepared], standing: Standing) -> list[Write]:
        return [each for each in guards(call, prepared, standing) if isinstance(each, Insert)]

    patch.setattr(bulk, "_guards", fewer)


def what_is_not_signed_yet_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(certificate_rules, "_abandoned", lambda *_, **__: Decision(answer=Done()))


def a_list_is_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lists, "_is_fresh", lambda *_: True)


def a_part_that_is_away_is_asked_on_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(bulk, "Stale", TryAgain)


def a_channel_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    with_domain = Image.with_domain

    def same(self: Image, domain: Domain) -> Image:
        before = self.domain(domain.aid)
        return with_domain(
            self, domain if before is None else msgspec.structs.replace(domain, sequence=before.sequence)
        )

    patch.setattr(Image, "with_domain", same)


def who_gave_up_is_answered(patch: pytest.MonkeyPatch) -> None:
    handle = Relay.handle

    async def stubborn(self: Relay, envelope: Envelope) -> Reply:
        try:
            return await handle(self, envelope)
        except asyncio.CancelledError:
            return Reply(error=error_body(TryAgain("given up")))

    patch.setattr(Relay, "handle", stubborn)


def a_commit_is_saved_in_two_steps(patch: pytest.MonkeyPatch) -> None:
    keep = ChipState.keep

    def twice(self: ChipState, image: Image) -> None:
        if image.last_write != self.image.last_write:
            keep(self, msgspec.structs.replace(self.image, last_write=image.last_write))
        keep(self, image)

    patch.setattr(ChipState, "keep", twice)


def a_responder_keeps_its_certificate(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Responder, "_last_long", lambda *_: True)


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
        (a_gate_opens_after_the_first, "left", "what is left over comes first"),
        (every_retry_is_the_first, "left", "retries wait longer each time"),
        (certificates_are_read_before_their_revisions, "looks", CURRENT),
        (a_share_too_many, "signing", "bounded queues"),
        (patience_ends_a_millisecond_early, "completer", "nobody is given up before his time"),
        (what_ended_is_set_up, "meanwhile", "what has ended stays ended"),
        (a_guess_is_not_guarded, "meanwhile", "nothing is begun on a card that has ended"),
        (a_chip_shows_first, "counter", "a chip shows what it has saved"),
        (a_wrong_pin_costs_nothing, "chip", "a chip is filled to its limit and no further"),
        (who_is_known_is_not_guarded, "jpki", "nothing ended is valid"),
        (what_is_not_signed_yet_stays, "jpki", "nothing ended is valid"),
        (a_list_is_kept, "jpki", "lists are built anew in time"),
        (a_part_that_is_away_is_asked_on_end, "jpki", "who is told that the store is away asks later"),
        (a_channel_is_not_counted, "chip", "a chip keeps its promises"),
        (a_commit_is_saved_in_two_steps, "chip", "a chip keeps its promises"),
        (who_gave_up_is_answered, "relay", "who is cancelled ends"),
        (a_responder_keeps_its_certificate, "jpki", "a responder's certificate is renewed in time"),
    ],
)
def test_a_planted_fault_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], scenario: str, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    morning()  # made once a process, by nodes that are well
    plant(monkeypatch)
    assert [found.property for found in run_batch(range(150), (), scenario).found] == [broken]
