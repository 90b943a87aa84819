"""What the pages point to is there: files, and the commands of the READMEs."""

import pkgutil
import re
from pathlib import Path
from typing import Final

import pytest

import warifu.cli

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK: Final = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
COMMAND: Final = re.compile(r"(?:\./)?warifu ([a-z]+)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text("utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", ["README.md", "README.ja.md", "docs/operating.md"])
def test_every_command_a_page_names_exists(page: str) -> None:
    commands = {entry.name for entry in pkgutil.iter_modules(warifu.cli.__path__)}
    assert set(COMMAND.findall((ROOT / page).read_text("utf-8"))) - commands == set()
