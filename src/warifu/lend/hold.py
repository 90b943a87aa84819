"""Hold one card in vpcd's reader and write down what is said: ``python -m warifu.lend.hold FOLDER CARD_ID``.

As ``python -m warifu.adapters.reader``, with ``--trace FILE`` (JSON lines, appended) and ``--show`` (words, on standard
output). Prints ``inserted`` when pcscd has seen the card; ends with SIGTERM or SIGINT, or in one line on stderr.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from warifu.adapters.clock import SystemClock
from warifu.adapters.reader.files import FileConnection, FileReader
from warifu.adapters.reader.vpcd import DEFAULT_HOST, DEFAULT_PORT, hold_card
from warifu.kernel.errors import WarifuError
from warifu.lend.trace import Line, Trace, json_line

Sink = Callable[[Line], None]


class TracedCard:
    """A connected card whose every exchange is traced (``vpcd.PoweredCard``)."""

    def __init__(self, card: FileConnection, trace: Trace) -> None:
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


async def hold(
    folder: Path,
    card_id: str,
    sink: Sink,
    *,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    inserted: Callable[[], None] = lambda: None,
) -> None:
    """Keep the card in the reader until cancelled; each exchange goes to ``sink``. Raises as ``hold_card``."""
    card = await FileReader(folder).connect(card_id)
    try:
        traced = TracedCard(card, Trace(SystemClock().now_ms, sink))
        await hold_card(traced, host, port, inserted=inserted)
    finally:
        await card.close()


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


def run(folder: Path, card_id: str, sink: Sink, *, host: str = DEFAULT_HOST, port: int = DEFAULT_PORT) -> None:
    """Hold a card until a signal. Raises as ``hold``."""

    def inserted() -> None:
        sys.stdout.write("inserted\n")
        sys.stdout.flush()

    async def main() -> None:
        await until_signal(
            lambda: asyncio.ensure_future(hold(folder, card_id, sink, host=host, port=port, inserted=inserted))
        )

    asyncio.run(main())


def main() -> int:
    """0 after a signal, 1 after an error, 2 when the arguments are wrong."""
    parser = argparse.ArgumentParser(prog="warifu.lend.hold", description="Hold a card in vpcd's reader, traced.")
    parser.add_argument("folder", type=Path, help="where the card files are")
    parser.add_argument("card_id")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="append the trace as JSON lines")
    parser.add_argument("--show", action="store_true", help="print the trace in words")
    parser.add_argument("--host", default=DEFAULT_HOST)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    given = parser.parse_args()
    try:
        with saved(given.trace, show if given.show else None) as sink:
            run(given.folder, given.card_id, sink, host=given.host, port=given.port)
    except WarifuError as error:
        sys.stderr.write(f"{error.code}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
