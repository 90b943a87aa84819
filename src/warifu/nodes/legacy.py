"""Policy ``legacy``: what relays and CSs did in 2016 (F4, F5), kept so that it can be measured beside what they do now.

A relay has a fixed number of connections, 70 and later 94; a message holds one until it is answered; one more is
answered "connection excess", whatever it is and whatever it belongs to. A CS that is told so, or whose search is not
answered in time, throws away the messages of all its connections and takes none for 60 seconds. It tries nothing again.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from warifu.contract.envelope import Envelope, Reply
from warifu.contract.health import AskHealth
from warifu.contract.relay import Forwarded
from warifu.domain.admission.rules import Limits
from warifu.kernel.errors import ConnectionExcess, DeadlinePassed, TryAgain, Unavailable
from warifu.nodes.base import Call, World
from warifu.nodes.cs import CommunicationServer, Waiting
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.relay import Passage, Relay
from warifu.ports.backlog import Backlog
from warifu.ports.crypto import Crypto

CONNECTIONS: Final = 94
"""A relay's, after it had been raised from 70. Whether the documents count one relay or all is not said."""
BLOCK_MS: Final = 60_000
SEARCHES: Final = frozenset({"center.open", "center.card"})
"""Messages with a search in them: the documents say "a certain search"."""


class LegacyRelay(Relay):
    """A fixed number of connections, first come, first served."""

    def __init__(self, world: World, hsm: HsmPool, limits: Limits, connections: int = CONNECTIONS) -> None:
        super().__init__(world, hsm, limits)
        self.connections = connections
        self.held = 0
        """Connections in use: a message has one from its arrival to its answer, the HSM's work included."""

    async def forward(self, call: Call) -> Forwarded:
        """As the relay of today, on a connection of the message's own."""
        self.held += 1
        try:
            return await super().forward(call)
        finally:
            self.held -= 1

    @asynccontextmanager
    async def _admitted(self, inner: Envelope, *, known: bool) -> AsyncIterator[Passage]:
        del known
        if self.held > self.connections:
            self.leases.refused += 1
            raise ConnectionExcess("connection excess", retry_after_ms=BLOCK_MS)
        kind = inner.service_class
        self.under_way[kind] = self.under_way.get(kind, 0) + 1
        try:
            yield Passage()
        finally:
            self.under_way[kind] -= 1


class LegacyCs(CommunicationServer):
    """Excess, or a time-out in a search, discards every message, and the CS shuts itself for a minute."""

    def __init__(self, world: World, crypto: Crypto, municipality: str, backlog: Backlog) -> None:
        super().__init__(world, crypto, municipality, backlog)
        self._blocked_until = 0.0
        self._inside: dict[asyncio.Task[object], None] = {}

    async def handle(self, envelope: Envelope) -> Reply:
        """As the CS of today, until the first trouble."""
        task = asyncio.current_task()
        if envelope.name == AskHealth.NAME or task is None:
            return await super().handle(envelope)
        if asyncio.get_running_loop().time() < self._blocked_until:
            raise Unavailable("the CS is blocked")
        self._inside[task] = None
        try:
            reply = await super().handle(envelope)
        except TryAgain as error:
            self._judge(envelope, error.code)
            raise
        except asyncio.CancelledError:
            if asyncio.get_running_loop().time() < self._blocked_until:
                raise Unavailable("the CS discarded the message") from None
            raise
        else:
            self._judge(envelope, reply.error.code if reply.error else "")
            return reply
        finally:
            self._inside.pop(task, None)

    async def _before_retry(self, error: TryAgain, waiting: Waiting) -> None:
        """No retries: the clerk was told to try again."""
        del waiting
        raise error

    def _judge(self, envelope: Envelope, code: str) -> None:
        if code == ConnectionExcess.code or (code == DeadlinePassed.code and envelope.name in SEARCHES):
            self._block()

    def _block(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._blocked_until:
            return
        self._blocked_until = loop.time() + BLOCK_MS / 1000
        self.world.log.trouble("cs.blocked", discarded=len(self._inside) - 1, seconds=BLOCK_MS / 1000)
        for other in self._inside:
            if other is not asyncio.current_task():
                other.cancel()
