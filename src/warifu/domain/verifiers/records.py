"""What the front stores. Nothing here is personal: of a certificate only CA, serial number and status."""

import datetime
from typing import ClassVar

from warifu.ports.store import Record


class StoredVerifier(Record, frozen=True, kw_only=True):
    """A verifier: an organisation that may ask whether certificates stand."""

    TABLE: ClassVar[str] = "verifier"
    KEY: ClassVar[tuple[str, ...]] = ("verifier_id",)

    verifier_id: str
    kind: str
    """signature or authentication: about which certificates it may ask."""
    name: str
    approval: str
    state: str
    """proposed, approved or suspended."""
    credential: bytes = b""
    """SHA-256 of its secret; empty while it has none."""
    proposed_by: str
    approved_by: str = ""
    suspended_by: str = ""
    changed_ms: int


class StoredUse(Record, frozen=True, kw_only=True):
    """What one verifier asked on one day: the log that it is charged from. Each request is in the audit trail too."""

    TABLE: ClassVar[str] = "verifier_use"
    KEY: ClassVar[tuple[str, ...]] = ("verifier_id", "day", "what")

    verifier_id: str
    day: datetime.date
    what: str
    """status or list."""
    requests: int
    certificates: int
    revoked: int


class FinalStatus(Record, frozen=True, kw_only=True):
    """A certificate that is revoked for good: the one status that cannot change, and need not be asked again."""

    TABLE: ClassVar[str] = "certificate_status"
    KEY: ClassVar[tuple[str, ...]] = ("ca", "serial")

    ca: str
    serial: int
    reason: str
    revoked_ms: int
