"""What the words on the screens say of a disturbance: since when, and how much longer to expect it."""

import pytest

from warifu.adapters.screens.words import Words

NINE = 1_775_001_600_000  # 2026-04-01 09:00 in Japan


@pytest.mark.parametrize(
    ("lasted_s", "japanese", "english"),
    [
        (
            0,
            "09:00から続いています。09:00現在の見込み：あと約30秒。",
            "Since 09:00. At 09:00 expected to last about another 30 seconds.",
        ),
        (45, "09:00現在の見込み：あと約45秒。", "about another 45 seconds."),
        (60, "09:01現在の見込み：あと約1分。", "about another 1 minute."),
        (601, "09:10現在の見込み：あと約11分。", "about another 11 minutes."),
    ],
)
def test_a_disturbance_is_expected_to_last_as_long_again(lasted_s: int, japanese: str, english: str) -> None:
    assert japanese in Words("ja").expected(NINE, NINE + lasted_s * 1000)
    assert english in Words("en").expected(NINE, NINE + lasted_s * 1000)
