"""The list of temporary measures says of each since when, why, until when and where; what is gone leaves the list."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
COLUMNS: Final = ["since", "what is done for now", "why", "ends when", "where"]


def rows() -> list[list[str]]:
    page = (ROOT / "docs" / "workarounds.md").read_text("utf-8")
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line[:1] == "|"]
    assert table[0] == COLUMNS
    return table[2:]


def test_each_measure_has_its_date_its_reason_its_end_and_its_place() -> None:
    for row in rows():
        assert len(row) == len(COLUMNS), row
        assert all(row), row
        assert re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", row[0]), row
        paths = re.findall(r"`([^`]+)`", row[4])
        assert paths, row
        assert [path for path in paths if not (ROOT / path).exists()] == []


def test_a_measure_that_was_ended_is_not_listed() -> None:
    """What each row names still stands in the file it names."""
    marks = {
        "wait_for": '"wait_for"', "outside the stack's folder": "/var/lib/warifu", "accepts": "accepts = true",
        "only relays": "relay", "files of one machine": "fsync", "proxies": "freeze", "Secure": "secure=secure",
    }  # fmt: skip
    for row in rows():
        (mark,) = [text for word, text in marks.items() if word in row[1]]
        (place,) = re.findall(r"`([^`]+)`", row[4])
        assert mark in (ROOT / place).read_text("utf-8"), row
