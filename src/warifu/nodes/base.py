"""What every node is made of: dispatch by message name, idempotent steps, calls to other nodes, the outbox.

A node is ``async handle(envelope) -> Reply`` plus its timers (``run``) and its word on itself (``health``). A step is

    read state and the remembered answer (one round trip) → pure rule → commit (one guarded statement) → answer

and is repeated from the read when a record moved meanwhile. Nothing is held between read and commit, so a step may be
cancelled, killed or repeated at any await and its effect still happens once.
"""

import asyncio
import hashlib
import itertools
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final, Protocol, TypeVar

import msgspec
from msgspec import Struct

from warifu.contract.callers import may_ask
from warifu.contract.codec import decode, decode_request, encode
from warifu.contract.envelope import Envelope, Reply
from warifu.contract.errors import open_reply
from warifu.contract.health import AskHealth, ChildProcess, Health, Part, Work
from warifu.contract.message import Answer, Request
from warifu.domain.decision import Asked, Decision
from warifu.kernel.errors import DeadlinePassed, Fault, NotAllowed, Refused, Stale, TryAgain, Unavailable, WarifuError
from warifu.kernel.ids import ULID_RANDOM_BYTES, new_ulid
from warifu.nodes.answered import Answered
from warifu.nodes.behalf import OPERATION
from warifu.nodes.under_way import UnderWay
from warifu.ports.clock import Clock
from warifu.ports.entropy import Entropy
from warifu.ports.log import Log
from warifu.ports.store import (
    AuditEntry,
    Change,
    Check,
    Find,
    Get,
    Pending,
    RequestKey,
    Snapshot,
    Store,
    Write,
)
from warifu.ports.transport import Transport

MAX_DECISIONS = 20
"""How often a step decides again because a record moved; then ``Stale`` goes to the caller, who may try again."""
STEP_CHARACTERS: Final = 96
"""What an envelope's step may have (``contract.envelope.Step``)."""
_STEP_DIGEST: Final = 32
"""Hexadecimal digits in the place of a step too long to be kept in front of a part."""
OUTBOX_BATCH = 256
"""New messages looked at in one go."""
OUTBOX_IDLE_S = 0.5
"""Between two looks for what other processes left: where several share an outbox, each sends its own at once."""
SEAL_EVERY_S = 1.0
ANSWERS_KEPT_MS = 7 * 24 * 3600 * 1000
"""How long an answer is remembered. Whoever asks the same again later is asking anew: what must not happen twice even
then is guarded by the records themselves. Answers hold personal data, so none is kept for ever."""
PURGE_EVERY_S = 3600.0
PURGE_BATCH = 1_000
OUTBOX_CALL_MS = 15_000
OUTBOX_BACKOFF_S = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
OUTBOX_REFUSED_BACKOFF_S = (*OUTBOX_BACKOFF_S, 15.0, 60.0)
"""A refusal seldom ends by itself."""
PROBE_S = 2.0
PATH_MS = 1_500
"""Of a probe's time, for what another node answers of itself."""

A = TypeVar("A", bound=Answer)
Q = TypeVar("Q", bound=Request)


class Call(Struct, frozen=True):
    """A request being answered: its envelope, its decoded body, and when it came."""

    envelope: Envelope
    request: Request
    now_ms: int
    deadline: float
    """When its time is up, by the loop's clock: the wall clock may jump."""

    @property
    def operation_id(self) -> str:
        """The one identifier from the click to the chip."""
        return self.envelope.operation_id

    def key(self, node: str) -> RequestKey:
        """Its idempotency key at this kind of node."""
        return RequestKey(node, self.operation_id, self.envelope.step, self.envelope.digest())


Rule = Callable[[Snapshot], Decision]
Handler = Callable[[Call], Awaitable[Answer]]
Probe = Callable[[], Awaitable[None]]
"""Does real work; raises a ``WarifuError`` when a part fails."""


class World(Struct, frozen=True):
    """What is injected into every node."""

    name: str
    """The node's name in the topology, e.g. ``relay-1``."""
    transport: Transport
    clock: Clock
    entropy: Entropy
    log: Log


class SignsHeads(Protocol):
    """What signs the heads of an audit trail (``nodes.sealing``)."""

    async def sign(self, head: bytes) -> bytes:
        """The signature; raises a ``WarifuError`` when there is none now."""

    async def run(self) -> None:
        """What it has to do beside, until cancelled."""

    def processes(self) -> tuple[ChildProcess, ...]:
        """Processes that the node does not tell of itself."""


class HasHealth(Protocol):
    """A part that can be exercised."""

    async def probe(self) -> None:
        """Do real work; raise a ``WarifuError`` when it fails."""


class Node:
    """Base of every node. Subclasses fill ``handlers`` (by message name), and may add timers and health parts."""

    KIND: ClassVar[str]
    """As in message names: ``center``, ``authority`` ..."""
    WARNINGS: ClassVar[frozenset[str]] = frozenset()
    """Parts whose trouble is shown, but is not the node's own: it does its work."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.handlers: dict[str, Handler] = {AskHealth.NAME: self._answer_health}

    # ---- answering ---------------------------------------------------------------------------------------------

    async def handle(self, envelope: Envelope) -> Reply:
        """Answer a request.

        Raises:
            WarifuError: rendered by whoever serves the node.
        """
        handler = self.handlers.get(envelope.name)
        if handler is None:
            raise NotAllowed(f"{self.KIND} does not answer {envelope.name}")
        if not may_ask(envelope.sender, envelope.name):
            raise NotAllowed(f"{envelope.sender} may not ask {envelope.name}")
        deadline = asyncio.get_running_loop().time() + envelope.remaining_ms / 1000
        request = decode_request(envelope.name, envelope.body)
        call = Call(envelope, request, self.world.clock.now_ms(), deadline)
        OPERATION.set(call.operation_id)
        return Reply(body=encode(await handler(call)))

    @staticmethod
    def asked(call: Call) -> Asked:
        """What rules need of a call."""
        envelope = call.envelope
        return Asked(
            operation_id=envelope.operation_id,
            step=envelope.step,
            actor=f"{envelope.sender}/{envelope.actor}",
            now_ms=call.now_ms,
            municipality=envelope.municipality,
        )

    # ---- asking others -----------------------------------------------------------------------------------------

    async def ask(self, call: Call, destination: str, request: Request, answer: type[A], part: str) -> A:
        """Ask another node on behalf of a call; repeated calls use the same key, so the effect there happens once.

        Args:
            call: on whose behalf; its remaining time bounds the question.
            destination: the node's name.
            request: the question.
            answer: the type expected.
            part: tells apart several questions of one call; goes into the step.

        Raises:
            WarifuError: as the other node answered, or as the transport failed.
        """
        envelope = msgspec.structs.replace(
            call.envelope,
            name=request.NAME,
            step=step_of(call.envelope.step, part),
            sender=self.world.name,
            remaining_ms=self.remaining_ms(call),
            body=encode(request),
        )
        return await self.exchange(destination, envelope, answer)

    async def exchange(self, destination: str, envelope: Envelope, answer: type[A]) -> A:
        """Send an envelope and decode what comes back, raising the error in it if there is one."""
        reply = await self.world.transport.call(destination, envelope)
        return open_reply(reply, answer)

    def remaining_ms(self, call: Call) -> int:
        """Time left for a call now. ``DeadlinePassed`` when there is none."""
        left = int((call.deadline - asyncio.get_running_loop().time()) * 1000)
        if left <= 0:
            raise DeadlinePassed(call.envelope.name)
        return left

    # ---- timers ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """The node's timers, until cancelled: none by default."""
        await asyncio.Event().wait()

    # ---- health ------------------------------------------------------------------------------------------------

    async def health(self) -> Health:
        """Exercise every part this node's work needs."""
        names = self.parts()
        async with asyncio.TaskGroup() as group:
            tasks = {name: group.create_task(self._probe(probe)) for name, probe in names.items()}
        parts = {
            name: msgspec.structs.replace(task.result(), warning=name in self.WARNINGS) for name, task in tasks.items()
        }
        return Health(ok=not ailing(parts), parts=parts, processes=self.processes(), work=self.work())

    def parts(self) -> dict[str, Probe]:
        """What to exercise."""
        return {}

    def processes(self) -> tuple[ChildProcess, ...]:
        """Processes of the node's own (HSM workers)."""
        return ()

    def work(self) -> Work | None:
        """What it has done, if it counts that."""
        return None

    async def probe_node(self, destination: str, name: str) -> None:
        """Exercise the path to another node that has to do its own work; ``Unavailable`` when it does not.

        Args:
            destination: the node's name.
            name: what people call it.
        """
        envelope = Envelope(
            name=AskHealth.NAME,
            operation_id=new_ulid(self.world.clock.now_ms(), self.world.entropy.random_bytes(ULID_RANDOM_BYTES)),
            step="health",
            sender=self.world.name,
            remaining_ms=PATH_MS,
            body=encode(AskHealth()),
        )
        health = await self.exchange(destination, envelope, Health)
        if not health.ok:
            raise Unavailable(f"{name}: {', '.join(ailing(health.parts))}")

    @staticmethod
    async def _probe(probe: Probe) -> Part:
        try:
            async with asyncio.timeout(PROBE_S):
                await probe()
        except WarifuError as error:
            return Part(ok=False, detail=f"{error.code}: {error}"[:200])
        except TimeoutError:
            return Part(ok=False, detail=f"no answer within {PROBE_S} s")
        return Part(ok=True)

    async def _answer_health(self, _call: Call) -> Health:
        return await self.health()


class KeepingNode(Node):
    """A node with a store: idempotent steps, audited looks, an outbox."""

    WARNINGS = frozenset({"outbox"})
    """A message that does not get through is a receiver's trouble. Were it this node's, it would spread to all who ask
    this node, although they get their answers."""

    def __init__(self, world: World, store: Store) -> None:
        super().__init__(world)
        self.store = store
        self.answers_kept_ms = ANSWERS_KEPT_MS
        self.head_signer: SignsHeads | None = None
        """Signs the heads of the audit trail; given by whoever composes the node. Without, they are chained only."""
        self._outbox_kick = asyncio.Event()
        self._outbox_answered = Answered(store)
        self._outbox_own: dict[str, str] = {}
        """Messages this process has put into the outbox: their order keys by their ids."""
        self._outbox_all = True
        """The next look at the outbox takes whatever is there, not this process's own alone."""
        self._outbox_troubles: dict[str, str] = {}
        self.under_way = UnderWay()
        """Messages of the outbox that are being sent now."""

    async def step(
        self,
        call: Call,
        reads: Sequence[Get | Find],
        rule: Rule,
        answer: type[A],
        *,
        begun: Snapshot | None = None,
        committed: Callable[[Snapshot, Decision], None] | None = None,
    ) -> A:
        """Do an idempotent step: the same call again gets the first answer.

        Args:
            call: whose key the effect is remembered under.
            reads: what the rule needs, in order.
            rule: pure; called again with fresh state when a record moved.
            answer: the type of the answer.
            begun: what ``begin`` read by the same reads: the first decision is made from it, guarded as ever.
            committed: told of the decision that was committed, and what it was made from.

        Raises:
            KeyReused: the key was used for another request.
            Stale: records kept moving.
            Unavailable: the store does not answer; the same call may come again.
        """
        key = call.key(self.KIND)
        for _ in range(MAX_DECISIONS):
            snapshot, begun = begun or await self.store.read(*reads, request=key), None
            if snapshot.answer is not None:
                return decode(answer, snapshot.answer)
            decision = rule(snapshot)
            if not isinstance(decision.answer, answer):
                raise Fault(f"{call.envelope.name}: rule answered {type(decision.answer).__name__}")
            try:
                await self.store.commit(self._change(call, decision, key))
            except Stale:
                continue
            self._committed(snapshot, decision, committed)
            return decision.answer
        raise Stale(f"{call.envelope.name}: the record kept changing")

    async def step_from(
        self, call: Call, guess: Snapshot, rule: Rule, answer: type[A], committed: Callable[[Snapshot, Decision], None]
    ) -> A | None:
        """Do an idempotent step without reading, from what this process wrote last.

        The guess counts only if the commit goes through: that finds the request new, and every guessed record as
        guessed. Otherwise (None) nothing was done, and ``step`` will say what is wrong: not even a refusal is taken
        from a guess.
        """
        try:
            decision = rule(guess)
        except WarifuError:
            return None
        if not isinstance(decision.answer, answer):
            raise Fault(f"{call.envelope.name}: rule answered {type(decision.answer).__name__}")
        guarded = msgspec.structs.replace(decision, writes=(*decision.writes, *unguarded(guess, decision.writes)))
        try:
            await self.store.commit(self._change(call, guarded, call.key(self.KIND)))
        except Stale:
            return None
        self._committed(guess, decision, committed)
        return decision.answer

    def _committed(
        self, snapshot: Snapshot, decision: Decision, told: Callable[[Snapshot, Decision], None] | None
    ) -> None:
        if decision.outbox:
            self._outbox_own |= {message.message_id: message.order_key for message in decision.outbox}
            self._outbox_kick.set()
        if told is not None:
            told(snapshot, decision)

    async def begin(self, call: Call, reads: Sequence[Get | Find], answer: type[A]) -> tuple[Snapshot, A | None]:
        """Records, and the answer given before to the same call, at once: for steps with slow work before them."""
        snapshot = await self.store.read(*reads, request=call.key(self.KIND))
        return snapshot, None if snapshot.answer is None else decode(answer, snapshot.answer)

    async def answered(self, call: Call, answer: type[A]) -> A | None:
        """The answer given before to the same call, if any: asked first by steps that do slow work before deciding."""
        snapshot = await self.store.read(request=call.key(self.KIND))
        return None if snapshot.answer is None else decode(answer, snapshot.answer)

    async def remember(self, call: Call, given: A, answer: type[A]) -> A:
        """Remember an answer whose effects are committed already; the first one remembered wins."""
        return await self.step(call, (), lambda _snapshot: Decision(answer=given), answer)

    async def look(self, call: Call, audit: AuditEntry) -> None:
        """Leave an audit entry for a look at personal data, before the data goes out."""
        await self.store.commit(Change(now_ms=call.now_ms, audit=(audit,)))

    @staticmethod
    def _change(call: Call, decision: Decision, key: RequestKey) -> Change:
        return Change(
            now_ms=call.now_ms,
            writes=decision.writes,
            journal=decision.journal,
            audit=decision.audit,
            outbox=decision.outbox,
            request=key,
            answer=encode(decision.answer),
        )

    async def run(self) -> None:
        """The outbox, the sealing of the audit trail and the forgetting of old answers, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.run_outbox())
            group.create_task(self.run_sealer())
            group.create_task(self.run_purger())
            if self.head_signer is not None:
                group.create_task(self.head_signer.run())

    async def run_sealer(self) -> None:
        """Chain what the audit trail gained, each second, so that no row can be changed unseen; for ever.

        What cannot be signed now is not sealed now: a head is written with its signature or not at all.
        """
        while True:
            try:
                sign = self.head_signer.sign if self.head_signer is not None else None
                await self.store.seal(self.world.clock.now_ms(), sign)
            except TryAgain as error:
                self.world.log.info("audit.waits", code=error.code)
            except Refused as error:  # the device has no such key: a person must look, the node's work goes on
                self.world.log.trouble("audit.not_signed", code=error.code)
            await asyncio.sleep(SEAL_EVERY_S)

    async def run_purger(self) -> None:
        """Forget answers that were remembered long enough, at the start and each hour, in batches; for ever."""
        while True:
            before_ms, forgotten = self.world.clock.now_ms() - self.answers_kept_ms, PURGE_BATCH
            try:
                while forgotten == PURGE_BATCH:
                    forgotten = await self.store.purge(before_ms, PURGE_BATCH)
            except TryAgain as error:
                self.world.log.info("answers.wait", code=error.code)
            await asyncio.sleep(PURGE_EVERY_S)

    def kick_outbox(self) -> None:
        """Something was put into the outbox: send it now."""
        self._outbox_all = True
        self._outbox_kick.set()

    async def run_outbox(self) -> None:
        """Send what commits left in the outbox, in order, until each message is answered; for ever.

        Each message is sent by a task of its own, so many to a destination, so a receiver that does not answer holds
        up its own messages only. Of what another process with the same outbox has put into it, it takes what it finds
        there each half second: that process was killed meanwhile, or is slow.
        """
        under_way, looked_s = UnderWay(), 0.0
        self.under_way = under_way
        async with asyncio.TaskGroup() as group:
            while True:
                self._outbox_kick.clear()
                # Beside those under way there is always room for new ones; a full answer may hide others' behind it.
                limit, now_s = OUTBOX_BATCH + len(under_way), asyncio.get_running_loop().time()
                everything = self._outbox_all or now_s - looked_s >= OUTBOX_IDLE_S
                known, self._outbox_all = list(self._outbox_own), False
                under_way.look()
                waiting = await self._waiting(limit, under_way.full())
                if everything:
                    looked_s = now_s
                for pending in filter(under_way.take, self._mine(waiting, everything=everything)):
                    group.create_task(self._deliver(pending, under_way))
                if len(waiting) < limit:
                    self._forget(known, waiting)
                    await self._outbox_kicked()
                else:
                    self._outbox_all = True

    def _mine(self, waiting: Sequence[Pending], *, everything: bool) -> Iterator[Pending]:
        """What this process may send now. Others' messages wait for those who left them, and seldom in vain."""
        return (each for each in waiting if everything or each.message.message_id in self._outbox_own)

    def _forget(self, known: Sequence[str], waiting: Sequence[Pending]) -> None:
        """What was there before the outbox was read, and was not in it: another process has sent it."""
        there = {pending.message.message_id for pending in waiting}
        keys = {pending.message.order_key for pending in waiting} - {""}  # of each, others stay behind the oldest
        for message_id in known:
            if message_id not in there and self._outbox_own.get(message_id, "") not in keys:
                self._outbox_own.pop(message_id, None)

    async def _outbox_kicked(self) -> None:
        """Wait for a kick, or until it is time for everything."""
        try:
            async with asyncio.timeout(OUTBOX_IDLE_S):
                await self._outbox_kick.wait()
        except TimeoutError:
            self._outbox_all = True

    async def _waiting(self, limit: int, skip: Collection[str]) -> Sequence[Pending]:
        try:
            waiting = await self.store.pending(limit, skip)
        except TryAgain as error:
            self._outbox_troubles["outbox"] = error.code
            return ()
        self._outbox_troubles.pop("outbox", None)
        return waiting

    async def _deliver(self, pending: Pending, under_way: UnderWay) -> None:
        """Send one message until it is answered. It is kept whatever the reason: a message is never dropped."""
        for attempt in itertools.count():
            try:
                # Another process may have sent it meanwhile, and how its receiver answered is remembered only so long.
                if attempt == 0 or await self.store.waits(pending.sequence):
                    await self._send(pending)
                break
            except WarifuError as error:
                self._outbox_troubles[pending.message.message_id] = f"{pending.message.name}: {error.code}"
                pauses: tuple[float, ...] = OUTBOX_BACKOFF_S
                if not isinstance(error, TryAgain):
                    # A refusal is somebody's fault: it shows in the log and in health until a person has mended it.
                    operation_id = pending.message.operation_id
                    self.world.log.trouble("outbox.refused", operation_id=operation_id, code=error.code)
                    pauses = OUTBOX_REFUSED_BACKOFF_S
                    if under_way.refuse(pending):
                        self._outbox_kick.set()  # it leaves its room to others
                await asyncio.sleep(pauses[min(attempt, len(pauses) - 1)])
        self._outbox_troubles.pop(pending.message.message_id, None)
        under_way.leave(pending)
        if self._outbox_own.pop(pending.message.message_id, None) is None:
            self.kick_outbox()  # of whoever left it, more may wait behind it
        elif len(self._outbox_own) > len(under_way):
            self._outbox_kick.set()  # the next of its order key may go, or there is room

    async def _send(self, pending: Pending) -> None:
        message = pending.message
        envelope = Envelope(
            name=message.name,
            operation_id=message.operation_id,
            step=message.message_id,
            sender=self.world.name,
            service_class="change",
            remaining_ms=OUTBOX_CALL_MS,
            body=message.body,
        )
        open_reply(await self.world.transport.call(message.destination, envelope), Answer)
        await self._outbox_answered.take_out(pending.sequence)

    def processes(self) -> tuple[ChildProcess, ...]:
        """The worker that signs heads, where it is for this alone."""
        return super().processes() + (self.head_signer.processes() if self.head_signer is not None else ())

    def parts(self) -> dict[str, Probe]:
        """The store, and whether the outbox gets through."""
        return super().parts() | {"store": self.store.probe, "outbox": self._probe_outbox}

    async def _probe_outbox(self) -> None:
        if self._outbox_troubles:
            message, code = next(iter(self._outbox_troubles.items()))
            raise TryAgain(f"{len(self._outbox_troubles)} waiting; {message}: {code}")


def unguarded(guess: Snapshot, writes: Sequence[Write]) -> tuple[Check, ...]:
    """A check for every record of a snapshot that these writes do not guard."""
    guarded = {
        (type(write.record), tuple(getattr(write.record, name) for name in write.record.KEY)) for write in writes
    }
    records = (record for found in guess.results for record in found)
    return tuple(
        Check(record)
        for record in records
        if (type(record), tuple(getattr(record, name) for name in record.KEY)) not in guarded
    )


def step_of(step: str, part: str) -> str:
    """The step of a question asked for ``step``: with the part behind it, the same every time, never too long."""
    whole = f"{step}:{part}"
    if len(whole) <= STEP_CHARACTERS:
        return whole
    return f"{hashlib.sha256(step.encode()).hexdigest()[:_STEP_DIGEST]}:{part}"


def ailing(parts: Mapping[str, Part]) -> tuple[str, ...]:
    """The parts for whose sake a node does not do its work."""
    return tuple(name for name, part in parts.items() if not (part.ok or part.warning))


def expect(request: Any, kind: type[Q]) -> Q:  # noqa: ANN401 - narrowing is its purpose
    """The request as the kind its name promises."""
    if not isinstance(request, kind):
        raise Fault(f"{kind.NAME} expected")
    return request
