"""Safeguards removed in nodes, by name: what 2016 did in their place, as far as the documents tell.

Each variant overrides as little of the real node as shows the failure. None of it is in production code.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec

from warifu.contract.center import Opened
from warifu.contract.envelope import Envelope, Reply
from warifu.contract.message import Answer
from warifu.domain.cards.operations import State
from warifu.domain.decision import Decision
from warifu.kernel.errors import ConnectionExcess, TryAgain, Unavailable
from warifu.nodes.base import Call
from warifu.nodes.center import Center
from warifu.nodes.cs import CommunicationServer
from warifu.nodes.hsm_pool import HsmPool, _Job, _Place
from warifu.nodes.relay import Relay
from warifu.ports.hsm import HsmCommand, HsmReply
from warifu.ports.store import Update

A = TypeVar("A", bound=Answer)

BLOCK_MS = 60_000
"""How long a CS of 2016 shut itself."""


class Unfenced(HsmPool):
    """F1: nobody asks how long a device has been silent."""

    def _deadline_of(self, command: HsmCommand) -> int:
        del command
        return 1 << 40


class GivesUp(HsmPool):
    """F1: what a fenced worker had is lost."""

    def _repeat(self, job: _Job) -> None:
        job.fail(Unavailable("the HSM command failed on too many workers"))


class GrowingName(HsmPool):
    """F3: a worker is used again under a name that grows with each use."""

    async def _start(self, place: _Place) -> bool:
        place.name += f"-{place.failures}"
        return await super()._start(place)

    async def _ask(self, place: _Place, command: HsmCommand) -> HsmReply:
        """Kept for the reader: the name is all that changes."""
        return await super()._ask(place, command)


class Unclassed(Relay):
    """F5: whoever comes is let in."""

    @asynccontextmanager
    async def _admitted(self, inner: Envelope) -> AsyncIterator[None]:
        kind = inner.service_class
        self.under_way[kind] = self.under_way.get(kind, 0) + 1
        try:
            yield
        finally:
            self.under_way[kind] -= 1


class HandReset(Relay):
    """F2: a timer set and reset by hand; its notice is looked at when the next work begins, before that took anything.

    The reset of a timer in the instant in which it runs out comes too late for the notice, which stays pending.
    """

    _notice = False

    @asynccontextmanager
    async def _admitted(self, inner: Envelope) -> AsyncIterator[None]:
        kind = inner.service_class
        if self._notice:
            self._notice = False
            self.under_way[kind] = self.under_way.get(kind, 0) - 1  # the end of work that never began
        loop = asyncio.get_running_loop()
        timer = loop.call_later(inner.remaining_ms / 1000, loop.call_soon, self._expire)
        async with super()._admitted(inner):
            try:
                yield
            finally:
                timer.cancel()

    def _expire(self) -> None:
        self._notice = True


class Blocking(CommunicationServer):
    """F4: excess or a time-out discards every message, and the CS shuts itself for a minute."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # as the real one
        self._blocked_until = 0.0
        self._inside: dict[asyncio.Task[object], None] = {}

    async def handle(self, envelope: Envelope) -> Reply:
        """As the real one, until the first trouble."""
        now, task = asyncio.get_running_loop().time(), asyncio.current_task()
        if now < self._blocked_until:
            raise Unavailable("the CS is blocked")
        if task is None:
            return await super().handle(envelope)
        self._inside[task] = None
        try:
            reply = await super().handle(envelope)
            if reply.error is not None and reply.error.code == ConnectionExcess.code:
                self._block()
        except TryAgain:
            self._block()
            raise
        except asyncio.CancelledError:
            raise Unavailable("the CS discarded the message") from None
        else:
            return reply
        finally:
            self._inside.pop(task, None)

    def _block(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._blocked_until:
            return
        self._blocked_until = loop.time() + BLOCK_MS / 1000
        for other in self._inside:
            if other is not asyncio.current_task():
                other.cancel()


class Unsettling(Center):
    """F6: a write whose end was not heard of is taken for undone; the chip is not asked."""

    async def _counter_step(self, call: Call, card: str, rule: Callable[[State], Decision], answer: type[A]) -> A:
        def forgetful(state: State) -> Decision:
            if answer is not Opened or state.operation is None or state.write is None:
                return rule(state)
            operation = msgspec.structs.replace(state.operation, pending_write="")
            decision = rule(State(state.card, operation, None))
            undone = msgspec.structs.replace(state.write, state="undone")
            return msgspec.structs.replace(decision, writes=(*decision.writes, Update(undone)))

        return await super()._counter_step(call, card, forgetful, answer)


def without_health(relay: Relay, without: Sequence[str]) -> Relay:
    """The relay, or one whose health is that its port answers (F14)."""
    if "health-by-work" in without:
        relay.parts = dict  # type: ignore[method-assign]  # nothing to exercise
    return relay


def pool_class(without: Sequence[str]) -> type[HsmPool]:
    """The HSM pool, or what is left of it."""
    variants: dict[str, type[HsmPool]] = {
        "hsm-fencing": Unfenced,
        "work-elsewhere": GivesUp,
        "constant-size-log": GrowingName,
    }
    return next((variants[name] for name in without if name in variants), HsmPool)


def relay_class(without: Sequence[str]) -> type[Relay]:
    """The relay, or what is left of it."""
    variants: dict[str, type[Relay]] = {"operation-admission": Unclassed, "cancel-safe-expiry": HandReset}
    return next((variants[name] for name in without if name in variants), Relay)


def center_class(without: Sequence[str]) -> type[Center]:
    """The centre, or what is left of it."""
    return Unsettling if "tally-settling" in without else Center


def cs_class(without: Sequence[str]) -> type[CommunicationServer]:
    """The CS, or what is left of it."""
    return Blocking if "lanes-not-block" in without else CommunicationServer
