"""A CS's own durable outbox: what it has taken on and not brought to an end.

It stands where the CS stands, not at the centre: it is needed when the centre is away.
"""

from typing import Protocol


class Backlog(Protocol):
    """Entries are opaque bytes, numbered in the order in which they were kept."""

    async def keep(self, entry: bytes) -> int:
        """Record an entry; it survives the death of the process once this returns.

        Returns:
            Its number, for ``settle``.

        Raises:
            Unavailable: it cannot be recorded (a full disk): nothing may be sent.
        """

    def settle(self, number: int) -> None:
        """It came to its end. May be forgotten in a crash: then it is delivered again, which does nothing new."""

    def unsettled(self) -> tuple[tuple[int, bytes], ...]:
        """What was kept and not settled, by this process or an earlier one, oldest first."""
