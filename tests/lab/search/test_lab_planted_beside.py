"""Faults planted in node code, continued: what is done beside the main road, and for which property it is found."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from warifu.contract.values import CertificateKind
from warifu.domain.verifiers import rules as rules_of_verifiers
from warifu.domain.verifiers.records import StoredVerifier
from warifu.lab.scenarios.nation import morning
from warifu.lab.search.search import run_batch
from warifu.lab.simulation.storage import StoreView
from warifu.nodes import status_look
from warifu.nodes.authority import bulk
from warifu.nodes.authority.lists import Lists
from warifu.nodes.front import Credential, Front
from warifu.nodes.hsm_queue import Queue
from warifu.nodes.issuance import Production
from warifu.ports.store import Change, Get


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
    class Open:
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


@pytest.mark.parametrize(
    ("plant", "scenario", "broken"),
    [
        (a_search_is_audited_afterwards, "counter", "every look is audited before it is answered"),
        (a_card_is_asked_for_under_one_key, "factory", "a key is used for one request"),
        (orders_are_not_compared, "jpki", "a key is not used twice"),
        (a_list_is_handed_out_unlogged, "jpki", "every look leaves an audit row"),
        (a_list_is_built_beside_itself, "jpki", "a list is built once at a time"),
        (a_verifier_has_one_more_at_work, "jpki", "bounded queues"),
        (who_waits_is_not_told, "jpki", "who waits for a part that ends is told"),
        (one_message_more_at_once, "hsm", "bounded queues"),
    ],
)
def test_a_planted_fault_is_found(
    plant: Callable[[pytest.MonkeyPatch], None], scenario: str, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    morning()  # made once a process, by nodes that are well
    plant(monkeypatch)
    assert [found.property for found in run_batch(range(60), (), scenario).found] == [broken]
