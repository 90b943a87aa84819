"""A made file of a closed authority's issue records and revocations, to try their import with."""

import datetime
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Final

_REASONS: Final = ("affiliation_changed", "superseded", "cessation_of_operation", "key_compromise")
_REVOKED_SHARE: Final = 0.6
"""Of some 3,180,000 about 586,000 still stood."""


def lines(authority: str, municipality: str, count: int, seed: int = 0) -> Iterator[str]:
    """The lines of the file, the tail included; the same for the same seed.

    Args:
        authority: id, e.g. ``pref-13``.
        municipality: code with its check digit.
        count: certificates.
        seed: of the dice.
    """
    dice = random.Random(f"{authority} {seed}")  # noqa: S311 - made data
    yield json.dumps({"format": "warifu.certificates.1", "authority": authority, "name": f"made {authority}"})
    serial, revoked = 0, Counter[str]()
    for _ in range(count):
        serial += dice.randint(1, 3)
        begun = datetime.date(2012, 4, 1) + datetime.timedelta(days=dice.randrange(1_300))
        line: dict[str, object] = {
            "serial": serial,
            "not_before": begun.isoformat(),
            "not_after": (begun + datetime.timedelta(days=1_095)).isoformat(),
            "municipality": municipality,
        }
        if dice.random() < _REVOKED_SHARE:
            reason = dice.choice(_REASONS)
            revoked[reason] += 1
            line |= {"revoked_ms": 1_450_000_000_000 + dice.randrange(10**9), "reason": reason}
        yield json.dumps(line)
    yield json.dumps({"certificates": count, "revoked": dict(revoked)})
