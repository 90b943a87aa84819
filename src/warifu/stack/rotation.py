"""Which relays are in rotation: add, drain and replace them while counters are open (F13, F14).

Nothing that is under way is lost: a node that leaves gets no new connections, its callers are asked to connect anew and
finish what they have in flight, and only then it ends. What breaks all the same is sent again by the CS, under its key.
Whenever a node has joined, the others let go of the connections that they have too much (``stack.spreading``).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import msgspec

from warifu.contract.health import Work
from warifu.kernel.errors import NotAllowed, NotFound, TryAgain, WarifuError
from warifu.stack.addresses import Address
from warifu.stack.balancer import Runtime
from warifu.stack.canary import ENOUGH, CanaryFailed, between, complaints, together
from warifu.stack.errors import first_error
from warifu.stack.orders import Done, Order, Say
from warifu.stack.spreading import Pace, Standing, steady, surplus
from warifu.stack.topology import Node

EMPTY_WITHIN_S: Final = 15.0
"""How long callers may take to leave; the longest message has ended by then, or is sent again."""
WATCH_EVERY_S: Final = 0.5
BACK_WITHIN_S: Final = 2.5
"""Without a balancer each caller looks for itself whether a node is back, at least so often (``net.limits``)."""
_LOOK_EVERY_S: Final = 0.05
TABLE_EVERY_S: Final = 1.0
"""Between two looks at the balancer's table."""
SPREAD_WITHIN_S: Final = 5.0
"""After an order, callers may take so long to be connected anew; the order does not fail for it."""


class Members(Protocol):
    """What the supervisor does for the rotation."""

    def serving(self) -> tuple[Node, ...]:
        """The nodes of the balanced service, whether or not they do their work."""

    def does_its_work(self, name: str) -> bool:
        """Whether this node does."""

    def address(self, name: str) -> Address:
        """Where it listens."""

    def let_go(self, name: str) -> None:
        """Ask the node's callers to connect anew."""

    async def shed(self, name: str, connections: int) -> int:
        """Ask so many of the node's callers' connections to move; how many were asked."""

    async def join(self, node: Node) -> None:
        """Start a node that is new to the stack; returns when it does its work."""

    async def restart(self, node: Node) -> None:
        """End the node of this name in order and start it anew with these settings; returns when it does its work."""

    def work(self, name: str) -> Work:
        """What a node has done since it started, by its last health answer."""

    async def leave(self, name: str) -> None:
        """End a node in order and forget it."""

    async def settled(self) -> None:
        """Write down who is in rotation, for a balancer that starts anew."""


class Rotation:
    """Carries out orders, one after another.

    Args:
        members: the supervisor.
        runtime: HAProxy's admin socket; None without a balancer.
    """

    def __init__(self, members: Members, runtime: Runtime | None) -> None:
        self._members = members
        self._runtime = runtime
        self._one_at_a_time = asyncio.Lock()
        self.draining: set[str] = set()
        """For the agent: HAProxy is told again with each of its questions."""
        self.table: dict[str, Standing] = {}
        """By HAProxy, at the last look."""
        self._pace = Pace()

    async def obey(self, order: Order, say: Say) -> Done:
        """Carry an order out.

        Raises:
            NotFound: no such relay.
            NotAllowed: no other relay does its work, or there is no balancer that could lead to a new one.
        """
        verbs: dict[str, Callable[[Order, Say], Awaitable[Done]]]
        verbs = {"add": self._add, "drain": self._drain, "replace": self._replace, "roll": self._roll}
        began = time.monotonic()
        async with self._one_at_a_time:
            done = await verbs[order.verb](order, say)
        return msgspec.structs.replace(done, rotation=self._names(), seconds=round(time.monotonic() - began, 3))

    async def keep_spread(self) -> None:
        """Look at the balancer's table each second, and spread connections when a node has joined; for ever."""
        while self._runtime is not None:
            try:
                self.table = await self._runtime.table()
                much = surplus(steady(self.table))
                if much and self._pace.ready(time.monotonic()) and not self._one_at_a_time.locked():
                    self._pace.moved(time.monotonic())
                    await self._shed(much)
            except TryAgain:
                self.table = {}  # the balancer is away: its keeper tells of it, and makes another
            await asyncio.sleep(TABLE_EVERY_S)

    async def _shed(self, much: Mapping[str, int]) -> None:
        for name, connections in much.items():
            if name in self._names():
                await self._members.shed(name, connections)

    async def _add(self, order: Order, say: Say) -> Done:
        if self._runtime is None:
            raise NotAllowed("no balancer runs: a new relay would be reached by nobody; set balancer.kind to 'haproxy'")
        model = self._members.serving()[0]
        name = order.name or _free_name(model.kind, self._names())
        if name.partition("-")[0] != model.kind or name in self._names():
            raise NotAllowed(f"{name!r}: a new node is called {model.kind}-… and no other is")
        node = msgspec.structs.replace(model, name=name, service=model.service_name, port=0)
        say(f"starting {name}")
        await self._members.join(node)
        await self._runtime.add(name, self._members.address(name))
        await self._members.settled()
        await self._spread(say)
        return Done(name, (), "until the next `warifu up`: the topology file does not know it")

    async def _drain(self, order: Order, say: Say) -> Done:
        name = order.name
        self._require(name)
        await self._empty(name, say)
        say(f"ending {name}")
        await self._members.leave(name)
        if self._runtime is not None:
            await self._runtime.remove(name)
        self.draining.discard(name)
        await self._members.settled()
        return Done(name, (), "until the next `warifu up`: the topology file still has it")

    async def _replace(self, order: Order, say: Say) -> Done:
        self._require(order.name)
        await self._swap(self._node(order.name), say)
        return Done(order.name, ())

    async def _roll(self, order: Order, say: Say) -> Done:
        """One first; the others when it does well beside them, or it goes back (F13)."""
        now = {node.name: node for node in self._members.serving()}
        fresh = {name: _changed(node, order) for name, node in now.items()}
        first = order.name or next(iter(now))
        self._require(first)
        try:
            await self._swap(fresh[first], say)
            seen = await self._watch(first, order.watch_s, say)
        except (WarifuError, BaseExceptionGroup) as error:
            say(f"{first} goes back")
            await self._swap(now[first], say)
            raise CanaryFailed(f"{first}: {first_error(error)}; it has its old settings again") from error
        for name, node in fresh.items():
            if name != first:
                self._require(name)
                await self._swap(node, say)
        few = "" if seen.done >= ENOUGH else f"only {seen.done} messages passed while {first} was watched"
        return Done(first, (), few)

    async def _watch(self, first: str, seconds: float, say: Say) -> Work:
        """What the first did while it was watched. ``CanaryFailed`` at the first sign that it does worse."""
        names = self._names()
        before = {name: self._members.work(name) for name in names}
        end = time.monotonic() + seconds
        while True:
            done = {name: between(before[name], self._members.work(name)) for name in names}
            others = together([work for name, work in done.items() if name != first])
            worse = complaints(done[first], others)
            if not self._members.does_its_work(first):
                worse = (*worse, "it stopped doing its work")
            if worse:
                raise CanaryFailed("; ".join(worse))
            left = end - time.monotonic()
            if left <= 0:
                return done[first]
            say(f"watching {first}: {done[first].done} messages, {left:.0f} s to go")
            await asyncio.sleep(min(WATCH_EVERY_S, left))

    async def _swap(self, node: Node, say: Say) -> None:
        """Drain a node, end it, start it anew with these settings, and let callers come back to it."""
        name = node.name
        await self._empty(name, say)
        say(f"ending {name} and starting it anew")
        await self._members.restart(node)
        self.draining.discard(name)
        if self._runtime is None:
            say("waiting until callers have come back")
            await asyncio.sleep(BACK_WITHIN_S)
        else:
            await self._runtime.ready(name)
            await self._spread(say)

    def _node(self, name: str) -> Node:
        return next(node for node in self._members.serving() if node.name == name)

    def _require(self, name: str) -> None:
        if name not in self._names():
            raise NotFound(f"{name!r} is not in rotation: {', '.join(self._names())} are")
        if not any(self._members.does_its_work(other) for other in self._names() if other != name):
            raise NotAllowed(f"no relay but {name} does its work: add one first")

    async def _empty(self, name: str, say: Say) -> None:
        """Until nobody is connected to it, or in time; without a balancer its end asks callers to go."""
        if self._runtime is None:
            return
        say(f"draining {name}")
        self.draining.add(name)
        await self._runtime.drain(name)
        self._members.let_go(name)
        deadline = time.monotonic() + EMPTY_WITHIN_S
        while await self._runtime.connections(name) and time.monotonic() < deadline:  # noqa: ASYNC110 - another program
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _spread(self, say: Say) -> None:
        """Connections stay where they are until they are made anew: some are asked to, and are given a moment."""
        if self._runtime is None:
            return
        say("spreading connections")
        deadline = time.monotonic() + SPREAD_WITHIN_S
        asked = False
        while time.monotonic() < deadline:
            self.table = await self._runtime.table()
            much = surplus(steady(self.table, 0))
            if not much:
                return
            if not asked:
                await self._shed(much)
                asked = True
            await asyncio.sleep(_LOOK_EVERY_S)

    def _names(self) -> tuple[str, ...]:
        return tuple(node.name for node in self._members.serving())


def _changed(node: Node, order: Order) -> Node:
    """A node with the settings an order gives it. ``NotAllowed`` when that needs more than the node's new start."""
    fresh = next((one for one in order.changed if one.name == node.name), node)
    kept = msgspec.structs.replace(fresh, policies=node.policies, port=node.port)
    if node.hsm is not None and fresh.hsm is not None:
        kept = msgspec.structs.replace(kept, hsm=msgspec.structs.replace(fresh.hsm, workers=node.hsm.workers))
    if kept != node:
        raise NotAllowed(f"{node.name}: only policies and hsm.workers change while the stack runs")
    return msgspec.structs.replace(fresh, port=node.port)


def _free_name(kind: str, taken: tuple[str, ...]) -> str:
    return next(f"{kind}-{number}" for number in range(1, len(taken) + 2) if f"{kind}-{number}" not in taken)
