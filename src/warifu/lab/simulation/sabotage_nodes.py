"""Safeguards removed in nodes, by name: what 2016 did in their place, as far as the documents tell.

Each variant overrides as little of the real node as shows the failure. None of it is in production code.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec

from warifu.contract.center import Opened
from warifu.contract.envelope import Envelope
from warifu.contract.message import Answer
from warifu.domain.admission.leases import Asking, Leases
from warifu.domain.admission.rules import Limits
from warifu.domain.cards.operations import State
from warifu.domain.decision import Decision
from warifu.kernel.errors import Unavailable
from warifu.nodes.base import Call, World
from warifu.nodes.center import Center
from warifu.nodes.cs import CommunicationServer
from warifu.nodes.hsm_pool import HsmPool, _Place
from warifu.nodes.hsm_queue import Job
from warifu.nodes.legacy import LegacyCs
from warifu.nodes.relay import Passage, Relay
from warifu.ports.hsm import HsmCommand, HsmReply
from warifu.ports.store import Snapshot, Update

A = TypeVar("A", bound=Answer)


class Unfenced(HsmPool):
    """F1: nobody asks how long a device has been silent."""

    def _deadline_of(self, command: HsmCommand) -> int:
        del command
        return 1 << 40


class GivesUp(HsmPool):
    """F1: what a fenced worker had is lost."""

    def _repeat(self, job: Job) -> None:
        job.fail(Unavailable("the HSM command failed on too many workers"))


class GrowingName(HsmPool):
    """F3: a worker is used again under a name that grows with each use."""

    async def _start(self, place: _Place) -> bool:
        place.name += f"-{place.failures}"
        return await super()._start(place)

    async def _ask(self, place: _Place, command: HsmCommand, *jobs: Job) -> HsmReply:
        """Kept for the reader: the name is all that changes."""
        return await super()._ask(place, command, *jobs)


class _Everybody(Leases):
    """Whoever comes is let in."""

    def _require_room(self, asking: Asking, now_ms: int, jitter: int) -> None:
        del asking, now_ms, jitter


class Unclassed(Relay):
    """F5: whoever comes is let in."""

    def __init__(self, world: World, hsm: HsmPool, limits: Limits) -> None:
        super().__init__(world, hsm, limits)
        self.leases = _Everybody(limits)


class HandReset(Relay):
    """F2: a timer set and reset by hand; its notice is looked at when the next work begins, before that took anything.

    The reset of a timer in the instant in which it runs out comes too late for the notice, which stays pending.
    """

    _notice = False

    @asynccontextmanager
    async def _admitted(self, inner: Envelope, *, known: bool) -> AsyncIterator[Passage]:
        kind = inner.service_class
        if self._notice:
            self._notice = False
            self.under_way[kind] = self.under_way.get(kind, 0) - 1  # the end of work that never began
        loop = asyncio.get_running_loop()
        timer = loop.call_later(inner.remaining_ms / 1000, loop.call_soon, self._expire)
        async with super()._admitted(inner, known=known) as passage:
            try:
                yield passage
            finally:
                timer.cancel()

    def _expire(self) -> None:
        self._notice = True


class Blocking(LegacyCs):
    """F4: excess or a time-out discards every message, and the CS shuts itself for a minute; of any kind, here."""

    def _judge(self, envelope: Envelope, code: str) -> None:
        del envelope
        if code:
            self._block()


class Unsettling(Center):
    """F6: a write whose end was not heard of is taken for undone; the chip is not asked."""

    async def _counter_step(
        self, call: Call, card: str, rule: Callable[[State], Decision], answer: type[A], begun: Snapshot | None = None
    ) -> A:
        def forgetful(state: State) -> Decision:
            if answer is not Opened or state.operation is None or state.write is None:
                return rule(state)
            operation = msgspec.structs.replace(state.operation, pending_write="")
            decision = rule(State(state.card, operation, None))
            undone = msgspec.structs.replace(state.write, state="undone")
            return msgspec.structs.replace(decision, writes=(*decision.writes, Update(undone)))

        return await super()._counter_step(call, card, forgetful, answer, begun)


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
