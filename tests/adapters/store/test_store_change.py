"""The order in which a change's records are taken, and what makes two changes wait for each other."""

import itertools

import pytest
from store_records import RECORDS, Note, Tally

from warifu.adapters.store.change import plan_of
from warifu.adapters.store.shape import tables_of
from warifu.kernel.errors import Fault
from warifu.ports.store import Change, Check, Delete, Insert, Update, Write

TABLES = tables_of(RECORDS)
WRITES: list[Write] = [
    Update(Note(note_id="b", version=1)),
    Check(Note(note_id="a", version=1)),
    Delete(Tally(half="a", number=10, version=1)),
    Update(Tally(half="a", number=9, version=1)),
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_records_are_taken_by_table_and_key_whatever_is_done_to_them(order: tuple[int, ...]) -> None:
    """One order for everybody: two changes of the same records never hold what the other waits for."""
    plan = plan_of(TABLES, Change(now_ms=1, writes=tuple(WRITES[place] for place in order)))
    assert [write for _, write in plan.guarded] == [WRITES[1], WRITES[0], WRITES[3], WRITES[2]]


def test_two_writes_of_one_record_are_seen_however_far_apart() -> None:
    writes = (WRITES[0], *(Insert(Note(note_id=f"n{n}")) for n in range(5)), Check(Note(note_id="b", version=1)))
    with pytest.raises(Fault):
        plan_of(TABLES, Change(now_ms=1, writes=writes))


def test_inserts_of_a_table_go_together() -> None:
    plan = plan_of(TABLES, Change(now_ms=1, writes=tuple(Insert(Note(note_id=name)) for name in "cab")))
    ((table, inserts),) = plan.inserts
    assert table.record is Note
    assert [insert.record for insert in inserts] == [Note(note_id=name) for name in "abc"]
