"""One child process: started on a leash, its output kept, ended politely and then not.

The leash is Linux's parent-death signal: should the supervisor die by ``kill -9``, the kernel signals each child. Each
child has a process group of its own, so that Ctrl-C in a terminal reaches the supervisor alone, which then ends them in
order.
"""

import asyncio
import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from warifu.stack.errors import ProgramMissing
from warifu.stack.logs import LineSplitter, RotatingLog

_PR_SET_PDEATHSIG = 1
GARBAGE_OBJECTS = 10_000
"""New objects between two looks of the garbage collector (its own choice is 700)."""
FILES = 16_384
"""Open in one process: four times what a server's connections and handlers, a balancer's both ends, can come to."""
_LAST_OUTPUT_S = 0.5
"""How long a dead child's last output is waited for (a grandchild may hold the pipe open)."""


@dataclass(frozen=True)
class User:
    """Whom a child runs as, by number."""

    uid: int
    gid: int


@dataclass(frozen=True)
class ProcessSpec:
    """How a child is started and ended."""

    name: str
    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the supervisor's own environment."""
    user: User | None = None
    """None: as the supervisor."""
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends when the supervisor dies."""
    patience_s: float = 0.0
    """How long its end is waited for at least, before it is killed."""


def leash(death_signal: signal.Signals) -> Callable[[], None]:
    """What a child must do between fork and exec, so that it does not outlive its parent (Linux; else nothing)."""
    parent = os.getpid()
    if not sys.platform.startswith("linux"):
        return lambda: None
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def fasten() -> None:
        prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        work_in_turns()
        if os.getppid() != parent:  # it died between fork and prctl
            os._exit(1)

    return fasten


def work_in_turns() -> None:
    """Ask the kernel not to interrupt others whenever something comes for this process (Linux; else nothing).

    A message goes through a dozen processes; if each takes the processor from whoever sent it something, a fifth more
    time goes into changing from one to another. Children inherit it.
    """
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def open_more_files() -> None:
    """As many files and connections as this user may have, up to a bound; many systems give 1,024 unless asked.

    A server holds so many connections alone, and strangers who only connect hold some for seconds. Children inherit it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(hard, FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def settle_memory() -> None:
    """What is there when the work begins stays: the collector need not walk it, and looks seldom at what comes."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)


class Child:
    """A running child process."""

    def __init__(self, spec: ProcessSpec, process: asyncio.subprocess.Process, log: RotatingLog) -> None:
        self.spec = spec
        self.pid = process.pid
        self._process = process
        self._log = log
        self._end = asyncio.create_task(self._await_end(), name=f"end of {spec.name}")

    @classmethod
    async def start(cls, spec: ProcessSpec, log: RotatingLog) -> "Child":
        """Start it. ``ProgramMissing`` when there is no such program."""
        user = spec.user
        try:
            process = await asyncio.create_subprocess_exec(
                *spec.argv,
                cwd=spec.cwd,
                env={**os.environ, **spec.env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=leash(spec.death_signal),
                user=None if user is None else user.uid,
                group=None if user is None else user.gid,
                extra_groups=None if user is None else [],
            )
        except (FileNotFoundError, PermissionError) as error:
            raise ProgramMissing(f"{spec.name}: {spec.argv[0]} cannot be run: {error.strerror}") from error
        return cls(spec, process, log)

    async def wait(self) -> int:
        """Wait for its end; the exit status, or minus the signal that ended it. Several may wait."""
        return await asyncio.shield(self._end)

    def send(self, number: signal.Signals) -> None:
        """Signal it; a dead one is no error."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, with the children of its own."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def stop(self, within_s: float) -> int:
        """Ask it to end; kill it when it has not after ``within_s`` seconds. The exit status."""
        within_s = max(within_s, self.spec.patience_s)
        self.send(self.spec.stop_signal)
        try:
            async with asyncio.timeout(within_s):
                return await self.wait()
        except TimeoutError:
            self._log.event("stop.killed", level="warning", seconds=within_s)
            self.kill()
            return await self.wait()

    async def _await_end(self) -> int:
        pump = asyncio.create_task(self._keep_output(), name=f"output of {self.spec.name}")
        status = await self._process.wait()
        await asyncio.wait({pump}, timeout=_LAST_OUTPUT_S)
        pump.cancel()
        return status

    async def _keep_output(self) -> None:
        stream = self._process.stdout
        if stream is None:
            return
        splitter = LineSplitter()
        while data := await stream.read(1 << 16):
            self._log.write_lines(splitter.feed(data))
        self._log.write_line(splitter.end())
