"""Keeps one process alive: restart with back-off, health probes, a hung process killed."""

import asyncio
import contextlib
import random
import signal
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

from warifu.contract.health import Health
from warifu.kernel.errors import WarifuError
from warifu.stack.errors import StartFailed
from warifu.stack.logs import RotatingLog
from warifu.stack.processes import Child, ProcessSpec
from warifu.stack.topology import Supervision

State = Literal["waiting", "starting", "serving", "ailing", "crashing", "stopped"]
"""waiting: for its (re)start. ailing: answers, but a part of it does not work. crashing: ends at once, repeatedly."""

CRASHING_AFTER = 4
"""So many quick ends one after another are reported as crashing."""
PROBE_WITHIN_S = 3.0
"""A node's parts have 2 s each, at the same time."""
PERMANENT_STATUS = 78
"""sysexits.h EX_CONFIG: a node that ends so will end so again; starting a stack gives up at once."""

Probe = Callable[[], Awaitable[Health]]
Prepare = Callable[[], Awaitable[None]]
Report = Callable[[str, str], None]
"""Called with an event's name and a text for people."""


@dataclass
class Backoff:
    """How long to wait before the next start: the first restart is fast, then doubling, with jitter, to a limit."""

    first_s: float = 0.1
    most_s: float = 3.0
    settled_s: float = 5.0
    """A process that lived so long starts from ``first_s`` again."""
    quick_ends: int = 0

    def after_end(self, lived_s: float, jitter: float) -> float:
        """Seconds to wait after a process ended.

        Args:
            lived_s: how long it had lived.
            jitter: uniform in [0, 1).
        """
        self.quick_ends = 1 if lived_s >= self.settled_s else self.quick_ends + 1
        full = min(self.most_s, self.first_s * 2.0 ** min(self.quick_ends - 1, 30))
        return full * (0.75 + jitter / 2)


async def _nothing() -> None:
    """No preparation."""


@dataclass
class Keeper:
    """One process and what is known of it."""

    spec: ProcessSpec
    log: RotatingLog
    supervision: Supervision
    probe: Probe
    report: Report
    prepare: Prepare = _nothing
    """Done before each start; an error of it counts as a failed start."""
    backoff: Backoff = field(default_factory=Backoff)

    state: State = "waiting"
    health: Health | None = None
    restarts: int = 0
    last_end: str = ""
    """Why its last life ended."""
    ailment: str = ""
    """What is wrong with it now."""
    permanent: bool = False
    child: Child | None = None

    def __post_init__(self) -> None:
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()

    @property
    def pid(self) -> int:
        """The process, or 0 between two."""
        return self.child.pid if self.child else 0

    @property
    def last_error(self) -> str:
        """What is wrong now, or else why it was last restarted."""
        return self.ailment or self.last_end

    @property
    def healthy(self) -> bool:
        """Whether it does its work, as far as is known now."""
        return self.state == "serving"

    async def run(self) -> None:
        """Keep it alive until ``stop``; the log is closed at the end."""
        self._ended.clear()
        try:
            while not self._stopping.is_set():
                await self._live_and_pause()
        finally:
            self._become("stopped")
            self.log.close()
            self._ended.set()

    async def stop(self) -> None:
        """End the process and the keeping of it; returns when both have ended."""
        self._stopping.set()
        if self.child is not None:
            await self.child.stop(self.supervision.stop_within_s)
        await self._ended.wait()

    async def _live_and_pause(self) -> None:
        started = time.monotonic()
        await self._live_once()
        if self._stopping.is_set():
            return
        self.restarts += 1
        delay_s = self.backoff.after_end(time.monotonic() - started, random.random())  # noqa: S311 - jitter
        self._judge_ends()
        self.log.event("process.restart", level="warning", after_ms=round(delay_s * 1000), error=self.last_error)
        await self._pause(delay_s)

    async def until_healthy(self) -> None:
        """Wait for the first good health answer. ``StartFailed`` when it cannot come, or not in time."""
        try:
            async with asyncio.timeout(self.supervision.start_within_s):
                while not self.healthy:
                    if self.permanent or self.state in {"crashing", "stopped"}:
                        raise StartFailed(f"{self.spec.name}: {self.last_error or 'it ends at once'}")
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            reason = self.last_error or "no health answer"
            within_s = self.supervision.start_within_s
            raise StartFailed(f"{self.spec.name} does not come up within {within_s:g} s: {reason}") from None

    async def _live_once(self) -> None:
        self._become("starting" if self.state != "crashing" else "crashing")
        try:
            self.log.last_text = ""
            await self.prepare()
            self.child = await Child.start(self.spec, self.log)
        except WarifuError as error:
            self.last_end = f"{error.code}: {error}"
            return
        self.log.event("process.started", pid=self.child.pid)
        watching = asyncio.create_task(self._watch(self.child), name=f"health of {self.spec.name}")
        try:
            if self._stopping.is_set():  # asked while it was being started
                await self.child.stop(self.supervision.stop_within_s)
            status = await self.child.wait()
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            self.child.kill()  # what it left in its process group
            self.child, self.health, self.ailment = None, None, ""
        self._note_end(status)

    def _note_end(self, status: int) -> None:
        self.log.event("process.ended", status=status, level="info" if self._stopping.is_set() else "warning")
        if self._stopping.is_set():
            return
        how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        self.last_end = f"{how}: {self.log.last_text}" if status > 0 and self.log.last_text else how
        self.permanent = status == PERMANENT_STATUS
        self.report("process.ended", f"{self.spec.name} {how}; starting it again")

    def _judge_ends(self) -> None:
        if self.permanent or self.backoff.quick_ends >= CRASHING_AFTER:
            if self.state != "crashing":
                self.report("process.crashing", f"{self.spec.name} ends at once again and again: {self.last_error}")
            self._become("crashing")
        else:
            self._become("waiting")

    async def _pause(self, delay_s: float) -> None:
        try:
            async with asyncio.timeout(delay_s):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _watch(self, child: Child) -> None:
        """Probe each second; kill the process when it gave no answer for too long.

        One that was told to end is left alone: it answers nobody any more, and ``stop`` has a patience of its own.
        """
        every_s = min(self.supervision.probe_every_s, 0.1)  # eager until the first answer
        deadline = time.monotonic() + max(self.supervision.start_within_s, self.supervision.hang_after_s)
        while not self._stopping.is_set():
            await asyncio.sleep(every_s)
            if await self._probe_once():
                every_s = self.supervision.probe_every_s
                deadline = time.monotonic() + self.supervision.hang_after_s
            elif time.monotonic() > deadline and not self._stopping.is_set():
                self.report("process.hung", f"{self.spec.name} gives no health answer; it is killed")
                self.log.event("process.hung", level="error", seconds=self.supervision.hang_after_s)
                child.kill()
                return

    async def _probe_once(self) -> bool:
        """Whether there was an answer at all."""
        try:
            async with asyncio.timeout(min(PROBE_WITHIN_S, self.supervision.hang_after_s)):
                self.health = await self.probe()
        except (WarifuError, TimeoutError, OSError) as error:
            if self.state == "serving":
                self._become("ailing")
            self.ailment = f"{error.code}: {error}" if isinstance(error, WarifuError) else "no health answer"
            return False
        if self.health.ok:
            self.ailment = ""
            self._become("serving")
        else:
            self.ailment = "; ".join(
                f"{name}: {part.detail}" for name, part in self.health.parts.items() if not part.ok
            )
            self._become("ailing")
        return True

    def _become(self, state: State) -> None:
        if self.state != state:
            self.state = state
            self._changed.set()
