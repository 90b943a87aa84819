"""Connections taken from the driver's pool once and kept, so that a statement costs no acquiring and no releasing.

The driver's own way to give a connection back makes a task, a shield and a deadline: for a statement that takes a
tenth of a millisecond that was half of what the client had to do. Statements here commit by themselves and leave no
state in a connection, so there is nothing to reset. What failed, was cancelled or died goes through the pool, which
knows how to tell a server to stop and makes another.
"""

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg

from warifu.kernel.errors import Unavailable

if TYPE_CHECKING:
    Connection = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]

FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""What the driver raises. Its "internal" error is what a server killed in the middle of an answer looks like."""


class KeptConnections:
    """At most ``size`` connections of a pool; who finds none idle waits in line.

    Args:
        pool: whose connections they are; nobody else takes any.
        size: of the pool.
        waiting: callers in line; the next is refused at once.
        within_s: how long a caller waits, making a connection included.
    """

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", size: int, waiting: int, within_s: float) -> None:
        self._pool = pool
        self._size = size
        self._most_waiting = waiting
        self._within_s = within_s
        self._taken = 0
        self._idle: list[Connection] = []
        self._dead: list[Connection] = []
        self._line: deque[asyncio.Future[Connection | None]] = deque()
        self._waiting = 0

    def idle(self) -> "Connection | None":
        """A living connection that nobody uses, the one used last; None when ``take`` has to be awaited."""
        while self._idle:
            connection = self._idle.pop()
            if _living(connection):
                return connection
            self._dead.append(connection)
        return None

    async def take(self) -> "Connection":
        """A connection: idle, made anew, or the next that is given back.

        Raises:
            Unavailable: too many wait.
            TimeoutError: none in time (one of ``FAILURES``, like all that the driver raises).
        """
        if self._waiting >= self._most_waiting:
            raise Unavailable("too many calls wait for a connection to the database")
        self._waiting += 1
        try:
            async with asyncio.timeout(self._within_s):
                while (connection := self.idle() or await self._made_or_next()) is None:
                    pass
                return connection
        finally:
            self._waiting -= 1

    def give_back(self, connection: "Connection") -> None:
        """It did its work: the first in line gets it."""
        if not self._hand(connection):
            self._idle.append(connection)

    async def abandon(self, connection: "Connection") -> None:
        """Its statement failed or was cancelled.

        A server that still works on it is told to stop; one that does not obey in time loses the connection (asyncpg
        closes it), and what made us give up counts, not this.
        """
        try:
            with suppress(*FAILURES):
                await self._pool.release(connection, timeout=self._within_s)
        finally:
            self._taken -= 1
            self._hand(None)

    async def close(self) -> None:
        """Give all back to the pool, those at work when they are done; none is made any more."""
        self._size = 0
        while self._taken:
            connection = self.idle() or await self._made_or_next()
            if connection is not None:
                await self.abandon(connection)

    async def _made_or_next(self) -> "Connection | None":
        """None: look again."""
        if self._dead:
            await self.abandon(self._dead.pop())
            return None
        if self._taken < self._size:
            return await self._made()
        return await self._next()

    async def _made(self) -> "Connection":
        self._taken += 1
        try:
            return await self._pool.acquire()
        except BaseException:
            self._taken -= 1
            self._hand(None)
            raise

    async def _next(self) -> "Connection | None":
        turn: asyncio.Future[Connection | None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.cancelled() or not turn.done():
                self._line.remove(turn)
            elif (connection := turn.result()) is None:
                self._hand(None)  # the room that was meant for this caller
            else:
                self.give_back(connection)
            raise

    def _hand(self, connection: "Connection | None") -> bool:
        """To the first in line: a connection, or room to make one. Whether there was anybody."""
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(connection)
                return True
        return False


def _living(connection: "Connection") -> bool:
    """Whether it can be used; the driver takes a lost one out of our hands, which shows as an error."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False
