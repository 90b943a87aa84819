"""Commands that wait for a worker of an HSM pool."""

import asyncio
from collections import deque
from typing import Final

from warifu.kernel.errors import Unavailable
from warifu.ports import hsm
from warifu.ports.hsm import HsmCommand, HsmReply

MESSAGES: Final = (hsm.DecryptMessage, hsm.EncryptMessage)
"""Commands of which a worker gets several with one wake-up."""


class Job:
    """A command that waits for its answer, and the operation on whose behalf it is done."""

    def __init__(self, command: HsmCommand, attempts: int, operation_id: str = "") -> None:
        self.command = command
        self.operation_id = operation_id
        self.attempts_left = attempts
        self.repeated = False
        self.answer: asyncio.Future[HsmReply] = asyncio.get_running_loop().create_future()

    @property
    def goes_with_others(self) -> bool:
        """Whether a worker may get it together with others: not once it was with a worker that failed."""
        return isinstance(self.command, MESSAGES) and not self.repeated

    def give(self, reply: HsmReply) -> None:
        """Its answer, unless the caller has gone."""
        if not self.answer.done():
            self.answer.set_result(reply)

    def fail(self, error: Exception) -> None:
        """What came instead."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Queue:
    """First in, first out; what a fenced worker left comes first. Nothing is lost if a waiting taker is cancelled.

    Of several that wait, the one that came last is woken: its worker is still warm.
    """

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._takers: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: Job) -> None:
        """At the end."""
        self._jobs.append(job)
        self._wake()

    def more_messages(self, most: int) -> list[Job]:
        """Those at the head that go with others; nobody is overtaken."""
        found: list[Job] = []
        while self._jobs and len(found) < most and self._jobs[0].goes_with_others:
            found.append(self._jobs.popleft())
        return found

    def put_back(self, job: Job) -> None:
        """At the head."""
        self._jobs.appendleft(job)
        self._wake()

    def drop(self, job: Job) -> None:
        """Its caller has gone."""
        if job in self._jobs:
            self._jobs.remove(job)

    def first(self) -> Job:
        """Without waiting: there is one."""
        return self._jobs.popleft()

    async def take(self) -> Job:
        """The first, as soon as there is one."""
        while not self._jobs:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._takers.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn in self._takers:
                    self._takers.remove(turn)
                elif self._jobs:
                    self._wake()  # what this taker was woken for
                raise
        return self._jobs.popleft()

    def fail_all(self, text: str) -> None:
        """All that wait."""
        while self._jobs:
            self._jobs.popleft().fail(Unavailable(text))

    def _wake(self) -> None:
        while self._takers:
            turn = self._takers.pop()
            if not turn.done():
                turn.set_result(None)
                return
