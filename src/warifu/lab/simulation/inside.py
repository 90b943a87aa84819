"""Work that a node's own faces ask of it (a web page, HTTP of relying parties), done in the node's process.

Whoever asked may go away, as a browser does: then the work is cancelled, and nobody else may feel it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from warifu.kernel.errors import Refused, TryAgain
from warifu.lab.simulation.asked_once import FAILED
from warifu.nodes import base

if TYPE_CHECKING:
    from warifu.lab.simulation.world import Machine, World

T = TypeVar("T")
N = TypeVar("N", bound=base.Node)
ENDS_MS = 1_000
"""For work that is given up."""


async def inside(
    world: "World", machine: "Machine", kind: type[N], work: Callable[[N], Awaitable[T]], patience_ms: int
) -> T | Refused | None:
    """Have the node do something.

    Args:
        world: the simulated world.
        machine: whose node.
        kind: what it is.
        work: what to do with it.
        patience_ms: after which whoever asks goes away.

    Returns:
        What came of it; a refusal is an answer too; None when there was none.
    """
    node = machine.node
    if not machine.up or not isinstance(node, kind):
        return None
    process = machine.process
    task = world.spawn(_done(work, node), f"inside {machine.name}", process.context.copy())
    await asyncio.wait({task}, timeout=patience_ms / 1000)
    if task.done():
        return _result(world, machine, task)
    task.cancel()
    await asyncio.wait({task}, timeout=ENDS_MS / 1000)
    if process.alive and not task.done():
        world.violated("what is given up ends", f"{machine.name} goes on for who is gone")
    return None


async def _done(work: Callable[[N], Awaitable[T]], node: N) -> T | Refused | None:
    FAILED.set([])
    try:
        return await work(node)
    except Refused as refusal:
        return refusal
    except TryAgain:
        return None


def _result(world: "World", machine: "Machine", task: "asyncio.Task[T | Refused | None]") -> T | Refused | None:
    if task.cancelled():
        world.violated("who goes away ends nobody else's request", f"a request at {machine.name} was cancelled")
        return None
    error = task.exception()
    if error is not None:
        world.violated("no error but those of the tree", f"{machine.name}: {type(error).__name__}")
        return None
    return task.result()
