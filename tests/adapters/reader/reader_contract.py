"""What every reader promises (``ports.reader``), checked alike on all of them.

``python reader_contract.py FOLDER`` runs it on the PC/SC readers of the machine (or namespace) it is started in, whose
cards are held by somebody else from the files in FOLDER.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chip_kit import CARD_ID, PINS

from warifu.adapters.reader.files import read_image
from warifu.adapters.reader.pcsc import PcscReader
from warifu.chip import client, layout
from warifu.chip.errors import CardRefused, WrongPin
from warifu.chip.image import Image
from warifu.kernel.errors import Malformed, Unavailable
from warifu.ports.reader import CardGone, Connection, Reader

Stored = Callable[[], Image]
ABSENT = "WRF000000000009"


@asynccontextmanager
async def connected(reader: Reader) -> Any:
    connection = await reader.connect(CARD_ID)
    try:
        yield connection
    finally:
        await connection.close()


async def raises(kind: type[Exception], work: Awaitable[object]) -> Exception:
    try:
        await work
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


def certificate_in(image: Image) -> bytes:
    applet = image.applet(layout.JPKI)
    assert applet is not None
    ef = applet.ef(layout.AUTHENTICATION_CERTIFICATE)
    assert ef is not None
    return ef.content


async def files_are_read_and_signatures_made(reader: Reader, stored: Stored) -> None:
    async with connected(reader) as card:
        found = await client.read_ef(card.transmit, layout.JPKI, layout.AUTHENTICATION_CERTIFICATE)
        assert found == certificate_in(stored())
        await client.verify_pin(card.transmit, layout.JPKI, layout.AUTHENTICATION_PIN, PINS["authentication"])
        assert len(await client.sign_digest(card.transmit, "authentication", b"digest")) == 256


async def long_commands_and_answers_pass(reader: Reader, _: Stored) -> None:
    async with connected(reader) as card:
        await client.select_applet(card.transmit, layout.FACE)
        await client.verify_pin(card.transmit, layout.FACE, layout.FACE_NUMBER_A, "123456789018")
        answer = await card.transmit(bytes.fromhex("00B08200000000"))
        assert len(answer) > 10_000
        assert answer[-2:] == b"\x90\x00"
        longest = 65000  # vpcd counts a message's bytes with sixteen bits, the header among them
        head = bytes.fromhex("00A4040000") + longest.to_bytes(2, "big")
        assert await card.transmit(head + bytes(longest)) == b"\x6a\x82"


async def a_card_is_in_one_hand(reader: Reader, _: Stored) -> None:
    async with connected(reader):
        await raises(Unavailable, reader.connect(CARD_ID))
    async with connected(reader):
        pass


async def what_is_not_there_is_gone(reader: Reader, _: Stored) -> None:
    await raises(CardGone, reader.connect(ABSENT))
    await raises(Malformed, reader.connect("../../etc/passwd"))


async def closing_twice_is_no_error_and_ends_it(reader: Reader, _: Stored) -> None:
    card: Connection = await reader.connect(CARD_ID)
    await card.close()
    await card.close()
    await raises(CardGone, card.transmit(bytes.fromhex("00A40000")))


async def a_new_connection_knows_nothing_of_the_last(reader: Reader, _: Stored) -> None:
    async with connected(reader) as card:
        await client.verify_pin(card.transmit, layout.TEXT, layout.TEXT_PIN, PINS["text"])
        await client.select_ef(card.transmit, 1)
    async with connected(reader) as card:
        assert await card.transmit(bytes.fromhex("00A40000")) == b"\x6a\x86"
        error = await raises(CardRefused, client.read_ef(card.transmit, layout.TEXT, 1))
        assert "6982" in str(error)


async def a_wrong_pin_is_durable_when_it_is_answered(reader: Reader, stored: Stored) -> None:
    async with connected(reader) as card:
        for left in (2, 1):
            verify = client.verify_pin(card.transmit, layout.TEXT, layout.TEXT_PIN, "0000")
            error = await raises(WrongPin, verify)
            assert isinstance(error, WrongPin)
            assert error.tries_left == left == tries(stored())
    async with connected(reader) as card:
        await client.verify_pin(card.transmit, layout.TEXT, layout.TEXT_PIN, PINS["text"])
    assert tries(stored()) == 3


def tries(image: Image) -> int:
    applet = image.applet(layout.TEXT)
    assert applet is not None
    pin = applet.pin(layout.TEXT_PIN)
    assert pin is not None
    return pin.tries_left


async def commands_sent_at_once_take_turns(reader: Reader, stored: Stored) -> None:
    async with connected(reader) as card:
        await client.select_applet(card.transmit, layout.JPKI)
        pieces = [card.transmit(bytes.fromhex(f"00B08A{at:02X}01")) for at in range(30)]
        answers = await asyncio.gather(*pieces)
    whole = certificate_in(stored())
    assert b"".join(answer[:1] for answer in answers) == whole[:30]


CHECKS = (
    files_are_read_and_signatures_made,
    long_commands_and_answers_pass,
    a_card_is_in_one_hand,
    what_is_not_there_is_gone,
    closing_twice_is_no_error_and_ends_it,
    a_new_connection_knows_nothing_of_the_last,
    a_wrong_pin_is_durable_when_it_is_answered,
    commands_sent_at_once_take_turns,
)


async def main(folder: Path) -> None:
    for check in CHECKS:
        await check(PcscReader(), lambda: read_image(folder, CARD_ID))
        sys.stdout.write(f"{check.__name__}\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
