"""What a node does again and again it does as often as it says: in the storm, after an error, and to its end.

Its timers are seen where they meet the store. Between the end of one turn's work there and the beginning of the next
lies a timer's period, and no more.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from warifu.lab.simulation.loop import SimulatedTask
from warifu.nodes import base
from warifu.nodes.center import completing, lapsing

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

NAME: Final = "timers run"
SLACK_MS: Final = 10
"""Between a timer's own steps no time passes; half seconds of several are rounded."""
PERIODS_S: Final[dict[str, Callable[[], float]]] = {
    "KeepingNode.run_outbox": lambda: base.OUTBOX_IDLE_S,
    "KeepingNode.run_sealer": lambda: base.SEAL_EVERY_S,
    "KeepingNode.run_purger": lambda: base.PURGE_EVERY_S,
    "Completer.run": lambda: completing.EVERY_S,
    "Lapser.run": lambda: lapsing.EVERY_S,
}
"""By the timer's coroutine."""


class Duties:
    """Watches the timers of one world's nodes.

    Args:
        world: where they live.
    """

    def __init__(self, world: "World") -> None:
        self._world = world
        self._rested: dict[int, int] = {}
        """Since when each timer, by its task's number, asks the store nothing."""

    def begins(self) -> int | None:
        """A task asks the store; its number if it is a timer."""
        task = asyncio.current_task()
        if not isinstance(task, SimulatedTask) or _period_ms(task) is None:
            return None
        self._look(task)
        self._rested.pop(task.number, None)
        return task.number

    def ends(self, number: int | None) -> None:
        """The store has answered it."""
        if number is not None:
            self._rested[number] = self._world.loop.now_ms

    def check(self, tasks: Iterable[SimulatedTask[Any]]) -> None:
        """None of these rests for longer than its period."""
        for task in tasks:
            if not task.done():
                self._look(task)

    def _look(self, task: SimulatedTask[Any]) -> None:
        period_ms, since_ms = _period_ms(task), self._rested.get(task.number)
        if period_ms is None or since_ms is None:
            return
        rests_ms = self._world.loop.now_ms - since_ms
        if rests_ms > period_ms + SLACK_MS:
            self._world.violated(NAME, f"{task.process}: {_name(task)} has rested for {rests_ms} ms, not {period_ms}")


def _name(task: SimulatedTask[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", "")


def _period_ms(task: SimulatedTask[Any]) -> int | None:
    period = PERIODS_S.get(_name(task))
    return None if period is None else round(1000 * period())
