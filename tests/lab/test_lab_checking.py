"""The checker of whole histories: each broken promise is named, and a whole history has none broken."""

from pathlib import Path

import msgspec
import pytest

from warifu.kernel.errors import Malformed
from warifu.lab.checking import (
    CHIP_EQUALS_RECORD,
    NONE_TWICE,
    NOTHING_LOST,
    ORDER,
    SETTLED,
    Violation,
    check,
    check_files,
)
from warifu.lab.history import Event, to_line
from warifu.lab.scenarios.catalog import SCENARIOS
from warifu.lab.search.run import run
from warifu.lab.simulation.plan import Plan

CARD = "WRF000000000001"
WHOLE = (
    Event(at_ms=1, kind="invoke", node="clerk", operation_id="A", step="1", name="center.receive", ordering_key=CARD),
    Event(at_ms=2, kind="effect", node="center", operation_id="A", step="1"),
    Event(at_ms=2, kind="outbox", node="center", peer="authority", operation_id="A", step="m", name="authority.revoke"),
    Event(at_ms=3, kind="answer", node="clerk", operation_id="A", step="1", name="center.receive", outcome="ok"),
    Event(at_ms=4, kind="effect", node="authority", operation_id="A", step="m"),
    Event(at_ms=5, kind="invoke", node="clerk", operation_id="B", step="p", name="terminal.perform"),
    Event(at_ms=6, kind="chip", node=CARD, step="W", digest="d", outcome="committed"),
    Event(
        at_ms=7, kind="answer", node="clerk", operation_id="B", step="p", name="terminal.perform", outcome="ok",
        detail="done",
    ),
    Event(at_ms=9, kind="record", node="center", name="operation", operation_id="B", outcome="closed", detail="setup"),
    Event(
        at_ms=9, kind="record", node="center", name="card_write", operation_id="B", step="W", peer=CARD,
        outcome="finished", digest="d", detail="set_up",
    ),
    Event(at_ms=9, kind="record", node="authority", name="applet_write", step="W", peer=CARD, outcome="finished"),
    Event(at_ms=9, kind="record", node="center", name="card", peer=CARD, step="W", outcome="set_up"),
    Event(at_ms=9, kind="chip", node=CARD, step="W", digest="d", outcome="holds", detail="set_up"),
)  # fmt: skip


def without(number: int) -> tuple[Event, ...]:
    return WHOLE[:number] + WHOLE[number + 1 :]


def changed(number: int, **fields: str) -> tuple[Event, ...]:
    return (*WHOLE[:number], msgspec.structs.replace(WHOLE[number], **fields), *WHOLE[number + 1 :])


def promises(events: tuple[Event, ...]) -> set[str]:
    return {violation.promise for violation in check(events)}


def test_a_whole_history_breaks_no_promise() -> None:
    assert check(WHOLE) == []


@pytest.mark.parametrize("number", [1, 3, 4, 9], ids=["effect", "answer", "outbox", "write"])
def test_what_is_lost_is_told(number: int) -> None:
    history = without(number)
    if number == 4:  # another message of the store is known, so that it is one that tells its effects
        history = (*history, Event(at_ms=9, kind="effect", node="authority", operation_id="Z", step="m0"))
    if number == 1:
        history = (*history, Event(at_ms=9, kind="effect", node="center", operation_id="Z", step="0"))
    assert NOTHING_LOST in promises(history)


def test_an_operation_reported_done_is_closed() -> None:
    assert NOTHING_LOST in promises(changed(8, outcome="abandoned"))


@pytest.mark.parametrize("number", [1, 4, 6, 9], ids=["effect", "effect elsewhere", "commit", "write"])
def test_what_happens_twice_is_told(number: int) -> None:
    again = WHOLE[number] if number != 9 else msgspec.structs.replace(WHOLE[9], step="W2")
    assert NONE_TWICE in promises((*WHOLE, again))


def test_what_was_answered_before_something_was_asked_happened_before_it() -> None:
    def asked(operation: str, begin: int, end: int, outcome: str = "ok") -> tuple[Event, Event]:
        fields = {"node": "clerk", "operation_id": operation, "step": "1", "name": "center.receive"}
        invoke = Event(at_ms=begin, kind="invoke", ordering_key=CARD, **fields)
        return invoke, Event(at_ms=end, kind="answer", outcome=outcome, **fields)

    effects = [Event(at_ms=0, kind="effect", node="center", operation_id=each, step="1") for each in "XY"]
    one_after_the_other = (*asked("X", 1, 2), *asked("Y", 3, 4))
    assert check((*one_after_the_other, *effects)) == []
    assert promises((*one_after_the_other, *reversed(effects))) == {ORDER}
    side_by_side = (*asked("X", 1, 4), *asked("Y", 3, 5))
    assert check((*side_by_side, *reversed(effects))) == []
    given_up_and_asked_again = (*asked("X", 1, 2, "interrupted"), *asked("Y", 3, 5), *asked("X", 6, 7))
    assert check((*given_up_and_asked_again, *reversed(effects))) == []


def test_messages_of_one_key_have_their_effects_in_the_order_in_which_they_were_left() -> None:
    left = [
        Event(at_ms=0, kind="outbox", node="center", peer="authority", operation_id="A", step=step, ordering_key="k")
        for step in ("m1", "m2")
    ]
    effects = [Event(at_ms=0, kind="effect", node="authority", operation_id="A", step=step) for step in ("m1", "m2")]
    assert check((*left, *effects)) == []
    assert promises((*left, *reversed(effects))) == {ORDER}


@pytest.mark.parametrize(
    ("number", "outcome"), [(9, "intent"), (10, "open"), (10, "undone"), (8, "open")], ids=str
)  # fmt: skip
def test_what_is_not_settled_is_told(number: int, outcome: str) -> None:
    assert SETTLED in promises(changed(number, outcome=outcome))


@pytest.mark.parametrize(
    "history",
    [
        changed(12, step="V"),
        changed(12, detail="made"),
        changed(12, digest="e"),
        changed(11, step=""),
        changed(11, outcome="in_use"),
        changed(9, outcome="undone"),
    ],
    ids=["write", "life", "script", "record's write", "record's state", "undone"],
)
def test_chip_and_record_that_differ_are_told(history: tuple[Event, ...]) -> None:
    assert CHIP_EQUALS_RECORD in promises(history)


def test_what_a_history_does_not_tell_is_not_judged() -> None:
    assert check(WHOLE[:4]) == []
    assert check(WHOLE[8:9] + WHOLE[11:12]) == []


def test_files_are_put_behind_each_other_and_a_bad_line_is_named(tmp_path: Path) -> None:
    first, second = tmp_path / "centre.jsonl", tmp_path / "rest.jsonl"
    first.write_text("\n".join(map(to_line, WHOLE[8:])), "utf-8")
    second.write_text("\n".join(map(to_line, WHOLE[:8])) + "\n\n", "utf-8")
    assert check_files([first, second]) == []
    assert check_files([first, first]) != []
    second.write_text('{"at_ms": 1}', "utf-8")
    with pytest.raises(Malformed, match=r"rest\.jsonl"):
        check_files([first, second])


def test_a_violation_is_of_a_promise_and_says_what() -> None:
    assert check(changed(11, step="")) == [
        Violation(CHIP_EQUALS_RECORD, f"{CARD}: the record knows no write, the chip W")
    ]


def test_the_laboratory_s_own_histories_tell_all_that_the_checker_reads() -> None:
    outcome = run(Plan(scenario="counter", seed=0, faults=()), SCENARIOS["counter"])
    kinds = {(event.kind, event.outcome if event.kind == "chip" else event.name) for event in outcome.history}
    assert outcome.failure is None
    assert {("chip", "committed"), ("chip", "holds")} <= kinds
    assert {("record", name) for name in ("card", "operation", "card_write", "applet_write")} <= kinds
    assert any(event.kind == "answer" and event.detail == "done" for event in outcome.history)
