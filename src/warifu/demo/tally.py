"""How many of each step were done, how many failed, how long they took."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from msgspec import Struct

from warifu.kernel.errors import WarifuError

STEPS: Final = (
    "register", "notify", "apply", "check", "accept", "issue", "receive", "setup", "delivery", "read", "authenticate",
    "sign", "move", "continuation", "suspend", "resume", "lock", "pin_reset", "abolish",
)  # fmt: skip
"""Every step's name, in the order in which they happen."""


class Screen(Protocol):
    """Who is told of progress."""

    def expect(self, step: str, count: int) -> None:
        """So many of this step are to come."""

    def ended(self, step: str, seconds: float, *, failed: bool) -> None:
        """One is over."""


class StepTally(Struct, frozen=True, kw_only=True):
    """One step's figures, as in ``--json``."""

    count: int
    failed: int
    seconds_p50: float
    seconds_p99: float


class StepFailed(Exception):  # noqa: N818 - reads as a sentence
    """A step failed; the rest of this resident's way is not gone. The text is fit for the report."""


class Tally:
    """Collects.

    Args:
        screen: told of each step that ends.
        now: seconds from any origin.
    """

    def __init__(self, screen: Screen, now: Callable[[], float] = time.perf_counter) -> None:
        self._screen = screen
        self._now = now
        self._seconds: dict[str, list[float]] = {}
        self._failed: dict[str, int] = {}
        self.problems: list[str] = []

    @contextmanager
    def step(self, name: str, who: str) -> Iterator[None]:
        """Measure a step.

        Args:
            name: one of ``STEPS``.
            who: a resident's or batch's id.

        Raises:
            StepFailed: in the place of an error of our tree, which is noted.
        """
        began = self._now()
        try:
            yield
        except WarifuError as error:
            self.failed(name, who, error, self._now() - began)
            raise StepFailed(name) from error
        self.done(name, self._now() - began)

    def done(self, name: str, seconds: float) -> None:
        """Note one that went well."""
        self._seconds.setdefault(name, []).append(seconds)
        self._screen.ended(name, seconds, failed=False)

    def failed(self, name: str, who: str, error: WarifuError, seconds: float) -> None:
        """Note one that did not."""
        self._seconds.setdefault(name, []).append(seconds)
        self._failed[name] = self._failed.get(name, 0) + 1
        self.problems.append(f"{name}: {who}: {error.code}: {error}")
        self._screen.ended(name, seconds, failed=True)

    def steps(self) -> dict[str, StepTally]:
        """The figures, in the order of the steps."""
        return {
            name: StepTally(
                count=len(self._seconds[name]),
                failed=self._failed.get(name, 0),
                seconds_p50=round(percentile(self._seconds[name], 0.50), 4),
                seconds_p99=round(percentile(self._seconds[name], 0.99), 4),
            )
            for name in STEPS
            if name in self._seconds
        }


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed; 0 when there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else 0.0
