"""A card whose every exchange is written down, wherever it is held; and what a command needs to run until a signal."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from warifu.adapters.reader.vpcd import PoweredCard
from warifu.lend.trace import Line, Trace, json_line

Sink = Callable[[Line], None]


class TracedCard:
    """A connected card whose every exchange is traced (``vpcd.PoweredCard``)."""

    def __init__(self, card: PoweredCard, trace: Trace) -> None:
        self._card = card
        self._trace = trace
        self._transmit = trace.around(card.transmit)

    @property
    def atr(self) -> bytes:
        """The card's."""
        return self._card.atr

    async def transmit(self, command: bytes) -> bytes:
        """One command."""
        return await self._transmit(command)

    async def reset(self) -> None:
        """Power down and up."""
        await self._card.reset()
        self._trace.reset()

    def check_present(self) -> None:
        """``CardGone`` when the card was pulled or given back."""
        self._card.check_present()


@contextlib.contextmanager
def saved(path: Path | None, show: Sink | None = None) -> Iterator[Sink]:
    """A sink that appends to a file of the owner alone (None: no file) and shows each line."""
    with contextlib.ExitStack() as stack:
        file: BinaryIO | None = None
        if path is not None:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            file = stack.enter_context(os.fdopen(descriptor, "wb", buffering=0))

        def sink(line: Line) -> None:
            if file is not None:
                file.write(json_line(line))
            if show is not None:
                show(line)

        yield sink


async def until_signal(work: Callable[[], "asyncio.Future[None]"]) -> None:
    """Run ``work`` until it ends, or SIGTERM or SIGINT ends it."""
    task = work()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def show(line: Line) -> None:
    """To the screen, at once."""
    sys.stdout.write(line.text() + "\n")
    sys.stdout.flush()
