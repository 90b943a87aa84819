"""The page ``docs/laboratory.md`` is true: its commands run and say what it says."""

import asyncio
from pathlib import Path

import docs_pages
import pytest

PAGE = "laboratory.md"
DEADLINE_S = 110


@pytest.mark.timeout(DEADLINE_S + 10)
def test_every_command_of_the_page_says_what_the_page_says(desk: Path) -> None:
    text = docs_pages.script([commands for commands, _ in docs_pages.blocks(PAGE)], ":")
    said = asyncio.run(docs_pages.said_by_the_shell(desk, text, DEADLINE_S, lambda *argv: list(argv)))
    docs_pages.hold(PAGE, said)
