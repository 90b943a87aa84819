"""Answered messages leave the outbox together: one statement for those that are answered within a moment."""

import asyncio
from typing import Final

from warifu.kernel.errors import WarifuError
from warifu.ports.store import Store

TOGETHER_S: Final = 0.02
"""How long an answered message waits for others. Those behind it in the order of its key wait with it."""


class Answered:
    """What was answered and still stands in the outbox.

    Args:
        store: whose outbox.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._gathered: dict[int, asyncio.Future[None]] | None = None

    async def take_out(self, sequence: int) -> None:
        """Take a message out of the outbox, with whatever else is answered meanwhile.

        Whoever comes first waits and does it for all. They are cancelled together or not at all.

        Raises:
            Unavailable: the store does not answer; all of them still stand there, or none.
        """
        if self._gathered is None:
            await self._take_out_all(sequence)
            return
        gone = self._gathered[sequence] = asyncio.get_running_loop().create_future()
        await gone

    async def _take_out_all(self, first: int) -> None:
        others = self._gathered = {}
        try:
            await asyncio.sleep(TOGETHER_S)
        finally:
            self._gathered = None
        try:
            await self._store.sent(first, *others)
        except WarifuError as error:
            for gone in _still_waited_for(others):
                gone.set_exception(error)
            raise
        for gone in _still_waited_for(others):
            gone.set_result(None)


def _still_waited_for(others: "dict[int, asyncio.Future[None]]") -> "list[asyncio.Future[None]]":
    return [gone for gone in others.values() if not gone.done()]
