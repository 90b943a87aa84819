"""Faults that befall a running stack, each one small, each one healed by the stack or by the clock."""

import asyncio
import os
import random
import re
import signal
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final

from warifu.lab.load.counters import Counters
from warifu.lab.load.meter import family
from warifu.lab.load.proxy import Hop
from warifu.lab.load.stack import GENERATOR, Stack
from warifu.stack.balancer import ADMIN_SOCKET

STALLS_S: Final = (0.5, 4.0)
PULSE_S: Final = 0.06
PULSES: Final = 12
SLOW_S: Final = (0.01, 0.25)
SPARED: Final = frozenset({GENERATOR, "supervisor", "responder", "issuance", "intake", "numbering"})
"""Not on the way of an operation (the supervisor's death is every process's: that is another proof)."""
BACKENDS: Final = "nodes"

Fault = Callable[[], Awaitable[str]]
"""Strikes once; says whom."""


class Storm:
    """Chooses faults and lets them strike.

    Args:
        stack: running.
        counters: at work.
        hops: every way between two programs, by name.
        dice: which faults, and when.
    """

    def __init__(self, stack: Stack, counters: Counters, hops: Mapping[str, Hop], dice: random.Random) -> None:
        self.struck: Counter[str] = Counter()
        self.told: list[tuple[str, str]] = []
        self._stack, self._counters, self._hops, self._dice = stack, counters, dict(hops), dice
        self._later: set[asyncio.Task[None]] = set()
        self._stopped: set[int] = set()
        self._kinds: Mapping[str, tuple[int, Fault]] = {
            "kill": (5, self._kill),
            "hsm killed": (2, self._kill_worker),
            "hsm stalled": (3, self._stall_worker),
            "hsm device gone": (1, self._lose_device),
            "half-sick relay": (2, self._half_sick),
            "program stalled": (2, self._stall_program),
            "relay drained": (2, self._drain),
            "database restarted": (1, self._restart_database),
            "connections cut": (4, self._cut),
            "connections slowed": (2, self._slow),
            "connections frozen": (2, self._freeze),
            "terminal dies": (2, self._break_off),
            "card pulled": (2, self._pull),
        }

    async def strike(self) -> str:
        """One fault; its kind."""
        names = list(self._kinds)
        kind = self._dice.choices(names, [self._kinds[name][0] for name in names])[0]
        whom = ""
        with suppress(ProcessLookupError, OSError):
            whom = await self._kinds[kind][1]()
        self.struck[kind] += 1
        self.told.append((kind, whom))
        return kind

    async def calm(self) -> None:
        """Undo what has not undone itself."""
        for task in self._later:
            task.cancel()
        if self._later:
            await asyncio.wait(self._later)
        for pid in list(self._stopped):
            self._go_on(pid)
        for hop in self._hops.values():
            hop.heal()
        for relay in self._relays():
            await self._put_back(relay)

    # ---- processes -------------------------------------------------------------------------------------------------

    async def _kill(self) -> str:
        name, pid = self._choose(lambda name: "/" not in name)
        os.kill(pid, signal.SIGKILL)
        return name

    async def _kill_worker(self) -> str:
        name, pid = self._choose(lambda name: "/" in name)
        os.kill(pid, signal.SIGKILL)
        return name

    async def _stall_worker(self) -> str:
        name, pid = self._choose(
            lambda name: "/" in name and not name.startswith(("responder", "issuance", "numbering"))
        )
        self._stop_for(pid, self._dice.uniform(*STALLS_S))
        return name

    async def _lose_device(self) -> str:
        """One of the relays' two devices is away for a moment, and every worker that spoke to it is gone."""
        there = self._stack.home.keys / "relay.copy"
        away = there.with_suffix(".away")

        async def back() -> None:
            try:
                await asyncio.sleep(self._dice.uniform(*STALLS_S))
            finally:
                away.rename(there)

        there.rename(away)
        for name, pid in self._stack.processes().items():
            if re.fullmatch(r"relay-\d+/hsm-1", name):
                os.kill(pid, signal.SIGKILL)
        self._spawn(back())
        return "the second device of the relays"

    async def _stall_program(self) -> str:
        name, pid = self._choose(lambda name: "/" not in name and name != "postgres")
        self._stop_for(pid, self._dice.uniform(*STALLS_S))
        return name

    async def _half_sick(self) -> str:
        """Stops and goes on, over and over: answers, but late."""
        name, pid = self._choose(lambda name: name.startswith("relay") and "/" not in name)

        async def pulses() -> None:
            for _ in range(PULSES):
                self._halt(pid)
                await asyncio.sleep(PULSE_S * 2)
                self._go_on(pid)
                await asyncio.sleep(PULSE_S)

        self._spawn(pulses())
        return name

    async def _restart_database(self) -> str:
        """A fast shutdown, or one of its servers' end; the supervisor starts it anew."""
        pid = self._stack.processes()["postgres"]
        if self._dice.random() < 0.5:  # noqa: PLR2004 - one or the other
            os.kill(pid, signal.SIGINT)
            return "postgres"
        backends = family(pid)[1:]
        os.kill(self._dice.choice(backends), signal.SIGTERM)
        return "a server process of postgres"

    def _choose(self, fits: Callable[[str], bool]) -> tuple[str, int]:
        found = [
            (name, pid)
            for name, pid in sorted(self._stack.processes().items())
            if name.partition("/")[0] not in SPARED and fits(name)
        ]
        if not found:
            raise ProcessLookupError
        return self._dice.choice(found)

    def _stop_for(self, pid: int, seconds: float) -> None:
        async def until_over() -> None:
            await asyncio.sleep(seconds)
            self._go_on(pid)

        self._halt(pid)
        self._spawn(until_over())

    def _halt(self, pid: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            self._stopped.add(pid)

    def _go_on(self, pid: int) -> None:
        self._stopped.discard(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    # ---- ways ------------------------------------------------------------------------------------------------------

    async def _drain(self) -> str:
        """Taken out of rotation while counters are open, its callers asked to go, and put back."""
        relay = self._dice.choice(self._relays())
        await self._balancer(f"disable agent {BACKENDS}/{relay}")  # whose next word would put it back
        await self._balancer(f"set server {BACKENDS}/{relay} state drain")

        async def back() -> None:
            await asyncio.sleep(self._dice.uniform(*STALLS_S))
            await self._put_back(relay)

        self._spawn(back())
        if pid := self._stack.processes().get(relay):
            os.kill(pid, signal.SIGUSR1)
        return relay

    async def _put_back(self, relay: str) -> None:
        await self._balancer(f"enable agent {BACKENDS}/{relay}")
        await self._balancer(f"set server {BACKENDS}/{relay} state ready")

    async def _cut(self) -> str:
        hop = self._hop()
        hop.cut()
        return hop.name

    async def _slow(self) -> str:
        hop = self._hop()
        hop.slow(self._dice.uniform(*SLOW_S))
        self._heal_later(hop)
        return hop.name

    async def _freeze(self) -> str:
        hop = self._hop()
        hop.freeze()
        self._heal_later(hop)
        return hop.name

    def _hop(self) -> Hop:
        return self._hops[self._dice.choice(sorted(self._hops))]

    def _heal_later(self, hop: Hop) -> None:
        async def heal() -> None:
            await asyncio.sleep(self._dice.uniform(*STALLS_S))
            hop.heal()

        self._spawn(heal())

    def _relays(self) -> list[str]:
        return [node.name for node in self._stack.own.topology.node if node.kind == "relay"]

    async def _balancer(self, command: str) -> None:
        """A command to HAProxy's socket; one that is being restarted does without."""
        path = self._stack.home.run / ADMIN_SOCKET
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_unix_connection(str(path))
                writer.write(command.encode() + b"\n")
                await reader.read()
                writer.close()
        except (OSError, TimeoutError):
            return

    # ---- counters --------------------------------------------------------------------------------------------------

    async def _break_off(self) -> str:
        return self._counters.break_off(self._dice)

    async def _pull(self) -> str:
        return self._counters.pull(self._dice)

    def _spawn(self, work) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - any coroutine
        task = asyncio.create_task(work)
        self._later.add(task)
        task.add_done_callback(self._later.discard)
