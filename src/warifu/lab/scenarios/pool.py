"""The ``hsm`` scenario: callers, the real HSM pool, and workers that stall, lag, lie and die (F1, F2).

The pool runs in a process of its own as in a node. Callers have deadlines of every length, go away in the middle, and
know what each answer must be, so that an answer meant for another is seen.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from warifu.adapters.hsm.engine import Engine
from warifu.adapters.hsm.software import StoredKey
from warifu.kernel.errors import Unavailable, WarifuError
from warifu.lab.properties import Property
from warifu.lab.scenarios.pool_properties import (
    AttemptsUsed,
    CallsEnd,
    Fenced,
    Proved,
    Replaced,
    ReturnedFirst,
    SlowOut,
)
from warifu.lab.scenarios.scenario import Safeguard, Scenario
from warifu.lab.simulation.devices import SimulatedDevice, SimulatedFactory, device, digest_of
from warifu.lab.simulation.keys import Deal, FixtureCrypto, SeededEntropy
from warifu.lab.simulation.loop import Process
from warifu.lab.simulation.sabotage_nodes import pool_class
from warifu.lab.simulation.world import World
from warifu.nodes.hsm_answers import NoSuchKey
from warifu.nodes.hsm_pool import Dump, PoolLimits
from warifu.ports import hsm

SIZE: Final = 3
QUEUE: Final = 6
DEFAULT_SIZE: Final = 12
"""Callers."""
COMMANDS: Final = (1, 3, 6, 25)
DEADLINES_MS: Final = (5, 60, 500, 2_000, 2_100, 6_000, 30_000)
PATIENT_MS: Final = 30_000
SNAPPED_SHARE: Final = 0.2
"""Of drawn delays: what matters here happens in the instants of timers."""
PACED_SHARE: Final = 8
PACE_MS: Final = 50
PACED: Final = 500
"""One run in so many has a worker that is slow from its birth and somebody who asks steadily, so long that it shows."""
ALL_SLOW_SHARE: Final = 3
"""Of these, in one of so many all workers are."""
CANCELLED_SHARE: Final = 5
"""One caller in so many goes away in the middle."""
SESSIONS: Final = 2
STEADY_MS: Final = 2_500
"""Short: workers that lived so long are fenced too, and come back without a pause."""
LIMITS: Final = PoolLimits(queue=QUEUE, sessions=SESSIONS, history=8, dumps=4, steady_ms=STEADY_MS)
MAC, AGREE, WRAP = "lab-mac", "lab-agree", "lab-wrap"


class Question(Struct, frozen=True):
    """A command and what its answer must be."""

    command: hsm.HsmCommand
    fits: Callable[[hsm.HsmReply], bool]


class PoolTrial:
    """Callers over one pool."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._paced = not world.plan.tight and world.plan.seed % PACED_SHARE == 0
        world.snap_within_ms, world.snapped_share = 6_000, 0.0 if self._paced else SNAPPED_SHARE
        self._device = device(Deal(), ((MAC, "mac"), (AGREE, "agree"), (WRAP, "wrap")))
        self._factory = SimulatedFactory(world, self._device, told=True)
        self._factory.slow_from_birth = range(1, 1 + self._slow())
        world.lasts_ms = 10 * PACED * PACE_MS
        pool = pool_class(world.plan.without)
        self.pool = pool(self._factory, "relay-1/hsm", SIZE, limits=LIMITS, on_fence=self._told)
        self._closed = False
        self._asking = 0
        self._running = world.loop.create_task(self._run(), name="pool", context=Process("relay-1").context)
        self._reference: Engine[StoredKey] = Engine(SimulatedDevice(Deal(), self._device.keys))
        self._sessions = self._agree()
        self._met: set[bytes] = set()
        world.look = self._look

    def _slow(self) -> int:
        if not self._paced:
            return 0
        return SIZE if self._world.plan.seed // PACED_SHARE % ALL_SLOW_SHARE == 1 else 1

    def _agree(self) -> list[hsm.OpenMessageSession]:
        """As many message sessions as the pool keeps, known to the reference."""
        crypto = FixtureCrypto(SeededEntropy(self._world.plan.seed, "sessions"), Deal())
        public = self._device.public_key(AGREE)
        made = []
        for number in range(SESSIONS):
            session = bytes([number]) * 16
            opening = hsm.OpenMessageSession(AGREE, session, crypto.agree(public, session).encapsulation, session)
            self._reference.perform(opening)
            made.append(opening)
        return made

    async def _run(self) -> None:
        try:
            await self.pool.run()
        finally:
            if not self._closed:
                self._world.violated("timers run", "the pool ended")

    def _told(self, dump: Dump) -> None:
        if dump.reason == "slow" and not self._another_is_quick(dump.worker):
            self._world.violated("when all are slow, all stay", f"{dump.worker} was fenced beside none that is quick")
        detail = f"worker={dump.worker} reason={dump.reason} commands={len(dump.commands)}"
        self._world.record("log", "relay-1", outcome="trouble hsm.fenced", detail=detail)

    def _another_is_quick(self, name: str) -> bool:
        now = self._world.loop.time()
        places = (place for place in self.pool._places if place.name != name)  # noqa: SLF001 - its own measure
        return any(place.admitted and not place.slow(now, LIMITS.slow_median_ms) for place in places)

    # -- callers

    async def drive(self) -> None:
        """Every caller asks; after the storm the pool serves everybody; then it closes."""
        size = self._world.plan.size or DEFAULT_SIZE
        async with asyncio.TaskGroup() as group:
            for number in range(size):
                group.create_task(self._caller(number + 1), name=f"caller {number + 1}")
            if self._paced:
                group.create_task(self._pace(0))
                group.create_task(self._pace(1))
        await self._calm()
        async with asyncio.TaskGroup() as group:
            for number in range(SIZE + 1):
                group.create_task(self._served(f"after.{number + 1}"))
        await self._close()

    async def _pace(self, caller: int) -> None:
        for turn in range(PACED):
            step = f"{90 + caller}.{turn}"
            await self._ask(step, self._mac(step), PATIENT_MS)
            await asyncio.sleep(PACE_MS / 1000)

    async def _calm(self) -> None:
        """Until the storm is over and what it left has had time to recover."""
        await self._world.healed.wait()
        self._world.snapped_share = 0.0  # an answer that waits for a timer may come after its deadline
        await asyncio.sleep(15)

    async def _served(self, step: str) -> None:
        outcome = await self._ask(step, self._mac(step), PATIENT_MS)
        if outcome != "ok":
            self._world.violated("its work is done elsewhere", f"{step} after the storm: {outcome}")

    async def _caller(self, number: int) -> None:
        world = self._world
        await asyncio.sleep(world.delay_ms(0, 400) / 1000)
        for turn in range(COMMANDS[world.pick(len(COMMANDS))]):
            step, deadline_ms = f"{number}.{turn + 1}", DEADLINES_MS[world.pick(len(DEADLINES_MS))]
            asking = asyncio.create_task(self._ask(step, self._question(step), deadline_ms), name=f"call {step}")
            if not world.pick(CANCELLED_SHARE):
                world.later(world.delay_ms(0, 300), asking.cancel)
            await asyncio.wait({asking})
            await asyncio.sleep(world.delay_ms(0, 20) / 1000)

    async def _ask(self, step: str, question: Question, deadline_ms: int) -> str:
        world, name = self._world, type(question.command).__name__
        node = f"caller-{step.partition('.')[0]}"
        full = self.pool.health().queued >= QUEUE
        digest = digest_of(question.command)
        world.record("invoke", node, peer="hsm", step=step, name=name, digest=digest, detail=str(deadline_ms))
        outcome = "gone"
        self._asking += 1
        try:
            reply = await self.pool.call(question.command, deadline_ms)
            outcome = "ok"
            if not question.fits(reply):
                world.violated("no answer reaches another caller", f"{step} {name} got another answer")
        except WarifuError as error:
            outcome = _outcome(error)
        finally:
            self._asking -= 1
            world.record("answer", node, peer="hsm", step=step, name=name, outcome=outcome)
        if full is not (outcome == "hsm.full"):
            world.violated("bounded queues", f"{step}: {outcome}, though the queue was {'' if full else 'not '}full")
        if outcome == NoSuchKey.code and "nothing" not in repr(question.command):
            world.violated("no answer reaches another caller", f"{step} {name} was refused")
        return outcome

    # -- questions

    def _question(self, step: str) -> Question:
        kind = self._world.pick(8)
        if kind == 0:
            return self._wrap(step)
        if kind == 1:
            command = hsm.Mac("nothing", step.encode())
            return Question(command, lambda _: False)
        if kind in {2, 3, 4}:
            return self._encrypt(step)
        return self._mac(step)

    def _mac(self, step: str) -> Question:
        command = hsm.Mac(MAC, step.encode())
        right = self._reference.perform(command)
        return Question(command, lambda reply: reply == right)

    def _wrap(self, step: str) -> Question:
        data = step.encode()

        def fits(reply: hsm.HsmReply) -> bool:
            opened = self._reference.perform(hsm.Unwrap(WRAP, reply.data if isinstance(reply, hsm.Bytes) else b"", b""))
            return opened == hsm.Bytes(data)

        return Question(hsm.Wrap(WRAP, data, b""), fits)

    def _encrypt(self, step: str) -> Question:
        opening = self._sessions[self._world.pick(len(self._sessions))]
        self.pool.message_session(opening.label, opening.session, opening.encapsulation, opening.info)
        self._met.add(opening.session)
        if len(self.pool._sessions) != len(self._met):  # noqa: SLF001 - forgetting shows nowhere else
            self._world.violated("as many sessions as the limits say are kept", f"not {len(self._met)}")
        if next(reversed(self.pool._sessions), b"") != opening.session:  # noqa: SLF001 - the order shows nowhere else
            self._world.violated("the session forgotten first is the one used longest ago", opening.session.hex())
        command = hsm.EncryptMessage(opening.session, bytes(12), b"", step.encode())
        right = self._reference.perform(command)
        return Question(command, lambda reply: reply == right)

    # -- looking

    def _look(self) -> None:
        """Nothing more happens at this instant: then nobody waits beside a free worker, and the queue is bounded."""
        health = self.pool.health()
        if health.queued > QUEUE + SIZE:  # what fenced workers left comes on top
            self._world.violated("bounded queues", f"{health.queued} commands wait")
        if health.queued > self._asking:
            self._world.violated("what is held is given back", f"{health.queued} wait, for {self._asking} callers")
        if self._asking > health.queued + self._factory.working():
            self._world.violated("no job is lost", f"{self._asking} callers, {health.queued} wait, the rest is nowhere")
        if health.queued and health.ready > self._factory.busy():
            self._world.violated("no job waits beside a free worker", f"{health.queued} wait")
        if len(self.pool.dumps()) > LIMITS.dumps:
            self._world.violated("bounded queues", f"{len(self.pool.dumps())} dumps are kept")

    async def _close(self) -> None:
        """The pool ends: workers are killed, what waits is refused at once, what comes later too."""
        waiting = {
            asyncio.create_task(self._ask(f"last.{n + 1}", self._mac(f"last.{n}"), PATIENT_MS)) for n in range(QUEUE)
        }
        await asyncio.sleep(0.001)
        self._closed = True
        self._running.cancel()
        await asyncio.wait({self._running})
        _, left = await asyncio.wait(waiting, timeout=0.001)
        if left:
            self._world.violated("a closed pool refuses", f"{len(left)} callers still wait for a closed pool")
        try:
            await self.pool.call(hsm.Mac(MAC, b"late"), 1_000)
        except Unavailable:
            return
        self._world.violated("a closed pool refuses", "a closed pool took a command")

    def settled(self) -> bool:
        """Nothing waits."""
        return self.pool.health().queued == 0

    async def conclude(self) -> None:
        """Nothing: ``drive`` asked everything."""

    def state(self) -> object:
        """How many are ready, busy, waiting."""
        health = self.pool.health()
        return health.ready, health.queued, health.reasons, self._factory.busy()


def _outcome(error: WarifuError) -> str:
    """The code; the three reasons of ``Unavailable`` told apart by their words."""
    if not isinstance(error, Unavailable):
        return error.code
    return {
        "too many HSM commands wait": "hsm.full",
        "the HSM command failed on too many workers": "hsm.gave_up",
    }.get(str(error), error.code)


def _properties() -> tuple[Property, ...]:
    """Of the pool alone: no messages pass here."""
    return (
        Fenced(LIMITS, SIZE),
        Proved(LIMITS),
        SlowOut(LIMITS),
        CallsEnd(),
        AttemptsUsed(LIMITS.attempts),
        ReturnedFirst(),
        Replaced(LIMITS),
    )


POOL: Final = Scenario(
    "hsm",
    PoolTrial,
    _properties,
    safeguards=(
        Safeguard("hsm-fencing", "a worker that does not answer by its deadline is replaced", ("F1",)),
        Safeguard("work-elsewhere", "the command of a fenced worker goes to another", ("F1",)),
    ),
)
