"""The contract of ``Store``, sentence by sentence, on the memory twin and on PostgreSQL."""

import asyncio
from datetime import date
from typing import Any

import msgspec
import pytest
from store_database import AnyStore
from store_records import Line, Note, Stranger, Tally

from warifu.kernel.errors import Fault, KeyReused, Stale, WarifuError
from warifu.ports.store import (
    AuditEntry,
    Change,
    Check,
    Delete,
    Find,
    Get,
    Insert,
    Join,
    JournalEntry,
    OutboxMessage,
    RequestKey,
    Update,
    Write,
)

DIGEST = bytes(range(32))


def change(*writes: Write, **rest: Any) -> Change:
    return Change(now_ms=1_700_000_000_000, writes=writes, **rest)


def message(message_id: str, order_key: str = "", destination: str = "center") -> OutboxMessage:
    return OutboxMessage(message_id, destination, "card.revoke", b"\x00\xff", "op1", order_key)


def request(step: str = "1", digest: bytes = DIGEST, operation_id: str = "op1", node: str = "center") -> RequestKey:
    return RequestKey(node, operation_id, step, digest)


async def tally(store: AnyStore, half: str = "a", number: int = 1) -> Tally | None:
    return (await store.read(Get(Tally, (half, number)))).one(0, Tally)


async def notes(store: AnyStore) -> list[str]:
    return [note.note_id for note in (await store.read(Find(Note, {}))).all(0, Note)]


async def outcomes(*work: Any) -> list[type[WarifuError] | None]:
    """Run all at once; what each raised, if anything."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, WarifuError):
            raise result
    return [type(result) if isinstance(result, WarifuError) else None for result in results]


# Reading


async def test_a_record_comes_back_as_it_was_written_with_version_1(store: AnyStore) -> None:
    written = Tally(
        half="左", number=-(2**63), stamp="𠮷'\"\\{},", owner="o", place=2**63 - 1, state="", due=date(2025, 12, 1),
        cut=True, face=b"\x00\x01\xff", words=("", "a,b", 'q"\\', "髙﨑"),
    )  # fmt: skip
    await store.commit(change(Insert(written)))
    found = await tally(store, "左", -(2**63))
    assert found is not None
    assert found == msgspec.structs.replace(written, version=1)


async def test_none_comes_back_as_none(store: AnyStore) -> None:
    await store.commit(change(Insert(Note(note_id="n"))))
    assert (await store.read(Get(Note, ("n",)))).one(0, Note) == Note(note_id="n", version=1)


async def test_empty_values_are_not_none(store: AnyStore) -> None:
    written = Note(note_id="", text="", seen=False, shape=b"", tags=(), count=0)
    await store.commit(change(Insert(written)))
    assert (await store.read(Get(Note, ("",)))).one(0, Note) == Note(
        note_id="", text="", seen=False, shape=b"", tags=(), count=0, version=1
    )


async def test_get_of_no_record_gives_none(store: AnyStore) -> None:
    assert await tally(store) is None


async def test_results_stand_in_the_order_of_the_reads(store: AnyStore) -> None:
    await store.commit(change(Insert(Note(note_id="n")), Insert(Tally(half="a", number=1, owner="o"))))
    seen = await store.read(
        Find(Tally, {"owner": "o"}), Get(Note, ("n",)), Get(Tally, ("a", 9)), Get(Tally, ("a", 1)), Find(Note, {})
    )
    assert seen.answer is None
    assert [len(seen.results[place]) for place in range(5)] == [1, 1, 0, 1, 1]
    assert seen.one(3, Tally) == seen.one(0, Tally)
    assert seen.one(1, Note) == seen.one(4, Note)


async def test_a_read_of_nothing_is_an_empty_snapshot(store: AnyStore) -> None:
    assert (await store.read()).results == ()


@pytest.mark.parametrize(
    ("where", "numbers"),
    [
        ({}, [1, 2, 3, 4]),
        ({"half": "a"}, [1, 2, 3]),
        ({"half": "a", "number": 2}, [2]),
        ({"number": 3, "half": "a"}, [3]),
        ({"owner": "o"}, [1, 3]),
        ({"stamp": "s2"}, [2]),
        ({"stamp": None}, [1, 3, 4]),
        ({"owner": "o", "place": 7}, [3]),
        ({"state": "new", "due": None}, [1, 2, 4]),
        ({"due": date(2026, 1, 1), "state": "new"}, [3]),
        ({"owner": "nobody"}, []),
    ],
)
async def test_find_by_key_prefix_unique_and_indexed_sets(
    store: AnyStore, where: dict[str, Any], numbers: list[int]
) -> None:
    await store.commit(
        change(
            Insert(Tally(half="b", number=4)),
            Insert(Tally(half="a", number=3, owner="o", place=7, due=date(2026, 1, 1))),
            Insert(Tally(half="a", number=2, stamp="s2")),
            Insert(Tally(half="a", number=1, owner="o")),
        )
    )
    found = (await store.read(Find(Tally, where))).all(0, Tally)
    assert [record.number for record in found] == numbers


async def test_find_is_ordered_by_key_by_code_point(store: AnyStore) -> None:
    names = ["a", "B", "あ", "b", "𠮷", "_", "a b", "ab", "é", "～"]
    await store.commit(change(*(Insert(Note(note_id=name)) for name in names)))
    assert await notes(store) == sorted(names)


async def test_pages_by_limit_and_after(store: AnyStore) -> None:
    numbers = [(half, number) for half in "ab" for number in (-1, 2, 10)]
    await store.commit(change(*(Insert(Tally(half=half, number=number, owner="o")) for half, number in numbers)))
    seen: list[tuple[str, int]] = []
    after: tuple[str, int] | None = None
    while page := (await store.read(Find(Tally, {"owner": "o"}, limit=4, after=after))).all(0, Tally):
        after = (page[-1].half, page[-1].number)
        seen.extend((record.half, record.number) for record in page)
    assert seen == numbers


async def test_after_need_not_exist(store: AnyStore) -> None:
    await store.commit(change(*(Insert(Note(note_id=name)) for name in "ac")))
    assert len((await store.read(Find(Note, {}, after=("b",)))).all(0, Note)) == 1


@pytest.mark.parametrize(
    "read",
    [
        Find(Tally, {"cut": True}),
        Find(Tally, {"number": 1}),
        Find(Tally, {"owner": "o", "state": "new"}),
        Find(Tally, {"nothing": 1}),
        Find(Tally, {"owner": 1}),
        Find(Tally, {"half": None}),
        Find(Tally, {}, limit=0),
        Find(Tally, {}, limit=10_001),
        Find(Tally, {}, after=("a",)),
        Get(Tally, ("a",)),
        Get(Tally, ("a", "1")),
        Get(Tally, ("a", True)),
        Get(Tally, ("a", 2**63)),
        Get(Note, ("\0",)),
        Get(Stranger, ("s",)),
    ],
)
async def test_a_read_that_no_index_serves_is_a_fault(store: AnyStore, read: Get | Find) -> None:
    with pytest.raises(Fault):
        await store.read(read)


async def test_too_many_reads_are_a_fault(store: AnyStore) -> None:
    with pytest.raises(Fault):
        await store.read(*[Get(Note, ("n",))] * 129)


async def test_one_read_sees_one_instant(store: AnyStore) -> None:
    """Two records always change together; no read may see them apart."""
    pair = [Note(note_id="left", count=0), Note(note_id="right", count=0)]
    await store.commit(change(*map(Insert, pair)))

    async def mover() -> None:
        for count in range(40):
            found = await store.read(Get(Note, ("left",)), Get(Note, ("right",)))
            moved = [
                Note(note_id=n.note_id, count=count, version=n.version) for n in found.all(0, Note) + found.all(1, Note)
            ]
            await store.commit(change(*map(Update, moved)))

    moving = asyncio.ensure_future(mover())
    while not moving.done():
        seen = await store.read(Get(Note, ("left",)), Get(Note, ("right",)))
        left, right = seen.one(0, Note), seen.one(1, Note)
        assert left is not None
        assert right is not None
        assert left.count == right.count
    await moving


# Changing


async def test_each_update_adds_one_to_the_version(store: AnyStore) -> None:
    await store.commit(change(Insert(Note(note_id="n", text="0"))))
    for version in (1, 2, 3):
        await store.commit(change(Update(Note(note_id="n", text=str(version), version=version))))
    assert (await store.read(Get(Note, ("n",)))).one(0, Note) == Note(note_id="n", text="3", version=4)


@pytest.mark.parametrize("count", [1, 40])
async def test_a_partial_update_changes_the_columns_it_names_and_no_other(store: AnyStore, count: int) -> None:
    lines = [Line(line_id=str(n), stamp=n, text="old", face=b"kept", due=date(2020, 1, 2)) for n in range(count)]
    await store.commit(change(*(Insert(each) for each in lines)))
    told = [Line(line_id=str(n), stamp=1000 - n, text="new 字", version=1) for n in range(count)]
    await store.commit(change(*(Update(each, only=("text", "due")) for each in told)))
    found = (await store.read(Find(Line, {}, limit=100))).all(0, Line)
    wanted = [msgspec.structs.replace(each, text="new 字", due=None, version=2) for each in lines]
    assert found == tuple(sorted(wanted, key=lambda each: each.line_id))
    with pytest.raises(Stale):
        await store.commit(change(*(Update(each, only=("text",)) for each in told)))


@pytest.mark.parametrize("only", [("text", "text"), ("line_id",), ("version",), ("words",)])
async def test_a_partial_update_of_what_cannot_be_changed_alone_is_a_fault(
    store: AnyStore, only: tuple[str, ...]
) -> None:
    await store.commit(change(Insert(Line(line_id="1", stamp=1))))
    with pytest.raises(Fault):
        await store.commit(change(Update(Line(line_id="1", stamp=1, version=1), only=only)))


@pytest.mark.parametrize(
    "odd",
    [
        Line(line_id="x", stamp=2**63),
        Line(line_id="x", stamp=True),
        Line(line_id="x", stamp=-7, text="\ud800"),
        Line(line_id="x", stamp=-7, text="\0"),
        Line(line_id="x", stamp=-7, face="text"),  # type: ignore[arg-type]
    ],
)
async def test_among_many_alike_one_that_does_not_fit_is_a_fault(store: AnyStore, odd: Line) -> None:
    fitting = [Line(line_id=str(n), stamp=n, text="字") for n in range(20)]
    with pytest.raises(Fault):
        await store.commit(change(*(Insert(each) for each in (*fitting, odd))))
    await store.commit(change(*(Insert(each) for each in fitting)))


async def test_delete_removes_and_its_key_may_be_used_again(store: AnyStore) -> None:
    await store.commit(change(Insert(Tally(half="a", number=1, stamp="s"))))
    await store.commit(change(Delete(Tally(half="a", number=1, version=1))))
    assert await tally(store) is None
    await store.commit(change(Insert(Tally(half="a", number=1, stamp="s"))))
    assert await tally(store) == Tally(half="a", number=1, stamp="s", version=1)


async def test_check_changes_nothing(store: AnyStore) -> None:
    await store.commit(change(Insert(Note(note_id="n", text="t"))))
    await store.commit(change(Check(Note(note_id="n", text="other", version=1))))
    assert (await store.read(Get(Note, ("n",)))).one(0, Note) == Note(note_id="n", text="t", version=1)


@pytest.mark.parametrize("write", [Update, Delete, Check])
@pytest.mark.parametrize("key", ["n", "missing"])
async def test_a_guard_that_misses_leaves_nothing_of_the_change(
    store: AnyStore, write: type[Update | Delete | Check], key: str
) -> None:
    await store.commit(change(Insert(Note(note_id="n")), Insert(Note(note_id="other"))))
    await store.commit(change(Update(Note(note_id="n", version=1))))
    with pytest.raises(Stale):
        await store.commit(
            change(
                Insert(Note(note_id="new")),
                Update(Note(note_id="other", text="changed", version=1)),
                write(Note(note_id=key, version=1)),
                journal=(JournalEntry("note:n", "noted", "op1", {}),),
                audit=(AuditEntry("clerk", "look", "note:n", "op1", "test"),),
                outbox=(message("m1"),),
                request=request(),
                answer=b"answer",
            )
        )
    seen = await store.read(Get(Note, ("other",)), Get(Note, ("new",)), request=request())
    assert seen.one(0, Note) == Note(note_id="other", version=1)
    assert seen.one(1, Note) is None
    assert seen.answer is None
    assert await store.pending(10) == ()
    assert await store.audit_rows() == ()


@pytest.mark.parametrize(
    "taken",
    [
        Tally(half="a", number=1),
        Tally(half="x", number=9, stamp="s"),
        Tally(half="x", number=9, owner="o", place=1),
    ],
)
async def test_a_taken_key_is_stale_and_nothing_is_written(store: AnyStore, taken: Tally) -> None:
    await store.commit(change(Insert(Tally(half="a", number=1, stamp="s", owner="o", place=1))))
    with pytest.raises(Stale):
        await store.commit(change(Insert(Note(note_id="n")), Insert(taken)))
    assert await notes(store) == []
    assert len((await store.read(Find(Tally, {}))).all(0, Tally)) == 1


async def test_an_update_onto_a_taken_unique_value_is_stale(store: AnyStore) -> None:
    await store.commit(change(*(Insert(Tally(half="a", number=n, stamp=str(n))) for n in (1, 2))))
    with pytest.raises(Stale):
        await store.commit(change(Update(Tally(half="a", number=1, stamp="2", version=1))))
    assert await tally(store) == Tally(half="a", number=1, stamp="1", version=1)


async def test_two_inserts_of_one_unique_value_are_stale(store: AnyStore) -> None:
    with pytest.raises(Stale):
        await store.commit(change(*(Insert(Tally(half="a", number=n, stamp="s")) for n in (1, 2))))
    assert await tally(store) is None


async def test_none_shares_a_unique_value_with_nobody(store: AnyStore) -> None:
    await store.commit(change(*(Insert(Tally(half="a", number=n, owner="o", place=None)) for n in (1, 2))))
    assert len((await store.read(Find(Tally, {"owner": "o"}))).all(0, Tally)) == 2


@pytest.mark.parametrize("order", [1, -1])
async def test_unique_values_may_change_hands_within_one_change(store: AnyStore, order: int) -> None:
    """What counts is the state after the change, whatever the order of its writes and keys."""
    await store.commit(change(*(Insert(Tally(half="a", number=n, stamp=str(n))) for n in (1, 2, 3, 4))))
    writes: list[Write] = [
        Update(Tally(half="a", number=1, stamp="2", version=1)),
        Update(Tally(half="a", number=2, stamp="1", version=1)),
        Delete(Tally(half="a", number=3, version=1)),
        Update(Tally(half="a", number=4, stamp="3", version=1)),
        Insert(Tally(half="a", number=5, stamp="4")),
    ]
    await store.commit(change(*writes[::order]))
    found = (await store.read(Find(Tally, {}))).all(0, Tally)
    assert [(record.number, record.stamp) for record in found] == [(1, "2"), (2, "1"), (4, "3"), (5, "4")]


@pytest.mark.parametrize(
    "wrong",
    [
        change(Insert(Note(note_id="n")), Insert(Note(note_id="n"))),
        change(Update(Note(note_id="n", version=1)), Check(Note(note_id="n", version=1))),
        change(Delete(Note(note_id="n", version=1)), Insert(Note(note_id="n"))),
        change(Insert(Note(note_id="n", version=1))),
        change(Update(Note(note_id="n"))),
        change(Delete(Note(note_id="n"))),
        change(Check(Note(note_id="n", version=-1))),
        change(Insert(Stranger(name="s"))),
        change(Insert(Note(note_id=1))),  # type: ignore[arg-type]
        change(Insert(Note(note_id="n", count=True))),
        change(Insert(Note(note_id="n", count=2**63))),
        change(Insert(Note(note_id="n", text="a\0b"))),
        change(Insert(Note(note_id="n", text="\ud800"))),
        change(Insert(Note(note_id="n", tags=("a", None)))),  # type: ignore[arg-type]
        change(Insert(Note(note_id="n", tags=["a"]))),  # type: ignore[arg-type]
        change(Insert(Note(note_id="n", shape="text"))),  # type: ignore[arg-type]
        change(Insert(Tally(half="a", number=1, owner=None))),  # type: ignore[arg-type]
        change(request=request()),
        change(answer=b"answer"),
        change(request=request(digest=b"short"), answer=b""),
        change(outbox=(message("m"), message("m"))),
        change(journal=(JournalEntry("s", "e", "o", {"secret": object()}),)),
        change(journal=(JournalEntry("s", "e", "o", {"nul": "\0"}),)),
        change(audit=(AuditEntry("a\0", "b", "c", "d", "e"),)),
        change(*(Insert(Note(note_id=str(n))) for n in range(501))),
        change(*(Insert(Tally(half="a", number=n, owner=f"o{n}")) for n in range(1001))),
    ],
)
async def test_a_change_that_no_store_could_keep_is_a_fault(store: AnyStore, wrong: Change) -> None:
    with pytest.raises(Fault):
        await store.commit(wrong)
    assert await notes(store) == []


async def test_an_empty_change_is_no_error(store: AnyStore) -> None:
    await store.commit(change())


async def test_many_rows_of_one_table_are_written_and_guarded_as_one(store: AnyStore) -> None:
    tallies = [Tally(half="a", number=n, owner=f"o{n}") for n in range(250)]
    await store.commit(change(*(Insert(each) for each in tallies)))
    stored = [msgspec.structs.replace(each, version=1) for each in tallies]
    await store.commit(change(*(Check(each) for each in stored[:100]), *(Delete(each) for each in stored[100:])))
    moved = [msgspec.structs.replace(each, owner=f"p{each.number}") for each in stored[:100]]
    await store.commit(change(*(Update(each) for each in moved)))
    one_wrong = [*(msgspec.structs.replace(each, version=2) for each in moved[1:]), moved[0]]
    for kind in (Update, Check, Delete):
        with pytest.raises(Stale):
            await store.commit(change(*(kind(each) for each in one_wrong)))
    with pytest.raises(Stale):
        await store.commit(change(*(Insert(each) for each in tallies[90:150])))
    found = (await store.read(Find(Tally, {}, limit=1000))).all(0, Tally)
    assert [(each.number, each.owner, each.version) for each in found] == [(n, f"p{n}", 2) for n in range(100)]


async def test_the_largest_change_fits(store: AnyStore) -> None:
    await store.commit(change(*(Insert(Note(note_id=f"{n:03}")) for n in range(500))))
    await store.commit(change(*(Update(Note(note_id=f"{n:03}", text="t", version=1)) for n in range(500))))
    found = (await store.read(Find(Note, {}, limit=1000))).all(0, Note)
    assert {(note.text, note.version) for note in found} == {("t", 2)}
    assert len(found) == 500


# Concurrency


async def test_of_two_commits_of_one_version_exactly_one_wins(store: AnyStore) -> None:
    await store.commit(change(Insert(Note(note_id="n"))))
    for version in range(1, 21):
        both = (store.commit(change(Update(Note(note_id="n", text=text, version=version)))) for text in "ab")
        assert sorted(await outcomes(*both), key=str) == [Stale, None]
    assert (await store.read(Get(Note, ("n",)))).results[0][0].version == 21


async def test_of_many_inserts_of_one_key_exactly_one_wins(store: AnyStore) -> None:
    raised = await outcomes(*(store.commit(change(Insert(Note(note_id="n", count=n)))) for n in range(10)))
    assert raised.count(None) == 1
    assert raised.count(Stale) == 9


async def test_a_check_holds_until_the_commit(store: AnyStore) -> None:
    """Write skew: each checks the record that the other changes; never may both succeed."""
    await store.commit(change(Insert(Note(note_id="a")), Insert(Note(note_id="b"))))
    for version in range(1, 21):
        a, b = Note(note_id="a", version=version), Note(note_id="b", version=version)
        raised = await outcomes(store.commit(change(Update(a), Check(b))), store.commit(change(Update(b), Check(a))))
        assert sorted(raised, key=str) == [Stale, None]
        loser = (b, a)[raised.index(Stale) ^ 1]
        await store.commit(change(Update(loser)))


async def test_changes_of_the_same_records_in_opposite_order_do_not_hang(store: AnyStore) -> None:
    await store.commit(change(*(Insert(Note(note_id=str(n))) for n in range(20))))
    writes = [Update(Note(note_id=str(n), version=1)) for n in range(20)]
    raised = await outcomes(store.commit(change(*writes)), store.commit(change(*reversed(writes))))
    assert sorted(raised, key=str) == [Stale, None]


# Requests


async def test_the_same_request_gets_the_first_answer(store: AnyStore) -> None:
    assert (await store.read(request=request())).answer is None
    await store.commit(change(request=request(), answer=b"first\x00"))
    assert (await store.read(request=request())).answer == b"first\x00"


async def test_an_empty_answer_is_an_answer(store: AnyStore) -> None:
    await store.commit(change(request=request(), answer=b""))
    assert (await store.read(request=request())).answer == b""


async def test_the_same_key_with_another_digest_is_refused(store: AnyStore) -> None:
    await store.commit(change(request=request(), answer=b"a"))
    with pytest.raises(KeyReused):
        await store.read(Get(Note, ("n",)), request=request(digest=bytes(32)))


@pytest.mark.parametrize("other", [request(step="2"), request(operation_id="op2"), request(node="authority")])
async def test_another_node_operation_or_step_is_another_request(store: AnyStore, other: RequestKey) -> None:
    await store.commit(change(request=request(), answer=b"a"))
    assert (await store.read(request=other)).answer is None
    await store.commit(change(request=other, answer=b"b"))
    assert (await store.read(request=request())).answer == b"a"


@pytest.mark.parametrize("digest", [DIGEST, bytes(32)])
async def test_a_request_answered_meanwhile_is_stale(store: AnyStore, digest: bytes) -> None:
    await store.commit(change(request=request(), answer=b"a"))
    with pytest.raises(Stale):
        await store.commit(change(Insert(Note(note_id="n")), request=request(digest=digest), answer=b"b"))
    assert await notes(store) == []
    assert (await store.read(request=request())).answer == b"a"


async def test_a_request_sent_many_times_at_once_has_one_effect(store: AnyStore) -> None:
    same = [change(Insert(Note(note_id=f"n{n}")), request=request(), answer=b"%d" % n) for n in range(10)]
    raised = await outcomes(*map(store.commit, same))
    assert raised.count(None) == 1
    winner = raised.index(None)
    assert await notes(store) == [f"n{winner}"]
    assert (await store.read(request=request())).answer == b"%d" % winner


async def test_old_answers_are_forgotten_the_oldest_first_and_nothing_else(store: AnyStore) -> None:
    for step in "52413":
        entry, told = JournalEntry("s", "e", "o", {}), message(f"m{step}")
        await store.commit(
            Change(now_ms=int(step), journal=(entry,), outbox=(told,), request=request(step=step), answer=b"a")
        )
    assert await store.purge(4, 2) == 2
    assert await kept(store) == ["3", "4", "5"]
    assert await store.purge(4, 2) == 1
    assert await store.purge(4, 2) == 0
    assert await kept(store) == ["4", "5"]
    assert len(await store.pending(10)) == 5


async def kept(store: AnyStore) -> list[str]:
    return [step for step in "12345" if (await store.read(request=request(step=step))).answer is not None]


async def test_a_forgotten_request_is_a_new_one(store: AnyStore) -> None:
    await store.commit(Change(now_ms=1, request=request(), answer=b"first"))
    await store.purge(2, 10)
    await store.commit(Change(now_ms=3, request=request(digest=bytes(32)), answer=b"second"))
    assert (await store.read(request=request(digest=bytes(32)))).answer == b"second"


async def test_purging_at_once_forgets_each_answer_once(store: AnyStore) -> None:
    for step in range(40):
        await store.commit(Change(now_ms=step, request=request(step=str(step)), answer=b"a"))
    counts = await asyncio.gather(*(store.purge(30, 10) for _ in range(8)))
    assert sum(counts) + await store.purge(30, 100) == 30
    assert (await store.read(request=request(step="30"))).answer == b"a"


# Outbox


async def test_messages_wait_in_the_order_of_their_commits_until_sent(store: AnyStore) -> None:
    for name in "cab":
        await store.commit(change(outbox=(message(name),)))
    waiting = await store.pending(10)
    assert [pending.message for pending in waiting] == [message("c"), message("a"), message("b")]
    await store.sent(waiting[1].sequence)
    assert [pending.message.message_id for pending in await store.pending(10)] == ["c", "b"]


async def test_pending_gives_at_most_the_limit(store: AnyStore) -> None:
    await store.commit(change(outbox=tuple(message(name) for name in "abc")))
    assert [pending.message.message_id for pending in await store.pending(2)] == ["a", "b"]


async def test_of_each_order_key_only_the_oldest_is_pending(store: AnyStore) -> None:
    await store.commit(change(outbox=(message("a1", "a"), message("a2", "a"), message("b1", "b"), message("free"))))
    await store.commit(change(outbox=(message("a3", "a"), message("b2", "b"), message("free2"))))
    waiting = await store.pending(10)
    assert [pending.message.message_id for pending in waiting] == ["a1", "b1", "free", "free2"]
    await store.sent(waiting[0].sequence)
    assert [pending.message.message_id for pending in await store.pending(10)] == ["a2", "b1", "free", "free2"]


async def test_waiting_siblings_do_not_use_up_the_limit(store: AnyStore) -> None:
    await store.commit(change(outbox=(*(message(f"a{n}", "a") for n in range(50)), message("b", "b"))))
    assert [pending.message.message_id for pending in await store.pending(2)] == ["a0", "b"]


async def test_skipped_destinations_do_not_use_up_the_limit(store: AnyStore) -> None:
    stuck = tuple(message(f"s{n}", destination="stuck") for n in range(50))
    await store.commit(change(outbox=(*stuck, message("a"), message("b", destination="other"), message("c"))))
    waiting = await store.pending(2, {"stuck", "nobody"})
    assert [pending.message.message_id for pending in waiting] == ["a", "b"]
    assert [pending.message.message_id for pending in await store.pending(2, ["center", "stuck"])] == ["b"]
    assert await store.pending(2, ("stuck", "center", "other")) == ()


async def test_what_is_ordered_behind_a_skipped_message_stays_behind_it(store: AnyStore) -> None:
    ordered = (message("first", "k", "stuck"), message("second", "k"), message("free"))
    await store.commit(change(outbox=ordered))
    assert [pending.message.message_id for pending in await store.pending(10, ("stuck",))] == ["free"]


async def test_sent_twice_is_no_error(store: AnyStore) -> None:
    await store.commit(change(outbox=(message("a"),)))
    (waiting,) = await store.pending(1)
    assert await store.waits(waiting.sequence)
    await store.sent(waiting.sequence)
    await store.sent(waiting.sequence)
    assert not await store.waits(waiting.sequence)
    assert await store.pending(1) == ()


async def test_several_are_sent_at_once_whether_or_not_they_still_wait(store: AnyStore) -> None:
    await store.commit(change(outbox=(message("a"), message("b"), message("c"))))
    first, second, third = await store.pending(10)
    await store.sent(first.sequence)
    await store.sent(first.sequence, third.sequence)
    assert await store.pending(10) == (second,)


async def test_a_message_id_that_waits_is_taken(store: AnyStore) -> None:
    await store.commit(change(outbox=(message("a"),)))
    with pytest.raises(Stale):
        await store.commit(change(Insert(Note(note_id="n")), outbox=(message("a"),)))
    assert await notes(store) == []


# Sequences, probe, limits


async def test_reserved_numbers_start_at_1_and_never_come_again(store: AnyStore) -> None:
    assert await store.reserve("cards", 10) == 1
    assert await store.reserve("cards", 1) == 11
    assert await store.reserve("others", 5) == 1
    assert await store.reserve("cards", 3) == 12


async def test_reserved_at_once_never_overlap(store: AnyStore) -> None:
    firsts = await asyncio.gather(*(store.reserve("cards", count) for count in range(1, 31)))
    taken = [first + place for first, count in zip(firsts, range(1, 31), strict=True) for place in range(count)]
    assert sorted(taken) == list(range(1, 466))


async def test_a_store_that_serves_passes_its_probe(store: AnyStore) -> None:
    await store.probe()
    await store.probe()


@pytest.mark.parametrize("count", [0, -1, 1_000_001])
async def test_counts_have_limits(store: AnyStore, count: int) -> None:
    with pytest.raises(Fault):
        await store.reserve("cards", count)
    with pytest.raises(Fault):
        await store.pending(count)
    with pytest.raises(Fault):
        await store.purge(1, count)


# Audit


async def test_a_look_gives_the_record_and_leaves_its_audit_entry(store: AnyStore) -> None:
    await store.commit(change(Insert(Tally(half="a", number=1))))
    entry = AuditEntry("clerk", "look", "tally:a1", "op1", "test")
    snapshot = await store.look(Get(Tally, ("a", 1)), entry, 1_700_000_000_001)
    assert snapshot.one(0, Tally) == await tally(store)
    (row,) = await store.audit_rows()
    assert (row.entry, row.at_ms) == (entry, 1_700_000_000_001)


async def test_where_there_is_no_record_no_audit_entry_is_left(store: AnyStore) -> None:
    snapshot = await store.look(Get(Tally, ("b", 9)), AuditEntry("clerk", "look", "tally:b9", "op1", "test"), 1)
    assert (snapshot.one(0, Tally), await store.audit_rows()) == (None, ())


async def test_a_look_that_cannot_be_written_down_shows_nothing(store: AnyStore) -> None:
    await store.commit(change(Insert(Tally(half="a", number=1))))
    with pytest.raises(Fault):
        await store.look(Get(Tally, ("a", 1)), AuditEntry("a\0", "look", "tally:a1", "op1", "test"), 1)
    assert await store.audit_rows() == ()


async def test_audit_rows_are_sealed_in_batches(store: AnyStore) -> None:
    entries = tuple(AuditEntry("clerk", "look", f"card:{n}", "op1", "window") for n in range(5))
    await store.commit(change(audit=entries[:2]))
    await store.commit(change(audit=entries[2:]))
    first = await store.seal(1000, limit=3)
    second = await store.seal(2000, limit=3)
    assert await store.seal(3000) is None
    rows = await store.audit_rows()
    assert [row.entry for row in rows] == list(entries)
    assert [seal.count for seal in (first, second) if seal] == [3, 2]
    assert await store.audit_seals() == (first, second)
    assert await store.audit_rows(after=rows[3].place, limit=7) == rows[4:]


# ---- joins ---------------------------------------------------------------------------------------------------------


FACES = tuple(
    Tally(half=half, number=number, stamp=f"{half}{number}", owner=owner, state=state, due=due, face=face)
    for half, number, owner, state, due, face in (
        ("left", 2, "b", "new", date(2030, 1, 2), b"2"),
        ("left", 1, "a", "new", date(2030, 1, 1), b"1"),
        ("left", 3, "a", "old", date(2030, 1, 3), b"33"),
        ("right", 1, "a", "new", date(2030, 1, 2), b""),
        ("right", 9, "c", "new", date(2030, 1, 1), b"9"),
    )
)


@pytest.mark.parametrize(
    ("join", "pieces"),
    [
        (Join(Tally, "face", {"half": "left"}), [b"1233"]),
        (Join(Tally, "face", {"half": "left"}, pieces="number"), [b"1", b"2", b"33"]),
        (Join(Tally, "face", {"owner": "a"}), [b"133"]),
        (Join(Tally, "face", {}, pieces="half"), [b"1233", b"9"]),
        (Join(Tally, "face", {"state": "new"}, pieces="due"), [b"19", b"2"]),
        (Join(Tally, "face", {"state": "new"}, at_least=("due", date(2030, 1, 2))), [b"2"]),
        (Join(Tally, "face", {"owner": "nobody"}), []),
    ],
)
async def test_a_join_gives_the_bytes_in_order_and_their_size_first(
    store: AnyStore, join: Join, pieces: list[bytes]
) -> None:
    await store.commit(Change(now_ms=1, writes=tuple(Insert(each) for each in FACES)))
    async with store.join(join) as joined:
        assert joined.size == sum(map(len, pieces))
        assert [piece async for piece in joined.pieces] == pieces


@pytest.mark.parametrize(
    "join",
    [
        Join(Tally, "face", {"due": date(2030, 1, 1)}),
        Join(Tally, "face", {"owner": "a"}, pieces="state"),
        Join(Tally, "owner", {"half": "left"}),
        Join(Tally, "nothing", {"half": "left"}),
        Join(Tally, "face", {"half": 1}),
        Join(Tally, "face", {"half": "left"}, at_least=("no", 1)),
    ],
)
async def test_a_join_that_no_index_serves_is_a_fault(store: AnyStore, join: Join) -> None:
    with pytest.raises(Fault):
        async with store.join(join):
            pass


async def test_a_join_sees_one_instant_and_may_be_left_in_the_middle(store: AnyStore) -> None:
    await store.commit(Change(now_ms=1, writes=tuple(Insert(each) for each in FACES)))
    async with store.join(Join(Tally, "face", {}, pieces="half")) as joined:
        await store.commit(Change(now_ms=2, writes=(Insert(Tally(half="right", number=10, face=b"late")),)))
        assert [piece async for piece in joined.pieces] == [b"1233", b"9"]
    async with store.join(Join(Tally, "face", {}, pieces="half")) as joined:
        async for piece in joined.pieces:
            assert piece == b"1233"
            break
    async with store.join(Join(Tally, "face", {"half": "right"})) as joined:
        assert joined.size == 5
