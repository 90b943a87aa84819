"""A run whose disk fills is ended at once: there is nothing to be measured on a stack that cannot write."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from warifu.kernel.errors import DiskFull
from warifu.stack import status
from warifu.stack.errors import NotRunning, disk_errors, first_error
from warifu.stack.home import Home, write_file

LOOK_EVERY_S: Final = 0.5
LEAST_BYTES: Final = 1 << 16
"""A disk that does not take so much is full: a status, a log record and a CS's entry are less."""


@asynccontextmanager
async def while_there_is_room(home: Home) -> AsyncIterator[None]:
    """Raise ``DiskFull``, in the middle of whatever is being done, when the stack of this home has no room to write."""
    try:
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(_watch(home), name="room on the disk")
            try:
                yield
            finally:
                watching.cancel()
    except Exception as error:
        cause = first_error(error)
        if not isinstance(cause, DiskFull) and (found := await asyncio.to_thread(without_room, home)):
            raise _ended(found) from error
        raise cause from None


def without_room(home: Home) -> str:
    """Who finds no room on the disk; nothing when all do, or no stack runs."""
    try:
        found = status.read(home).disk_full
        if not found:
            with disk_errors(home.run):
                write_file(home.run / "room", bytes(LEAST_BYTES))
    except NotRunning:
        return ""
    except DiskFull as error:
        return str(error)
    return found


async def _watch(home: Home) -> None:
    while not (found := await asyncio.to_thread(without_room, home)):  # noqa: ASYNC110 - a disk tells nobody
        await asyncio.sleep(LOOK_EVERY_S)
    raise _ended(found)


def _ended(found: str) -> DiskFull:
    return DiskFull(
        f"{found.partition(':')[0]}, in the middle of the run, which was ended and leaves nothing there: "
        "free some, or set TMPDIR to a folder on another disk"
    )
