"""The page ``docs/pki.md`` is true: its commands run on a real stack and say what it says."""

import asyncio
from pathlib import Path

import docs_pages
import pytest

PAGE = "pki.md"
DEADLINE_S = 240


@pytest.mark.real
@pytest.mark.timeout(DEADLINE_S + 10)
def test_every_command_of_the_page_says_what_the_page_says(desk: Path) -> None:
    commands = [commands for commands, _ in docs_pages.blocks(PAGE)]
    text = docs_pages.script(commands, "warifu down > /dev/null 2>&1 || :")
    said = asyncio.run(docs_pages.said_by_the_shell(desk, text, DEADLINE_S, lambda *argv: list(argv)))
    docs_pages.hold(PAGE, said)
