"""Each decision has a number of its own, which its page's title says too."""

from collections import Counter
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = sorted((ROOT / "docs" / "decisions").glob("*.md"))


def test_no_number_is_used_twice_and_none_is_left_out() -> None:
    numbers = Counter(page.name.split("-")[0] for page in PAGES)
    assert numbers == {f"{number:04}": 1 for number in range(1, len(PAGES) + 1)}


def test_the_title_says_the_number_of_the_file() -> None:
    for page in PAGES:
        assert page.read_text(encoding="utf-8").startswith(f"# {page.name.split('-')[0]} "), page.name
