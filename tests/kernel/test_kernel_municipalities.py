"""The table of municipalities."""

import re

import pytest

from warifu.kernel.errors import NotFound
from warifu.kernel.municipalities import MUNICIPALITIES, Municipality, municipality

ROMAJI = re.compile(r"[A-Z][a-z]+-(shi|ku|cho|machi|son|mura)")
PREFECTURE_ROMAJI = re.compile(r"[A-Z][a-z]+-(to|fu|ken)|Hokkaido")


def test_every_prefecture_has_a_place() -> None:
    assert {row.code[:2] for row in MUNICIPALITIES} == {f"{number:02d}" for number in range(1, 48)}
    assert len({row.prefecture for row in MUNICIPALITIES}) == 47


def test_codes_ascend_and_are_distinct() -> None:
    codes = [row.code for row in MUNICIPALITIES]
    assert codes == sorted(set(codes))


@pytest.mark.parametrize("row", MUNICIPALITIES, ids=lambda row: row.name_romaji)
def test_names_and_their_romaji_have_one_form(row: Municipality) -> None:
    assert ROMAJI.fullmatch(row.name_romaji)
    assert PREFECTURE_ROMAJI.fullmatch(row.prefecture_romaji)
    kinds = {"市": "shi", "区": "ku", "町": "cho", "村": "son"}
    assert row.name_romaji.endswith("-" + kinds[row.name[-1]])


def test_a_place_by_its_code() -> None:
    chiyoda = municipality("131016")
    assert chiyoda.full_name == "東京都千代田区"
    assert (chiyoda.code5, chiyoda.prefecture_romaji, chiyoda.name_romaji) == ("13101", "Tokyo-to", "Chiyoda-ku")


def test_a_code_outside_the_table_is_not_found() -> None:
    with pytest.raises(NotFound):
        municipality("999999")
