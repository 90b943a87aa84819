"""What a centre remembers of an operation: what it wrote last, until somebody takes it, never more than a bound."""

import msgspec
import pytest

from warifu.domain.cards.operations import State
from warifu.domain.cards.records import Card, CardWrite, Operation
from warifu.nodes.center import recent
from warifu.nodes.center.recent import Recent, written
from warifu.ports.store import Insert, Update

CARD = Card(
    card_id="WRF000000000001",
    application_id="A",
    resident_id="R",
    live_resident_id="R",
    wants_signature=True,
    wants_authentication=True,
    municipality="131016",
    state="received",
    changed_ms=0,
    version=4,
)
OPERATION = Operation(
    operation_id="O",
    card_id="WRF000000000001",
    kind="setup",
    municipality="131016",
    pins=(),
    state="open",
    host_challenge=b"12345678",
    opened_ms=0,
    changed_ms=0,
)
INTENT = CardWrite(
    write_id="W",
    card_id="WRF000000000001",
    operation_id="O",
    step_name="permit",
    with_jpki=True,
    state="intent",
    changed_ms=0,
)
STATE = State(CARD, OPERATION, None)


def test_after_a_commit_each_record_is_one_version_on_and_a_settled_write_is_gone() -> None:
    moved = msgspec.structs.replace(CARD, open_operation="O")
    begun = written(STATE, (Update(moved), Insert(OPERATION), Insert(INTENT)))
    assert begun.card == msgspec.structs.replace(moved, version=5)
    assert begun.operation == msgspec.structs.replace(OPERATION, version=1)
    assert begun.write == msgspec.structs.replace(INTENT, version=1)
    assert written(begun, (Update(msgspec.structs.replace(begun.write, state="finished")),)).write is None


def test_a_state_is_taken_once() -> None:
    memory = Recent()
    memory.keep("O", STATE)
    assert (memory.take("O"), memory.take("O")) == (STATE, None)


def test_an_operation_that_ended_is_not_remembered() -> None:
    memory = Recent()
    memory.keep("O", msgspec.structs.replace(STATE, operation=msgspec.structs.replace(OPERATION, state="closed")))
    assert memory.take("O") is None


def test_beyond_the_bound_the_one_longest_untouched_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "MOST", 2)
    memory = Recent()
    for name in ("first", "second", "third"):
        memory.keep(name, STATE)
    assert (memory.take("first"), memory.take("second"), memory.take("third")) == (None, STATE, STATE)
