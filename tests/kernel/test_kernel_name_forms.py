"""A name is looked for in every way a register may have written it."""

import pytest

from warifu.kernel.name_forms import SPELLINGS_LIMIT, common_forms, kana_spelling, name_spellings
from warifu.synthetic import names


@pytest.mark.parametrize(
    ("typed", "registered"),
    [
        ("山田 花子", "山田　花子"),
        ("山田　花子", "山田　花子"),
        ("高橋 花子", "髙橋　花子"),
        ("髙橋 花子", "高橋　花子"),
        ("吉崎 一", "𠮷﨑　一"),
        ("渡邊 一", "渡邉　一"),
        ("SMITH JOHN", "SMITH JOHN"),
        ("smith　john", "SMITH JOHN"),
        ("ＳＭＩＴＨ　ＪＯＨＮ", "SMITH JOHN"),
    ],
)
def test_a_name_is_found_however_it_is_typed(typed: str, registered: str) -> None:
    assert registered in name_spellings(typed)


def test_what_was_typed_is_looked_for_first() -> None:
    assert name_spellings("渡邊 一")[0] == "渡邊　一"


def test_a_name_of_many_forms_is_bounded() -> None:
    assert len(name_spellings("斎邉" * 50)) <= SPELLINGS_LIMIT


@pytest.mark.parametrize("typed", ["やまだ はなこ", "ﾔﾏﾀﾞ ﾊﾅｺ", "ヤマダ　ハナコ"])
def test_a_reading_is_full_width_katakana(typed: str) -> None:
    assert kana_spelling(typed) == "ヤマダ　ハナコ"


def test_every_rare_family_name_is_found_by_its_common_form() -> None:
    for family, _ in names.RARE_FAMILY:
        assert f"{family}　一" in name_spellings(f"{common_forms(family)} 一")
