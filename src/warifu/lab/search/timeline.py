"""A run as a story for people: who sent what to whom, when, and what befell it."""

from collections.abc import Iterable, Iterator

from warifu.lab.history import Event
from warifu.lab.search.run import Outcome

ARROWS = {"send": "→", "deliver": "⇥", "reply": "←", "fail": "✗", "fault": "⚡", "effect": "●", "outbox": "✉"}
WIDTH = 12


def timeline(outcome: Outcome) -> list[str]:
    """One line an event; operations are called A, B, C ... in the order of their appearance."""
    lines = list(_lines(outcome.history))
    if outcome.failure is not None:
        lines.append(f"{outcome.virtual_ms:>7} ms  FAILED: {outcome.failure.text}")
    return lines


def _lines(history: Iterable[Event]) -> Iterator[str]:
    names: dict[str, str] = {}
    for event in history:
        if event.operation_id and event.operation_id not in names:
            names[event.operation_id] = _letters(len(names))
        yield _line(event, names.get(event.operation_id, ""))


def _line(event: Event, operation: str) -> str:
    what = f"{operation}/{event.step}" if operation else ""
    peer = f"{ARROWS.get(event.kind, ' ')} {event.peer}" if event.peer else ARROWS.get(event.kind, "")
    parts = (event.kind, event.outcome, what, event.name, event.detail)
    rest = " ".join(part for part in parts if part)
    return f"{event.at_ms:>7} ms  {event.node:<{WIDTH}} {peer:<{WIDTH + 2}} {rest}"


def _letters(number: int) -> str:
    """A ... Z, A1 ... Z1, A2 ..."""
    turn, letter = divmod(number, 26)
    return chr(ord("A") + letter) + (str(turn) if turn else "")
