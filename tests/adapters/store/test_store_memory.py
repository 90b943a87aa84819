"""What the memory twin adds: faults where the laboratory wants them, and schedules that interleave."""

import asyncio
from typing import Any

import pytest
from store_records import RECORDS, Note

from warifu.adapters.store.memory import MemoryStore, StoreHooks
from warifu.kernel.errors import Fault, Stale, Unavailable
from warifu.ports.store import Change, Get, Insert, JournalEntry, OutboxMessage, Update


def change(*writes: Insert | Update, **rest: Any) -> Change:
    return Change(now_ms=1, writes=writes, **rest)


class Failing(StoreHooks):
    """Fails at one point, once."""

    def __init__(self, point: str, error: type[Exception] = Unavailable) -> None:
        self.point = point
        self.error = error

    def fail(self, point: str) -> None:
        if point == self.point:
            self.point = ""
            raise self.error(point)

    async def before_read(self) -> None:
        self.fail("before_read")

    async def before_commit(self, change: Change) -> None:
        assert change.now_ms in (0, 1)
        self.fail("before_commit")

    async def after_commit(self, change: Change) -> None:
        assert change.now_ms in (0, 1)
        self.fail("after_commit")


@pytest.mark.parametrize(("point", "written"), [("before_commit", False), ("after_commit", True)])
async def test_a_crash_before_the_commit_leaves_nothing_and_after_it_everything(point: str, *, written: bool) -> None:
    store = MemoryStore(RECORDS, hooks=Failing(point))
    message = OutboxMessage("m", "center", "n", b"", "op")
    with pytest.raises(Unavailable):
        await store.commit(change(Insert(Note(note_id="n")), outbox=(message,)))
    assert (len(store.records(Note)) == 1) is written
    assert (len(store.outbox()) == 1) is written


async def test_a_serialization_failure_is_stale() -> None:
    store = MemoryStore(RECORDS, hooks=Failing("before_commit", Stale))
    with pytest.raises(Stale):
        await store.commit(change(Insert(Note(note_id="n"))))
    await store.commit(change(Insert(Note(note_id="n"))))


@pytest.mark.parametrize("point", ["before_commit", "after_commit"])
async def test_numbers_lost_in_a_crash_are_never_given_out_twice(point: str) -> None:
    store = MemoryStore(RECORDS, hooks=Failing(point))
    with pytest.raises(Unavailable):
        await store.reserve("cards", 5)
    assert await store.reserve("cards", 1) == (6 if point == "after_commit" else 1)


async def test_reads_fail_too() -> None:
    store = MemoryStore(RECORDS, hooks=Failing("before_read"))
    with pytest.raises(Unavailable):
        await store.read(Get(Note, ("n",)))
    assert (await store.read(Get(Note, ("n",)))).one(0, Note) is None


async def test_views_share_the_data_and_not_the_faults() -> None:
    store = MemoryStore(RECORDS)
    failing = store.with_hooks(Failing("after_commit"))
    with pytest.raises(Unavailable):
        await failing.commit(change(Insert(Note(note_id="n"))))
    assert (await store.read(Get(Note, ("n",)))).one(0, Note) == Note(note_id="n", version=1)


async def test_others_run_before_and_after_each_atomic_action() -> None:
    """A commit that starts first may still lose: the action does not happen when the call is made."""
    store = MemoryStore(RECORDS)
    seen: list[int] = []
    task = asyncio.create_task(store.commit(change(Insert(Note(note_id="n")))))
    while not task.done():
        seen.append(len(store.records(Note)))
        await asyncio.sleep(0)
    assert seen[0] == 0
    assert seen[-1] == 1


async def test_a_journal_entry_cannot_be_changed_through_its_detail() -> None:
    store = MemoryStore(RECORDS)
    detail = {"state": "new"}
    await store.commit(change(journal=(JournalEntry("s", "e", "op", detail),)))
    detail["state"] = "forged"
    assert [row.entry.detail for row in store.journal()] == [{"state": "new"}]


def test_two_records_of_one_table_are_a_fault() -> None:
    class Other(Note, frozen=True, kw_only=True):
        pass

    with pytest.raises(Fault):
        MemoryStore((*RECORDS, Other))
