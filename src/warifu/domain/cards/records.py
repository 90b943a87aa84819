"""What the centre stores."""

import datetime
from typing import ClassVar

from warifu.ports.store import Record


class Card(Record, frozen=True, kw_only=True):
    """A card as the record has it: the half of the tally that is kept here."""

    TABLE: ClassVar[str] = "card"
    KEY: ClassVar[tuple[str, ...]] = ("card_id",)
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("application_id",), ("live_resident_id",))
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (
        ("state",),
        ("resident_id",),
        ("batch_id",),
        ("expires_on",),
        ("continuation_due",),
        ("municipality", "state"),
    )

    card_id: str
    application_id: str
    resident_id: str
    live_resident_id: str | None
    """The resident, until abolition: unique, so that nobody has two live cards."""
    municipality: str
    state: str
    """A ``CardState``."""
    wants_signature: bool
    wants_authentication: bool
    has_signature: bool = False
    has_authentication: bool = False
    issued_on: datetime.date | None = None
    expires_on: datetime.date | None = None
    batch_id: str | None = None
    write_id: str = ""
    """The last card write that the record knows to be committed on the chip; "" before the first."""
    face_modulus: bytes = b""
    """Of the chip's own key in the face applet (256 bytes); empty when it has none."""
    open_operation: str = ""
    entries: int = 0
    """Entries in its space for appended particulars (追記欄)."""
    suspended_ms: int | None = None
    """When the last loss was reported."""
    continuation_due: datetime.date | None = None
    continuation_municipality: str = ""
    changed_ms: int


class Operation(Record, frozen=True, kw_only=True):
    """An operation at the counter, from opening to closing; its plan follows from kind and pins."""

    TABLE: ClassVar[str] = "operation"
    KEY: ClassVar[tuple[str, ...]] = ("operation_id",)
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("card_id",), ("state",))

    operation_id: str
    card_id: str
    kind: str
    municipality: str
    pins: tuple[str, ...]
    state: str
    """open, closed or abandoned."""
    writes_done: int = 0
    """How many of the plan's card writes are finished."""
    pending_write: str = ""
    """A card write whose end is not known yet."""
    host_challenge: bytes
    opened_ms: int
    changed_ms: int


class CardWrite(Record, frozen=True, kw_only=True):
    """The journal of card writes: intent first, then what the chip said."""

    TABLE: ClassVar[str] = "card_write"
    KEY: ClassVar[tuple[str, ...]] = ("write_id",)
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("card_id",), ("operation_id", "state"))

    write_id: str
    card_id: str
    operation_id: str
    step_name: str
    with_jpki: bool
    digest: bytes = b""
    """Of the script; empty until the script was made (then nothing can have reached the chip)."""
    state: str
    """intent, finished or undone."""
    changed_ms: int


class CalendarMark(Record, frozen=True, kw_only=True):
    """How far the calendar was followed: cards whose last day was this one or an earlier one have ended."""

    TABLE: ClassVar[str] = "calendar_mark"
    KEY: ClassVar[tuple[str, ...]] = ("what",)

    what: str
    """``lapse``: the only one so far."""
    day: datetime.date
