"""Signatures that wait at the same instant go to the HSM together.

A worker's wake-up, its frame and the pool's deadlines cost about half of what an RSA-2048 signature costs. Whoever
comes while a worker is free is signed for at once and alone; what comes while all are busy waits anyway, and the next
free worker takes its share of it in one command.
"""

import asyncio
from collections import deque
from typing import Final

from warifu.kernel.errors import Fault, Unavailable, WarifuError
from warifu.nodes.hsm_pool import HsmPool
from warifu.ports.hsm import ManyBytes, SignMany

AT_ONCE: Final = 8
"""Signatures of one command: nobody waits longer than for these and for those before."""
WAITING: Final = 1_000
"""Texts that may wait; one more is refused."""


class _Waiting:
    def __init__(self, label: str, text: bytes) -> None:
        self.label = label
        self.text = text
        self.signature: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def fail(self, error: Exception) -> None:
        if not self.signature.done():
            self.signature.set_exception(error)
            self.signature.exception()  # whoever waited may have gone


class SigningTogether:
    """Signs texts for many who ask at once.

    Args:
        hsm: whose workers sign, as many commands at a time as it has workers.
        deadline_ms: for one command.
    """

    def __init__(self, hsm: HsmPool, deadline_ms: int) -> None:
        self._hsm = hsm
        self._deadline_ms = deadline_ms
        self._waiting: deque[_Waiting] = deque()
        self._wanted = asyncio.Event()
        self._closed = False

    async def run(self) -> None:
        """Take what waits to the workers, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._hsm.size):
                    group.create_task(self._take_on())
        finally:
            self._closed = True
            while self._waiting:
                self._waiting.popleft().fail(Unavailable("the node is closing"))

    async def sign(self, label: str, text: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256, by the key of this label. Who asks may be cancelled; the others are not.

        Raises:
            Unavailable: too many wait already, or the node is closing; otherwise as ``HsmPool.call``.
        """
        if self._closed:
            raise Unavailable("the node is closing")
        if len(self._waiting) >= WAITING:
            raise Unavailable("too many signatures wait")
        waiting = _Waiting(label, text)
        self._waiting.append(waiting)
        self._wanted.set()
        return await waiting.signature

    async def _take_on(self) -> None:
        while True:
            while not self._waiting:
                self._wanted.clear()
                await self._wanted.wait()
            await self._sign(self._share())

    def _share(self) -> list[_Waiting]:
        """What came first and is for one key; others' share is left to the other workers."""
        most = min(AT_ONCE, -(-len(self._waiting) // self._hsm.size))
        share = [self._waiting.popleft()]
        while len(share) < most and self._waiting and self._waiting[0].label == share[0].label:
            share.append(self._waiting.popleft())
        return [each for each in share if not each.signature.done()]

    async def _sign(self, share: list[_Waiting]) -> None:
        if not share:
            return
        try:
            signatures = await self._signatures(SignMany(share[0].label, tuple([each.text for each in share])))
        except WarifuError as error:
            for each in share:
                each.fail(error)
        except BaseException:
            for each in share:
                each.fail(Unavailable("the node is closing"))
            raise
        else:
            for each, signature in zip(share, signatures, strict=True):
                if not each.signature.done():
                    each.signature.set_result(signature)

    async def _signatures(self, command: SignMany) -> tuple[bytes, ...]:
        reply = await self._hsm.call(command, self._deadline_ms)
        if not isinstance(reply, ManyBytes):
            raise Fault("SignMany does not answer several")
        return reply.data
