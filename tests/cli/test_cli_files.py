"""A result that could not be written is known before the work, not after minutes of it."""

from pathlib import Path

import pytest

from warifu.cli import main


@pytest.mark.parametrize(
    "words",
    [
        ["lab", "load", "--json"],
        ["lab", "limit", "--html"],
        ["lab", "endurance", "--json"],
        ["lab", "data", "--json"],
        ["lab", "prove", "chain-faults", "--json"],
        ["lab", "search", "--json"],
        ["lab", "search", "--replay", "1", "--html"],
        ["bench", "chain", "--json"],
    ],
)
@pytest.mark.parametrize("place", ["", "nowhere/result"])
def test_a_place_that_takes_no_file_is_refused_at_once(
    words: list[str], place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, str(tmp_path / place)]) == 1
    assert capsys.readouterr().err.startswith("warifu: file.unwritable: ")
    assert not list(tmp_path.iterdir())
