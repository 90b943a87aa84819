"""Who is cancelled ends: a cancellation that was caught on its way is seen, whoever sent it.

A task that somebody cancelled must not come to a result all the same, nor ask anybody for anything on its way out, and
what stands under ``asyncio.timeout`` must not go on once its time has ended. All of it is legal Python, and no history
shows it: work is done, only for nobody.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final

from warifu.lab.simulation.loop import SimulatedTask

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

NAME: Final = "who is cancelled ends"
LEAVE: Final = "__aexit__"


@contextmanager
def watched(world: "World") -> Iterator[None]:
    """Look at every end of a timeout during a run."""
    leave = asyncio.Timeout.__aexit__

    async def look(
        self: asyncio.Timeout,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None and self.expired():
            world.violated(NAME, f"{_who()}: its time had ended, and it went on")
        await leave(self, kind, error, trace)

    setattr(asyncio.Timeout, LEAVE, look)
    try:
        yield
    finally:
        setattr(asyncio.Timeout, LEAVE, leave)


def asks(world: "World", what: str) -> None:
    """The running task asks somebody for something: not once it was cancelled, for whom would it?

    What cleans up says nothing to others: it gives back, closes, kills. A cancellation that is its owner's (an inner
    ``asyncio.timeout``) is taken back before its owner goes on.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        world.violated(NAME, f"{_who()}: it was cancelled, and asks for {what}")


def check(world: "World") -> None:
    """No task of a node came to a result after it had been cancelled."""
    for task in world.loop.went_on():
        world.violated(NAME, f"{task.process}: {task.get_name()} went on")


def _who() -> str:
    task = asyncio.current_task()
    return f"{task.process}: {task.get_name()}" if isinstance(task, SimulatedTask) else "somebody"
