"""Print the ids of the cards in the PC/SC readers, once there are as many as the argument says."""

import asyncio
import sys

from warifu.adapters.reader.pcsc import PcscReader, card_id_of, reader_names
from warifu.ports.reader import CardGone

POLL_S = 0.05


async def found() -> list[str]:
    ids = []
    for name in sorted(reader_names()):
        try:
            connection = await PcscReader().connect_in(name)
        except CardGone:
            continue
        ids.append(str(await card_id_of(connection)))
        await connection.close()
    return ids


async def main(wanted: int) -> None:
    async with asyncio.timeout(20):
        while len(ids := await found()) != wanted:  # noqa: ASYNC110 - another process puts the cards in
            await asyncio.sleep(POLL_S)
    sys.stdout.write("".join(f"{card_id}\n" for card_id in ids))


asyncio.run(main(int(sys.argv[1])))
