"""What the intake stores."""

from typing import ClassVar

from warifu.ports.store import Record


class NotificationCard(Record, frozen=True, kw_only=True):
    """A notification card (通知カード) as sent, with the application ID of the form now in force."""

    TABLE: ClassVar[str] = "notification_card"
    KEY: ClassVar[tuple[str, ...]] = ("resident_id",)
    UNIQUE: ClassVar[tuple[tuple[str, ...], ...]] = (("application_id",),)

    resident_id: str
    application_id: str
    municipality: str
    sent_ms: int


class Application(Record, frozen=True, kw_only=True):
    """An application for a card (交付申請)."""

    TABLE: ClassVar[str] = "application"
    KEY: ClassVar[tuple[str, ...]] = ("application_id",)
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("resident_id",),)

    application_id: str
    resident_id: str
    state: str
    """An ``ApplicationState``."""
    findings: tuple[str, ...] = ()
    wants_signature: bool = True
    wants_authentication: bool = True
    photo_digest: bytes = b""
    changed_ms: int


class StoredPhoto(Record, frozen=True, kw_only=True):
    """The photo of an application, apart so that reading an application does not carry it."""

    TABLE: ClassVar[str] = "application_photo"
    KEY: ClassVar[tuple[str, ...]] = ("application_id",)

    application_id: str
    photo: bytes

    def __repr__(self) -> str:
        """Without the photo."""
        return f"StoredPhoto({self.application_id})"


class LossTries(Record, frozen=True, kw_only=True):
    """Reports of a loss that named another birth date than the holder's: so many, and no more are heard for a day."""

    TABLE: ClassVar[str] = "loss_tries"
    KEY: ClassVar[tuple[str, ...]] = ("application_id",)

    application_id: str
    failures: int
    since_ms: int
    """When the first of them came."""
