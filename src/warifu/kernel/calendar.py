"""Dates as Japanese law counts them: JST days, eras, birthdays, ages, and how long cards and certificates live.

Two different rules meet on 29 February, both kept here:

* *Age* (年齢計算ニ関スル法律, 民法第143条第2項): a year of age is complete at the end of the day before the birthday,
  or of the month's last day where no such day exists. Born 29 February, one is a year older from 29 February in a leap
  year and from 1 March in another.
* *Birthday on which something expires*: in a common year it is taken to be 28 February, as 道路交通法第92条の2 says of
  driving licences. That the card's ordinance counts likewise is inferred; ``birthday_in`` is the one place to change.
"""

from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone

from warifu.kernel.errors import Malformed

JST = timezone(timedelta(hours=9), "JST")
ADULT_AGE = 18
"""From this age at issue a card lives ten birthdays (民法第4条 as of 2022-04-01); below, five."""
SIGNATURE_MIN_AGE = 15
"""A signature certificate is not issued to younger residents."""
ADULT_CARD_BIRTHDAYS = 10
MINOR_CARD_BIRTHDAYS = 5
CERTIFICATE_BIRTHDAYS = 5
RENEWAL_MONTHS = 3
"""A card or certificate may be renewed from this many months before it expires."""

_SECURITY_CODE_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Era:
    """A Japanese era. Its first day belongs to it and no longer to the one before."""

    digit: str
    """E of the JPKI date form: 1 Meiji to 5 Reiwa."""
    name: str
    first_day: date


ERAS = (
    Era("1", "明治", date(1868, 1, 25)),
    Era("2", "大正", date(1912, 7, 30)),
    Era("3", "昭和", date(1926, 12, 25)),
    Era("4", "平成", date(1989, 1, 8)),
    Era("5", "令和", date(2019, 5, 1)),
)


def jst_date(epoch_ms: int) -> date:
    """The day it is in Japan at that moment.

    Args:
        epoch_ms: milliseconds since 1970-01-01 UTC.

    Raises:
        Malformed: beyond the years 1 to 9999.
    """
    try:
        return datetime.fromtimestamp(epoch_ms / 1000, JST).date()
    except (OverflowError, ValueError, OSError):
        raise Malformed("the moment lies outside the calendar") from None


def day_start_ms(day: date) -> int:
    """The moment that day begins in Japan, in milliseconds since 1970-01-01 UTC."""
    return int(datetime.combine(day, time(), JST).timestamp()) * 1000


def last_second(day: date) -> datetime:
    """23:59:59 of that day in Japan, as UTC: how certificates write their last moment (``notAfter``)."""
    return datetime.combine(day, time(23, 59, 59), JST).astimezone(UTC)


def era_of(day: date) -> Era:
    """The era a day belongs to.

    Raises:
        Malformed: before Meiji.
    """
    for era in reversed(ERAS):
        if day >= era.first_day:
            return era
    raise Malformed("no era before Meiji is supported")


def era_year(day: date) -> int:
    """The year within the era; the first, ``元年``, is 1. Raises as ``era_of``."""
    return day.year - era_of(day).first_day.year + 1


def era_text(day: date) -> str:
    """As printed on a card: ``昭和55年2月17日``, ``令和元年5月1日``. Raises as ``era_of``."""
    year = era_year(day)
    return f"{era_of(day).name}{'元' if year == 1 else year}年{day.month}月{day.day}日"


def parse_date(text: str) -> date:
    """``YYYYMMDD`` in ASCII digits, the form on the chip.

    Raises:
        Malformed: another form, or no such day.
    """
    if len(text) != 8 or not (text.isascii() and text.isdigit()):  # noqa: PLR2004 - YYYYMMDD
        raise Malformed("a date is YYYYMMDD")
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        raise Malformed("there is no such day") from None


def date_text(day: date) -> str:
    """``YYYYMMDD``, the form on the chip."""
    return f"{day.year:04d}{day.month:02d}{day.day:02d}"


def jpki_date(day: date) -> str:
    """``EYYYYMMDD``: the era's digit and the Gregorian date, e.g. ``319800217`` (SAN 1.2.392.200149.8.5.5.4)."""
    return era_of(day).digit + date_text(day)


def parse_jpki_date(text: str) -> date:
    """The day of an ``EYYYYMMDD`` whose era digit agrees with it.

    Raises:
        Malformed: another form, no such day, era 0 (unknown: there is no date to give), or another era's digit.
    """
    day = parse_date(text[1:])
    if era_of(day).digit != text[:1]:
        raise Malformed("the era's digit does not agree with the date")
    return day


def birthday_in(birth: date, year: int) -> date:
    """The birthday in that year; for 29 February in a common year, 28 February (see the module)."""
    try:
        return birth.replace(year=year)
    except ValueError:
        return date(year, 2, 28)


def nth_birthday_after(birth: date, day: date, count: int) -> date:
    """The ``count``-th birthday (1 and up) strictly after ``day``."""
    first = day.year if birthday_in(birth, day.year) > day else day.year + 1
    return birthday_in(birth, first + count - 1)


def age_on(birth: date, day: date) -> int:
    """Completed years of age when ``day`` begins (see the module for 29 February).

    Raises:
        Malformed: the day is before the birth.
    """
    if day < birth:
        raise Malformed("nobody has an age before birth")
    return day.year - birth.year - ((day.month, day.day) < (birth.month, birth.day))


def months_before(day: date, months: int) -> date:
    """The same day of the month, that many months earlier, or the month's last day where there is no such day."""
    year, month0 = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(year, month0 + 1, min(day.day, monthrange(year, month0 + 1)[1]))


def renewal_opens(valid_until: date) -> date:
    """The first day on which a card or certificate may be renewed: three months before it expires."""
    return months_before(valid_until, RENEWAL_MONTHS)


def card_valid_until(birth: date, issued: date, stay_until: date | None = None) -> date:
    """The last day of a card: the tenth birthday after issue, or the fifth if the holder was under 18 at issue.

    Args:
        birth: the holder's day of birth.
        issued: the day of issue; a birthday on it does not count (発行の日後).
        stay_until: the last day of a foreign resident's period of stay, which caps it.

    Raises:
        Malformed: issued before birth.
    """
    count = ADULT_CARD_BIRTHDAYS if age_on(birth, issued) >= ADULT_AGE else MINOR_CARD_BIRTHDAYS
    last = nth_birthday_after(birth, issued, count)
    return last if stay_until is None else min(last, stay_until)


def certificate_valid_until(
    birth: date, issued: date, card_until: date, *, renewed_until: date | None = None, cap: date | None = None
) -> date:
    """The last day of a certificate: the fifth birthday after issue, never after the card's.

    Args:
        birth: the holder's day of birth.
        issued: the day of issue.
        card_until: the card's last day.
        renewed_until: the last day of the certificate this one renews. Within its last three months the five birthdays
            are counted from that day, so that nobody loses a year by coming early (the usual wording, "to the sixth
            birthday after issue", says the same where that day is a birthday still to come).
        cap: a further last day: the authentication certificate's, for a signature certificate.
    """
    counted_from = issued
    if renewed_until is not None and renewal_opens(renewed_until) <= issued <= renewed_until:
        counted_from = renewed_until
    last = nth_birthday_after(birth, counted_from, CERTIFICATE_BIRTHDAYS)
    return min(last, card_until, cap or card_until)


def verification_number_b(birth: date, card_until: date, security_code: str) -> str:
    """照合番号B, 14 digits: birth as YYMMDD with the era's year, the expiry's year, the four-digit security code.

    Checked against J-LIS's test card: born 1980-02-17 (昭和55年), expiring 2035, code 2285: ``55021720352285``.

    Raises:
        Malformed: the security code is not four digits, or born before Meiji.
    """
    if len(security_code) != _SECURITY_CODE_DIGITS or not (security_code.isascii() and security_code.isdigit()):
        raise Malformed("a security code is four digits")
    return birth_key(birth) + f"{card_until.year:04d}{security_code}"


def birth_key(birth: date) -> str:
    """YYMMDD with the era's year: the face applet's key 0011, and the start of verification number B."""
    return f"{era_year(birth):02d}{birth.month:02d}{birth.day:02d}"
