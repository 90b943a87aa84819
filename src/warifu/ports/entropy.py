"""Randomness."""

from typing import Protocol


class Entropy(Protocol):
    """A source of unpredictable bytes (in the laboratory: predictable ones)."""

    def random_bytes(self, count: int) -> bytes:
        """``count`` bytes."""
