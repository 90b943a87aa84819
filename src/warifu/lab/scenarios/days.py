"""The ``days`` scenario: one HSM pool over simulated days, in which every two hours a worker falls silent (F3, F1).

In 2016 a worker was used again under a name that grew with each use and stood in every log line; nobody sees that in
minutes. Here nothing may grow with the days: log records, what the pool keeps, tasks.
"""

import asyncio
from collections import defaultdict
from typing import Final

from warifu.kernel.errors import TryAgain
from warifu.lab.history import Event
from warifu.lab.properties import Property
from warifu.lab.scenarios.pool import MAC
from warifu.lab.scenarios.pool_properties import CallsEnd, Fenced
from warifu.lab.scenarios.scenario import Safeguard, Scenario
from warifu.lab.simulation.devices import SimulatedFactory, device
from warifu.lab.simulation.keys import Deal
from warifu.lab.simulation.loop import Process
from warifu.lab.simulation.sabotage_nodes import pool_class
from warifu.lab.simulation.world import World
from warifu.nodes.hsm_pool import Dump, PoolLimits
from warifu.ports import hsm

DAY_MS: Final = 86_400_000
DAYS: Final = 2
SIZE: Final = 2
MONITOR_MS: Final = 7_200_000
"""The hardware monitor of 2016 asked every two hours."""
ASK_MS: Final = 600_000
PATIENT_MS: Final = 30_000
LIMITS: Final = PoolLimits(self_test_every_ms=300_000, history=8, dumps=4, steady_ms=60_000)
GROWTH_A_DAY: Final = 1.0
"""Bytes (or tasks) that something may seem to grow by in a day."""
ENOUGH: Final = 8


class NoGrowth:
    """Log records of one kind are as long on the last day as on the first, and so is what is counted in them.

    Looked at as a slope over simulated days: least squares, in bytes (or in what was counted) a day.
    """

    name = "nothing grows with the days"

    def __init__(self) -> None:
        self._seen: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)

    def see(self, event: Event) -> str | None:
        """Keep when and how long."""
        if event.kind == "log":
            size = float(event.detail) if event.outcome == "tasks" else float(len(event.detail))
            self._seen[event.outcome].append((event.at_ms / DAY_MS, size))
        return None

    def end(self) -> str | None:
        """The slopes."""
        for kind, points in self._seen.items():
            growth = slope(points)
            if len(points) >= ENOUGH and growth > GROWTH_A_DAY:
                return f"{kind} grows by {growth:.1f} a day"
        return None


def slope(points: list[tuple[float, float]]) -> float:
    """Least squares slope of y over x."""
    count = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / count, sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


class DaysTrial:
    """A pool, somebody who asks it now and then, and the monitor."""

    def __init__(self, world: World) -> None:
        self._world = world
        world.lasts_ms = DAYS * DAY_MS + 2 * ASK_MS
        self._factory = SimulatedFactory(world, device(Deal(), ((MAC, "mac"),)), told=True)
        pool = pool_class(world.plan.without)
        self.pool = pool(self._factory, "relay-1/hsm", SIZE, limits=LIMITS, on_fence=self._told)
        self._running = world.loop.create_task(self.pool.run(), name="pool", context=Process("relay-1").context)

    def _told(self, dump: Dump) -> None:
        """As the stack's log has it."""
        commands = " ".join(f"{one.kind}:{one.label}" for one in dump.commands[-1:])
        detail = f"worker={dump.worker} reason={dump.reason} commands={commands}"
        self._world.record("log", "relay-1", outcome="trouble hsm.fenced", detail=detail)

    async def drive(self) -> None:
        """Days of little work, with a stall every two hours."""
        end_ms = self._world.loop.now_ms + DAYS * DAY_MS
        monitor_ms = MONITOR_MS
        while self._world.loop.now_ms < end_ms:
            if self._world.loop.now_ms >= monitor_ms:
                monitor_ms += MONITOR_MS
                self._factory.stalls += 1
                self._world.fault("hsm_stall", "relay-1", detail="the monitor asked at the same instant")
            await self._ask()
            self._world.record("log", "relay-1", outcome="tasks", detail=str(self._world.loop.alive()))
            await asyncio.sleep((ASK_MS + self._world.pick(1000)) / 1000)
        self._running.cancel()
        await asyncio.wait({self._running})

    async def _ask(self) -> None:
        step, world = str(self._world.loop.now_ms), self._world
        world.record("invoke", "caller-1", peer="hsm", step=step, name="Mac", detail=str(PATIENT_MS))
        outcome = "ok"
        try:
            await self.pool.call(hsm.Mac(MAC, b"data"), PATIENT_MS)
        except TryAgain as error:
            outcome = error.code
        world.record("answer", "caller-1", peer="hsm", step=step, name="Mac", outcome=outcome)

    def settled(self) -> bool:
        """Nothing waits."""
        return self.pool.health().queued == 0

    async def conclude(self) -> None:
        """Nothing more."""

    def state(self) -> object:
        """How many are ready."""
        health = self.pool.health()
        return health.ready, health.queued, health.reasons


def _properties() -> tuple[Property, ...]:
    """Nothing grows; and the pool does its work meanwhile."""
    return NoGrowth(), Fenced(LIMITS, SIZE), CallsEnd()


SOME_DAYS: Final = Scenario(
    "days",
    DaysTrial,
    _properties,
    safeguards=(
        Safeguard("constant-size-log", "names and log records have one size for ever", ("F3",)),
        Safeguard("hsm-fencing", "a worker that does not answer by its deadline is replaced", ("F1",)),
    ),
)
