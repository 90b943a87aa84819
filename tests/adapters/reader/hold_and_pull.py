"""Hold a card in vpcd's reader that is pulled out in the next command that changes it, just after the change."""

import asyncio
import sys
from pathlib import Path

from chip_kit import CARD_ID

from warifu.adapters.reader.files import FileReader
from warifu.adapters.reader.vpcd import hold_card
from warifu.ports.reader import CardGone


async def main(folder: Path) -> None:
    reader = FileReader(folder)
    card = await reader.connect(CARD_ID)
    reader.pull_at_save(CARD_ID, 1, written=True)
    try:
        await hold_card(card, inserted=lambda: print("inserted", flush=True))  # noqa: T201 - its interface
    except CardGone:
        return
    finally:
        await card.close()


asyncio.run(main(Path(sys.argv[1])))
