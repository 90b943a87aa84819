"""Simulated counters: the terminals' own program in this process, with virtual cards and certificates of their own.

Each municipality has one simulated terminal, named ``terminal-<code>-lab``, that works on many cards at once, as many
terminals would: it speaks to its CS over the wire that every terminal speaks. Only the reader is replaced.
"""

import asyncio
import random
from collections import defaultdict, deque
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, Self

from msgspec import Struct

from warifu.adapters.clock import SystemClock
from warifu.adapters.entropy import SystemEntropy
from warifu.adapters.net.client import NetTransport
from warifu.adapters.net.tls import issue_node_certificate
from warifu.adapters.reader.memory import CardBox, MemoryReader
from warifu.contract.center import OpenOperation
from warifu.contract.codec import decode, encode
from warifu.contract.envelope import Envelope, Reply, ServiceClass
from warifu.contract.terminal import Performed, PerformOperation
from warifu.contract.values import OperationKind, PinName
from warifu.kernel.errors import ConnectionExcess, TryAgain, Unavailable, WarifuError
from warifu.kernel.ids import new_ulid
from warifu.lab.load.cards import Blank
from warifu.lab.load.meter import EXCESS, Meter, MeteredTransport, Sample
from warifu.nodes.base import World
from warifu.nodes.card_trust import CardTrust
from warifu.nodes.terminal import CLASS_OF, Terminal
from warifu.stack import anchors, keys
from warifu.stack.compose import profile_of
from warifu.stack.config import NodeConfig
from warifu.stack.home import Home
from warifu.stack.links import DRIVER, destinations, tls_of

BREAK_S: Final = 0.25
PINS: Final[dict[PinName, str]] = {"text": "1234", "juki": "1234"}
COUNTED: Final[tuple[OperationKind, ...]] = ("setup", "delivery", "pin_reset")
_PULLED_NOW: Final = 0.5
_NEEDS: Final[dict[str, str]] = {"setup": "received", "delivery": "set_up", "pin_reset": "in_use"}
_GIVES: Final[dict[str, str]] = {"setup": "set_up", "delivery": "in_use", "pin_reset": "in_use"}


class LabCard(Struct, frozen=True):
    """A virtual card, where it lies."""

    blank: Blank
    municipality: str


class Shelf:
    """The cards of a run, by municipality and by what can be done with them next."""

    def __init__(self, cards: list[LabCard]) -> None:
        self._free: defaultdict[tuple[str, str], deque[LabCard]] = defaultdict(deque)
        for card in cards:
            self.put(card, "received")

    def put(self, card: LabCard, state: str) -> None:
        """Lay it back."""
        self._free[card.municipality, state].append(card)

    def take(self, place: str, kind: OperationKind) -> LabCard | None:
        """A card of this place on which the operation can be done; None when there is none left."""
        queue = self._free[place, _NEEDS[kind]]
        return queue.popleft() if queue else None

    def left(self, kind: OperationKind) -> int:
        """On how many cards it could be done now."""
        return sum(len(queue) for (_, state), queue in self._free.items() if state == _NEEDS[kind])


class Clerk(Struct, frozen=True, kw_only=True):
    """How the people at the counters behave."""

    patience_s: float = 0.0
    """Refused for want of room, a clerk comes back when told, for so long; 0: the operation is put aside."""
    card_ms: float = 0.0
    """What clerk and card take before each message but the first."""
    tries: int = 12
    """How often an operation is taken up again after a break, before it is left."""
    operation_ms: int = 30_000
    """How long one try may take."""


class Left(Struct, frozen=True):
    """An operation that was not finished."""

    card: LabCard
    kind: OperationKind
    operation_id: str
    opened: bool = False
    """The centre had opened it, and said so: it is half-done. Otherwise its counter never heard that it began."""


class _Quiet:
    """Terminals log to their own disk, which is no part of the load."""

    def info(self, event: str, **fields: str | float) -> None:
        """Nothing."""

    trouble = info


class Counters:
    """The counters of every municipality of a stack. Use as an async context manager."""

    def __init__(self, home: Home, own: NodeConfig, box: CardBox, shelf: Shelf, meter: Meter) -> None:
        self.places = tuple(dict.fromkeys(node.municipality for node in own.topology.node if node.kind == "cs"))
        """Each once, however many workers its CS has."""
        self.shelf = shelf
        self.meter = meter
        self.clerk = Clerk()
        self.under_way = 0
        self.left: dict[str, Left] = {}
        """Operations that were never finished, by their ids."""
        self.opened: set[str] = set()
        """Operations under way that the centre has opened."""
        self._runs: dict[str, asyncio.Task[Performed]] = {}
        self._home, self._own, self._box = home, own, box
        self._clock, self._entropy = SystemClock(), SystemEntropy()
        self._terminals: dict[str, Terminal] = {}
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Make certificates and terminals; connections come with the first message."""
        topology = self._own.topology
        management = next(node for node in topology.node if node.kind == "center")
        certifying = keys.public_key(self._home, management.token_name, "center-signing")
        trust = CardTrust(partial(anchors.read, self._home), profile_of(topology).naming)
        for place in self.places:
            name = f"terminal-{place}-lab"
            await asyncio.to_thread(issue_node_certificate, self._home.tls, name)
            transport = NetTransport(destinations(topology, self._own.book), tls_of(self._home, name))
            self._resources.push_async_callback(transport.aclose)
            metered = _Slowed(MeteredTransport(transport, self.meter, name, place), self)
            world = World(name=name, transport=metered, clock=self._clock, entropy=self._entropy, log=_Quiet())
            self._terminals[place] = Terminal(world, MemoryReader(self._box), f"cs-{place}", certifying, trust)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self._resources.aclose()

    async def serve(self, place: str, kind: OperationKind) -> str:
        """One operation on one card, from opening to closing; ``ok``, a code, or ``no_card``."""
        card = self.shelf.take(place, kind)
        if card is None:
            return "no_card"
        return await self.work_on(card, kind)

    async def work_on(self, card: LabCard, kind: OperationKind) -> str:
        """The same with a card at hand. A break is taken up again; a refusal for want of room, if the clerk waits."""
        return await self._worked_on(Left(card, kind, new_ulid(self._clock.now_ms(), self._entropy.random_bytes(10))))

    async def finish_left(self) -> int:
        """Take up what was left, all at once; how many are still left."""
        async with asyncio.TaskGroup() as group:
            for one in list(self.left.values()):
                group.create_task(self._worked_on(one))
        return len(self.left)

    def break_off(self, dice: random.Random) -> str:
        """One terminal's run ends here, as if its program had died; the clerk takes the operation up again."""
        if not self._runs:
            return ""
        operation_id = dice.choice(list(self._runs))
        self._runs[operation_id].cancel()
        return operation_id

    def pull(self, dice: random.Random) -> str:
        """One card is pulled from its reader now, or loses its power as it saves."""
        taken = sorted(self._box.taken)
        if not taken:
            return ""
        card = dice.choice(taken)
        readers = [terminal.reader for terminal in self._terminals.values()]
        for reader in readers:
            if isinstance(reader, MemoryReader):
                if dice.random() < _PULLED_NOW:
                    reader.pull(card)
                else:
                    reader.pull_at_save(card, 1, written=dice.random() < _PULLED_NOW)
        return card

    async def _worked_on(self, work: Left) -> str:
        card, kind, operation_id = work.card, work.kind, work.operation_id
        self.left.pop(operation_id, None)
        began = self.meter.now_s()
        self.under_way += 1
        outcome = "interrupted"
        try:
            outcome = await self._until_done(card, kind, operation_id, began)
        finally:
            self.under_way -= 1
            took_ms = (self.meter.now_s() - began) * 1000
            self.meter.operations.append(Sample(began, took_ms, kind, outcome, card.municipality))
            if outcome == "ok":
                self.shelf.put(card, _GIVES[kind])
            elif outcome == EXCESS and operation_id not in self.opened:
                self.shelf.put(card, _NEEDS[kind])
            else:
                self.left[operation_id] = Left(card, kind, operation_id, opened=operation_id in self.opened)
            self.opened.discard(operation_id)
        return outcome

    async def _until_done(self, card: LabCard, kind: OperationKind, operation_id: str, began: float) -> str:
        tries, code = 0, EXCESS
        while True:
            try:
                performed = await self._run(card, kind, operation_id)
            except ConnectionExcess as error:
                wait_s = error.retry_after_ms / 1000
                if self.meter.now_s() + wait_s - began > self.clerk.patience_s:
                    return EXCESS
            except TryAgain as error:
                tries += 1
                wait_s, code = BREAK_S * min(tries, 8) * (0.5 + random.random()), error.code  # noqa: S311 - jitter
            except WarifuError as error:
                return error.code
            else:
                if performed.outcome == "done":
                    return "ok"
                tries += 1
                wait_s, code = BREAK_S, performed.outcome
            if tries > self.clerk.tries:
                return code
            await asyncio.sleep(wait_s)

    async def _run(self, card: LabCard, kind: OperationKind, operation_id: str) -> Performed:
        """One run of a terminal over the operation. ``Unavailable`` when it was broken off."""
        task = self._runs[operation_id] = asyncio.create_task(self._perform(card, kind, operation_id))
        try:
            await asyncio.wait({task})
        finally:
            del self._runs[operation_id]
            task.cancel()
        if task.cancelled():
            raise Unavailable("the terminal went away")
        return task.result()

    async def _perform(self, card: LabCard, kind: OperationKind, operation_id: str) -> Performed:
        service_class: ServiceClass = CLASS_OF.get(kind, "delivery")
        pins = ("text",) if kind == "pin_reset" else ()
        request = PerformOperation(
            kind=kind,
            card_id=card.blank.card_id,
            reset_pins=pins,  # type: ignore[arg-type]  # names of PINs
            new_pins=PINS,
        )
        envelope = Envelope(
            name=PerformOperation.NAME,
            operation_id=operation_id,
            step="lab",
            sender=DRIVER,
            service_class=service_class,
            ordering_key=card.blank.card_id,
            remaining_ms=self.clerk.operation_ms,
            actor="lab",
            body=encode(request),
        )
        reply = await self._terminals[card.municipality].handle(envelope)
        return decode(Performed, reply.body or b"")


class _Slowed:
    """What clerk and card take passes before each message but the opening."""

    def __init__(self, inner: MeteredTransport, counters: Counters) -> None:
        self._inner = inner
        self._counters = counters

    async def call(self, destination: str, envelope: Envelope) -> Reply:
        """See ``Transport``."""
        card_ms = self._counters.clerk.card_ms
        if card_ms and envelope.name != OpenOperation.NAME:
            await asyncio.sleep(card_ms / 1000)
        reply = await self._inner.call(destination, envelope)
        if envelope.name == OpenOperation.NAME and reply.error is None:
            self._counters.opened.add(envelope.operation_id)
        return reply
