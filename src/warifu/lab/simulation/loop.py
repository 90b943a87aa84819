"""The simulated event loop: virtual milliseconds, one thread, every order of what is ready chosen by a seed.

Node code runs on it unchanged. Nothing happens in it but what was scheduled in it: threads, sockets, subprocesses and
real time are errors. ``asyncio.BaseEventLoop`` is subclassed because its public half (running, stopping, async
generators) is right as it is; replaced is all that decides *when* something runs.
"""

import asyncio
import heapq
import math
import threading
from array import array
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar, copy_context
from hashlib import blake2b
from types import CoroutineType
from typing import Any, NoReturn, TypeVar

from warifu.kernel.errors import Fault
from warifu.lab.simulation.order import Order

T = TypeVar("T")

SETTLED_MS = 1e-3
"""Rounding of float seconds to milliseconds forgives a microsecond."""
TRACE_CHUNK = 4096
ENDLESS = frozenset({"run", "run_outbox", "run_sealer", "run_purger", "deliver", "_keep", "_fill_on"})
"""Names of coroutines that are timers of a node: none of them ends by itself."""
SWEEP = 10_000
"""Tasks made before the finished ones are let go."""


class NotSimulated(Fault):
    """Code inside the simulation reached for a thread, a socket, a subprocess or real time."""

    code = "lab.not_simulated"


class Deadlock(Fault):
    """Nothing is ready, no timer is set, and the main task is not done: the text lists who waits, and where."""

    code = "lab.deadlock"


class StepLimit(Fault):
    """The run took more steps than it may: something spins."""

    code = "lab.step_limit"


class Unhandled(Fault):
    """An exception that nobody caught or retrieved: production would only have logged it."""

    code = "lab.unhandled"


class SimulationOver(Fault):
    """Clean-up code of a task that outlived the run tried to start something."""

    code = "lab.simulation_over"


class Process:
    """What dies together, as by ``kill -9``: a node's tasks, timers and callbacks; marked by a context variable."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.context = copy_context()
        self.context.run(PROCESS.set, self)

    def __repr__(self) -> str:
        return f"Process({self.name})"


PROCESS: ContextVar[Process | None] = ContextVar("process", default=None)
"""The process the running code belongs to; None for the world itself."""


class SimulatedHandle(asyncio.TimerHandle):
    """A callback with the process it belongs to; with a timer's instant, or as due at once."""

    __slots__ = ("process",)

    def __init__(
        self,
        when: float,
        callback: Callable[..., object],
        args: tuple[object, ...],
        loop: "SimulatedLoop",
        context: Context,
    ) -> None:
        # What TimerHandle's and Handle's own __init__ set, without the two calls: every step makes a handle.
        self._when = when
        self._scheduled = False
        self._context = context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self.process = context.get(PROCESS)

    def fire(self) -> None:
        """Run it; what it raises goes to whoever runs the loop."""
        self._context.run(self._callback, *self._args)


class SimulatedTask(asyncio.Task[T]):
    """A task that hashes by its number: ``TaskGroup`` keeps a set, and addresses differ from process to process."""

    def __init__(self, coro: Coroutine[Any, Any, T], loop: "SimulatedLoop", name: str, context: Context) -> None:
        self.number = loop.next_number()
        self.process = context.get(PROCESS)
        super().__init__(coro, loop=loop, name=name or f"task-{self.number}", context=context)

    def __hash__(self) -> int:
        return self.number

    def forgotten(self) -> bool:
        """Whether it failed and nobody has asked how it ended."""
        return bool(self._log_traceback)

    def went_on(self) -> bool:
        """Whether it was cancelled and came to its result all the same: somebody caught what was meant to end it.

        ``asyncio.timeout`` and ``TaskGroup``, which cancel for reasons of their own, take that back.
        """
        return self.done() and not self.cancelled() and self.cancelling() > 0 and not self.forgotten()

    def bury(self) -> None:
        """Forget it without a word: its process is dead, or the run is over."""
        self._log_destroy_pending = False
        if self.done():
            if self.forgotten():
                self.exception()  # retrieved, so that it is not reported again
            return
        coro = self.get_coro()
        if isinstance(coro, Coroutine | Generator):
            _exhaust(coro)


class SimulatedFuture(asyncio.Future[T]):
    """A future that hashes by its number (``asyncio.wait`` keeps a set)."""

    def __init__(self, loop: "SimulatedLoop") -> None:
        self.number = loop.next_number()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.number

    def cancel(self, msg: Any | None = None) -> bool:  # noqa: ANN401 - as asyncio has it
        """As asyncio's; a wait that is given up is looked at first."""
        loop = self.get_loop()
        if isinstance(loop, SimulatedLoop) and loop.given_up is not None and not self.done():
            loop.given_up(self)
        return super().cancel(msg)


class SimulatedLoop(asyncio.BaseEventLoop):
    """One run's event loop.

    Args:
        order: picks which of the ready callbacks runs next.
        max_steps: more callbacks than this end the run with ``StepLimit``.
    """

    def __init__(self, order: Order, max_steps: int = 1_000_000) -> None:
        super().__init__()
        self.set_debug(enabled=False)
        self._order = order
        self._max_steps = max_steps
        self._now_ms = 0
        self._numbers = 0
        self._due: list[SimulatedHandle] = []
        self._timers: list[tuple[int, int, SimulatedHandle]] = []
        self._made: list[SimulatedTask[Any]] = []
        self._halt = False
        self._over = False
        self._broken: BaseException | None = None
        self._trace: array[int] = array("q")
        self._sweep_at = SWEEP
        self._digest = blake2b(digest_size=16)
        self._owner = threading.get_ident()
        self.steps = 0
        self.collisions = 0
        """Instants at which more than one timer fell due."""
        self.endless: list[SimulatedTask[Any]] = []
        """Tasks that go on as long as their process does."""
        self.idle: Callable[[], None] | None = None
        """Called whenever nothing more happens at this instant."""
        self.given_up: Callable[[SimulatedFuture[Any]], None] | None = None
        """Called as somebody's wait for a future is about to be given up."""

    # -- time and identity

    @property
    def now_ms(self) -> int:
        """Virtual milliseconds since the run began."""
        return self._now_ms

    def time(self) -> float:
        """Virtual seconds, whole milliseconds."""
        return self._now_ms / 1000

    def next_number(self) -> int:
        """1, 2, 3 ... in this run."""
        self._numbers += 1
        return self._numbers

    def pending_instants(self) -> list[int]:
        """The instants of the timers that are set, in no useful order (but the same one for the same seed)."""
        return [when for when, _, handle in self._timers if not handle._cancelled]  # noqa: SLF001 - hot path

    # -- scheduling

    def call_soon(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> SimulatedHandle:
        """Ready now; one of many."""
        handle = SimulatedHandle(self._now_ms, callback, args, self, context if context is not None else copy_context())
        if not self._over and (handle.process is None or handle.process.alive):
            self._due.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> SimulatedHandle:
        """As ``call_soon``, from the loop's own thread only."""
        if threading.get_ident() != self._owner:
            raise NotSimulated("call_soon_threadsafe from another thread")
        return self.call_soon(callback, *args, context=context)

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> SimulatedHandle:
        """In ``delay`` seconds."""
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., object], *args: object, context: Context | None = None
    ) -> SimulatedHandle:
        """At ``when`` seconds, rounded up to the millisecond."""
        instant = math.ceil(when * 1000 - SETTLED_MS)
        if instant <= self._now_ms:
            return self.call_soon(callback, *args, context=context)
        handle = SimulatedHandle(when, callback, args, self, context if context is not None else copy_context())
        if not self._over and (handle.process is None or handle.process.alive):
            heapq.heappush(self._timers, (instant, self.next_number(), handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Cancelled timers are skipped when they fall due."""

    def create_future(self) -> asyncio.Future[Any]:
        """A future with a number."""
        return SimulatedFuture(self)

    def create_task(  # type: ignore[override]  # typeshed allows any awaitable that Task takes
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> SimulatedTask[T]:
        """A task with a number, of the process of its context."""
        if self._over:
            coro.close()
            raise SimulationOver("a task was started after the end of the run")
        task = SimulatedTask(coro, self, name or "", context if context is not None else copy_context())
        if getattr(coro, "__name__", "") in ENDLESS:
            self.endless.append(task)
        self._keep(task)
        return task

    def _keep(self, task: "SimulatedTask[Any]") -> None:
        """Hold every task: what nobody retrieves is found by looking (``check_retrieved``), not when Python collects.

        And a killed task must not be collected before the end: Python would run its clean-up code.
        """
        self._made.append(task)
        if len(self._made) >= self._sweep_at:
            self._made = [made for made in self._made if not made.done() or made.forgotten() or made.went_on()]
            self._sweep_at = 2 * len(self._made) + SWEEP

    def check_retrieved(self) -> None:
        """``Unhandled`` when a task of a living process failed and nobody asked how it ended."""
        for task in self._made:
            if task.forgotten() and (task.process is None or task.process.alive):
                error = task.exception()
                raise Unhandled(f"{task.get_name()}: {type(error).__name__}: {error}") from error

    def went_on(self) -> "list[SimulatedTask[Any]]":
        """Tasks of nodes that were cancelled and did not end with it."""
        return [task for task in self._made if task.process is not None and task.went_on() and not task.exception()]

    # -- running

    def stop(self) -> None:
        """Return from ``run_forever`` after this callback."""
        super().stop()
        self._halt = True

    def abort(self, error: BaseException) -> None:
        """End the run with ``error``, whatever the running code catches. The first one counts."""
        if self._broken is None:
            self._broken = error

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """What production would only log ends the run."""
        if not self._over:
            error = Unhandled(f"{context.get('message')}: {context.get('exception')!r}")
            error.__cause__ = context.get("exception")
            self.abort(error)

    def _run_once(self) -> None:
        """Called by ``run_forever`` until it is stopped; does everything in one call because that is faster."""
        choose, trace = self._order, self._trace
        while not self._halt:
            due = self._due  # fetched again: advancing and killing replace it
            if not due:
                self._advance()
                continue
            count = len(due)
            pick = choose(count) if count > 1 else 0
            handle = due.pop(pick)
            if handle._cancelled:  # noqa: SLF001 - hot path
                continue
            trace.append(pick)
            self.steps += 1
            handle._context.run(handle._callback, *handle._args)  # noqa: SLF001 - hot path
            if self._broken is not None or self.steps > self._max_steps or len(trace) >= TRACE_CHUNK:
                self._mind()
        self._halt = False

    def _mind(self) -> None:
        if self._broken is not None:
            raise self._broken
        if self.steps > self._max_steps:
            raise StepLimit(f"more than {self._max_steps} steps at {self._now_ms} ms")
        if len(self._trace) >= TRACE_CHUNK:
            self._digest.update(self._trace.tobytes())
            del self._trace[:]

    def _advance(self) -> None:
        """Nothing is ready: on to the next timer's instant, and everything that is due then is ready together."""
        if self.idle is not None:
            self.idle()
        timers = self._timers
        while timers and timers[0][2]._cancelled:  # noqa: SLF001 - hot path
            heapq.heappop(timers)
        if not timers:
            raise Deadlock("nothing will ever happen; waiting: " + "; ".join(self.waiting()))
        self._now_ms = timers[0][0]
        while timers and timers[0][0] == self._now_ms:
            handle = heapq.heappop(timers)[2]
            if not handle._cancelled:  # noqa: SLF001 - hot path
                self._due.append(handle)
        self.collisions += len(self._due) > 1
        self._trace.append(-self._now_ms)

    # -- seeing

    def note(self, text: str) -> None:
        """Put something that happened, in plain text, into the trace hash."""
        self._digest.update(b"%d %s\n" % (self.steps, text.encode()))

    def trace_hash(self) -> str:
        """Hash of every choice, instant and note so far."""
        whole = self._digest.copy()
        whole.update(self._trace.tobytes())
        return whole.hexdigest()

    def alive(self) -> int:
        """How many tasks are not done."""
        return sum(not task.done() for task in self._made)

    def tasks_of(self, process: Process) -> list[SimulatedTask[Any]]:
        """A process's tasks that are not done."""
        return [task for task in self._made if task.process is process and not task.done()]

    def scheduled(self, process: Process) -> list[object]:
        """What a process's callbacks that are ready, or wait for their instant, are made of."""
        handles = [*self._due, *(handle for _, _, handle in self._timers)]
        mine = [handle for handle in handles if handle.process is process and not handle._cancelled]  # noqa: SLF001
        return [part for handle in mine for part in (handle._callback, *(handle._args or ()))]  # noqa: SLF001

    def waiting(self) -> list[str]:
        """Each task that is not done: its name and where it waits."""
        return [f"{task.get_name()} at {_place(task)}" for task in self._made if not task.done()]

    # -- ending

    def kill(self, process: Process) -> None:
        """End a process as by ``kill -9``: none of its code runs again, no ``finally`` either.

        Its tasks stay where they are until the run is over.
        """
        if PROCESS.get() is process:
            raise Fault("a process cannot be killed from inside: let the world do it")
        process.alive = False
        self._due = [handle for handle in self._due if handle.process is not process]
        self._timers = [timer for timer in self._timers if timer[2].process is not process]
        heapq.heapify(self._timers)

    def close(self) -> None:
        """End the run: what still waits is buried without effect."""
        if self.is_closed():
            return
        self._over, self.given_up = True, None
        for task in self._made:
            task.bury()
        self.endless.clear()
        self._made.clear()
        self._due.clear()
        self._timers.clear()
        super().close()


def _refuse(name: str) -> Callable[..., NoReturn]:
    def refused(*_args: object, **_kwargs: object) -> NoReturn:
        raise NotSimulated(f"{name}: there are no threads, sockets, subprocesses or signals here")

    return refused


OUTSIDE = (
    "add_reader",
    "add_writer",
    "remove_reader",
    "remove_writer",
    "add_signal_handler",
    "remove_signal_handler",
    "create_connection",
    "create_server",
    "create_unix_connection",
    "create_unix_server",
    "create_datagram_endpoint",
    "connect_accepted_socket",
    "connect_read_pipe",
    "connect_write_pipe",
    "getaddrinfo",
    "getnameinfo",
    "sendfile",
    "sock_accept",
    "sock_connect",
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendfile",
    "sock_sendto",
    "start_tls",
    "subprocess_exec",
    "subprocess_shell",
    "run_in_executor",
    "set_default_executor",
    "set_task_factory",
)
"""What a loop offers to reach the outside, or to change what makes a run repeatable."""

for _name in OUTSIDE:
    setattr(SimulatedLoop, _name, _refuse(_name))


def _exhaust(coro: Coroutine[Any, Any, Any] | Generator[Any, Any, Any]) -> None:
    """Close a coroutine whose clean-up may await: each close ends one await."""
    for _ in range(100):
        try:
            coro.close()
        except KeyboardInterrupt:
            raise
        except BaseException:  # noqa: BLE001, S112 - the run is over: whatever clean-up code raises has no reader
            continue
        return


def _place(task: asyncio.Task[Any]) -> str:
    """The coroutines a task is in, outermost first, and the line of the innermost."""
    path: list[CoroutineType[Any, Any, Any]] = []
    coro: object = task.get_coro()
    while isinstance(coro, CoroutineType):
        path.append(coro)
        coro = coro.cr_await
    frame = path[-1].cr_frame if path else None
    return " > ".join(each.__qualname__ for each in path) + (f" line {frame.f_lineno}" if frame else "")
