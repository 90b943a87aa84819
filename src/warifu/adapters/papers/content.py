"""What stands on each paper. Personal data: printed, never kept.

None of them has a place for a PIN: PINs are entered by the holder on the resident's screen and nowhere else.
"""

import datetime
from typing import Annotated, ClassVar

from msgspec import Meta, Struct

Line = Annotated[str, Meta(min_length=1, max_length=200)]
Name = Annotated[str, Meta(min_length=1, max_length=100)]
ApplicationId = Annotated[str, Meta(pattern=r"^[0-9]{23}$")]
CardId = Annotated[str, Meta(pattern=r"^[0-9A-Z]{15}$")]


class Paper(Struct, frozen=True, kw_only=True):
    """Base of all papers."""

    FORM: ClassVar[str]
    """The file in ``forms`` that lays it out."""


class ApplicationForm(Paper, frozen=True, kw_only=True):
    """交付申請書, as it comes with the notification card or after a card has ended; its ID as a QR code too."""

    FORM: ClassVar[str] = "application-form"

    application_id: ApplicationId
    name: Name
    address: Line
    birth_date: datetime.date
    municipality: Line
    """Prefecture and name."""
    printed_on: datetime.date


class DeliveryNotice(Paper, frozen=True, kw_only=True):
    """交付通知書: the card is ready; where, until when, and what to bring."""

    FORM: ClassVar[str] = "delivery-notice"

    application_id: ApplicationId
    name: Name
    address: Line
    municipality: Line
    counter: Line
    """Where to come: office, floor, window."""
    hours: Line
    until: datetime.date
    """Last day to come."""
    under_15: bool
    """Comes with a legal representative, and gets no signature certificate."""
    printed_on: datetime.date


class DeliveryNotices(Paper, frozen=True, kw_only=True):
    """The notices of a tray of cards, a page each, in one file."""

    FORM: ClassVar[str] = "delivery-notice"

    all: Annotated[tuple[DeliveryNotice, ...], Meta(min_length=1, max_length=200)]


class Receipt(Paper, frozen=True, kw_only=True):
    """受領書: what was handed over, signed by who took it."""

    FORM: ClassVar[str] = "receipt"

    name: Name
    card_id: CardId
    expires_on: datetime.date
    certificates: tuple[Line, ...]
    """Those on the card, in words."""
    municipality: Line
    clerk: Line
    proxy: Annotated[str, Meta(max_length=100)] = ""
    """Who came in the holder's place; empty: the holder."""
    returned_card: bool = False
    """An old card was handed in."""
    delivered_on: datetime.date


class Entry(Struct, frozen=True, kw_only=True):
    """One entry of the space for appended particulars."""

    day: datetime.date
    text: Annotated[str, Meta(min_length=1, max_length=120)]
    municipality: Line


class Particulars(Paper, frozen=True, kw_only=True):
    """追記欄: the text to be printed onto the card itself; a page of the card's size (ISO/IEC 7810 ID-1)."""

    FORM: ClassVar[str] = "particulars"

    entries: Annotated[tuple[Entry, ...], Meta(min_length=1, max_length=4)]
    skip: Annotated[int, Meta(ge=0, le=3)] = 0
    """Lines used before: printed below them."""
