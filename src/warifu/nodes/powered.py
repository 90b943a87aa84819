"""The card in a reader, powered for as long as somebody works on it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from warifu.kernel.errors import Unavailable
from warifu.ports.reader import Connection, Reader

CONNECT_MS: Final = 15_000
"""Nobody waits longer for a reader: whose driver hangs must not take the time of all that its node has to do."""


@asynccontextmanager
async def powered(reader: Reader, card_id: str) -> AsyncIterator[Connection]:
    """The chip of this card; powered down again whatever happens.

    Raises:
        CardGone: it is not there.
        Unavailable: another has it, or the reader does not answer.
    """
    try:
        async with asyncio.timeout(CONNECT_MS / 1000):
            connection = await reader.connect(card_id)
    except TimeoutError:
        raise Unavailable("the reader is busy") from None
    try:
        yield connection
    finally:
        await connection.close()
