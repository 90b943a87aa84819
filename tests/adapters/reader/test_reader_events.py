"""A card laid into a PC/SC reader is told of, and so is that it was taken away."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from chip_kit import CARD_ID, card_in_use

from warifu.adapters.reader.files import store_card
from warifu.adapters.reader.pcscd import Pcscd

DEADLINE_S = 60
WATCH = Path(__file__).with_name("watch_readers.py")


@asynccontextmanager
async def started(*command: str) -> AsyncIterator[asyncio.StreamReader]:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        yield process.stdout
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


@pytest.mark.real
def test_what_lies_in_a_reader_is_told_whenever_it_changes(tmp_path: Path) -> None:
    (tmp_path / "cards").mkdir()
    store_card(tmp_path / "cards", CARD_ID, card_in_use().saved[-1])

    async def told() -> list[bytes]:
        async with (
            asyncio.timeout(DEADLINE_S),
            Pcscd(tmp_path / "pcscd") as pcscd,
            started(*pcscd.command(sys.executable, str(WATCH))) as watcher,
        ):
            lines = [await watcher.readline()]
            hold = pcscd.command(sys.executable, "-m", "warifu.adapters.reader", str(tmp_path / "cards"), CARD_ID)
            for _ in range(2):
                async with started(*hold):
                    lines.append(await watcher.readline())
                lines.append(await watcher.readline())
            return lines

    card, none = CARD_ID.encode() + b"\n", b"none\n"
    assert asyncio.run(told()) == [b"watching\n", card, none, card, none]
