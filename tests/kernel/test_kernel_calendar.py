"""The calendar: eras at their borders, birthdays and ages of 29 February, lives of cards and certificates."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warifu.kernel import calendar as cal
from warifu.kernel.errors import Malformed

LEAPLING = date(2000, 2, 29)
days = st.dates(min_value=date(1868, 1, 25), max_value=date(2200, 12, 31))
births = st.dates(min_value=date(1900, 1, 1), max_value=date(2030, 12, 31))
days_alive = st.integers(min_value=0, max_value=120 * 365)


def test_a_day_begins_in_japan_nine_hours_before_utc() -> None:
    midnight = datetime(2026, 11, 21, 15, 0, tzinfo=UTC)
    ms = int(midnight.timestamp()) * 1000
    assert cal.jst_date(ms) == date(2026, 11, 22)
    assert cal.jst_date(ms - 1) == date(2026, 11, 21)
    assert cal.day_start_ms(date(2026, 11, 22)) == ms


def test_the_last_second_of_a_day_as_the_real_ca_writes_it() -> None:
    assert cal.last_second(date(2033, 7, 15)) == datetime(2033, 7, 15, 14, 59, 59, tzinfo=UTC)


def test_a_moment_outside_the_calendar_is_malformed() -> None:
    with pytest.raises(Malformed):
        cal.jst_date(10**18)


@given(days)
def test_days_and_moments_agree(day: date) -> None:
    assert cal.jst_date(cal.day_start_ms(day)) == day
    assert cal.jst_date(cal.day_start_ms(day) + 86_400_000 - 1) == day


@pytest.mark.parametrize(
    ("day", "text"),
    [
        (date(1868, 1, 25), "明治元年1月25日"),
        (date(1912, 7, 29), "明治45年7月29日"),
        (date(1912, 7, 30), "大正元年7月30日"),
        (date(1926, 12, 24), "大正15年12月24日"),
        (date(1926, 12, 25), "昭和元年12月25日"),
        (date(1989, 1, 7), "昭和64年1月7日"),
        (date(1989, 1, 8), "平成元年1月8日"),
        (date(2019, 4, 30), "平成31年4月30日"),
        (date(2019, 5, 1), "令和元年5月1日"),
        (date(2026, 11, 21), "令和8年11月21日"),
    ],
)
def test_eras_at_their_borders(day: date, text: str) -> None:
    assert cal.era_text(day) == text


def test_nothing_is_dated_before_meiji() -> None:
    with pytest.raises(Malformed):
        cal.era_of(date(1868, 1, 24))


def test_the_date_form_of_a_real_certificate() -> None:
    assert cal.jpki_date(date(1980, 2, 17)) == "319800217"


@given(days)
def test_date_forms_round_trip(day: date) -> None:
    assert cal.parse_jpki_date(cal.jpki_date(day)) == day
    assert cal.parse_date(cal.date_text(day)) == day


@pytest.mark.parametrize("bad", ["", "19800217", "419800217", "019800217", "319800230", "3198002１7", "3 1980217"])
def test_other_certificate_dates_are_malformed(bad: str) -> None:
    with pytest.raises(Malformed):
        cal.parse_jpki_date(bad)


def test_a_leaplings_birthday_is_28_february_in_a_common_year() -> None:
    assert cal.birthday_in(LEAPLING, 2026) == date(2026, 2, 28)
    assert cal.birthday_in(LEAPLING, 2028) == date(2028, 2, 29)


@pytest.mark.parametrize(
    ("day", "age"),
    [(date(2026, 2, 28), 25), (date(2026, 3, 1), 26), (date(2028, 2, 28), 27), (date(2028, 2, 29), 28), (LEAPLING, 0)],
)
def test_a_leapling_is_a_year_older_after_the_end_of_28_february(day: date, age: int) -> None:
    assert cal.age_on(LEAPLING, day) == age


def test_nobody_has_an_age_before_birth() -> None:
    with pytest.raises(Malformed):
        cal.age_on(date(2020, 1, 2), date(2020, 1, 1))


@given(births, days_alive)
def test_age_counts_the_birthdays_lived_through(birth: date, lived: int) -> None:
    day = birth + timedelta(days=lived)
    age = cal.age_on(birth, day)
    assert cal.birthday_in(birth, birth.year + age) <= day
    assert cal.nth_birthday_after(birth, day, 1) >= day


@given(births, days_alive, st.integers(1, 12))
def test_the_nth_birthday_lies_after_the_day_and_n_years_away_at_most(birth: date, lived: int, count: int) -> None:
    day = birth + timedelta(days=lived)
    found = cal.nth_birthday_after(birth, day, count)
    assert day < found
    assert found == cal.birthday_in(birth, found.year)
    assert found.year - day.year in (count - 1, count)


@pytest.mark.parametrize(
    ("birth", "issued", "until"),
    [
        (date(1980, 2, 17), date(2025, 10, 27), date(2035, 2, 17)),  # J-LIS's test card
        (date(1990, 6, 1), date(2026, 6, 1), date(2036, 6, 1)),  # a birthday on the day of issue does not count
        (date(1990, 6, 1), date(2026, 5, 31), date(2035, 6, 1)),
        (date(2008, 6, 1), date(2026, 5, 31), date(2030, 6, 1)),  # 17: five birthdays
        (date(2008, 6, 1), date(2026, 6, 1), date(2036, 6, 1)),  # 18 today: ten
        (LEAPLING, date(2026, 3, 1), date(2036, 2, 29)),
        (LEAPLING, date(2025, 3, 1), date(2035, 2, 28)),
    ],
)
def test_lives_of_cards(birth: date, issued: date, until: date) -> None:
    assert cal.card_valid_until(birth, issued) == until


def test_a_card_ends_with_the_period_of_stay() -> None:
    assert cal.card_valid_until(date(1990, 6, 1), date(2026, 1, 1), date(2027, 3, 31)) == date(2027, 3, 31)


def test_a_certificate_lives_to_the_fifth_birthday_as_on_the_real_test_card() -> None:
    birth, issued = date(1980, 2, 17), date(2025, 10, 27)
    assert cal.certificate_valid_until(birth, issued, date(2035, 2, 17)) == date(2030, 2, 17)


def test_a_certificate_never_outlives_its_card_nor_a_signature_certificate_the_other() -> None:
    birth, issued = date(1980, 2, 17), date(2025, 10, 27)
    assert cal.certificate_valid_until(birth, issued, date(2028, 2, 17)) == date(2028, 2, 17)
    assert cal.certificate_valid_until(birth, issued, date(2035, 2, 17), cap=date(2027, 2, 17)) == date(2027, 2, 17)


@pytest.mark.parametrize(
    ("issued", "until"),
    [
        (date(2029, 11, 16), date(2034, 2, 17)),  # a day too early: an ordinary issue
        (date(2029, 11, 17), date(2035, 2, 17)),  # within three months: the sixth birthday
        (date(2030, 2, 16), date(2035, 2, 17)),
        (date(2030, 2, 17), date(2035, 2, 17)),  # the last day itself
        (date(2030, 2, 18), date(2035, 2, 17)),  # expired: an ordinary issue
    ],
)
def test_renewing_early_loses_no_year(issued: date, until: date) -> None:
    found = cal.certificate_valid_until(date(1980, 2, 17), issued, date(2040, 2, 17), renewed_until=date(2030, 2, 17))
    assert found == until


@pytest.mark.parametrize(
    ("day", "months", "earlier"),
    [
        (date(2026, 5, 31), 3, date(2026, 2, 28)),
        (date(2028, 5, 31), 3, date(2028, 2, 29)),
        (date(2026, 2, 17), 3, date(2025, 11, 17)),
        (date(2026, 1, 31), 1, date(2025, 12, 31)),
        (date(2026, 12, 5), 12, date(2025, 12, 5)),
    ],
)
def test_months_before(day: date, months: int, earlier: date) -> None:
    assert cal.months_before(day, months) == earlier


def test_verification_number_b_of_the_real_test_card() -> None:
    assert cal.verification_number_b(date(1980, 2, 17), date(2035, 2, 17), "2285") == "55021720352285"


@pytest.mark.parametrize("code", ["", "285", "22855", "22８5", "22a5"])
def test_a_security_code_is_four_digits(code: str) -> None:
    with pytest.raises(Malformed):
        cal.verification_number_b(date(1980, 2, 17), date(2035, 2, 17), code)
