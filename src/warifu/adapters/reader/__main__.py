"""Hold one card in vpcd's reader: ``python -m warifu.adapters.reader DIRECTORY CARD_ID [--host H] [--port P]``.

Prints ``inserted`` when pcscd has seen the card; ends with SIGTERM or SIGINT, or in one line on stderr.
"""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from warifu.adapters.reader.files import FileReader
from warifu.adapters.reader.vpcd import DEFAULT_HOST, DEFAULT_PORT, hold_card
from warifu.kernel.errors import WarifuError


async def _hold(directory: Path, card_id: str, host: str, port: int) -> None:
    card = await FileReader(directory).connect(card_id)
    try:
        await hold_card(card, host, port, inserted=lambda: print("inserted", flush=True))  # noqa: T201 - its interface
    finally:
        await card.close()


async def _hold_until_signal(directory: Path, card_id: str, host: str, port: int) -> None:
    task = asyncio.ensure_future(_hold(directory, card_id, host, port))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return


def main() -> int:
    """0 after a signal, 1 after an error, 2 when the arguments are wrong."""
    parser = argparse.ArgumentParser(prog="warifu.adapters.reader", description="Hold a card in vpcd's reader.")
    parser.add_argument("directory", type=Path, help="where the card files are")
    parser.add_argument("card_id")
    parser.add_argument("--host", default=DEFAULT_HOST)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT)
    given = parser.parse_args()
    try:
        asyncio.run(_hold_until_signal(given.directory, given.card_id, given.host, given.port))
    except WarifuError as error:
        print(f"{error.code}: {error}", file=sys.stderr)  # noqa: T201 - its interface
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
