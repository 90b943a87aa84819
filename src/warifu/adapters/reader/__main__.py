"""Hold cards in vpcd's slots: ``python -m warifu.adapters.reader DIRECTORY CARD_ID... [--host H] [--port P]``.

The first card goes to port P, the next to P + 1. Prints ``inserted`` when pcscd has seen all of them; ends with SIGTERM
or SIGINT, or in one line on stderr.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from warifu.adapters.reader.files import FileReader
from warifu.adapters.reader.vpcd import DEFAULT_HOST, DEFAULT_PORT, hold_card
from warifu.kernel.errors import WarifuError


async def hold_cards(
    directory: Path,
    card_ids: list[str],
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    inserted: Callable[[], None] = lambda: None,
) -> None:
    """Keep each card in a slot of its own until cancelled. Raises as ``FileReader.connect`` and ``hold_card``."""
    seen: set[str] = set()

    def note(card_id: str) -> None:
        if card_id not in seen:
            seen.add(card_id)
            if len(seen) == len(card_ids):
                inserted()

    async with AsyncExitStack() as stack:
        reader = FileReader(directory)
        cards = []
        for card_id in card_ids:
            cards.append(await reader.connect(card_id))
            stack.push_async_callback(cards[-1].close)
        async with asyncio.TaskGroup() as group:
            for slot, (card_id, card) in enumerate(zip(card_ids, cards, strict=True)):
                seen_one = _bound(note, card_id)
                group.create_task(hold_card(card, host, port + slot, inserted=seen_one))


def _bound(note: Callable[[str], None], card_id: str) -> Callable[[], None]:
    return lambda: note(card_id)


async def _until_signal(given: argparse.Namespace) -> None:
    work = hold_cards(
        given.directory, given.card_id, given.host, given.port, lambda: print("inserted", flush=True)  # noqa: T201 - its interface
    )  # fmt: skip
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


def main() -> int:
    """0 after a signal, 1 after an error, 2 when the arguments are wrong."""
    parser = argparse.ArgumentParser(prog="warifu.adapters.reader", description="Hold cards in vpcd's slots.")
    parser.add_argument("directory", type=Path, help="where the card files are")
    parser.add_argument("card_id", nargs="+", help="one for each slot")
    parser.add_argument("--host", default=DEFAULT_HOST)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="the first slot's; the next has the next number")
    given = parser.parse_args()
    try:
        asyncio.run(_until_signal(given))
    except (WarifuError, BaseExceptionGroup) as error:
        cause = _first(error)
        if not isinstance(cause, WarifuError):
            raise
        print(f"{cause.code}: {cause}", file=sys.stderr)  # noqa: T201 - its interface
        return 1
    return 0


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    sys.exit(main())
