"""The page ``docs/lend-a-card.md`` is true: its commands run, against the real programs, and say what it says."""

import asyncio
from pathlib import Path

import docs_pages
import pytest

from warifu.adapters.reader.pcscd import Pcscd

PAGE = "lend-a-card.md"
ENGINE = "/usr/lib/*/engines-3/pkcs11.so"
DEADLINE_S = 100


async def said(folder: Path) -> str:
    text = docs_pages.script(
        [commands for commands, _ in docs_pages.blocks(PAGE)], "warifu card eject > /dev/null 2>&1 || :"
    )
    async with Pcscd(folder / "pcscd") as pcscd:
        return await docs_pages.said_by_the_shell(folder, text, DEADLINE_S, pcscd.command)


@pytest.mark.real
def test_every_command_of_the_page_says_what_the_page_says(desk: Path) -> None:
    assert list(Path("/").glob(ENGINE.lstrip("/"))), "install libengine-pkcs11-openssl"
    docs_pages.hold(PAGE, asyncio.run(said(desk)))
