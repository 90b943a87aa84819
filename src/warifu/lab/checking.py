"""The one checker of whole histories: for runs in the laboratory and for fault runs on the real stack.

It reads events (``warifu.lab.history``) of terminals, nodes, the centre's and JPKI's records, and chips, and says what
does not fit. It needs no clock of its own and no node: a history in JSON lines is enough. Each source's events must
stand in that source's order; the sources may follow one another, so files are simply put behind each other. What a
history does not tell is not judged: without a ``chip`` event no chip is compared.

Violations are of five promises (``PROMISES``); what each reads stands at its function.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final

from msgspec import Struct

from warifu.domain.cards import plans
from warifu.kernel.errors import Malformed
from warifu.lab.history import Event, from_lines
from warifu.lab.properties import changes

NOTHING_LOST: Final = "no effect is lost"
NONE_TWICE: Final = "no effect happens twice"
ORDER: Final = "order per resident"
SETTLED: Final = "every card write is settled"
CHIP_EQUALS_RECORD: Final = "chip equals record"
PROMISES: Final = (NOTHING_LOST, NONE_TWICE, ORDER, SETTLED, CHIP_EQUALS_RECORD)

ENDED: Final = frozenset({"finished", "undone"})
CHIP_STATES: Final = {
    "made": "made",
    "shipped": "made",
    "received": "made",
    "set_up": "set_up",
    "in_use": "in_use",
    "suspended": "in_use",
    "abolished": "terminated",
}
"""What the chip's life state is for each state of the record (a loss is reported without the card)."""
ABOLISHED: Final = "abolished"
PERFORM: Final = "terminal.perform"


class Violation(Struct, frozen=True):
    """A promise that a history breaks."""

    promise: str
    text: str


class _Write(Struct, frozen=True):
    """A card write as the centre's record has it in the end."""

    write_id: str
    operation_id: str
    card_id: str
    state: str
    digest: str
    step_name: str


def check(history: Iterable[Event]) -> list[Violation]:
    """Every promise that the history breaks; an empty list: all is as it should be."""
    events = tuple(history)
    found = (
        *((NOTHING_LOST, text) for text in _lost(events)),
        *((NONE_TWICE, text) for text in _twice(events)),
        *((ORDER, text) for text in _disordered(events)),
        *((SETTLED, text) for text in _unsettled(events)),
        *((CHIP_EQUALS_RECORD, text) for text in _differing(events)),
    )
    return [Violation(promise, text) for promise, text in found]


def check_files(paths: Sequence[Path]) -> list[Violation]:
    """The same, of files in JSON lines.

    Raises:
        Malformed: a line that is no event; the text names file and line.
        OSError: a file cannot be read.
    """
    return check(event for path in paths for event in _read(path))


def _read(path: Path) -> list[Event]:
    with path.open(encoding="utf-8") as lines:
        try:
            return from_lines(lines)
        except ValueError as error:
            raise Malformed(f"{path.name} is no history: {error}") from None


# ---- nothing lost ----------------------------------------------------------------------------------------------------


def _lost(events: Sequence[Event]) -> Iterator[str]:
    """Whoever asked has an answer; what was answered as done is done; a message left behind had its effect.

    Reads ``invoke``, ``answer``, ``effect``, ``outbox``, and the records of operations and card writes.
    """
    answered = Counter(event.request for event in events if event.kind == "answer")
    for event in events:
        if event.kind == "invoke" and not answered[event.request]:
            yield f"{event.name} {_of(event)} was never answered"
    yield from _without_effect(events)
    yield from _not_done(events)


def _without_effect(events: Sequence[Event]) -> Iterator[str]:
    effects = {(event.node, *event.request) for event in events if event.kind == "effect"}
    told = {node for node, _, _ in effects}
    for event in events:
        kind = event.name.partition(".")[0]
        where = event.peer if event.kind == "outbox" else kind
        if where not in told or (where, *event.request) in effects or not changes(event.name):
            continue
        if event.kind == "answer" and event.outcome == "ok":
            yield f"{event.name} {_of(event)} was answered and has no effect"
        elif event.kind == "outbox":
            yield f"{event.name} {_of(event)}, left to {event.peer}, has no effect"


def _not_done(events: Sequence[Event]) -> Iterator[str]:
    """An operation that a terminal called done is closed, and each card write of its plan finished."""
    operations = {event.operation_id: event for event in events if _is_record(event, "operation")}
    finished = Counter((write.operation_id, write.step_name) for write in _writes(events) if write.state == "finished")
    done = {event.operation_id for event in events if _is_done(event)}
    for operation_id in sorted(done) if operations else ():
        operation = operations.get(operation_id)
        if operation is None or operation.outcome != "closed":
            state = operation.outcome if operation else "unknown"
            yield f"operation {operation_id} was reported done and is {state}"
            continue
        for name in _planned(operation.detail):
            if not finished[operation_id, name]:
                yield f"{name} of {operation.detail} {operation_id} was reported done and not finished"


def _is_done(event: Event) -> bool:
    return event.kind == "answer" and event.name == PERFORM and event.outcome == "ok" and event.detail == "done"


def _planned(kind: str) -> Iterator[str]:
    for name in (known for known in plans.STATES if known == kind):
        yield from (step.name for step in plans.plan(name, plans.ALL_PINS) if step.action == "write")


# ---- none twice ------------------------------------------------------------------------------------------------------


def _twice(events: Sequence[Event]) -> Iterator[str]:
    """A request has one effect at a node; a step of an operation one finished card write; a write one commit.

    Reads ``effect``, ``chip`` (outcome ``committed``) and the records of card writes.
    """
    effects = Counter((event.node, *event.request) for event in events if event.kind == "effect")
    for (node, operation_id, step), count in effects.items():
        if count > 1:
            yield f"{node} did {operation_id}/{step} {count} times"
    finished = Counter((write.operation_id, write.step_name) for write in _writes(events) if write.state == "finished")
    for (operation_id, name), count in finished.items():
        if count > 1:
            yield f"{name} of {operation_id} was finished {count} times"
    commits = Counter((event.node, event.step) for event in events if _chip_says(event, "committed"))
    for (card, write_id), count in commits.items():
        if count > 1:
            yield f"{card} committed {write_id} {count} times"


# ---- order -----------------------------------------------------------------------------------------------------------


def _disordered(events: Sequence[Event]) -> Iterator[str]:
    """Of one resident: what was answered before something else was asked also happened before it.

    And messages left in an outbox under one ordering key have their effects in the order in which they were left.
    Reads ``invoke``, ``answer``, ``effect``, ``outbox``; times of invoke and answer are of the same clock.
    """
    turns: dict[tuple[str, str, str], int] = {}
    for turn, event in enumerate(events):
        if event.kind == "effect":
            turns.setdefault((event.node, *event.request), turn)
    yield from _out_of_time(events, turns)
    queues: defaultdict[tuple[str, str, str], list[Event]] = defaultdict(list)
    for event in events:
        if event.kind == "outbox" and event.ordering_key:
            queues[event.node, event.peer, event.ordering_key].append(event)
    for (_, peer, key), queue in queues.items():
        done = [(turns[peer, *event.request], event) for event in queue if (peer, *event.request) in turns]
        for (before, first), (after, second) in pairwise(done):
            if before > after:
                yield f"{peer} did {_of(second)} before {_of(first)} of {key}"


class _Span(Struct, frozen=True):
    """A request of a driver from its first sending to its answer, and the turn of its effect."""

    asked_ms: int
    answered_ms: int
    turn: int
    event: Event


def _out_of_time(events: Sequence[Event], turns: dict[tuple[str, str, str], int]) -> Iterator[str]:
    asked: dict[tuple[str, str], Event] = {}
    for event in events:
        if event.kind == "invoke" and event.ordering_key:
            asked.setdefault(event.request, event)
    spans: defaultdict[tuple[str, str], list[_Span]] = defaultdict(list)
    for event in events:
        kind = event.name.partition(".")[0]
        turn = turns.get((kind, *event.request))
        # Who went away, or ran out of time, was not answered: the request may still be on its way.
        if event.kind == "answer" and event.outcome == "ok" and event.request in asked and turn is not None:
            invoke = asked[event.request]
            spans[kind, invoke.ordering_key].append(_Span(invoke.at_ms, event.at_ms, turn, event))
    for (_, key), mine in spans.items():
        mine.sort(key=lambda span: span.turn)
        earliest: _Span | None = None  # of those whose effect came later: the one that was answered first
        for span in reversed(mine):
            if earliest is not None and earliest.answered_ms < span.asked_ms:
                yield f"{_of(span.event)} of {key} happened before {_of(earliest.event)}, answered before it was asked"
            if earliest is None or span.answered_ms < earliest.answered_ms:
                earliest = span


# ---- settled ---------------------------------------------------------------------------------------------------------


def _unsettled(events: Sequence[Event]) -> Iterator[str]:
    """Every journalled card write ended, at JPKI as at the centre; no operation is left open.

    Reads the records of operations, card writes and JPKI's parts of them (``applet_write``).
    """
    centre = {write.write_id: write.state for write in _writes(events)}
    for write in _writes(events):
        if write.state not in ENDED:
            yield f"{write.step_name} of {write.card_id} ({write.write_id}) is {write.state}"
    for event in events:
        if _is_record(event, "applet_write"):
            if event.outcome not in ENDED:
                yield f"JPKI's part of {event.step} is {event.outcome}"
            elif centre.get(event.step, event.outcome) != event.outcome:
                yield f"{event.step} is {centre[event.step]} at the centre and {event.outcome} at JPKI"
        elif _is_record(event, "operation") and event.outcome == "open":
            yield f"operation {event.operation_id} ({event.detail}) is left open"


# ---- chip equals record ----------------------------------------------------------------------------------------------


def _differing(events: Sequence[Event]) -> Iterator[str]:
    """The chip's last committed write and life are those of the record; the digests are the journal's.

    Reads ``chip`` (outcome ``holds``: what it holds in the end), and the records of cards and card writes.
    """
    writes = {write.write_id: write for write in _writes(events)}
    holds = {event.node: event for event in events if _chip_says(event, "holds")}
    for event in events:
        if not _is_record(event, "card") or event.peer not in holds:
            continue
        chip = holds[event.peer]
        if chip.step != event.step:
            yield f"{event.peer}: the record knows {event.step or 'no write'}, the chip {chip.step or 'no write'}"
        # A record that ended without its card (death, loss for good) leaves the chip as it was until it is met.
        met = event.outcome != ABOLISHED or (chip.step in writes and writes[chip.step].step_name == "terminate")
        if met and CHIP_STATES.get(event.outcome, chip.detail) != chip.detail:
            yield f"{event.peer}: the record is {event.outcome}, the chip {chip.detail}"
    for card, chip in holds.items():
        write = writes.get(chip.step)
        if write is not None and write.state != "finished":
            yield f"{card}: the chip committed {chip.step}, which is {write.state}"
        if write is not None and write.digest and chip.digest and write.digest != chip.digest:
            yield f"{card}: the chip committed another script of {chip.step}"


# ---- reading ---------------------------------------------------------------------------------------------------------


def _is_record(event: Event, name: str) -> bool:
    return event.kind == "record" and event.name == name


def _chip_says(event: Event, outcome: str) -> bool:
    return event.kind == "chip" and event.outcome == outcome


def _writes(events: Sequence[Event]) -> Iterator[_Write]:
    for event in events:
        if _is_record(event, "card_write"):
            yield _Write(event.step, event.operation_id, event.peer, event.outcome, event.digest, event.detail)


def _of(event: Event) -> str:
    return f"{event.operation_id}/{event.step}"
