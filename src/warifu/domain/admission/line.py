"""Who was refused and may come back: for a place in line, a time to come back, and fairness between municipalities.

A line is no queue: nobody's place is kept free, because whoever waits may have gone home. It says how many were refused
before and have not come in yet.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from warifu.contract.envelope import ServiceClass

LONGEST: Final = 10_000
"""Refused operations remembered in all."""
PATIENCE_MS: Final = 2_000
"""Who has not come back so long after the time it was told has left the line."""
_BEFORE: Final[dict[ServiceClass, tuple[ServiceClass, ...]]] = {
    "change": ("change",),
    "delivery": ("change", "delivery"),
    "setup": ("change", "delivery", "setup"),
    "bulk": ("change", "delivery", "setup", "bulk"),
}
"""Whom each class waits behind: everybody of these who came earlier."""


class Waiting(Struct, frozen=True):
    """One refused operation."""

    sequence: int
    municipality: str
    kind: ServiceClass
    until_ms: int


class Line:
    """Refused operations, oldest first by class."""

    def __init__(self) -> None:
        self._classes: dict[ServiceClass, OrderedDict[str, Waiting]] = {kind: OrderedDict() for kind in _BEFORE}
        self._later: Counter[str] = Counter()
        self._last = 0

    def __len__(self) -> int:
        return sum(len(waiting) for waiting in self._classes.values())

    def place(self, operation_id: str, kind: ServiceClass) -> int:
        """The place in line of an operation that is about to be refused (1: next); its own place if it has one."""
        own = self._classes[kind].get(operation_id)
        ahead = sum(len(self._classes[other]) for other in _BEFORE[kind] if other != kind)
        mine = self._classes[kind]
        if own is None or not mine:
            return ahead + len(mine) + 1
        head = next(iter(mine.values()))
        return ahead + min(len(mine), own.sequence - head.sequence + 1)

    def join(self, operation_id: str, kind: ServiceClass, municipality: str, back_ms: int) -> None:
        """It was refused and told to come back at ``back_ms``; one that waited already keeps its place."""
        mine = self._classes[kind]
        earlier = mine.get(operation_id)
        if earlier is None:
            if len(self) >= LONGEST:
                return
            self._last += 1
            self._count(kind, municipality, 1)
        sequence = earlier.sequence if earlier else self._last
        mine[operation_id] = Waiting(sequence, municipality, kind, back_ms + PATIENCE_MS)

    def leave(self, operation_id: str, kind: ServiceClass) -> None:
        """It came in, or never will."""
        gone = self._classes[kind].pop(operation_id, None)
        if gone is not None:
            self._count(kind, gone.municipality, -1)

    def sweep(self, now_ms: int) -> None:
        """Forget those at the head who did not come back."""
        for kind, waiting in self._classes.items():
            while waiting and (head := next(iter(waiting))) and waiting[head].until_ms < now_ms:
                self.leave(head, kind)

    def waiting(self) -> Mapping[str, int]:
        """Set-ups and bulk operations in line, by municipality; only those that have any."""
        return self._later

    def waits(self, kind: ServiceClass) -> bool:
        """Whether somebody of this class is in line."""
        return bool(self._classes[kind])

    def _count(self, kind: ServiceClass, municipality: str, change: int) -> None:
        if kind in {"delivery", "change"}:
            return
        self._later[municipality] += change
        if not self._later[municipality]:
            del self._later[municipality]
