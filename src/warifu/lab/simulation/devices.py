"""Simulated HSMs: the real engine over keys in memory, and workers that stall, lag, lie and die.

A worker is a pipe, as a real process is: answers come in the order of the commands. Whoever stops waiting for an answer
and asks again without a new worker reads the answer to the old question.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from warifu.adapters.crypto import private_bytes
from warifu.adapters.hsm.device import KEY_BYTES
from warifu.adapters.hsm.engine import Engine
from warifu.adapters.hsm.errors import Rejection
from warifu.adapters.hsm.software import SoftwareDevice, StoredKey, _parse_key
from warifu.kernel.errors import Unavailable
from warifu.lab.simulation.keys import Deal, SeededEntropy, derive_p256, fixture_rsa
from warifu.lab.simulation.loop import PROCESS
from warifu.nodes import hsm_pool
from warifu.ports import hsm

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

LATE_MS: Final = (1_900, 9_000)
"""Around and beyond the pool's 2 s for a command."""
SLOW_MS: Final = (60, 400)
QUICK_MS: Final = (0, 2)
SPAWN_MS: Final = (1, 50)
UNKNOWN_SESSION: Final = hsm.Rejected("hsm.unknown_session")
NEVER_MS: Final = 60_000
HANGS_SHARE: Final = 4
"""Of silent workers, one in so many does not die of its signal either (a driver holds it in the kernel)."""


class SimulatedDevice(SoftwareDevice):
    """The software device without its folder: keys follow from their labels, RSA keys come from the fixtures.

    Args:
        deal: where RSA keys are dealt from.
        keys: those that are there already (shared by copies of one device, never changed).
    """

    def __init__(self, deal: Deal, keys: dict[str, StoredKey] | None = None) -> None:
        self.deal = deal
        self.keys = dict(keys or {})
        self.entropy = SeededEntropy(0, "device")
        self._generation = 0
        self.opened: dict[tuple[bytes, bytes], str] = {}
        """Which message came under which session and nonce."""

    def create(self, label: str, purpose: hsm.Purpose) -> None:
        """Make the key unless it is there."""
        if label not in self.keys:
            self.keys[label] = _parse_key(purpose, self._material(label, purpose))
        self.find(label, purpose)

    def rekey(self, label: str, purpose: hsm.Purpose) -> None:
        """Another key of the same name from now on: workers that come later know no other."""
        self._generation += 1
        self.keys[label] = _parse_key(purpose, self._material(f"{label}#{self._generation}", purpose))

    def _material(self, label: str, purpose: hsm.Purpose) -> bytes:
        if purpose == "sign":
            return fixture_rsa(self.deal.next()).private_key
        seed = hashlib.sha512(f"warifu lab key {label}".encode()).digest()
        return private_bytes(derive_p256(seed)) if purpose == "agree" else seed[: KEY_BYTES[purpose]]

    def _load(self, label: str) -> StoredKey:  # type: ignore[override]  # the base keeps a cache of files in its place
        if label not in self.keys:
            raise Rejection("hsm.no_such_key", "no key of this name")
        return self.keys[label]

    def random(self, count: int) -> bytes:
        """``count`` bytes, by the seed."""
        return self.entropy.random_bytes(count)

    def close(self) -> None:
        """Nothing is cached."""


class SimulatedWorker:
    """One worker; see the module."""

    def __init__(self, name: str, number: int, factory: "SimulatedFactory") -> None:
        self.name = name
        self.number = number
        self.pid = 0
        self.dead = False
        self.slow = False
        self.asked = False
        """Whether somebody waits for it now."""
        self.working = False
        """Whether it is for somebody's command, not for a self-test."""
        self.beside = 0
        """Commands it was given together with the one it works on."""
        self.proved = False
        self._stalled = False
        self._factory = factory
        self.process = PROCESS.get()
        self._world = factory.world
        self._engine = Engine(factory.device)
        self._answers: deque[asyncio.Future[hsm.HsmReply]] = deque()

    async def call(self, command: hsm.HsmCommand) -> hsm.HsmReply:
        """See ``ports.hsm.HsmWorker``."""
        self._tell("command", command)
        if self.dead:
            raise Unavailable("the worker is dead")
        self._answers.append(asyncio.get_running_loop().create_future())
        self._take(command, self._answers[-1])
        oldest, self.asked, self.working = self._answers[0], True, not isinstance(command, hsm.SelfTest)
        try:
            reply = await oldest
        finally:
            self.asked = self.working = False
        self.proved = True
        if self._answers and self._answers[0] is oldest:
            self._answers.popleft()
        self._tell("answer", command)
        return reply

    async def call_all(self, commands: Sequence[hsm.HsmCommand]) -> Sequence[hsm.HsmReply]:
        """See ``ports.hsm.HsmWorker``: each with faults of its own."""
        if len(commands) > hsm_pool.MESSAGES_AT_ONCE:
            self._world.violated("bounded queues", f"{self.name} got {len(commands)} commands with one wake-up")
        for command in commands[1:]:
            self._tell("beside", command)
        if len(commands) > 1 and any(id(command) in self._factory.vain for command in commands):
            self._world.violated("what went with others in vain goes alone", f"{self.name} got it together again")
        self.beside = len(commands) - 1
        replies: list[hsm.HsmReply] = []
        try:
            for command in commands:
                replies += [await self.call(command)]
            return replies
        finally:
            self.beside = 0
            unanswered = [*replies, *[UNKNOWN_SESSION] * (len(commands) - len(replies))]
            vain = (each for each, reply in zip(commands, unanswered, strict=True) if reply == UNKNOWN_SESSION)
            self._factory.vain |= {id(command): command for command in vain}

    async def kill(self) -> None:
        """See ``ports.hsm.HsmWorker``."""
        self.dead = True  # the signal goes out at once; that it ended is waited for
        if self._factory.workers.pop(self.number, None) is not None and self.process is not None:
            self._world.workers[self.process] -= 1
        self._tell("kill")
        hangs = self._stalled and not self._world.dice.calm and not self._world.pick(HANGS_SHARE)
        await asyncio.sleep(NEVER_MS / 1000 if hangs else self._world.delay_ms(*QUICK_MS) / 1000)
        self._tell("gone")

    def _check_nonce(self, command: hsm.HsmCommand) -> None:
        """Who seals messages for a device uses a counter once (what the device seals, it may be asked twice)."""
        if isinstance(command, hsm.DecryptMessage):
            first = self._factory.device.opened.setdefault((command.session, command.nonce), digest_of(command))
            if first != digest_of(command):
                self._world.violated("a nonce is used once", f"session {command.session.hex()[:8]}")

    def _take(self, command: hsm.HsmCommand, answer: "asyncio.Future[hsm.HsmReply]") -> None:
        world, name = self._world, self.name
        self._check_nonce(command)
        if self._factory.stalls:
            self._factory.stalls -= 1
            self._stalled = True
        if self._stalled or self._factory.sick or world.strikes("hsm_stall", name):
            self._stalled = True
            return
        if world.strikes("hsm_die", name):
            world.later(world.delay_ms(*QUICK_MS), self._die, answer)
            return
        reply = self._wrong(command) if world.strikes("hsm_wrong", name) else self._right(command)
        world.later(self._delay_ms(), self._give, answer, reply)

    def _delay_ms(self) -> int:
        world = self._world
        self.slow = self.slow or world.strikes("hsm_slow", self.name)
        if world.strikes("hsm_late", self.name):
            return world.delay_ms(*LATE_MS)
        return world.delay_ms(*(SLOW_MS if self.slow and self._stays_slow() else QUICK_MS))

    def _stays_slow(self) -> bool:
        return not self._world.dice.calm or self.number in self._factory.slow_from_birth

    def _right(self, command: hsm.HsmCommand) -> hsm.HsmReply:
        if self._factory.signing is not None and isinstance(command, hsm.Sign | hsm.SignMany):
            for text in command.data if isinstance(command, hsm.SignMany) else (command.data,):
                self._factory.signing(text)
        # A device's own known answers would cost 50 ms of real time for each new worker; its health is simulated.
        return hsm.Done() if isinstance(command, hsm.SelfTest) else self._engine.perform(command)

    def _wrong(self, command: hsm.HsmCommand) -> hsm.HsmReply:
        """An answer that is none: of another kind, or of another length."""
        if isinstance(command, hsm.SelfTest):
            return hsm.Rejected("hsm.rejected")
        right = self._engine.perform(command)
        if isinstance(right, hsm.Bytes) and not isinstance(command, hsm.PublicKey | hsm.CreateKey):
            return (hsm.Bytes(right.data[:-1]), hsm.Bytes(right.data + b"\0"), hsm.Done())[self._world.pick(3)]
        return hsm.ChannelKeys(b"", b"", b"", b"")

    @staticmethod
    def _give(answer: "asyncio.Future[hsm.HsmReply]", reply: hsm.HsmReply) -> None:
        if not answer.done():
            answer.set_result(reply)

    def _die(self, answer: "asyncio.Future[hsm.HsmReply]") -> None:
        self.dead = True
        if not answer.done():
            answer.set_exception(Unavailable("the worker died"))

    def _tell(self, what: str, command: hsm.HsmCommand | None = None) -> None:
        if self._factory.told:
            kind = "" if command is None else type(command).__name__
            digest = "" if command is None else digest_of(command)
            self._world.record("hsm", self.name, outcome=what, name=kind, step=str(self.number), digest=digest)


class SimulatedFactory:
    """Workers of one device.

    Args:
        world: the simulated world.
        device: where the keys are.
        told: whether what workers do goes into the history.
    """

    def __init__(self, world: "World", device: SimulatedDevice, *, told: bool = False) -> None:
        self.world = world
        self.device = device
        self.told = told
        self.sick = False
        """Whether the device answers no worker at all."""
        self.signing: Callable[[bytes], None] | None = None
        """Told of each text that is signed, as that is done."""
        self.stalls = 0
        """How many of the next commands silence their worker."""
        self.slow_from_birth = range(0)
        """Which workers are slow from their birth; the first is number 1."""
        self.vain: dict[int, hsm.HsmCommand] = {}
        """Commands that a worker got together with others, and did not do: it died, or had not their session."""
        self.workers: dict[int, SimulatedWorker] = {}
        """Those that were not killed."""
        self._spawned = 0

    async def spawn(self, name: str) -> SimulatedWorker:
        """See ``ports.hsm.HsmFactory``."""
        world = self.world
        if self.told:
            world.record("hsm", name, outcome="starting")
        if world.strikes("hsm_spawn", name):
            if world.pick(2):
                await asyncio.sleep(NEVER_MS / 1000)
            raise Unavailable("the device is not there")
        await asyncio.sleep(world.delay_ms(*SPAWN_MS) / 1000)
        self._spawned += 1
        worker = SimulatedWorker(name, self._spawned, self)
        worker.slow = self._spawned in self.slow_from_birth
        self.workers[worker.number] = worker
        if worker.process is not None:
            world.workers[worker.process] += 1
        if self.told:
            world.record("hsm", name, outcome="spawn", step=str(worker.number))
        return worker

    def working(self) -> int:
        """Somebody's commands that workers have."""
        return sum(worker.working + worker.beside for worker in self.workers.values())

    def busy(self) -> int:
        """Workers that have proved themselves and that somebody waits for."""
        return sum(worker.asked and worker.proved for worker in self.workers.values())


def digest_of(command: hsm.HsmCommand) -> str:
    """Tells commands apart in a history, without their data."""
    return hashlib.sha256(msgspec.msgpack.encode(command)).hexdigest()[:16]


def device(deal: Deal, keys: Iterable[tuple[str, hsm.Purpose]]) -> SimulatedDevice:
    """A device with these keys."""
    made = SimulatedDevice(deal)
    for label, purpose in keys:
        made.create(label, purpose)
    return made
