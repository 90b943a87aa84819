"""``warifu card readers``: what lies in the machine's PC/SC readers, real ones and vpcd's."""

import asyncio
from typing import Final

from warifu.adapters.reader.pcsc import PcscConnection, PcscReader, card_id_of, reader_names
from warifu.chip import client
from warifu.chip.errors import BadCardAnswer, CardRefused
from warifu.domain.cards.chip_names import PIN_PLACES
from warifu.kernel.errors import Unavailable
from warifu.ports.reader import CardGone

_LOOK_WITHIN_S: Final = 10.0


def look() -> list[str]:
    """A line for each reader: the card's answer to reset, its id, and the tries its PINs have left.

    Raises:
        PcscError: there is no PC/SC service.
    """
    return asyncio.run(_look()) or ["no reader"]


async def _look() -> list[str]:
    names = await asyncio.to_thread(reader_names)
    return [f"{name}: {await _look_into(name)}" for name in names]


async def _look_into(name: str) -> str:
    try:
        connection = await PcscReader().connect_in(name)
    except CardGone:
        return "empty"
    except Unavailable as error:
        return str(error)
    try:
        async with asyncio.timeout(_LOOK_WITHIN_S):
            return await _describe(connection)
    except CardGone:
        return "the card was pulled"
    finally:
        await connection.close()


async def _describe(connection: PcscConnection) -> str:
    card_id = await card_id_of(connection)
    words = [f"ATR {connection.atr.hex().upper()}", f"card {card_id}" if card_id else "a card that tells no id"]
    for name, places in PIN_PLACES.items():
        try:
            words.append(f"{name} {await client.tries_left(connection.transmit, *places[0])}")
        except (CardRefused, BadCardAnswer):
            continue  # another kind of card
    return ", ".join(words[:2]) + (f"; tries left: {', '.join(words[2:])}" if words[2:] else "")
