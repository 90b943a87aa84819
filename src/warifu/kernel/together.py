"""Several pieces of work at the same time, whose error is the one that happened and not a group of errors."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all of it; the results in its order.

    Not an ``asyncio.TaskGroup``: before Python 3.13 a cancellation that comes in the instant in which a piece fails is
    lost in it, and a caller that goes on after errors (a timer) is never ended.

    Raises:
        Exception: the first error of any piece, as it is; the others are cancelled, and ended when this is raised.
            Callers match errors by their class (``TryAgain``), which a group of errors would hide from them.
        CancelledError: the caller was cancelled; so are all pieces.
    """
    tasks = [asyncio.create_task(each) for each in work]
    if not tasks:
        return []
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await _end(tasks)
    return [task.result() for task in tasks if task in done]  # all of them, unless one raises


async def _end(tasks: list[asyncio.Task[T]]) -> None:
    under_way = [task for task in tasks if not task.done()]
    for task in under_way:
        task.cancel()
    if under_way:
        await asyncio.wait(under_way)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, or asyncio complains that nobody did
