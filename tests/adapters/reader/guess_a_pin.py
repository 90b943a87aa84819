"""Present a wrong PIN to the card in the PC/SC reader and print the code of what comes of it."""

import asyncio
import sys

from chip_kit import CARD_ID

from warifu.adapters.reader.pcsc import PcscReader
from warifu.chip import client, layout
from warifu.kernel.errors import WarifuError


async def main() -> None:
    card = await PcscReader().connect(CARD_ID)
    try:
        await client.verify_pin(card.transmit, layout.TEXT, layout.TEXT_PIN, "0000")
    except WarifuError as error:
        sys.stdout.write(f"{error.code}\n")
    finally:
        await card.close()


asyncio.run(main())
