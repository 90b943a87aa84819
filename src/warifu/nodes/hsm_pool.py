"""Several workers of one device, so that a device which stops answering stops nobody (F1, F2, F14).

Each worker has a place and each place a task of its own. A caller puts a job in the queue and waits for its future;
only the place's task ever speaks to a worker. So a caller may be cancelled at any moment: its worker finishes what it
does and goes on, the answer is dropped, and no answer can reach another caller.

A worker that does not answer in time, dies, answers in the wrong form, or grows slow while others are well, is
*fenced*: out at once, its job back at the head of the queue (every command is idempotent), its last commands dumped,
killed, made anew after a pause, and readmitted after a self-test.

Node code: time and waiting are the loop's, processes the factory's.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Final, Literal

from msgspec import Struct, structs

from warifu.kernel.errors import DeadlinePassed, Fault, Refused, TryAgain, Unavailable
from warifu.kernel.together import together
from warifu.nodes.behalf import OPERATION
from warifu.nodes.hsm_answers import HsmRejected, error_of, fits
from warifu.nodes.hsm_queue import Job, Queue
from warifu.ports import hsm
from warifu.ports.hsm import HsmCommand, HsmFactory, HsmReply, HsmWorker

FenceReason = Literal["stalled", "died", "wrong_answer", "slow", "self_test"]
PlaceState = Literal["waiting", "starting", "ready", "busy"]

_ENOUGH_SAMPLES: Final = 16
_UNANSWERED_MS: Final = -1.0
MESSAGES_AT_ONCE: Final = 8
"""Of those that wait, a worker gets so many with one wake-up: waking it costs more than what it does for one."""
_UNKNOWN: Final = hsm.Rejected("hsm.unknown_session")
SIGN_AT_ONCE: Final = 32
"""Texts of one command: about 16 ms of one core, so that whoever waits for one signature does not wait long."""


class PoolLimits(Struct, frozen=True, kw_only=True):
    """Every bound of a pool.

    Args:
        queue: jobs that may wait; one more is refused.
        command_deadline_ms: after this a worker counts as stalled.
        creation_deadline_ms: the same for making a key, which takes long on any device.
        start_deadline_ms: until a new worker is logged in.
        self_test_deadline_ms: until its self-test is done.
        kill_deadline_ms: how long a place waits for the end of a fenced worker before it goes on without.
        self_test_every_ms: how often a ready worker proves itself.
        attempts: workers that one command may cost before it is given up.
        first_pause_ms: before the second attempt to replace a worker; doubled each time.
        longest_pause_ms: where the doubling ends.
        steady_ms: a worker that lived so long ends a series of failures.
        slow_median_ms: a rolling median above this is slow.
        window_ms: how far back the median looks.
        samples: how many durations it keeps at most.
        sessions: message sessions the pool can open again in another worker.
        history: commands in a dump.
        dumps: dumps kept.
    """

    queue: int = 1_000
    command_deadline_ms: int = 2_000
    creation_deadline_ms: int = 30_000
    start_deadline_ms: int = 30_000
    self_test_deadline_ms: int = 5_000
    kill_deadline_ms: int = 5_000
    self_test_every_ms: int = 5_000
    attempts: int = 3
    first_pause_ms: int = 100
    longest_pause_ms: int = 10_000
    steady_ms: int = 30_000
    slow_median_ms: float = 50.0
    window_ms: int = 60_000
    samples: int = 64
    sessions: int = 4_096
    history: int = 32
    dumps: int = 16


class CommandRecord(Struct, frozen=True):
    """One command in a dump: its name and its key's label, never its data. ``took_ms`` is -1 without an answer.

    ``operations`` are those on whose behalf it was done: several when messages went together, none for the node's own
    work and for signatures of several at once.
    """

    kind: str
    label: str
    began_ms: int
    took_ms: float = _UNANSWERED_MS
    operations: tuple[str, ...] = ()


class Dump(Struct, frozen=True):
    """What a fenced worker did last. Times are the loop's, in milliseconds."""

    worker: str
    pid: int
    reason: FenceReason
    at_ms: int
    commands: tuple[CommandRecord, ...]

    def operations(self) -> tuple[str, ...]:
        """Ids of the operations it worked for, the latest first."""
        return tuple(
            dict.fromkeys(each for command in reversed(self.commands) for each in reversed(command.operations))
        )


class PoolHealth(Struct, frozen=True, kw_only=True):
    """Does the pool do its work?

    ``reasons`` (empty when healthy): ``no_worker``, ``queue_full``, ``slow:<worker>``.
    """

    healthy: bool
    reasons: tuple[str, ...]
    size: int
    ready: int
    queued: int
    commands: int
    fenced: int
    readmitted: int
    median_ms: float


class _Fenced(Exception):  # noqa: N818 - what happened to the worker
    def __init__(self, reason: FenceReason) -> None:
        super().__init__(reason)
        self.reason: FenceReason = reason


class _Place:
    """Where one worker after another works. Its name stays the same (F3)."""

    def __init__(self, name: str, limits: PoolLimits) -> None:
        self.name = name
        self.worker: HsmWorker | None = None
        self.state: PlaceState = "starting"
        self.failures = 0
        self.was_fenced = False
        self.admitted_at = 0.0
        self.tested_at = 0.0
        self._window = limits.window_ms / 1000
        self._samples: deque[tuple[float, float]] = deque(maxlen=limits.samples)
        self._history: deque[CommandRecord] = deque(maxlen=limits.history)

    @property
    def admitted(self) -> bool:
        """Whether it takes jobs."""
        return self.state in {"ready", "busy"}

    def living(self) -> HsmWorker:
        if self.worker is None:
            raise _Fenced("died")
        return self.worker

    def begin(self, command: HsmCommand, now: float, jobs: Sequence[Job]) -> None:
        operations = tuple([job.operation_id for job in jobs if job.operation_id])
        began_ms = round(now * 1000)
        self._history.append(CommandRecord(type(command).__name__, _label(command), began_ms, operations=operations))

    def end(self, now: float, took_ms: float, *, counts: bool) -> None:
        self._history.append(structs.replace(self._history.pop(), took_ms=took_ms))
        if counts:
            self._samples.append((now, took_ms))

    def durations(self, now: float) -> list[float]:
        """Milliseconds of the commands in the window."""
        return [took for at, took in self._samples if at >= now - self._window]

    def slow(self, now: float, bound_ms: float) -> bool:
        durations = self.durations(now)
        return self.admitted and len(durations) >= _ENOUGH_SAMPLES and median(durations) > bound_ms

    def dump(self, reason: FenceReason, now: float) -> Dump:
        pid = self.worker.pid if self.worker else 0
        return Dump(self.name, pid, reason, round(now * 1000), tuple(self._history))

    def reset(self) -> None:
        self._samples.clear()
        self._history.clear()


class HsmPool:
    """Does HSM commands for a node, whatever happens to single workers.

    Args:
        factory: makes the workers.
        name: e.g. ``relay-1/hsm``; workers are ``relay-1/hsm-0`` and so on.
        size: how many workers.
        limits: every bound.
        on_fence: told of each fenced worker, for the node's log.
    """

    def __init__(
        self,
        factory: HsmFactory,
        name: str,
        size: int,
        *,
        limits: PoolLimits = PoolLimits(),  # noqa: B008 - frozen
        on_fence: Callable[[Dump], None] | None = None,
    ) -> None:
        self._factory = factory
        self._limits = limits
        self._on_fence = on_fence
        self._queue = Queue()
        self._places = [_Place(f"{name}-{number}", limits) for number in range(size)]
        self._sessions: OrderedDict[bytes, hsm.OpenMessageSession] = OrderedDict()
        self._dumps: deque[Dump] = deque(maxlen=limits.dumps)
        self._closed = False
        self._commands = self._fenced = self._readmitted = 0

    @property
    def size(self) -> int:
        """How many workers."""
        return len(self._places)

    async def run(self) -> None:
        """Keep the workers alive until cancelled; then kill them and refuse what waits. Run it once, in a task."""
        try:
            async with asyncio.TaskGroup() as group:
                for place in self._places:
                    group.create_task(self._keep(place), name=place.name)
        finally:
            self._closed = True
            self._queue.fail_all("the HSM pool is closing")

    async def call(self, command: HsmCommand, deadline_ms: int) -> HsmReply:
        """Do one command; first come, first served. The answer is never a ``Rejected``.

        A command may be called before ``run`` has begun; it waits.

        Args:
            command: what to do.
            deadline_ms: how long the caller can wait, queueing and repetitions included.

        Raises:
            Unavailable: too many wait already, the pool is closed, or the command cost too many workers.
            DeadlinePassed: no answer in time.
            HsmRejected: the device refuses.
            NoSuchKey: likewise, for want of the key.
            UnknownSession: likewise, for want of the message session.
        """
        if self._closed:
            raise Unavailable("the HSM pool is closed")
        if len(self._queue) >= self._limits.queue:
            raise Unavailable("too many HSM commands wait")
        job = Job(command, self._limits.attempts, OPERATION.get())
        self._queue.put(job)
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                reply = await job.answer
        except TimeoutError:
            raise DeadlinePassed("no HSM answer in time") from None
        finally:
            job.answer.cancel()
            self._queue.drop(job)
        return self._accepted(command, reply)

    async def signatures(self, label: str, data: Sequence[bytes], deadline_ms: int) -> list[bytes]:
        """RSASSA-PKCS1-v1_5 with SHA-256 over each text, by as many workers as are free; in the texts' order."""
        parts = [tuple(data[start : start + SIGN_AT_ONCE]) for start in range(0, len(data), SIGN_AT_ONCE)]
        signed: list[bytes] = []
        for reply in await together(self.call(hsm.SignMany(label, part), deadline_ms) for part in parts):
            if not isinstance(reply, hsm.ManyBytes):
                raise Fault("SignMany does not answer several")
            signed += reply.data
        return signed

    async def bytes_of(self, command: HsmCommand, deadline_ms: int) -> bytes:
        """``call`` for commands that answer ``Bytes``."""
        reply = await self.call(command, deadline_ms)
        if not isinstance(reply, hsm.Bytes):
            raise Fault(f"{type(command).__name__} does not answer bytes")
        return reply.data

    def message_session(self, label: str, session: bytes, encapsulation: bytes, info: bytes) -> None:
        """Remember how ``session`` is opened, so that any worker can open it when it first needs it.

        Costs nothing now; a wrong encapsulation shows at the first message. ``call`` with an ``OpenMessageSession``
        does the same and shows it at once. The least recently used session beyond the limit is forgotten.

        Raises:
            HsmRejected: the session is known with something else.
        """
        opening = hsm.OpenMessageSession(label, session, encapsulation, info)
        if self._sessions.setdefault(session, opening) != opening:
            raise HsmRejected("the session was opened with something else")
        self._sessions.move_to_end(session)
        while len(self._sessions) > self._limits.sessions:
            self._sessions.popitem(last=False)

    def forget_session(self, session: bytes) -> None:
        """Not to be opened again. Workers keep what they have until it is their oldest."""
        self._sessions.pop(session, None)

    def health(self) -> PoolHealth:
        """How the pool does now."""
        reasons = self._complaints()
        durations = [took for place in self._places for took in place.durations(_now())]
        return PoolHealth(
            healthy=not reasons,
            reasons=reasons,
            size=len(self._places),
            ready=sum(place.admitted for place in self._places),
            queued=len(self._queue),
            commands=self._commands,
            fenced=self._fenced,
            readmitted=self._readmitted,
            median_ms=median(durations) if durations else 0.0,
        )

    def processes(self) -> list[tuple[str, int]]:
        """Name and process id of each living worker."""
        return [(place.name, place.worker.pid) for place in self._places if place.worker]

    def dumps(self) -> tuple[Dump, ...]:
        """Of the latest fenced workers, oldest first."""
        return tuple(self._dumps)

    def _complaints(self) -> tuple[str, ...]:
        now, bound = _now(), self._limits.slow_median_ms
        reasons = [f"slow:{place.name}" for place in self._places if place.slow(now, bound)]
        if not any(place.admitted for place in self._places):
            reasons.append("no_worker")
        if len(self._queue) >= self._limits.queue:
            reasons.append("queue_full")
        return tuple(reasons)

    def _accepted(self, command: HsmCommand, reply: HsmReply) -> HsmReply:
        if isinstance(reply, hsm.Rejected):
            raise error_of(reply)
        if isinstance(command, hsm.OpenMessageSession):
            self.message_session(command.label, command.session, command.encapsulation, command.info)
        return reply

    async def _keep(self, place: _Place) -> None:
        """One worker after another, for ever."""
        try:
            while True:
                await self._pause(place)
                if await self._start(place):
                    await self._work(place)
        finally:
            await self._discard(place)

    async def _pause(self, place: _Place) -> None:
        if place.failures:
            place.state = "waiting"
            doubled: int = self._limits.first_pause_ms << min(place.failures - 1, 30)
            await asyncio.sleep(min(doubled, self._limits.longest_pause_ms) / 1000)
        place.state = "starting"

    async def _start(self, place: _Place) -> bool:
        """Make a worker and let it prove itself. False when either fails."""
        place.reset()
        try:
            async with asyncio.timeout(self._limits.start_deadline_ms / 1000):
                place.worker = await self._factory.spawn(place.name)
            await self._prove(place)
        except _Fenced as fenced:
            await self._fence(place, fenced.reason)
        except (TimeoutError, TryAgain):
            place.failures += 1
            await self._discard(place)
        else:
            self._admit(place)
        return place.admitted

    def _admit(self, place: _Place) -> None:
        place.state = "ready"
        place.admitted_at = _now()
        self._readmitted += place.was_fenced
        place.was_fenced = False

    async def _work(self, place: _Place) -> None:
        """Do jobs until the worker is fenced."""
        try:
            while True:
                if job := await self._next_job(place):
                    await self._do(place, job)
                else:
                    self._check_pace(place)
                    await self._prove(place)
        except _Fenced as fenced:
            await self._fence(place, fenced.reason)

    async def _next_job(self, place: _Place) -> Job | None:
        """The next job, or None when it is time for a self-test."""
        place.state = "ready"
        due = place.tested_at + self._limits.self_test_every_ms / 1000
        if _now() >= due:
            return None
        if self._queue:
            return self._queue.first()
        try:
            async with asyncio.timeout_at(due):
                return await self._queue.take()
        except TimeoutError:
            return None

    async def _do(self, place: _Place, job: Job) -> None:
        place.state = "busy"
        jobs = [job]
        if job.goes_with_others:
            jobs += self._queue.more_messages(MESSAGES_AT_ONCE - 1)
        try:
            if len(jobs) == 1:
                job.give(await self._attempt(place, job))
            else:
                self._give(jobs, await self._ask_all(place, jobs))
        except _Fenced:
            for each in reversed(jobs):
                self._repeat(each)
            raise
        except Refused as error:
            for each in jobs:
                each.fail(error)
        except BaseException:
            for each in jobs:
                each.fail(Unavailable("the HSM pool is closing"))
            raise

    def _repeat(self, job: Job) -> None:
        if job.answer.done():
            return
        job.attempts_left -= 1
        job.repeated = True
        if job.attempts_left <= 0:
            job.fail(Unavailable("the HSM command failed on too many workers"))
        else:
            self._queue.put_back(job)

    def _give(self, jobs: Sequence[Job], replies: Sequence[HsmReply]) -> None:
        """To each its own; those whose message session the worker did not have go again, one by one."""
        for job, reply in reversed(tuple(zip(jobs, replies, strict=True))):
            if reply == _UNKNOWN and not job.answer.done():
                job.repeated = True
                self._queue.put_back(job)
            else:
                job.give(reply)

    async def _attempt(self, place: _Place, job: Job) -> HsmReply:
        """Ask; open the message session first when this worker does not have it yet."""
        reply = await self._ask(place, job.command, job)
        if reply != _UNKNOWN:
            return reply
        opening = self._opening_for(job.command)
        if opening is None:
            return reply
        opened = await self._ask(place, opening, job)
        return opened if isinstance(opened, hsm.Rejected) else await self._ask(place, job.command, job)

    def _opening_for(self, command: HsmCommand) -> hsm.OpenMessageSession | None:
        if not isinstance(command, hsm.DecryptMessage | hsm.EncryptMessage) or command.session not in self._sessions:
            return None
        self._sessions.move_to_end(command.session)
        return self._sessions[command.session]

    async def _ask(self, place: _Place, command: HsmCommand, *jobs: Job) -> HsmReply:
        """One command to one worker, timed and recorded."""
        began = _now()
        place.begin(command, began, jobs)
        with _fencing():
            async with asyncio.timeout(self._deadline_of(command) / 1000):
                reply = await place.living().call(command)
        texts = len(command.data) if isinstance(command, hsm.SignMany) else 1
        place.end(_now(), (_now() - began) * 1000 / texts, counts=not isinstance(command, hsm.CreateKey))
        self._commands += 1
        if not fits(command, reply):
            raise _Fenced("self_test" if isinstance(command, hsm.SelfTest) else "wrong_answer")
        return reply

    async def _ask_all(self, place: _Place, jobs: Sequence[Job]) -> Sequence[HsmReply]:
        """Several message commands with one wake-up, within the time of one; timed and recorded as the last of them."""
        began, commands = _now(), [job.command for job in jobs]
        place.begin(commands[-1], began, jobs)
        with _fencing():
            async with asyncio.timeout(self._deadline_of(commands[-1]) / 1000):
                replies = await place.living().call_all(commands)
        place.end(_now(), (_now() - began) * 1000 / len(commands), counts=True)
        self._commands += len(commands)
        if len(replies) != len(commands) or not all(map(fits, commands, replies)):
            raise _Fenced("wrong_answer")
        return replies

    def _deadline_of(self, command: HsmCommand) -> int:
        if isinstance(command, hsm.CreateKey):
            return self._limits.creation_deadline_ms
        if isinstance(command, hsm.SelfTest):
            return self._limits.self_test_deadline_ms
        return self._limits.command_deadline_ms

    async def _prove(self, place: _Place) -> None:
        await self._ask(place, hsm.SelfTest())
        place.tested_at = _now()

    def _check_pace(self, place: _Place) -> None:
        """A slow worker leaves when others can do its work; when all are slow, ``health`` says so and all stay."""
        now, bound = _now(), self._limits.slow_median_ms
        others = (other for other in self._places if other is not place and other.admitted)
        if place.slow(now, bound) and any(not other.slow(now, bound) for other in others):
            raise _Fenced("slow")

    async def _fence(self, place: _Place, reason: FenceReason) -> None:
        now = _now()
        steady = place.admitted and now - place.admitted_at >= self._limits.steady_ms / 1000
        place.failures = 0 if steady else place.failures + 1
        place.state, place.was_fenced = "waiting", True
        self._fenced += 1
        dump = place.dump(reason, now)
        self._dumps.append(dump)
        if self._on_fence:
            self._on_fence(dump)
        await self._discard(place)

    async def _discard(self, place: _Place) -> None:
        """Kill the worker if there is one. One that cannot be killed in time is left to the kernel."""
        worker, place.worker = place.worker, None
        place.state = "waiting"
        if worker is None:
            return
        try:
            async with asyncio.timeout(self._limits.kill_deadline_ms / 1000):
                await worker.kill()
        except TimeoutError:
            return


@contextmanager
def _fencing() -> Iterator[None]:
    """What a worker did wrong."""
    try:
        yield
    except TimeoutError:
        raise _Fenced("stalled") from None
    except TryAgain:
        raise _Fenced("died") from None


def _now() -> float:
    """The loop's own time in seconds: what deadlines are measured in."""
    return asyncio.get_running_loop().time()


def _label(command: HsmCommand) -> str:
    if isinstance(command, hsm.DeriveCardKeys | hsm.OpenCardChannel):
        return command.master
    if isinstance(command, hsm.DecryptMessage | hsm.EncryptMessage | hsm.SelfTest):
        return ""
    return command.label
