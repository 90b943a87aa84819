"""Time, as far as rules see it. Waiting is asyncio's (``asyncio.timeout``, ``asyncio.sleep``): the loop owns it."""

from typing import Protocol


class Clock(Protocol):
    """The wall clock."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
