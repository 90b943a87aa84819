"""The front: what registered verifiers may ask (署名検証者, 利用者証明検証者), and how they are registered.

Verifiers themselves speak HTTP to it (``adapters.net.checking``); these are its operators' messages. The front holds no
personal data: of a certificate it knows CA, serial number and status.
"""

import datetime
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from warifu.contract.message import Answer, Request
from warifu.contract.values import CertificateKind, Digest, Purpose

VerifierId = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,40}$")]
VerifierState = Literal["proposed", "approved", "suspended"]


class VerifierView(Struct, frozen=True, kw_only=True):
    """A verifier as the front has it; its credential is never shown."""

    verifier_id: VerifierId
    kind: CertificateKind
    """signature: 署名検証者, asks about signature certificates alone; authentication: 利用者証明検証者, about those."""
    name: str
    approval: str
    """The approval or notification it rests on (総務大臣の認定, 届出), as it is called in the files."""
    state: VerifierState
    proposed_by: str
    approved_by: str = ""
    suspended_by: str = ""
    changed_ms: int


class Verifier(Answer, frozen=True, kw_only=True):
    """One verifier."""

    verifier: VerifierView


class RegisterVerifier(Request, frozen=True, kw_only=True):
    """Propose a verifier; it may ask nothing until somebody else approves."""

    NAME: ClassVar[str] = "front.register_verifier"
    ANSWER: ClassVar[type[Answer]] = Verifier

    verifier_id: VerifierId
    kind: CertificateKind
    name: Annotated[str, Meta(min_length=1, max_length=100)]
    approval: Annotated[str, Meta(min_length=1, max_length=100)]


class ApproveVerifier(Request, frozen=True, kw_only=True):
    """Approve a proposed verifier, or one that was suspended; never by who proposed or suspended it."""

    NAME: ClassVar[str] = "front.approve_verifier"
    ANSWER: ClassVar[type[Answer]] = Verifier

    verifier_id: VerifierId
    credential: Digest
    """SHA-256 of its secret (32 random bytes), which is made where it is handed over and never comes here."""


class SuspendVerifier(Request, frozen=True, kw_only=True):
    """End a verifier's access at once; one person is enough."""

    NAME: ClassVar[str] = "front.suspend_verifier"
    ANSWER: ClassVar[type[Answer]] = Verifier

    verifier_id: VerifierId
    reason: Purpose


class Verifiers(Answer, frozen=True, kw_only=True):
    """In the order of their ids."""

    verifiers: tuple[VerifierView, ...]


class AskVerifiers(Request, frozen=True, kw_only=True):
    """Who is registered; a page of at most 100."""

    NAME: ClassVar[str] = "front.verifiers"
    ANSWER: ClassVar[type[Answer]] = Verifiers
    CHANGES: ClassVar[bool] = False

    after: Annotated[str, Meta(pattern=r"^[a-z0-9-]{0,40}$")] = ""


class VerifierUse(Struct, frozen=True, kw_only=True):
    """What a verifier asked on one day (JST)."""

    day: datetime.date
    what: str
    """status or list."""
    requests: int
    certificates: int
    """Statuses asked for; 0 for lists."""
    revoked: int
    """Of these answered revoked."""


class VerifierUses(Answer, frozen=True, kw_only=True):
    """In the order of days."""

    uses: tuple[VerifierUse, ...]


class AskVerifierUse(Request, frozen=True, kw_only=True):
    """The log of a verifier's use, by day; what it is charged from. A page of at most 400."""

    NAME: ClassVar[str] = "front.verifier_use"
    ANSWER: ClassVar[type[Answer]] = VerifierUses
    CHANGES: ClassVar[bool] = False

    verifier_id: VerifierId
    since: datetime.date
