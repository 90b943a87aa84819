"""The simulated network: requests and replies between machines by name, and everything that can befall them."""

import asyncio
import hashlib
from collections.abc import Collection
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol

import msgspec

from warifu.contract.envelope import Envelope, Reply
from warifu.contract.errors import error_body
from warifu.contract.relay import AskRelayKey
from warifu.kernel.errors import DeadlinePassed, Fault, KeyReused, Unavailable, Unreachable, WarifuError
from warifu.lab.history import DIGEST_SHOWN
from warifu.lab.properties import OPEN_APPLET, SameAnswer, changes
from warifu.lab.simulation import asked_again, cancelled
from warifu.lab.simulation.asked_once import ECHO, FAILED
from warifu.lab.simulation.loop import PROCESS, Process
from warifu.nodes import under_way

if TYPE_CHECKING:
    from warifu.lab.simulation.world import Machine, World

SLOW_MS = 5000
ECHO_MS = (20, 8_000)
ECHO_TIME_MS = 20_000
MADE_ANEW = frozenset({OPEN_APPLET, "center.write"})
"""Scripts: made anew for each channel, and no more once their card write has ended."""
DUE_MS: ContextVar[int | None] = ContextVar("due_ms", default=None)
"""When the request being answered is due, in the loop's milliseconds."""
OWN_TIME = frozenset({"cs", "health", "authorities", "certificate"})
"""Steps of a node's own questions, which others wait for too: they have a time of their own."""


class Balancer(Protocol):
    """Decides which machines of a destination get messages."""

    @property
    def rotation(self) -> Collection[str]:
        """The machines that get messages now."""


class Exchange:
    """One call: a request on its way, and the future of its reply."""

    def __init__(self, sender: str, destination: str, envelope: Envelope, sent_ms: int) -> None:
        self.sender = sender
        self.destination = destination
        self.envelope = envelope
        self.sent_ms = sent_ms
        self.reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.only: Machine | None = None
        """The one machine that is meant, whatever the destination's others do."""
        self.is_echo = False
        """Whether it was answered before, and nobody waits for it."""
        self.loses_answer = False
        """Whether the connection breaks once it was handled."""
        self.left_behind = False
        """Whether it lies in some queue on the way while its sender has given it up."""
        self.peer: Machine | None = None
        self.peer_process: Process | None = None

    @property
    def of_outbox(self) -> tuple[str, str, str]:
        """As an outbox would name it."""
        return self.destination, self.envelope.operation_id, self.envelope.step

    def fields(self) -> dict[str, str]:
        """Its identity, for the history."""
        envelope = self.envelope
        return {
            "operation_id": envelope.operation_id,
            "step": envelope.step,
            "name": envelope.name,
            "ordering_key": envelope.ordering_key,
        }


class Network:
    """Carries every message of a world."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._apart: dict[frozenset[str], int] = {}
        self._drivers: list[str] = []
        self._under_way: dict[Exchange, None] = {}
        self._left: dict[tuple[str, str, str], None] = {}
        self._refused: dict[tuple[str, str, str], None] = {}
        self._taken: dict[tuple[Process | None, tuple[str, str, str]], None] = {}
        """Messages of an outbox whose good answer their sender has had."""
        self._answered: dict[tuple[str, str, str, str], None] = {}
        """Requests that change something, and were answered well."""
        self._seen: dict[str, None] = {}
        """Names of messages that somebody has sent in the storm."""
        self.breaks_first: dict[str, bool] = {}
        """Names whose first message breaks whatever the dice say, and whether it is handled all the same."""
        self.messages = 0
        self._served = 0
        self.balancers: dict[str, Balancer] = {}
        """Who decides which machines of a destination get messages; without one, all that are up do."""

    # -- who can reach whom

    def join(self, driver: str) -> None:
        """A sender that is no machine: it can be cut off, but not killed."""
        self._drivers.append(driver)

    def names(self) -> list[str]:
        """All who send or answer."""
        return [*self._world.machines, *self._drivers]

    def part(self, one: str, other: str, duration_ms: int) -> None:
        """Keep two apart for a while: what is on its way between them is lost, and nobody says so."""
        pair = frozenset((one, other))
        self._apart[pair] = self._apart.get(pair, 0) + 1
        self._world.fault("partition", one, other, f"{duration_ms} ms")
        self._world.later(duration_ms, self._rejoin, pair)

    def _rejoin(self, pair: frozenset[str]) -> None:
        self._apart[pair] = max(0, self._apart.get(pair, 0) - 1)

    def rejoin_all(self) -> None:
        """No partition is left."""
        self._apart.clear()

    def _together(self, one: str, other: str) -> bool:
        return not self._apart.get(frozenset((one, other)), 0)

    def _instances(self, exchange: Exchange) -> "list[Machine]":
        sender, destination = exchange.sender, exchange.destination
        balancer = self.balancers.get(destination)
        if exchange.only is not None:
            return [exchange.only] if exchange.only.up and self._together(sender, exchange.only.name) else []
        return [
            machine
            for machine in self._world.machines.values()
            if machine.destination == destination
            and machine.up
            and self._together(sender, machine.name)
            and (balancer is None or machine.name in balancer.rotation)
        ]

    # -- the sender's side

    async def call(self, sender: str, destination: str, envelope: Envelope) -> Reply:
        """See ``ports.transport.Transport.call``."""
        return await self._call(Exchange(sender, destination, envelope, self._world.loop.now_ms))

    async def ask(self, sender: str, machine: "Machine", envelope: Envelope) -> Reply:
        """The same, but to this machine and no other of its destination."""
        exchange = Exchange(sender, machine.destination, envelope, self._world.loop.now_ms)
        exchange.only = machine
        return await self._call(exchange)

    async def _call(self, exchange: Exchange) -> Reply:
        sender, destination, envelope = exchange.sender, exchange.destination, exchange.envelope
        cancelled.asks(self._world, envelope.name)
        asked_again.asks(self._world, sender, destination, envelope)
        due_ms = DUE_MS.get()
        if due_ms is not None and envelope.step not in OWN_TIME and exchange.sent_ms + envelope.remaining_ms > due_ms:
            late_ms = exchange.sent_ms + envelope.remaining_ms - due_ms
            text = f"{sender} gives {envelope.name} {envelope.step} {late_ms} ms more than it has itself"
            self._world.violated("time left is lowered at every hop", text)
        digest = envelope.digest().hex()[:DIGEST_SHOWN]
        self._world.record(
            "send", sender, peer=destination, digest=digest, detail=envelope.service_class, **exchange.fields()
        )
        self._check_room(exchange)
        self._check_once(exchange)
        self._under_way[exchange] = None
        self._world.busy(+1)
        try:
            async with asyncio.timeout(envelope.remaining_ms / 1000):
                self._send(exchange)
                reply = await exchange.reply
                if reply.error is not None and reply.error.kind == "try_again":
                    asked_again.told_to_come_back(destination, envelope)
                if reply.error is None and exchange.of_outbox in self._left:
                    self._taken[PROCESS.get(), exchange.of_outbox] = None
                return reply
        except TimeoutError:
            self._failed(exchange, DeadlinePassed.code)
            raise DeadlinePassed(f"{envelope.name} to {destination}") from None
        except WarifuError as error:
            self._failed(exchange, error.code)
            raise
        finally:
            self._over(exchange)

    def left(self, destination: str, operation_id: str, step: str) -> None:
        """A message stands in an outbox: whoever sends it keeps to an outbox's limits."""
        self._left[destination, operation_id, step] = None

    def stands_again(self, sender: Process | None) -> None:
        """A sender could not take answered messages out of its outbox: it may send them once more."""
        for message in [each for each in self._taken if each[0] is sender]:
            del self._taken[message]

    def _check_once(self, exchange: Exchange) -> None:
        """Who has the answer to a message of its outbox takes it out, and sends it no more."""
        if (PROCESS.get(), exchange.of_outbox) in self._taken:
            text = f"{exchange.sender} sends {exchange.envelope.name} {exchange.envelope.step} again"
            self._world.violated("what was answered leaves the outbox", text)

    def _check_room(self, exchange: Exchange) -> None:
        """What a node may have under way at once: one agreement of a session, so many messages of its outbox."""
        sender, destination, name = exchange.sender, exchange.destination, exchange.envelope.name
        beside = [other for other in self._under_way if other.sender == sender and other.destination == destination]
        if name == AskRelayKey.NAME and any(other.envelope.name == name for other in beside):
            self._world.violated("a session is agreed once", f"{sender} asks for the key beside itself")
        if exchange.of_outbox not in self._left:
            return
        trying = sum(other.of_outbox in self._left and other.of_outbox not in self._refused for other in beside)
        if trying >= under_way.OUTBOX_AT_ONCE and exchange.of_outbox not in self._refused:
            text = f"{sender} sends {trying + 1} messages to {destination} at once, not {under_way.OUTBOX_AT_ONCE}"
            self._world.violated("bounded queues", text)

    def _failed(self, exchange: Exchange, code: str) -> None:
        asked_again.told_to_come_back(exchange.destination, exchange.envelope)
        self._world.record("fail", exchange.sender, peer=exchange.destination, outcome=code, **exchange.fields())

    def _over(self, exchange: Exchange) -> None:
        if self._under_way.pop(exchange, exchange) is None:
            self._world.busy(-1)

    def _send(self, exchange: Exchange) -> None:
        world, sender, destination = self._world, exchange.sender, exchange.destination
        instances = self._instances(exchange)
        if not instances or world.strikes("unreachable", sender, destination):
            world.later(world.latency_ms(), self._fail, exchange, Unreachable(f"no connection to {destination}"))
            return
        if world.strikes("lose_request", sender, destination):
            return
        if self._first(exchange) or world.strikes("cut_before", sender, destination):
            world.later(world.latency_ms(), self._fail, exchange, Unavailable("the connection broke"))
            return
        if world.strikes("cut_early", sender, destination):
            exchange.left_behind = bool(world.pick(2))
            world.later(world.latency_ms(), self._fail, exchange, Unavailable("the connection broke"))
        exchange.peer = instances[world.pick(len(instances))]
        exchange.peer_process = exchange.peer.process
        self._carry(exchange, exchange.peer)
        if world.strikes("duplicate", sender, destination):
            self._carry(exchange, instances[world.pick(len(instances))])

    def _first(self, exchange: Exchange) -> bool:
        """Whether this one, the first of its name, does not arrive; or its answer may be what does not."""
        name, sender, destination = exchange.envelope.name, exchange.sender, exchange.destination
        if name in self.breaks_first:
            self._world.fault("first", sender, destination)
            exchange.loses_answer = self.breaks_first.pop(name)
            return not exchange.loses_answer
        if name in self._seen or self._world.dice.calm:
            return False
        self._seen[name] = None
        if not self._world.strikes("first", sender, destination):
            return False
        exchange.loses_answer = bool(self._world.pick(2))
        return not exchange.loses_answer

    def _carry(self, exchange: Exchange, machine: "Machine") -> None:
        self._world.busy(+1)
        travel_ms = self._world.delay_ms(1, SLOW_MS) if exchange.left_behind else self._travel_ms(exchange.sender)
        self._world.later(travel_ms, self._deliver, exchange, machine, machine.process)

    def _travel_ms(self, sender: str) -> int:
        world = self._world
        return world.delay_ms(1, SLOW_MS) if world.strikes("slow", sender) else world.latency_ms()

    # -- the receiver's side

    def _deliver(self, exchange: Exchange, machine: "Machine", process: Process) -> None:
        self._world.busy(-1)
        left_ms = exchange.envelope.remaining_ms - (self._world.loop.now_ms - exchange.sent_ms)
        if not process.alive or left_ms <= 0 or not self._together(exchange.sender, machine.name):
            return  # who waits for a dead process was told when it died
        self.messages += 1
        self._world.record("deliver", machine.name, peer=exchange.sender, **exchange.fields())
        envelope = msgspec.structs.replace(exchange.envelope, remaining_ms=left_ms)
        name = f"{machine.name} {envelope.name} {envelope.operation_id[-4:]}/{envelope.step}"
        self._world.spawn(self._serve(exchange, machine, envelope), name, process.context.copy())

    async def _serve(self, exchange: Exchange, machine: "Machine", envelope: Envelope) -> None:
        """What every server does around a node: the deadline, and errors as replies."""
        if machine.node is None:
            raise Fault(f"{machine.name} serves while it is down")
        begun_ms, serving, task = self._world.loop.now_ms, machine.serving, asyncio.current_task()
        deadline = asyncio.timeout(envelope.remaining_ms / 1000)
        serving[envelope.name] += 1
        machine.handling[task] = None
        DUE_MS.set(begun_ms + envelope.remaining_ms)
        FAILED.set([])
        ECHO.set(exchange.is_echo)
        self._served += 1
        number = f"#{self._served}"
        self._world.record("begin", machine.name, peer=exchange.sender, detail=number, **exchange.fields())
        try:
            async with deadline:
                reply = await machine.node.handle(envelope)
        except TimeoutError:
            if not deadline.expired():
                raise
            reply = Reply(error=error_body(DeadlinePassed(envelope.name)))
        except WarifuError as error:
            if isinstance(error, Fault):
                self._world.violated("no fault", f"{machine.name} {envelope.name}: {error.code} {error}")
            reply = Reply(error=error_body(error))
        finally:
            serving[envelope.name] -= 1
            machine.handling.pop(task, None)
        late_ms = self._world.loop.now_ms - begun_ms - envelope.remaining_ms
        if late_ms > 0:
            self._world.violated("waits end", f"{machine.name} {envelope.name} ended {late_ms} ms after its deadline")
        self._answer(exchange, machine, reply, number)

    def _answer(self, exchange: Exchange, machine: "Machine", reply: Reply, number: str) -> None:
        world = self._world
        outcome = reply.error.code if reply.error else "ok"
        digest = "" if reply.body is None else _shown(reply.body)
        fields = {"outcome": outcome, "digest": digest, "detail": number, **exchange.fields()}
        world.record("reply", machine.name, peer=exchange.sender, **fields)
        if unseen := world.looks.answered(machine.destination, exchange.envelope, reply):
            world.violated("every look is audited before it is answered", unseen)
        self._same_as_before(exchange, reply)
        self._may_come_again(exchange, machine, outcome)
        if world.strikes("lose_reply", machine.name, exchange.sender):
            return
        if exchange.loses_answer or world.strikes("cut_after", machine.name, exchange.sender):
            world.later(world.latency_ms(), self._fail, exchange, Unavailable("the connection broke"))
            return
        world.later(self._travel_ms(machine.name), self._resolve, exchange, machine.name, reply)

    def _same_as_before(self, exchange: Exchange, reply: Reply) -> None:
        """What was answered is not refused when it comes once more, unless it is another request under the same key."""
        envelope = exchange.envelope
        if not changes(envelope.name) or envelope.name in MADE_ANEW:
            return
        request = (exchange.destination, envelope.name, envelope.operation_id, envelope.step)
        if reply.error is None:
            self._answered[request] = None
        elif reply.error.kind == "refused" and reply.error.code != KeyReused.code and request in self._answered:
            text = f"{envelope.name} {envelope.step} was answered, and is {reply.error.code}"
            self._world.violated(SameAnswer.name, text)

    def _may_come_again(self, exchange: Exchange, machine: "Machine", outcome: str) -> None:
        """A copy that lay on the way, or who asked was killed before it had noted the answer: asked once more, late."""
        world, envelope = self._world, exchange.envelope
        if exchange.is_echo or outcome != "ok" or not changes(envelope.name) or envelope.name == OPEN_APPLET:
            return
        is_kept = machine.name.partition("-")[0] == envelope.name.partition(".")[0]
        if not (is_kept and world.strikes("echo", machine.name)):
            return
        delay_ms = world.delay_ms(*ECHO_MS)
        copy = msgspec.structs.replace(envelope, remaining_ms=ECHO_TIME_MS)
        echo = Exchange(exchange.sender, exchange.destination, copy, world.loop.now_ms + delay_ms)
        echo.is_echo = True
        world.busy(+1)
        world.later(delay_ms, self._come_again, echo)

    def _come_again(self, echo: Exchange) -> None:
        instances = self._instances(echo)
        if not instances:
            self._world.busy(-1)
            return
        machine = instances[self._world.pick(len(instances))]
        self._deliver(echo, machine, machine.process)

    def _resolve(self, exchange: Exchange, replier: str, reply: Reply) -> None:
        if self._together(exchange.sender, replier) and not exchange.reply.done():
            self.messages += 1
            if reply.error is not None and reply.error.kind == "refused":
                self._refused[exchange.of_outbox] = None
            exchange.reply.set_result(reply)

    def _fail(self, exchange: Exchange, error: WarifuError) -> None:
        if exchange in self._under_way and not exchange.reply.done():
            exchange.reply.set_exception(error)

    def lost(self, machine: "Machine") -> None:
        """A machine died: who waits for it sees its connection break; who it waited for is not told."""
        for exchange in list(self._under_way):
            if exchange.sender == machine.name:
                self._over(exchange)
            elif exchange.peer_process is machine.process:
                delay_ms = self._world.latency_ms()
                self._world.later(delay_ms, self._fail, exchange, Unavailable(f"{machine.name} is gone"))


def _shown(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:DIGEST_SHOWN]


class Link:
    """One machine's end of the network: implements ``ports.transport.Transport``."""

    def __init__(self, network: Network, name: str) -> None:
        self._network = network
        self._name = name

    async def call(self, destination: str, envelope: Envelope) -> Reply:
        """See ``ports.transport.Transport.call``."""
        return await self._network.call(self._name, destination, envelope)
