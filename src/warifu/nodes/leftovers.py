"""What a CS took on and did not bring to an end: delivered, however long the centre is away, in each card's order.

* After a kill: every message with an effect that had been recorded. Whoever sent it never heard; it is delivered, or
  its answer fetched, under its own key, so that nothing is lost and nothing done twice.
* Without one: what a chip has done (``center.confirm``), when the caller's time ended before the centre was told.

One at a time, and slowly while nothing gets through: no storm of retries grows here. Later messages of the same card
wait until those before them have been delivered.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from msgspec import Struct

from warifu.contract.codec import decode
from warifu.contract.envelope import Envelope, Reply
from warifu.kernel.errors import ConnectionExcess, TryAgain, WarifuError
from warifu.ports.backlog import Backlog
from warifu.ports.log import Log

CALL_MS: Final = 10_000
PAUSES_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
"""After one failure, two ... in a row, of whichever message."""

Send = Callable[[Envelope], Awaitable[Reply]]


class Leftover(Struct, frozen=True):
    """One message to be delivered."""

    number: int
    envelope: Envelope


class Leftovers:
    """The queue of them, and the gates in their cards' lanes.

    Args:
        backlog: where they are recorded; what an earlier process left is taken up.
        log: told of each that is delivered.
    """

    def __init__(self, backlog: Backlog, log: Log) -> None:
        self._backlog = backlog
        self._log = log
        self._queue: list[Leftover] = []
        self._gates: dict[str, asyncio.Event] = {}
        self._some = asyncio.Event()
        for number, entry in backlog.unsettled():
            self.add(Leftover(number, decode(Envelope, entry)))

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, leftover: Leftover) -> None:
        """To be delivered; from now on its card's lane waits for it."""
        self._queue.append(leftover)
        self._gates.setdefault(leftover.envelope.ordering_key, asyncio.Event())
        self._some.set()

    async def gone(self, key: str) -> None:
        """Wait until nothing with this ordering key is left."""
        while key and (gate := self._gates.get(key)) is not None:
            await gate.wait()

    async def deliver(self, send: Send) -> None:
        """Deliver whatever is there and comes; for ever."""
        failures = 0
        while True:
            await self._some.wait()
            leftover = self._queue[0]
            try:
                await self._deliver(leftover, send)
                failures = 0
            except TryAgain as error:
                self._to_the_end(leftover.envelope.ordering_key)
                failures += 1
                if failures == 1:
                    self._log.info("cs.leftovers_wait", count=len(self._queue), code=error.code)
                await asyncio.sleep(PAUSES_S[min(failures, len(PAUSES_S)) - 1])

    async def _deliver(self, leftover: Leftover, send: Send) -> None:
        """One try; whatever the centre answers ends it, and so does its having no room for an opening."""
        envelope = msgspec.structs.replace(leftover.envelope, remaining_ms=CALL_MS)
        try:
            reply = await send(envelope)
            code = reply.error.code if reply.error else "ok"
        except ConnectionExcess as error:
            code = error.code
        except TryAgain:
            raise
        except WarifuError as error:
            code = error.code
        self._log.info(
            "cs.leftover_delivered",
            operation_id=envelope.operation_id,
            step=envelope.step,
            message=envelope.name,
            code=code,
        )
        self._backlog.settle(leftover.number)
        self._remove(leftover)

    def _remove(self, leftover: Leftover) -> None:
        self._queue.remove(leftover)
        key = leftover.envelope.ordering_key
        if all(other.envelope.ordering_key != key for other in self._queue):
            self._gates.pop(key).set()
        if not self._queue:
            self._some.clear()

    def _to_the_end(self, key: str) -> None:
        """All of the card's messages behind the others', in their order: one card's trouble is not the others'."""
        self._queue.sort(key=lambda leftover: leftover.envelope.ordering_key == key)
