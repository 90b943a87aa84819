"""How long a certificate is valid. The calendar's rules (birthdays, leap days, renewals) are the kernel's."""

from datetime import date

from msgspec import Struct

from warifu.domain.pki.errors import BadContent, CardExpired
from warifu.kernel.calendar import certificate_valid_until, jst_date, last_second


class Validity(Struct, frozen=True, kw_only=True):
    """First and last instant, milliseconds since 1970 UTC, whole seconds."""

    not_before_ms: int
    not_after_ms: int

    def __post_init__(self) -> None:
        """Refuse an empty span, and fractions that DER could not carry."""
        if self.not_after_ms <= self.not_before_ms:
            raise BadContent("validity ends before it begins")
        if self.not_before_ms % 1000 or self.not_after_ms % 1000:
            raise BadContent("validity is not of whole seconds")


def validity_until(issued_ms: int, last_day: date) -> Validity:
    """From the instant of issue to 23:59:59 in Japan (14:59:59Z) of the last day.

    Raises:
        CardExpired: that is over already.
    """
    not_after_ms = int(last_second(last_day).timestamp()) * 1000
    if not_after_ms <= issued_ms:
        raise CardExpired("no day is left for a certificate")
    return Validity(not_before_ms=issued_ms - issued_ms % 1000, not_after_ms=not_after_ms)


def certificate_validity(
    issued_ms: int,
    birth_date: date,
    card_until: date,
    *,
    renewed_until: date | None = None,
    cap: date | None = None,
) -> Validity:
    """From the instant of issue to the end of the fifth birthday, or of the card's last day if that is earlier.

    Args:
        issued_ms: instant of issue.
        birth_date: the subscriber's.
        card_until: the last day on which the card is valid.
        renewed_until: last day of the certificate this one renews; early renewal loses no year.
        cap: a further last day: the user-authentication certificate's, for a signature certificate.

    Raises:
        CardExpired: the card, or the cap, is over at the instant of issue.
    """
    issued = jst_date(issued_ms)
    last_day = certificate_valid_until(birth_date, issued, card_until, renewed_until=renewed_until, cap=cap)
    return validity_until(issued_ms, last_day)
