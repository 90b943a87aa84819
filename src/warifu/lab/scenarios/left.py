"""The ``left`` scenario: a CS's lanes, retries and what is left over, alone, with cards that many ask about at once.

In place of the way to the centre stands a judge: of each card one message at a time, what is left over before what came
after it and in its order, retries at the pace that was promised, and nothing for those who have gone.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Struct

from warifu.adapters.backlog import MemoryBacklog
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope, Reply, ServiceClass
from warifu.contract.errors import error_body
from warifu.domain.cards.errors import WriteNotSettled
from warifu.kernel.errors import ConnectionExcess, DeadlinePassed, TryAgain, Unavailable, WarifuError
from warifu.kernel.ids import card_id
from warifu.lab.scenarios.core import envelope, injected
from warifu.lab.scenarios.small import small
from warifu.lab.simulation.keys import Deal, FixtureCrypto, SeededEntropy
from warifu.lab.simulation.world import World
from warifu.nodes.cs import CommunicationServer

ASKERS: Final = 24
FEW: Final = 4
"""In every second run: so few have budget enough to come to the end of their time."""
CARDS: Final = 3
LEFT: Final = 4
"""Most that an earlier process left."""
PLACE: Final = "131016"
FACT: Final = "center.confirm"
NAMES: Final = (FACT, FACT, FACT, "center.card", "center.close")
LASTS_MS: Final = 2_000
PATIENCE_MS: Final = (80, 400, 3_000, 20_000)
FEW_PATIENCE_MS: Final = (3_000, 20_000)
WAY_MS: Final = (1, 30)
BACK_MS: Final = (1, 300)
GOING: Final = 4
"""One asker in so many goes away."""
WELL: Final = (9, 5, 2, 0)
"""By the run: of ten messages, how many get through."""
DELIVERED_MS: Final = 60_000
CLASSES: Final[tuple[ServiceClass, ...]] = ("delivery", "setup", "change", "bulk")
MOMENT_MS: Final[dict[ServiceClass, int]] = {"change": 3_000, "delivery": 3_000, "setup": 1_500, "bulk": 1_500}
"""The promise: so long what finds no room may wait here, unseen; then the clerk is told when to come back."""
TRAVELS_MS: Final = 50
"""The promise: a try is not begun when less than this would be left of the time for its answer."""
FIRST_PAUSE_MS: Final = 100
LONGEST_PAUSE_MS: Final = 2_000
"""The promise: a retry waits for half of this to all of it, twice as much each time, or as the refuser asked."""
PLACES: Final = "a place is refused when all are taken, and not before"
Request = tuple[str, str]


class _Try(Struct):
    """How a message was tried last."""

    first_ms: int
    count: int
    ended_ms: int
    asked_ms: int
    """How long the refuser asked to wait."""
    known: bool
    is_full: bool = False
    """Whether there was no room for it."""

    @property
    def pause_ms(self) -> int:
        """The longest wait before the next."""
        return max(self.asked_ms, min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS << (self.count - 1)))


class _Server(CommunicationServer):
    """A CS whose way to the centre is the judge's."""

    judge: "_Judge"

    async def _send(self, envelope: Envelope, deadline: float) -> Reply:
        del deadline
        return await self.judge.sent(envelope)


class _Judge:
    """See the module."""

    def __init__(self, world: World) -> None:
        self.left: defaultdict[str, list[Request]] = defaultdict(list)
        """By card, in order: what nobody waits for any more."""
        self._world = world
        self._awaited: set[Request] = set()
        self._tries: dict[Request, _Try] = {}
        self._busy: set[str] = set()
        self._well = WELL[world.pick(len(WELL))]

    async def asked(self, server: _Server, message: Envelope) -> None:
        """Somebody asks, and may not hear how it ended."""
        request, is_known = (message.operation_id, message.step), False
        due_ms = self._world.loop.now_ms + message.remaining_ms
        is_full = len(self._awaited) >= server.max_waiting
        self._awaited.add(request)
        try:
            await server.handle(message)
        except WarifuError as error:
            is_known = isinstance(error, ConnectionExcess)  # it was not done, and whoever asked comes again
            if isinstance(error, TryAgain) and not isinstance(error, DeadlinePassed) and server.budget.tokens >= 1:
                self._given_up(message, due_ms)
        finally:
            self._awaited.discard(request)
            tried = self._tries.pop(request, None)
            if is_full is not (is_known and tried is None):
                what = "finds a place" if is_full else "finds none"
                self._bad(PLACES, f"{message.step} {what} beside {len(self._awaited)} of {server.max_waiting}")
            if message.name == FACT and tried is not None and not (tried.known or is_known):
                self.left[message.ordering_key].append(request)

    async def sent(self, message: Envelope) -> Reply:
        """In the centre's place."""
        request, key = (message.operation_id, message.step), message.ordering_key
        is_left = request not in self._awaited
        self._in_order(request, key, is_left=is_left)
        tried = self._tries.get(request) or _Try(self._world.loop.now_ms, 0, 0, 0, known=False)
        if tried.count and not is_left:
            self._paced(request, tried)
            self._in_a_moment(message, tried)
        self._busy.add(key)
        self._tries[request] = trying = _Try(tried.first_ms, tried.count + 1, 0, 0, known=False)
        try:
            await asyncio.sleep(self._world.delay_ms(*WAY_MS) / 1000)
            return self._reply(trying)
        except ConnectionExcess:
            trying.known, trying.is_full = is_left, True
            raise
        finally:
            self._busy.discard(key)
            trying.ended_ms = self._world.loop.now_ms
            if is_left and trying.known:
                self.left[key].remove(request)

    def _reply(self, trying: _Try) -> Reply:
        """What becomes of it."""
        if self._world.pick(10) < self._well or self._world.dice.calm:
            trying.known = True
            return Reply(body=b"")
        match self._world.pick(4):
            case 0:
                trying.asked_ms = self._world.delay_ms(*BACK_MS)
                raise ConnectionExcess("full", retry_after_ms=trying.asked_ms, place_in_line=1)
            case 1:
                trying.known = True
                return Reply(error=error_body(WriteNotSettled("x")))
            case 2:
                return Reply(error=error_body(Unavailable("away")))
        raise Unavailable("the connection broke")

    def _in_order(self, request: Request, key: str, *, is_left: bool) -> None:
        if key in self._busy:
            self._bad("order per card in the CS", f"{request[1]} of {key} is sent beside another")
        left = self.left[key]
        if is_left and left[:1] != [request]:
            self._bad("what is left over keeps its order", f"{request[1]} of {key} is sent, {left} are left")
        if not is_left and left:
            self._bad("what is left over comes first", f"{request[1]} of {key} is sent, {len(left)} before it are left")

    def _paced(self, request: Request, tried: _Try) -> None:
        pause_ms = self._world.loop.now_ms - tried.ended_ms
        if not tried.pause_ms // 2 <= pause_ms <= tried.pause_ms:
            text = f"{request[1]} is tried again after {pause_ms} ms, not {tried.pause_ms // 2} to {tried.pause_ms}"
            self._bad("retries wait longer each time", text)

    def _in_a_moment(self, message: Envelope, tried: _Try) -> None:
        waited_ms = self._world.loop.now_ms - tried.first_ms
        if tried.is_full and waited_ms > MOMENT_MS[message.service_class]:
            self._bad("who finds no room is told in a moment", f"{message.step} is tried again after {waited_ms} ms")

    def _given_up(self, message: Envelope, due_ms: int) -> None:
        """Somebody is told to come back, and there was budget for another try."""
        tried, now_ms = self._tries.get((message.operation_id, message.step)), self._world.loop.now_ms
        if tried is None:
            return
        next_ms = now_ms + tried.pause_ms
        in_time = next_ms + TRAVELS_MS < due_ms
        if in_time and not (tried.is_full and next_ms - tried.first_ms > MOMENT_MS[message.service_class]):
            text = f"{message.step} is given up with {due_ms - now_ms} ms left"
            self._bad("what can still be tried is tried", text)

    def _bad(self, name: str, text: str) -> None:
        self._world.violated(name, text)


async def drive(world: World, size: int) -> None:
    """Askers of a few cards beside what an earlier process left; in the end the centre is well, and all is told."""
    backlog, judge = MemoryBacklog(), _Judge(world)
    for number in range(world.pick(LEFT + 1)):
        message = _message(world, number + 100, FACT, 1_000)
        await backlog.keep(encode(message))
        judge.left[message.ordering_key].append((message.operation_id, message.step))
    server = _Server(injected(world, f"cs-{PLACE}"), FixtureCrypto(SeededEntropy(0, "cs"), Deal()), PLACE, backlog)
    server.judge = judge
    running = asyncio.create_task(server.run())
    async with asyncio.TaskGroup() as group:
        few = FEW_PATIENCE_MS if world.plan.seed % 2 else ()
        for number in range(min(size, FEW) if few else size):
            group.create_task(_one(world, judge, server, number, few or PATIENCE_MS))
    world.dice.calm = True
    end_ms = world.loop.now_ms + DELIVERED_MS
    while server.leftovers or backlog.unsettled():
        if world.loop.now_ms > end_ms:
            text = f"{len(server.leftovers)} are left, {len(backlog.unsettled())} recorded"
            world.violated("what a chip has done is told", text)
        await asyncio.sleep(0.1)
    running.cancel()
    await asyncio.wait({running})
    if server.waiting or server._lanes or server.leftovers._gates:  # noqa: SLF001 - a leak shows nowhere else
        world.violated("what is held is given back", f"{server.waiting} waiting, {len(server._lanes)} lanes")  # noqa: SLF001


async def _one(world: World, judge: _Judge, server: _Server, number: int, patience: Sequence[int]) -> None:
    """One asker, who may go away."""
    await asyncio.sleep(world.delay_ms(0, LASTS_MS) / 1000)
    patience_ms = patience[world.pick(len(patience))]
    message = _message(world, number, NAMES[world.pick(len(NAMES))], patience_ms)
    asking = asyncio.create_task(judge.asked(server, message))
    goes = not world.pick(GOING)
    await asyncio.wait({asking}, timeout=(world.delay_ms(0, patience_ms) if goes else patience_ms) / 1000)
    if goes:
        asking.cancel()
    await asyncio.wait({asking}, timeout=0.001)
    if not asking.done():
        how = "for who is gone" if goes else "after its deadline"
        world.violated("what is given up ends", f"{message.name} {message.step} goes on {how}")
    with suppress(asyncio.CancelledError, TryAgain):
        asking.result()


def _message(world: World, number: int, name: str, remaining_ms: int) -> Envelope:
    key = card_id(1 + world.pick(CARDS))
    asked = envelope(
        name,
        b"",
        number=number,
        step=f"step.{number}",
        sender=f"terminal-{PLACE}-1",
        key=key,
        remaining_ms=remaining_ms,
    )
    kind = CLASSES[number % len(CLASSES)]
    return msgspec.structs.replace(asked, municipality=PLACE, service_class=kind)


LEFTOVERS: Final = small("left", drive, ASKERS)
