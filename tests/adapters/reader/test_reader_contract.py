"""Every reader keeps the same promises; and what only some can be asked."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import reader_contract
from chip_kit import CARD_ID, PINS, SeededEntropy, blank_image, card_in_use, run

from warifu.adapters.crypto import SystemCrypto
from warifu.adapters.reader.files import FileChipFactory, FileReader, read_image, store_card
from warifu.adapters.reader.key_stock import KeyStock
from warifu.adapters.reader.memory import CardBox, MemoryChipFactory, MemoryReader
from warifu.adapters.reader.pcscd import Pcscd
from warifu.chip import client, layout
from warifu.chip.errors import ImageDamaged, PinBlocked, WrongPin
from warifu.chip.image import Image, decode
from warifu.ports.reader import CardGone, ChipFactory, Reader

OTHER_ID = "WRF000000000002"
Stored = Callable[[], Image]


def memory(_: Path) -> tuple[Reader, Stored]:
    box = CardBox()
    box.images[CARD_ID] = card_in_use().saved[-1]
    return MemoryReader(box), lambda: decode(box.images[CARD_ID])


def files(folder: Path) -> tuple[Reader, Stored]:
    store_card(folder, CARD_ID, card_in_use().saved[-1])
    return FileReader(folder), lambda: read_image(folder, CARD_ID)


@pytest.mark.parametrize("make", [memory, files])
@pytest.mark.parametrize("check", reader_contract.CHECKS, ids=lambda check: check.__name__)
def test_a_reader(
    make: Callable[[Path], tuple[Reader, Stored]],
    check: Callable[..., object],
    tmp_path: Path,
) -> None:
    run(check(*make(tmp_path)))  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [memory, files])
@pytest.mark.parametrize("written", [False, True])
def test_a_card_pulled_in_a_command_never_wins_a_try_back(
    make: Callable[[Path], tuple[MemoryReader | FileReader, Stored]], tmp_path: Path, *, written: bool
) -> None:
    reader, stored = make(tmp_path)
    left = [reader_contract.tries(stored())]

    async def guess() -> None:
        card = await reader.connect(CARD_ID)
        try:
            await client.verify_pin(card.transmit, layout.TEXT, layout.TEXT_PIN, "0000")
        finally:
            await card.close()

    for _ in range(4):
        reader.pull_at_save(CARD_ID, 1, written=written)
        with pytest.raises((CardGone, WrongPin, PinBlocked)):
            run(guess())
        left.append(reader_contract.tries(stored()))
    assert left == ([3, 2, 1, 0, 0] if written else [3] * 5)


@pytest.mark.parametrize("make", [memory, files])
def test_a_pulled_card_is_gone_until_it_is_put_in_again(
    make: Callable[[Path], tuple[MemoryReader | FileReader, Stored]], tmp_path: Path
) -> None:
    async def main() -> None:
        reader, _ = make(tmp_path)
        card = await reader.connect(CARD_ID)
        reader.pull(CARD_ID)
        with pytest.raises(CardGone):
            await client.select_applet(card.transmit, layout.JPKI)
        with pytest.raises(CardGone):
            await card.reset()
        await card.close()
        again = await reader.connect(CARD_ID)
        assert again.atr == layout.CONTACT_ATR
        await again.close()

    run(main())


def test_a_chip_is_made_once_in_any_factory(tmp_path: Path) -> None:
    async def main(factory: ChipFactory, stored: Stored) -> None:
        assert not await factory.has(CARD_ID)
        await factory.make(CARD_ID, blank_image())
        await factory.make(CARD_ID, blank_image(CARD_ID, SeededEntropy(b"another")))
        assert await factory.has(CARD_ID)
        assert stored() == decode(blank_image())
        with pytest.raises(ImageDamaged):
            await factory.make(OTHER_ID, b"nothing")
        assert not await factory.has(OTHER_ID)

    box = CardBox()
    run(main(MemoryChipFactory(box), lambda: decode(box.images[CARD_ID])))
    run(main(FileChipFactory(tmp_path), lambda: read_image(tmp_path, CARD_ID)))


def test_a_factory_with_a_stock_gives_each_chip_keys_of_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        crypto = SystemCrypto()
        stock = KeyStock(crypto, ahead=1)
        factory = FileChipFactory(tmp_path, stock)
        for card_id in (CARD_ID, OTHER_ID):
            await factory.make(card_id, blank_image(card_id))
        await stock.close()
        crypto.close()

    run(main())
    keys = [
        key.private_key
        for card_id in (CARD_ID, OTHER_ID)
        for applet in read_image(tmp_path, card_id).applets
        for key in applet.keys
        if key.private_key
    ]
    assert len(keys) == len(set(keys)) == 8


# --- the real service, with two slots -----------------------------------------------------------------------------


async def started(pcscd: Pcscd, *arguments: str) -> asyncio.subprocess.Process:
    """A process that meets this pcscd; returns when it has said its first line."""
    process = await asyncio.create_subprocess_exec(*pcscd.command(*arguments), stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"inserted\n"
    return process


async def ended(process: asyncio.subprocess.Process) -> int:
    if process.returncode is None:
        process.terminate()
    return await process.wait()


async def output(pcscd: Pcscd, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *pcscd.command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    return out.decode()


def holder(folder: Path, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "warifu.adapters.reader", str(folder / "cards"), *arguments)


def here(name: str) -> str:
    return str(Path(__file__).with_name(name))


def lay_out(folder: Path) -> None:
    (folder / "cards").mkdir()
    store_card(folder / "cards", CARD_ID, card_in_use().saved[-1])
    store_card(folder / "cards", OTHER_ID, blank_image(OTHER_ID))


@pytest.mark.real
def test_pcsc_keeps_the_contract_with_two_cards_in_two_slots(tmp_path: Path) -> None:
    """The wanted card lies in the second slot: the reader has to look for it."""
    lay_out(tmp_path)

    async def main() -> None:
        async with asyncio.timeout(90), Pcscd(tmp_path / "pcscd") as pcscd:
            holding = await started(pcscd, *holder(tmp_path, OTHER_ID, CARD_ID))
            done = await output(pcscd, sys.executable, here("reader_contract.py"), str(tmp_path / "cards"))
            assert done.split() == [check.__name__ for check in reader_contract.CHECKS]
            assert await ended(holding) == 0

    run(main())


@pytest.mark.real
def test_cards_come_and_go_in_their_slots(tmp_path: Path) -> None:
    lay_out(tmp_path)

    async def main() -> None:
        async with asyncio.timeout(90), Pcscd(tmp_path / "pcscd") as pcscd:
            one = await started(pcscd, *holder(tmp_path, CARD_ID))
            two = await started(pcscd, *holder(tmp_path, OTHER_ID, "--port", str(pcscd.port + 1)))
            look = (sys.executable, here("look_into_readers.py"))
            assert await output(pcscd, *look, "2") == f"{CARD_ID}\n{OTHER_ID}\n"
            assert await ended(one) == 0
            assert await output(pcscd, *look, "1") == f"{OTHER_ID}\n"
            one = await started(pcscd, *holder(tmp_path, CARD_ID))
            assert await output(pcscd, *look, "2") == f"{CARD_ID}\n{OTHER_ID}\n"
            await ended(one)
            await ended(two)

    run(main())


@pytest.mark.real
def test_a_card_pulled_out_of_a_real_reader_in_a_command_is_gone_and_its_try_is_spent(tmp_path: Path) -> None:
    lay_out(tmp_path)

    async def main() -> None:
        async with asyncio.timeout(90), Pcscd(tmp_path / "pcscd") as pcscd:
            pulling = await started(pcscd, sys.executable, here("hold_and_pull.py"), str(tmp_path / "cards"))
            guess = await output(pcscd, sys.executable, here("guess_a_pin.py"))
            assert guess == "card.gone\n"
            assert await pulling.wait() == 0

    run(main())
    assert reader_contract.tries(read_image(tmp_path / "cards", CARD_ID)) == 2
    assert PINS["text"] != "0000"
