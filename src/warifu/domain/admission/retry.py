"""The retry budget: a tenth of a token for each success, one for each retry: a storm of retries cannot feed itself."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from warifu.contract.envelope import ServiceClass

FULL: Final = 10.0
EARNED_BY_SUCCESS: Final = 0.1
BASE_DELAY_MS: Final = 50
MAX_DELAY_MS: Final = 2_000
QUEUE_MS: Final[Mapping[ServiceClass, int]] = {"change": 3_000, "delivery": 3_000, "setup": 1_500, "bulk": 1_500}
"""So long after it came, an opening may wait for a place unseen; then whoever asked is told to come back."""


class RetryBudget(Struct, frozen=True):
    """How many retries are left."""

    tokens: float = FULL

    def earn(self) -> "RetryBudget":
        """After a success."""
        return RetryBudget(min(FULL, self.tokens + EARNED_BY_SUCCESS))

    def spend(self) -> "RetryBudget | None":
        """For a retry; None when the budget is empty."""
        return RetryBudget(self.tokens - 1) if self.tokens >= 1 else None


def may_queue(kind: ServiceClass, waited_ms: int, wait_ms: int) -> bool:
    """Whether an opening that found no room waits once more in the place of its caller.

    Args:
        kind: its class.
        waited_ms: since it came.
        wait_ms: until it would ask again.
    """
    return waited_ms + wait_ms <= QUEUE_MS[kind]


def delay_ms(attempt: int, retry_after_ms: int, jitter: int) -> int:
    """How long to wait before trying again.

    Args:
        attempt: 1 for the first retry.
        retry_after_ms: what the refuser asked for; 0 if it did not.
        jitter: a random byte (0..255): spreads the wait between half and the whole.
    """
    whole = max(retry_after_ms, min(MAX_DELAY_MS, BASE_DELAY_MS << min(attempt, 10)))
    return max(1, whole // 2 + whole * jitter // 510)
