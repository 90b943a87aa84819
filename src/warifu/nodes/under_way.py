"""Outbox messages under way: how many, to whom, and which were refused."""

from collections import Counter

from warifu.ports.store import Pending

OUTBOX_AT_ONCE = 32
"""Messages under way to one destination; those it has refused do not count."""
OUTBOX_REFUSED = 480
"""Refused messages tried again and again to one destination; with more of them a person is needed before the next."""


class UnderWay:
    """Which outbox messages are being sent, so that one destination's trouble takes nobody else's room."""

    def __init__(self) -> None:
        self._destinations: dict[int, str] = {}
        self._refused: set[int] = set()
        self._left: set[int] = set()
        self._trying: Counter[str] = Counter()
        self._resting: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._destinations)

    def look(self) -> None:
        """The outbox is about to be read: what is answered from now on may still stand in what is read."""
        self._left.clear()

    def take(self, pending: Pending) -> bool:
        """Whether to begin sending it now: it is neither being sent nor answered since the look, and there is room."""
        destination = pending.message.destination
        if pending.sequence in self._destinations or pending.sequence in self._left or self._is_full(destination):
            return False
        self._destinations[pending.sequence] = destination
        self._trying[destination] += 1
        return True

    def refuse(self, pending: Pending) -> bool:
        """Its receiver refused it: others need not wait for it. Whether this is news."""
        if pending.sequence in self._refused:
            return False
        self._refused.add(pending.sequence)
        self._trying[pending.message.destination] -= 1
        self._resting[pending.message.destination] += 1
        return True

    def leave(self, pending: Pending) -> None:
        """It was answered."""
        counts = self._resting if pending.sequence in self._refused else self._trying
        counts[self._destinations.pop(pending.sequence)] -= 1
        self._refused.discard(pending.sequence)
        self._left.add(pending.sequence)

    def full(self) -> frozenset[str]:
        """Destinations that get no more now."""
        return frozenset(filter(self._is_full, set(self._destinations.values())))

    def _is_full(self, destination: str) -> bool:
        return self._trying[destination] >= OUTBOX_AT_ONCE or self._resting[destination] >= OUTBOX_REFUSED
