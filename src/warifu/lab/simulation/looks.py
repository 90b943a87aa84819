"""Looks at personal data, seen from outside: each is in the audit trail before its answer leaves (番号法, F10)."""

from collections import Counter
from collections.abc import Callable
from typing import Final

from warifu.contract.codec import decode
from warifu.contract.envelope import Envelope, Reply
from warifu.contract.numbering import FoundResident
from warifu.contract.registry import FoundResidents
from warifu.ports.store import Change


def _one(_body: bytes) -> int:
    return 1


LOOKS: Final[dict[str, tuple[str, Callable[[bytes], int]]]] = {
    "registry.identity": ("resident.look", _one),
    "registry.search": ("resident.search", lambda body: len(decode(FoundResidents, body).residents)),
    "numbering.reveal": ("number.look", _one),
    "numbering.find": ("number.find", lambda body: bool(decode(FoundResident, body).resident_id)),
    "intake.photo": ("photo.look", _one),
    "center.card": ("card.look", _one),
    "center.face": ("photo.look", _one),
}
"""What shows personal data, the audit's word for it, and how many are shown by an answer."""


class Looks:
    """Counts, for each operation, what was audited and what was shown."""

    def __init__(self) -> None:
        self.real = False
        """Whether the nodes here are those that audit, not small ones in their places."""
        self._audited: Counter[tuple[str, str, str]] = Counter()
        self._shown: Counter[tuple[str, str, str]] = Counter()

    def committed(self, store: str, change: Change) -> None:
        """A change stands, and its audit entries with it."""
        for entry in change.audit:
            self._audited[store, entry.action, entry.operation_id] += 1

    def answered(self, destination: str, envelope: Envelope, reply: Reply) -> str:
        """What is wrong with a reply that is about to leave; "" if nothing is."""
        if not self.real or reply.error is not None or reply.body is None or envelope.name not in LOOKS:
            return ""
        if envelope.name.partition(".")[0] != destination:
            return ""  # on its way: another audited it
        action, shows = LOOKS[envelope.name]
        key = (destination, action, envelope.operation_id)
        self._shown[key] += shows(reply.body)
        if self._shown[key] <= self._audited[key]:
            return ""
        return (
            f"{destination} shows {self._shown[key]} for {envelope.name}, {self._audited[key]} are in the audit trail"
        )
