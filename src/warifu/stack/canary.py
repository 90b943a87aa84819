"""One relay first, then the others (F13): how the first is judged against those beside it, under the same work.

A wrong mend on one relay of several costs its share of the capacity at worst, and what it does can be compared with
what the others did in the same minutes, of the same operations. Health alone is not enough: in 2016 a relay that
answered its health check refused and delayed for most of a day.
"""

from collections.abc import Sequence
from typing import Final

from warifu.contract.health import Work
from warifu.kernel.errors import Refused

ENOUGH: Final = 20
"""Messages through the canary below which nothing can be compared."""
MORE_SHARE: Final = 0.02
"""Of messages refused or failed: so many more than with the others are no chance."""
LEAST_TIMES: Final = 3
SLOWER: Final = 1.5
SLOWER_MS: Final = 10.0
"""Mean time of a message: so much more than the others' is no chance."""


class CanaryFailed(Refused):
    """The relay that was changed first did worse than the others: it went back, and they were not touched."""

    code = "relay.canary_failed"


def between(before: Work, after: Work) -> Work:
    """What was done between two looks at one process; since its start, when it started anew in between."""
    if after.done < before.done:
        return after
    return Work(
        done=after.done - before.done,
        refused=after.refused - before.refused,
        failed=after.failed - before.failed,
        busy_ms=after.busy_ms - before.busy_ms,
    )


def together(works: Sequence[Work]) -> Work:
    """What several did."""
    return Work(
        done=sum(each.done for each in works),
        refused=sum(each.refused for each in works),
        failed=sum(each.failed for each in works),
        busy_ms=sum(each.busy_ms for each in works),
    )


def complaints(canary: Work, others: Work) -> tuple[str, ...]:
    """In what the canary did worse than the others; none when there was too little to compare."""
    if canary.done < ENOUGH:
        return ()
    found = [
        f"{what} {mine} of {canary.done} messages, the others {theirs} of {others.done}"
        for what, mine, theirs in (
            ("refused", canary.refused, others.refused),
            ("failed", canary.failed, others.failed),
        )
        if mine >= LEAST_TIMES and mine / canary.done > _share(theirs, others) + MORE_SHARE
    ]
    mine_ms, theirs_ms = canary.busy_ms / canary.done, _share(others.busy_ms, others)
    if others.done >= ENOUGH and mine_ms > theirs_ms * SLOWER + SLOWER_MS:
        found.append(f"{mine_ms:.0f} ms a message, the others {theirs_ms:.0f} ms")
    return tuple(found)


def _share(part: int, work: Work) -> float:
    return part / work.done if work.done else 0.0
