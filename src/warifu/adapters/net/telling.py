"""Log records of what may come as often as whoever sends it likes: told at once, then all of a while together."""

import asyncio
from collections import Counter
from typing import Final

from warifu.ports.log import Log

TOLD_EVERY_S: Final = 10.0
MOST: Final = 32
"""Different records of one while; what exceeds them is told without saying of whom."""


class Telling:
    """Counts events and tells how many there were. Made while its loop runs.

    Args:
        log: told.
        every_s: between two records of the same event.
    """

    def __init__(self, log: Log, every_s: float = TOLD_EVERY_S) -> None:
        self._log = log
        self._every_s = every_s
        self._loop = asyncio.get_running_loop()
        self._counts: Counter[tuple[str, bool, tuple[tuple[str, str], ...]]] = Counter()
        self._quiet: asyncio.TimerHandle | None = None

    def count(self, event: str, *, trouble: bool = False, **fields: str) -> None:
        """It happened once more; ``fields`` say of whom, and are few different ones."""
        key = (event, trouble, tuple(sorted(fields.items())))
        if key not in self._counts and len(self._counts) >= MOST:
            key = (event, trouble, ())
        self._counts[key] += 1
        if self._quiet is None:
            self._tell()

    def _tell(self) -> None:
        self._quiet = None
        for (event, trouble, fields), count in sorted(self._counts.items()):
            tell = self._log.trouble if trouble else self._log.info
            tell(event, **dict(fields), count=count)
        if self._counts:
            self._counts.clear()
            self._quiet = self._loop.call_later(self._every_s, self._tell)
