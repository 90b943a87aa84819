"""Limits of nodes made small for a run: what happens at a limit happens in every run that has one, not in none.

A limit of 512 messages is never met by twenty. Half of the runs keep production's limits; the others draw theirs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from types import ModuleType
from typing import Final, NamedTuple

from warifu.domain.admission import leases, line
from warifu.nodes import (
    base,
    cs,
    front,
    hsm_pool,
    issuance,
    list_parts,
    responder,
    signing_together,
    status_look,
    under_way,
)
from warifu.nodes.authority import bulk, key_pool, lists, mass_revocation, node, statuses
from warifu.nodes.center import completing, lapsing, recent

KEPT_SHARE: Final = 0.5


class Limit(NamedTuple):
    """A limit, and what it may be drawn as."""

    module: ModuleType
    name: str
    small: tuple[int, ...]
    as_before: bool = False
    """Drawn when the one before it is: alone it would change nothing."""


LIMITS: Final = (
    Limit(under_way, "OUTBOX_AT_ONCE", (1, 2, 4)),
    Limit(base, "OUTBOX_BATCH", (1, 3)),
    Limit(under_way, "OUTBOX_REFUSED", (2, 4)),
    Limit(base, "PURGE_BATCH", (1, 2)),
    Limit(base, "PURGE_EVERY_S", (5, 20)),
    Limit(leases, "_ADOPTED", (1, 2)),
    Limit(line, "LONGEST", (2, 5)),
    Limit(cs, "MAX_WAITING", (2, 4, 8)),
    Limit(completing, "UNKNOWN_AFTER_MS", (6_000, 15_000)),
    Limit(completing, "LEFT_AFTER_MS", (8_000, 20_000), as_before=True),
    Limit(completing, "EVERY_S", (1, 2), as_before=True),
    Limit(completing, "PAGE", (1, 2), as_before=True),
    Limit(lapsing, "EVERY_S", (1, 3)),
    Limit(lapsing, "PAGE", (1, 3)),
    Limit(recent, "MOST", (1, 2)),
    Limit(mass_revocation, "AT_ONCE", (1, 2, 3)),
    Limit(statuses, "AT_ONCE", (1, 2, 3)),
    Limit(status_look, "HALF", (1, 2)),
    Limit(bulk, "READ_AT_ONCE", (1, 3)),
    Limit(front, "READS", (1, 2)),
    Limit(front, "ASKED_AT_ONCE", (1, 3)),
    Limit(front, "AT_ONCE", (1, 2)),
    Limit(front, "LISTS_KEPT", (1, 2)),
    Limit(list_parts, "PART_BYTES", (200, 500)),
    Limit(list_parts, "KEPT", (1, 2)),
    Limit(responder, "KEPT_ANSWERS", (1, 2)),
    Limit(signing_together, "AT_ONCE", (1, 2)),
    Limit(signing_together, "WAITING", (30, 60)),
    Limit(hsm_pool, "MESSAGES_AT_ONCE", (1, 2, 3)),
    Limit(issuance, "LINES", (1, 2)),
    Limit(lists, "REFRESH_MS", (2_000, 5_000)),
    Limit(responder, "RENEW_MS", (node.RESPONDER_DAYS_MS - 4_000, node.RESPONDER_DAYS_MS - 9_000)),
    Limit(responder, "REUSED_MS", (1_000, 3_000)),
    Limit(key_pool, "BLOCK", (2, 4)),
    Limit(key_pool, "SINGLES", (1, 2), as_before=True),
    Limit(key_pool, "CHOICE", (1, 2)),
    Limit(key_pool, "AT_ONCE", (1, 2)),
    Limit(key_pool, "PAGE", (1, 2)),
)


@contextmanager
def small_limits(seed: int, *, tight: bool) -> Iterator[None]:
    """Draw the limits of a run by its seed; production's are back afterwards. ``tight`` runs keep them."""
    random = Random(f"{seed}/limits")  # noqa: S311 - repeatable on purpose
    before = [(limit, getattr(limit.module, limit.name)) for limit in LIMITS]
    kept = True
    try:
        for limit in LIMITS:
            kept_alone, drawn = random.random() < KEPT_SHARE, random.choice(limit.small)
            kept = kept if limit.as_before else kept_alone
            if not (kept or tight):
                setattr(limit.module, limit.name, drawn)
        yield
    finally:
        for limit, value in before:
            setattr(limit.module, limit.name, value)
