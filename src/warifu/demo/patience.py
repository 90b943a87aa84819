"""Trying again within a budget of time: processes may be killed at any instant, and come back."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from warifu.demo.errors import Unexpected
from warifu.kernel.errors import TryAgain

PATIENCE_S: Final = 90.0
"""How long one request is repeated: a killed database needs some ten seconds to come back, and work may queue."""
BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)
POLL_S: Final = 0.1

T = TypeVar("T")
Pause = Callable[[float], Awaitable[None]]


class Patience:
    """A budget of time for each thing that is tried.

    Args:
        patience_s: how long one thing is tried while it fails with "try again".
        pause: waits; a test gives its own.
        now: seconds from any origin.
    """

    def __init__(
        self,
        patience_s: float = PATIENCE_S,
        pause: Pause = asyncio.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.patience_s = patience_s
        self.pause = pause
        self.now = now
        self.retries = 0

    async def persist(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Attempt until it does not fail with "try again"; once patience has ended, that error is raised."""
        deadline = self.now() + self.patience_s
        count = 0
        while True:
            try:
                return await attempt()
            except TryAgain as error:
                wait_s = max(BACKOFF_S[min(count, len(BACKOFF_S) - 1)], getattr(error, "retry_after_ms", 0) / 1000)
                if self.now() + wait_s > deadline:
                    raise
            count += 1
            self.retries += 1
            await self.pause(wait_s)

    async def until(self, what: str, look: Callable[[], Awaitable[T | None]]) -> T:
        """Look until there is something to see. ``Unexpected`` when patience ends before."""
        deadline = self.now() + self.patience_s
        while True:
            seen = await look()
            if seen is not None:
                return seen
            if self.now() > deadline:
                raise Unexpected(f"{what}: not within {self.patience_s:g} s")
            await self.pause(POLL_S)
