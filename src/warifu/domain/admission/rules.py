"""Admission by operation: opening one asks for a place; the steps of an admitted operation are never shed."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from warifu.contract.envelope import ServiceClass

OPENING: Final = frozenset({"center.open", "center.receive"})
"""Messages that begin an operation; everything else belongs to one already admitted."""
LATER: Final[frozenset[ServiceClass]] = frozenset({"setup", "bulk"})
"""Classes with no resident waiting: they divide what deliveries and changes leave."""
_BULK_PART: Final = 4


class Limits(Struct, frozen=True):
    """What one relay admits: its own share of what the centre can take.

    Args:
        total: operations at once. ``setup`` and ``bulk`` never exceed it, nor do deliveries and changes together.
        setup_and_bulk: of them, set-ups and bulk work together; the rest is left for deliveries.
        change_reserve: changes that are admitted above the total.
        lease_ms: an operation that rests so long gives its place back; its next step takes one again, unasked.
    """

    total: int = 128
    setup_and_bulk: int = 80
    change_reserve: int = 16
    lease_ms: int = 30_000

    def room_for_later(self, held: Mapping[ServiceClass, int]) -> int:
        """What set-ups and bulk divide now: what deliveries and changes leave, and never more than their share."""
        return max(0, min(self.setup_and_bulk, self.total - first(held)))


def first(held: Mapping[ServiceClass, int]) -> int:
    """Operations of the classes that come first: deliveries and changes."""
    return held.get("delivery", 0) + held.get("change", 0)


def later(held: Mapping[ServiceClass, int]) -> int:
    """Operations of the classes that wait for those."""
    return held.get("setup", 0) + held.get("bulk", 0)


def has_room(kind: ServiceClass, held: Mapping[ServiceClass, int], limits: Limits) -> bool:
    """Whether the relay has room for one more operation of this class.

    Args:
        kind: its class.
        held: operations admitted and not over, by class.
        limits: of this relay.
    """
    everyone = first(held) + later(held)
    if kind == "change":
        return everyone < limits.total or held.get("change", 0) < limits.change_reserve
    if kind == "delivery":
        # Refused only when deliveries and changes alone fill the relay: set-ups under way never stand in its way.
        return first(held) < limits.total
    return later(held) < limits.room_for_later(held)


def must_yield(mine: int, others: int, claims: int, limit: int, *, free: int) -> bool:
    """Whether a municipality that has its share leaves a free place to others: fair by max and min.

    Args:
        mine: set-ups and bulk operations it has.
        others: how many other municipalities were refused lately and wait.
        claims: how many operations wait of municipalities that have less than it.
        limit: what all of them divide.
        free: how many of those places are free.

    Returns:
        True when it has at least an equal part, and those with less may want all that is free. Beyond what they may
        want nothing stands empty.
    """
    return others > 0 and mine >= max(1, limit // (others + 1)) and claims >= max(1, free)


def bulk_must_yield(held: Mapping[ServiceClass, int], limits: Limits, *, setups_wait: bool) -> bool:
    """Whether bulk leaves a free place to set-ups that wait; a quarter stays its own, so that it never starves."""
    return setups_wait and held.get("bulk", 0) * _BULK_PART >= max(1, limits.room_for_later(held))
