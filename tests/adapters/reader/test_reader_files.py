"""Cards as files: alone in one reader, whole after any power cut or kill, and served to vpcd."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from chip_kit import CARD_ID, PINS, SeededEntropy, blank_image, card_in_use, run

from warifu.adapters.reader.files import FileChipFactory, FileReader, list_cards, read_image, store_card
from warifu.adapters.reader.vpcd import hold_card
from warifu.chip import client, layout
from warifu.chip.errors import ImageDamaged, PinBlocked, WrongPin
from warifu.chip.image import decode
from warifu.kernel.errors import Malformed, Unavailable, Unreachable
from warifu.ports.reader import CardGone


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    store_card(tmp_path, CARD_ID, card_in_use().saved[-1])
    return tmp_path


def tries(cards: Path) -> int:
    applet = read_image(cards, CARD_ID).applet(layout.JPKI)
    assert applet is not None
    pin = applet.pin(layout.AUTHENTICATION_PIN)
    assert pin is not None
    return pin.tries_left


async def wrong_pin(reader: FileReader) -> None:
    card = await reader.connect(CARD_ID)
    try:
        await client.verify_pin(card.transmit, layout.JPKI, layout.AUTHENTICATION_PIN, "0000")
    finally:
        await card.close()


def test_a_card_is_in_one_reader_at_a_time(cards: Path) -> None:
    async def main() -> None:
        first = await FileReader(cards).connect(CARD_ID)
        with pytest.raises(Unavailable):
            await FileReader(cards).connect(CARD_ID)
        await first.close()
        await first.close()
        await (await FileReader(cards).connect(CARD_ID)).close()

    run(main())


def test_what_is_not_there_is_gone_and_nonsense_is_refused(cards: Path) -> None:
    with pytest.raises(CardGone):
        run(FileReader(cards).connect("WRF000000000009"))
    with pytest.raises(Malformed):
        run(FileReader(cards).connect("../../etc/passwd"))
    assert list_cards(cards) == (CARD_ID,)
    assert (cards / f"{CARD_ID}.card").stat().st_mode & 0o077 == 0


def test_a_wrong_try_is_on_the_disk_when_it_is_answered(cards: Path) -> None:
    with pytest.raises(WrongPin) as caught:
        run(wrong_pin(FileReader(cards)))
    assert caught.value.tries_left == 2
    assert tries(cards) == 2


@pytest.mark.parametrize("written", [False, True])
def test_pulling_the_card_never_gives_a_try_back(cards: Path, *, written: bool) -> None:
    reader = FileReader(cards)
    left = [tries(cards)]
    for _ in range(4):
        reader.pull_at_save(CARD_ID, 1, written=written)
        with pytest.raises((CardGone, WrongPin, PinBlocked)):
            run(wrong_pin(reader))
        left.append(tries(cards))
    assert left == sorted(left, reverse=True)
    assert left[-1] == (0 if written else 3)


def test_a_pulled_card_answers_nothing_more(cards: Path) -> None:
    async def main() -> None:
        reader = FileReader(cards)
        card = await reader.connect(CARD_ID)
        await client.select_applet(card.transmit, layout.JPKI)
        reader.pull(CARD_ID)
        with pytest.raises(CardGone):
            await client.select_applet(card.transmit, layout.JPKI)
        await card.close()
        again = await reader.connect(CARD_ID)
        assert (await client.read_card_status(again.transmit)).card_id == CARD_ID
        await again.close()

    run(main())


def test_cancelling_a_command_lets_the_chip_finish_before_the_card_is_given_back(cards: Path) -> None:
    async def main() -> None:
        card = await FileReader(cards).connect(CARD_ID)
        await client.select_applet(card.transmit, layout.JPKI)
        await client.select_ef(card.transmit, layout.AUTHENTICATION_PIN)
        work = asyncio.ensure_future(card.transmit(bytes.fromhex("002000800430303030")))
        await asyncio.sleep(0)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        await card.close()
        assert tries(cards) == 2

    run(main())


def test_kill_9_leaves_the_old_card_or_the_new_one(cards: Path) -> None:
    """A process changes a PIN to and fro as fast as it can and is killed in the midst of it, three times."""
    program = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from warifu.adapters.reader.files import FileReader\n"
        "from warifu.chip import client, layout\n"
        "async def main():\n"
        f"    card = await FileReader(Path(sys.argv[1])).connect('{CARD_ID}')\n"
        "    old, new = '1234', '4321'\n"
        "    for _ in range(1000):\n"
        "        await client.change_pin(card.transmit, layout.JPKI, layout.AUTHENTICATION_PIN, old, new)\n"
        "        old, new = new, old\n"
        "        print('x', flush=True)\n"
        "asyncio.run(main())\n"
    )
    for count in range(1, 4):
        store_card(cards, CARD_ID, card_in_use().saved[-1])
        with subprocess.Popen([sys.executable, "-c", program, str(cards)], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(count):
                assert process.stdout.readline() == b"x\n"
            os.kill(process.pid, signal.SIGKILL)
        pin = decode((cards / f"{CARD_ID}.card").read_bytes()).applets[1].pins[0]
        assert pin.value in (b"1234", b"4321")
        assert pin.tries_left in (2, 3)


def test_a_chip_is_made_once(tmp_path: Path) -> None:
    async def main() -> None:
        factory = FileChipFactory(tmp_path)
        assert not await factory.has(CARD_ID)
        await factory.make(CARD_ID, blank_image())
        await factory.make(CARD_ID, blank_image(entropy=SeededEntropy(b"another")))
        assert await factory.has(CARD_ID)
        with pytest.raises(ImageDamaged):
            await factory.make("WRF000000000002", b"nothing")

    run(main())
    assert read_image(tmp_path, CARD_ID) == decode(blank_image())
    assert list_cards(tmp_path) == (CARD_ID,)


# --- vpcd ---------------------------------------------------------------------------------------------------------


class FakeVpcd:
    """The reader's side of the wire, which sends length and body apart as vpcd 3.3 does."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def tell(self, payload: bytes) -> None:
        self._writer.write(len(payload).to_bytes(2, "big"))
        await self._writer.drain()
        self._writer.write(payload)
        await self._writer.drain()

    async def ask(self, payload: bytes) -> bytes:
        await self.tell(payload)
        return await self._reader.readexactly(int.from_bytes(await self._reader.readexactly(2), "big"))

    def close(self) -> None:
        self._writer.close()


def test_vpcd_gets_atr_answers_and_a_reset_and_the_card_comes_back_after_a_restart(cards: Path) -> None:
    verify = bytes.fromhex("0020008004") + PINS["authentication"].encode()

    async def first_visit(slot: FakeVpcd) -> None:
        await slot.tell(b"\x00")
        await slot.tell(b"\x01")
        assert await slot.ask(b"\x04") == layout.CONTACT_ATR
        assert await slot.ask(bytes.fromhex("00A4040C0AD392F000260100000001")) == b"\x90\x00"
        assert await slot.ask(bytes.fromhex("00A4020C020018")) == b"\x90\x00"
        assert await slot.ask(verify) == b"\x90\x00"
        await slot.tell(b"\x02")
        assert await slot.ask(bytes.fromhex("00B0000004")) == b"\x69\x86"

    async def main() -> None:
        visits: asyncio.Queue[FakeVpcd] = asyncio.Queue()
        server = await asyncio.start_server(lambda r, w: visits.put_nowait(FakeVpcd(r, w)), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        card = await FileReader(cards).connect(CARD_ID)
        async with server, asyncio.timeout(20):
            holding = asyncio.ensure_future(hold_card(card, port=port))
            slot = await visits.get()
            await first_visit(slot)
            slot.close()
            again = await visits.get()
            assert await again.ask(b"\x04") == layout.CONTACT_ATR
            with pytest.raises(Unavailable):
                await FileReader(cards).connect(CARD_ID)
            holding.cancel()
            with pytest.raises(asyncio.CancelledError):
                await holding
            again.close()
        await card.close()

    run(main())


def test_without_vpcd_the_error_says_so(cards: Path) -> None:
    async def main() -> None:
        card = await FileReader(cards).connect(CARD_ID)
        with pytest.raises(Unreachable, match="is pcscd running"):
            await hold_card(card, port=1, patience_s=0.05)
        await card.close()

    run(main())


def test_a_slot_that_is_taken_does_not_speak(cards: Path) -> None:
    async def main() -> None:
        writers: list[asyncio.StreamWriter] = []
        server = await asyncio.start_server(lambda _, w: writers.append(w), "127.0.0.1", 0)
        card = await FileReader(cards).connect(CARD_ID)
        async with server:
            with pytest.raises(Unavailable, match="another card"):
                await hold_card(card, port=server.sockets[0].getsockname()[1], patience_s=0.1)
            for writer in writers:
                writer.close()
        await card.close()

    run(main())
