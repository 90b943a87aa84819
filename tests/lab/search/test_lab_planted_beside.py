"""Faults planted in node code, continued: what is done beside the main road, and for which property it is found."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec import structs

from warifu.chip.layout import PARTICULARS_MAX
from warifu.contract.envelope import Envelope, Reply
from warifu.contract.registry import ResidentChangedForAuthority as Told
from warifu.contract.values import CertificateKind
from warifu.domain.cards import operations
from warifu.domain.certificates import rules as certificates
from warifu.domain.certificates.records import KnownResident
from warifu.domain.certificates.rules import Register
from warifu.domain.decision import Asked, Decision
from warifu.domain.production.records import ProducedCard
from warifu.domain.verifiers import rules as rules_of_verifiers
from warifu.domain.verifiers.records import StoredVerifier
from warifu.kernel.errors import ConnectionExcess, TryAgain, Unavailable
from warifu.kernel.together import together
from warifu.lab.scenarios.nation import morning
from warifu.lab.search.search import run_batch
from warifu.lab.simulation.storage import StoreView
from warifu.nodes import status_look
from warifu.nodes.authority import bulk
from warifu.nodes.authority.lists import Lists
from warifu.nodes.base import Call
from warifu.nodes.front import Credential, Front
from warifu.nodes.hsm_queue import Queue
from warifu.nodes.issuance import End, Issuance, Production
from warifu.nodes.leftovers import Leftover, Leftovers, Send
from warifu.nodes.relay import Relay
from warifu.nodes.with_hsm import WithHsm
from warifu.ports.hsm import HsmCommand
from warifu.ports.store import Change, Get, Update


def a_search_is_audited_afterwards(patch: pytest.MonkeyPatch) -> None:
    commit, later = StoreView.commit, set[asyncio.Task[None]]()

    async def afterwards(self: StoreView, change: Change) -> None:
        if not any(entry.action == "resident.search" for entry in change.audit):
            await commit(self, change)
            return
        later.add(asyncio.get_running_loop().create_task(commit(self, change)))

    patch.setattr(StoreView, "commit", afterwards)


def a_card_is_asked_for_under_one_key(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Production, "run", property(lambda _: "", lambda *_: None), raising=False)


def orders_are_not_compared(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(bulk, "_digest", lambda _: bytes(32))


def a_list_is_handed_out_unlogged(patch: pytest.MonkeyPatch) -> None:
    log = Front._log

    async def only_checks(self: Front, *said: Any) -> None:
        if said[1] == "status":
            await log(self, *said)

    patch.setattr(Front, "_log", only_checks)


def a_list_is_built_beside_itself(patch: pytest.MonkeyPatch) -> None:
    class Open(dict[object, asyncio.Lock]):
        def setdefault(self, *_: object) -> asyncio.Lock:
            return asyncio.Lock()

    begin = Lists.__init__

    def without(self: Lists, *parts: Any) -> None:
        begin(self, *parts)
        self._building = Open()  # type: ignore[assignment]

    patch.setattr(Lists, "__init__", without)


def a_verifier_has_one_more_at_work(patch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def admitted(self: Front, credential: Credential, ca: CertificateKind) -> AsyncIterator[StoredVerifier]:
        found = (await self.store.read(Get(StoredVerifier, (credential.verifier_id,)))).one(0, StoredVerifier)
        yield rules_of_verifiers.admit(found, credential.secret, ca)

    patch.setattr(Front, "_admitted", admitted)


def who_waits_is_not_told(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(status_look, "_fail", lambda *_: None)


def one_message_more_at_once(patch: pytest.MonkeyPatch) -> None:
    more = Queue.more_messages
    patch.setattr(Queue, "more_messages", lambda self, most: more(self, most + 1))


def a_card_is_made_before_it_is_told(patch: pytest.MonkeyPatch) -> None:
    tell = Issuance.tell

    async def early(self: Issuance, call: Call, record: ProducedCard) -> None:
        made = structs.replace(record, state="made")
        await self.store.commit(Change(now_ms=call.now_ms, writes=(Update(made),)))
        await tell(self, call, structs.replace(record, version=record.version + 1))

    patch.setattr(Issuance, "tell", early)


def a_card_more_is_made(patch: pytest.MonkeyPatch) -> None:
    make = Issuance._make_ordered

    async def more(self: Issuance, call: Call, limit: int) -> tuple[int, int]:
        return await make(self, call, limit + 1)

    patch.setattr(Issuance, "_make_ordered", more)


def a_card_is_tried_again_at_once(patch: pytest.MonkeyPatch) -> None:
    make = Issuance._make_or_report

    async def twice(self: Issuance, call: Call, card: Production) -> End:
        work = card.work

        async def again() -> None:
            try:
                await work()
            except TryAgain:
                await card.work()

        card.work = again  # type: ignore[method-assign]
        return await make(self, call, card)

    patch.setattr(Issuance, "_make_or_report", twice)


def more_cards_are_made_at_once(patch: pytest.MonkeyPatch) -> None:
    async def all_at_once(cards: list[Production], work: Callable[[Production], Coroutine[Any, Any, End]]) -> list[End]:
        return await together(work(card) for card in cards)

    patch.setattr(Issuance, "_in_lines", staticmethod(all_at_once))


def what_is_so_is_revoked(patch: pytest.MonkeyPatch) -> None:
    changed = certificates.resident_changed

    def one_too_many(register: Register, known: KnownResident | None, request: Told, asked: Asked) -> Decision:
        older = (structs.replace(each, resident_version=each.resident_version - 1) for each in register.certificates)
        return changed(structs.replace(register, certificates=tuple(older)), known, request, asked)

    patch.setattr(certificates, "resident_changed", one_too_many)


def refusing_is_not_shown(patch: pytest.MonkeyPatch) -> None:
    async def well(_self: Relay) -> None:
        return

    patch.setattr(Relay, "_probe_admission", well)


def a_command_is_asked_for_again(patch: pytest.MonkeyPatch) -> None:
    async def again(self: WithHsm, call: Call, command: HsmCommand) -> bytes:
        try:
            return await self.hsm.bytes_of(command, self.remaining_ms(call))
        except Unavailable:
            return await self.hsm.bytes_of(command, self.remaining_ms(call))

    patch.setattr(WithHsm, "hsm_bytes", again)


def what_has_no_room_is_kept(patch: pytest.MonkeyPatch) -> None:
    deliver = Leftovers._deliver

    async def kept(self: Leftovers, leftover: Leftover, send: Send) -> None:
        async def again(envelope: Envelope) -> Reply:
            try:
                return await send(envelope)
            except ConnectionExcess as error:
                raise Unavailable(str(error)) from None

        await deliver(self, leftover, again)

    patch.setattr(Leftovers, "_deliver", kept)


def one_entry_too_many(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(operations, "PARTICULARS_MAX", PARTICULARS_MAX + 1)


@pytest.mark.parametrize(
    ("plant", "scenario", "broken"),
    [
        (a_search_is_audited_afterwards, "counter", "every look is audited before it is answered"),
        (a_card_is_asked_for_under_one_key, "factory", "a key is used for one request"),
        (orders_are_not_compared, "jpki", "a key is not used twice"),
        (a_list_is_handed_out_unlogged, "jpki", "every look leaves an audit row"),
        (a_list_is_built_beside_itself, "jpki", "what stands under a lock is done under it"),
        (a_verifier_has_one_more_at_work, "jpki", "bounded queues"),
        (who_waits_is_not_told, "jpki", "who waits can be woken"),
        (one_message_more_at_once, "hsm", "bounded queues"),
        (what_has_no_room_is_kept, "relay", "what nobody waits for does not stand in line"),
        (one_entry_too_many, "counter", "a card is filled to its last line and no further"),
        (a_card_is_made_before_it_is_told, "factory", "told before it is taken for told"),
        (a_card_more_is_made, "factory", "a run makes as many as it is told"),
        (a_card_is_tried_again_at_once, "factory", "only the CS retries"),
        (more_cards_are_made_at_once, "factory", "bounded queues"),
        (what_is_so_is_revoked, "jpki", "nothing is revoked that nobody revoked"),
        (refusing_is_not_shown, "relay", "people are told that a relay refuses"),
        (a_command_is_asked_for_again, "relay", "only the pool repeats a command"),
    ],
)
def test_a_planted_fault_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], scenario: str, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    morning()  # made once a process, by nodes that are well
    plant(monkeypatch)
    assert [found.property for found in run_batch(range(120), (), scenario).found] == [broken]
