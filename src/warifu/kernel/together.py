"""Several pieces of work at the same time, whose error is the one that happened and not a group of errors."""

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Do all of it; the results in its order.

    Raises:
        BaseException: the first error of any piece, as it is; the others are cancelled, and ended when this is raised.
            Callers match errors by their class (``TryAgain``), which a group of errors would hide from them.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as errors:
        raise _first(errors) from errors
    return [task.result() for task in tasks]


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
