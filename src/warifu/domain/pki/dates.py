"""How long a certificate is valid, in Japan's calendar days."""

from datetime import UTC, date, datetime, timedelta

from msgspec import Struct

from warifu.domain.pki.errors import BadContent, CardExpired

MIN_SIGNATURE_AGE_YEARS = 15
BIRTHDAYS = 5
"""Certificates end on the fifth birthday after the day of issue; renewed within three months before that, the sixth."""

_JST_OFFSET = timedelta(hours=9)
_LEAP_DAY = (2, 29)
_ERAS = ((date(2019, 5, 1), "5"), (date(1989, 1, 8), "4"), (date(1926, 12, 25), "3"), (date(1912, 7, 30), "2"))
_MEIJI = date(1868, 1, 25)


class Validity(Struct, frozen=True, kw_only=True):
    """First and last instant, milliseconds since 1970 UTC."""

    not_before_ms: int
    not_after_ms: int

    def __post_init__(self) -> None:
        """Refuse an empty span."""
        if self.not_after_ms <= self.not_before_ms:
            raise BadContent("validity ends before it begins")


def jst_date(instant_ms: int) -> date:
    """Japan's calendar day at an instant."""
    return (datetime.fromtimestamp(instant_ms // 1000, UTC) + _JST_OFFSET).date()


def end_of_day_ms(day: date) -> int:
    """23:59:59 in Japan (14:59:59Z), the last second of a day, as certificates write it."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return int((midnight + timedelta(hours=14, minutes=59, seconds=59)).timestamp()) * 1000


def birthday_in(year: int, birth_date: date) -> date:
    """The birthday in a year. A leap day's is 28 February in every year, as Japan's licensing rules have it.

    (The certification service's own wording for leap days was not found; road traffic law article 92-2 says so.)
    """
    day = 28 if (birth_date.month, birth_date.day) == _LEAP_DAY else birth_date.day
    return date(year, birth_date.month, day)


def nth_birthday_after(day: date, birth_date: date, count: int) -> date:
    """The ``count``-th birthday strictly after ``day``."""
    passed = birthday_in(day.year, birth_date) <= day
    return birthday_in(day.year + count - (not passed), birth_date)


def age_on(day: date, birth_date: date) -> int:
    """Completed years of age."""
    return day.year - birth_date.year - ((day.month, day.day) < (birth_date.month, birth_date.day))


def certificate_validity(issued_ms: int, birth_date: date, card_expiry: date, birthdays: int = BIRTHDAYS) -> Validity:
    """From the instant of issue to the last second of the fifth birthday, or of the card's last day if earlier.

    Args:
        issued_ms: instant of issue.
        birth_date: the subscriber's.
        card_expiry: the last day on which the card is valid.
        birthdays: 5; 6 for a renewal in the three months before the old certificate ends.

    Raises:
        CardExpired: the card is no longer valid at the instant of issue.
    """
    last_day = min(nth_birthday_after(jst_date(issued_ms), birth_date, birthdays), card_expiry)
    not_after_ms = end_of_day_ms(last_day)
    if not_after_ms <= issued_ms:
        raise CardExpired("the card's validity has ended")
    return Validity(not_before_ms=issued_ms - issued_ms % 1000, not_after_ms=not_after_ms)


def era_date(day: date) -> str:
    """``EYYYYMMDD``: the era's digit (1 Meiji to 5 Reiwa, 0 unknown) and the Gregorian date."""
    era = next((digit for start, digit in _ERAS if day >= start), "1" if day >= _MEIJI else "0")
    return f"{era}{day.year:04d}{day.month:02d}{day.day:02d}"
