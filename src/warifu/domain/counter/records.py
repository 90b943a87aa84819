"""What a municipality's counters store, shared by all of its terminals. No PIN, no name, no picture."""

from typing import ClassVar

from warifu.ports.store import Record


class Staff(Record, frozen=True, kw_only=True):
    """A staff member's account at one municipality."""

    TABLE: ClassVar[str] = "staff"
    KEY: ClassVar[tuple[str, ...]] = ("municipality", "login")

    municipality: str
    login: str
    name: str
    """As shown on screens."""
    role: str
    """``counter``, ``manager`` or ``auditor``."""
    password: str
    """Argon2id, PHC string."""
    totp: bytes
    """The second factor's key, encrypted (AES-256-GCM, nonce in front) under the counters' key."""
    totp_step: int = 0
    """The last time step that was used: a code works once."""
    failures: int = 0
    """Attempts in a row that failed."""
    locked_until_ms: int = 0
    active: bool = True

    def __repr__(self) -> str:
        """Without its secrets."""
        return f"Staff({self.municipality}/{self.login})"


class Login(Record, frozen=True, kw_only=True):
    """A staff member signed in at a terminal. What the browser holds is not here: only its digest is."""

    TABLE: ClassVar[str] = "login"
    KEY: ClassVar[tuple[str, ...]] = ("login_digest",)
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("municipality", "staff"),)

    login_digest: bytes
    """SHA-256 of the cookie."""
    municipality: str
    staff: str
    terminal: str
    form_key: bytes
    """Makes the tokens of this login's forms."""
    began_ms: int
    seen_ms: int
    """When the person last did something."""
    locked: bool = False

    def __repr__(self) -> str:
        """Without its key."""
        return f"Login({self.municipality}/{self.staff})"


class Work(Record, frozen=True, kw_only=True):
    """An operation that a counter began: enough to take it up again at any terminal of the municipality."""

    TABLE: ClassVar[str] = "work"
    KEY: ClassVar[tuple[str, ...]] = ("operation_id",)
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("municipality", "state"), ("municipality", "card_id"))

    operation_id: str
    municipality: str
    kind: str
    """An ``OperationKind``."""
    card_id: str
    reset_pins: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    """What the clerk checked before (documents, face, proxy), by code."""
    state: str
    """``WorkState``."""
    waiting_pins: tuple[str, ...] = ()
    card_state: str = ""
    """What the record last said."""
    trouble: str = ""
    """Code of what broke the last run; "" when nothing did."""
    staff: str
    """Who worked on it last."""
    terminal: str
    began_ms: int
    changed_ms: int


class Look(Record, frozen=True, kw_only=True):
    """Somebody looked at a resident's data, or did something for one. The same stands in the sealed audit trail."""

    TABLE: ClassVar[str] = "look"
    KEY: ClassVar[tuple[str, ...]] = ("municipality", "day", "look_id")

    municipality: str
    day: str
    """In Japan, ISO 8601: what an auditor opens."""
    look_id: str
    """A ULID: in order of time."""
    at_ms: int
    staff: str
    terminal: str
    action: str
    subject: str
    """A resident id, a card id, or a login."""
    purpose: str
    operation_id: str = ""


class Approval(Record, frozen=True, kw_only=True):
    """Something that two people must agree on."""

    TABLE: ClassVar[str] = "approval"
    KEY: ClassVar[tuple[str, ...]] = ("approval_id",)
    INDEXED: ClassVar[tuple[tuple[str, ...], ...]] = (("municipality", "state"),)

    approval_id: str
    municipality: str
    action: str
    """``abolish_without_card``."""
    card_id: str
    reason: str
    """A code of ``rules.REASONS``."""
    state: str
    """asked, granted, done or refused."""
    asked_by: str
    asked_ms: int
    decided_by: str = ""
    decided_ms: int = 0


RECORDS = (Staff, Login, Work, Look, Approval)
