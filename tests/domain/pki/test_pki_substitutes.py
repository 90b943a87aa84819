"""Characters a certificate can carry, and what stands for the others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warifu.domain.pki.substitutes import GETA, is_representable, substitute


@pytest.mark.parametrize(
    ("text", "written", "flags"),
    [
        ("黒桐　幹也", "黒桐　幹也", "00000"),
        ("髙橋　花子", "高橋　花子", "10000"),
        ("\ufa11田", "崎田", "10"),
        ("𠮷田", "吉田", "10"),
        ("丂", "丂", "0"),  # JIS X 0212 kanji
        ("𠀋", GETA, "1"),  # in no set, nothing similar known
        ("葛\U000e0100城", "葛城", "10"),  # a variant of a kanji: its shape is not the register's
        ("\ufa19", "神", "1"),
        ("１２－７", "１２－７", "0000"),
        ("1-2 A", "１－２　Ａ", "00000"),  # width is no substitution
        ("ﾀﾞﾝ", "ダン", "00"),
        ("か\u3099", "が", "0"),
        ("é", "ｅ", "1"),  # JIS X 0212 has it, but not as a kanji
        ("①", "１", "1"),
        ("㍻", GETA, "1"),
    ],
)
def test_a_character_is_kept_or_replaced_and_flagged(text: str, written: str, flags: str) -> None:
    result = substitute(text)
    assert (result.text, result.flags) == (written, flags)


@given(st.text(min_size=1, max_size=40))
def test_what_is_written_can_be_written_and_has_a_flag_each(text: str) -> None:
    result = substitute(text)
    assert all(is_representable(character) for character in result.text)
    assert len(result.text) == len(result.flags)
    assert set(result.flags) <= {"0", "1"}


@given(st.text(max_size=40))
def test_writing_twice_changes_nothing_more(text: str) -> None:
    once = substitute(text).text
    again = substitute(once)
    assert again.text == once
    assert "1" not in again.flags


def test_similar_characters_can_be_given() -> None:
    assert substitute("𠀋", similar={"𠀋": "丈"}).text == "丈"


def test_text_is_not_shown() -> None:
    assert "黒桐" not in repr(substitute("黒桐"))
