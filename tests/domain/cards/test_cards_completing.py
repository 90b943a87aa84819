"""What becomes of an operation that nobody comes back for: ended where that is provable, told to people otherwise."""

import msgspec
import pytest
from cards_kit import ASKED, BEFORE, CHALLENGE, NOON_MS, OPERATION, OTHER, WRITE, card, operation, pending, told
from cards_kit import write as card_write

from warifu.domain.cards.completing import Patience, complete, why_unsettled
from warifu.domain.cards.operations import State
from warifu.domain.cards.records import Card, CardWrite, Operation
from warifu.domain.decision import Decision
from warifu.ports.store import Update

PATIENCE = Patience(unknown_ms=600_000, left_ms=1_800_000)
FRESH = b"87654321"


def idle(state: State, minutes: int) -> State:
    """The same, last moved so many minutes ago."""
    then = NOON_MS - minutes * 60_000
    replace = msgspec.structs.replace
    return State(
        state.card,
        replace(state.operation, changed_ms=then) if state.operation else None,
        replace(state.write, changed_ms=then) if state.write else None,
    )


def unscripted() -> State:
    """The intent is recorded, and whoever made the script died before its digest was."""
    state = pending()
    return State(state.card, state.operation, card_write(digest=b""))


def between(kind: str = "delivery", done: int = 0, **changes: object) -> State:
    mine = operation(kind, writes_done=done, **changes)  # type: ignore[arg-type]  # a kind of the contract
    return State(card(open_operation=OPERATION), mine, None)


def completed(state: State) -> Decision | None:
    return complete(state, PATIENCE, FRESH, ASKED)


def after(decision: Decision) -> dict[type, object]:
    return {type(each.record): each.record for each in decision.writes if isinstance(each, Update)}


@pytest.mark.parametrize("state", [unscripted(), between(), between(done=1), pending()])
def test_who_was_seen_a_moment_ago_is_waited_for(state: State) -> None:
    assert completed(idle(state, 9)) is None
    assert why_unsettled(idle(state, 9), PATIENCE, NOON_MS) is None


def test_a_write_of_which_no_script_was_made_is_undone_and_jpki_is_told() -> None:
    decision = completed(idle(unscripted(), 10))
    assert decision is not None
    records = after(decision)
    mine, journal = records[Operation], records[CardWrite]
    assert isinstance(mine, Operation)
    assert isinstance(journal, CardWrite)
    assert (journal.state, mine.pending_write, mine.state) == ("undone", "", "open")
    assert mine.host_challenge == FRESH != CHALLENGE
    assert told(decision) == ["authority.settled"]


def test_a_script_that_went_out_is_never_judged_without_the_chip() -> None:
    state = idle(pending(), 60 * 24 * 365)
    assert completed(state) is None
    assert why_unsettled(state, PATIENCE, NOON_MS) == "unknown_write"


def test_a_script_made_a_moment_ago_counts_as_a_move() -> None:
    state = idle(pending(), 60)
    assert state.write is not None
    moved = State(state.card, state.operation, msgspec.structs.replace(state.write, changed_ms=NOON_MS))
    assert why_unsettled(moved, PATIENCE, NOON_MS) is None


@pytest.mark.parametrize(
    ("state", "ending"),
    [
        (between("delivery"), "abandoned"),
        (between("setup"), "abandoned"),
        (unscripted(), "abandoned"),
        (between("setup", 1), "closed"),
        (between("delivery", 2), "closed"),
        (between("certificate_renewal", 1), "closed"),
    ],
)
def test_an_operation_that_did_nothing_or_everything_ends_and_frees_its_card(state: State, ending: str) -> None:
    decision = completed(idle(state, 30))
    assert decision is not None
    records = after(decision)
    mine, free = records[Operation], records[Card]
    assert isinstance(mine, Operation)
    assert isinstance(free, Card)
    assert (mine.state, mine.pending_write, free.open_operation, free.write_id) == (ending, "", "", BEFORE)
    assert ending in {entry.event for entry in decision.journal}


@pytest.mark.parametrize("state", [between("delivery"), between("setup", 1)])
def test_it_is_left_to_its_clerk_for_half_an_hour(state: State) -> None:
    assert completed(idle(state, 29)) is None
    assert why_unsettled(idle(state, 29), PATIENCE, NOON_MS) is None


@pytest.mark.parametrize("state", [between("delivery", 1), between("pin_reset", 1)])
def test_open_windows_need_the_card(state: State) -> None:
    assert completed(idle(state, 600)) is None
    assert why_unsettled(idle(state, 600), PATIENCE, NOON_MS) == "half_done"


def test_an_operation_whose_card_another_has_taken_is_over_and_its_write_stays_unknown() -> None:
    state = idle(pending(of=card(open_operation=OTHER)), 10)
    decision = completed(state)
    assert decision is not None
    records = after(decision)
    mine = records[Operation]
    assert isinstance(mine, Operation)
    assert (set(records), mine.state, mine.pending_write) == ({Operation}, "abandoned", WRITE)
    assert why_unsettled(state, PATIENCE, NOON_MS) is None


@pytest.mark.parametrize("ended", ["closed", "abandoned"])
def test_what_has_ended_does_not_end_again(ended: str) -> None:
    state = idle(between(done=1, state=ended), 600)
    assert completed(state) is None
    assert why_unsettled(state, PATIENCE, NOON_MS) is None


def test_nothing_is_concluded_from_what_is_not_there() -> None:
    assert completed(State(None, operation(), None)) is None
    assert completed(State(card(), None, None)) is None
    missing = idle(State(card(open_operation=OPERATION), operation(pending_write=WRITE), None), 60)
    assert completed(missing) is None
    assert why_unsettled(missing, PATIENCE, NOON_MS) == "unknown_write"
