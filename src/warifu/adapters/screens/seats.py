"""Seats: what lies before one clerk now. In memory only: nothing here is work, and nothing is lost with it."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from warifu.contract.values import PinName

MAX_SEATS: Final = 200
MAX_LISTENERS: Final = 12
"""Open pages of one seat that listen."""
WAITING_EVENTS: Final = 64


@dataclass
class Ask:
    """What the resident's screen is asked for."""

    purpose: str
    """``set``, ``prove`` or ``change``."""
    card_id: str
    pins: tuple[PinName, ...]
    operation_id: str = ""
    message: str = ""
    """Code of what was wrong with the last entry; "" for none."""


@dataclass
class Batch:
    """Cards of a tray that are set up in a row."""

    cards: tuple[str, ...]
    operations: dict[str, str] = field(default_factory=dict)
    """By card id: what was begun."""
    ended: bool = False


@dataclass
class Seat:
    """One signed-in person at this terminal."""

    card_id: str = ""
    """On the reader; "" when there is none."""
    ask: Ask | None = None
    told: str = ""
    """What the resident's screen says of the last entry: a code; "" for nothing."""
    batch: Batch | None = None
    turn: int = 0
    """Counts what happened: a page made before the last of it must be made anew."""
    listeners: set["asyncio.Queue[dict[str, Any]]"] = field(default_factory=set)

    def tell(self, event: dict[str, Any]) -> None:
        """Send an event to every open page; one that does not read misses the oldest."""
        self.turn += event["kind"] != "progress"
        for queue in self.listeners:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(event)

    @contextmanager
    def listening(self) -> Iterator["asyncio.Queue[dict[str, Any]]"]:
        """Events from now on."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(WAITING_EVENTS)
        self.listeners.add(queue)
        try:
            yield queue
        finally:
            self.listeners.discard(queue)


class Seats:
    """The seats of a terminal, by login."""

    def __init__(self) -> None:
        self._seats: dict[bytes, Seat] = {}

    def of(self, login_digest: bytes) -> Seat:
        """A login's seat; the longest unused leaves when there are too many."""
        seat = self._seats.pop(login_digest, None) or Seat()
        self._seats[login_digest] = seat
        if len(self._seats) > MAX_SEATS:
            self._seats.pop(next(iter(self._seats)))
        return seat

    def leave(self, login_digest: bytes) -> None:
        """The person has signed out."""
        self._seats.pop(login_digest, None)

    def all(self) -> tuple[Seat, ...]:
        """Every seat."""
        return tuple(self._seats.values())
