"""JPKI: reception, key pairs, the two certification authorities, revocation, lists (公的個人認証サービス)."""

import datetime
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from warifu.contract.message import Answer, Request
from warifu.contract.values import (
    BatchId,
    CardId,
    CertificateEvent,
    CertificateKind,
    CertificateState,
    CertificateView,
    Challenge,
    Digest,
    Municipality,
    Person,
    Purpose,
    ResidentId,
    WrappedKeys,
    WriteId,
)

JpkiPurpose = Literal["personalise", "permit", "open_windows", "enable", "replace_signature", "replace_both", "disable"]
"""personalise: at the factory, key pairs and certificates onto the chip · permit: the set-up's part · open_windows: PIN
windows of the two keys (delivery, reset) · enable: certificates usable from delivery · replace_*: new key pairs and
certificates at the counter · disable: end of the card."""


class Certificates(Answer, frozen=True, kw_only=True):
    """Certificates of a card."""

    certificates: tuple[CertificateView, ...]


class IssueCertificates(Request, frozen=True, kw_only=True):
    """Issue certificates for a card from reserved key pairs; under 15 the signature certificate is left out."""

    NAME: ClassVar[str] = "authority.issue"
    ANSWER: ClassVar[type[Answer]] = Certificates

    card_id: CardId
    resident_id: ResidentId
    person: Person
    municipality: Municipality
    card_expires_on: datetime.date
    kinds: tuple[CertificateKind, ...]
    resident_version: int = 0
    """Of the registry's record that ``person`` is; 0 when not told. Older than what JPKI was told: ask anew."""


class BatchOrder(Struct, frozen=True, kw_only=True):
    """The certificates of one card, as ``IssueCertificates`` has them."""

    card_id: CardId
    resident_id: ResidentId
    person: Person
    municipality: Municipality
    card_expires_on: datetime.date
    kinds: tuple[CertificateKind, ...] = ("authentication", "signature")
    resident_version: int = 0

    def __repr__(self) -> str:
        """Without personal data."""
        return f"BatchOrder({self.card_id})"


class RefusedOrder(Struct, frozen=True, kw_only=True):
    """A card of a batch that got no certificates, and why (an error's code)."""

    card_id: CardId
    code: str


class BatchIssued(Answer, frozen=True, kw_only=True):
    """What a part of a batch came to. Cards that had certificates already count as neither."""

    issued: int
    """Certificates."""
    refused: tuple[RefusedOrder, ...]
    finished: tuple[CardId, ...] = ()
    """Cards for which this part issued all that was ordered: nothing of them stood before, nothing was ended meanwhile.
    What the others have, ``authority.issue`` tells, and goes on with."""


class IssueBatch(Request, frozen=True, kw_only=True):
    """One part of a bulk issue, for cards that are yet to be made. The same part again changes nothing.

    Every card and every resident at most once in a part. ``authority.issue`` finds what was issued here.
    """

    NAME: ClassVar[str] = "authority.issue_batch"
    ANSWER: ClassVar[type[Answer]] = BatchIssued

    batch_id: BatchId
    position: Annotated[int, Meta(ge=0, le=1_000_000_000)]
    """Of the part in the batch."""
    orders: Annotated[tuple[BatchOrder, ...], Meta(min_length=1, max_length=128)]


class JpkiCardKeys(Answer, frozen=True, kw_only=True):
    """Wrapped static keys."""

    keys: WrappedKeys


class AskJpkiCardKeys(Request, frozen=True, kw_only=True):
    """JPKI's static keys for a new card's applet, wrapped for the factory's HSM."""

    NAME: ClassVar[str] = "authority.card_keys"
    ANSWER: ClassVar[type[Answer]] = JpkiCardKeys
    CHANGES: ClassVar[bool] = False

    card_id: CardId
    factory_key: bytes
    """The factory HSM's public key (SubjectPublicKeyInfo DER, P-256)."""


class JpkiScript(Answer, frozen=True, kw_only=True):
    """JPKI's part of a card write: wrapped APDUs for its applet, good for one channel."""

    aid: bytes
    commands: tuple[bytes, ...]
    running_digest: Digest
    """Digest of the write so far; the issuer domain's part goes on from it."""


class OpenApplet(Request, frozen=True, kw_only=True):
    """The external-authentication service (外部認証鍵): opens one card's JPKI applet for one channel and purpose.

    The script is not kept: the same request gets it again, made anew alike, while the card write is open and what was
    issued for it stands.
    """

    NAME: ClassVar[str] = "authority.open_applet"
    ANSWER: ClassVar[type[Answer]] = JpkiScript

    card_id: CardId
    write_id: WriteId
    purpose: JpkiPurpose
    pins: tuple[Literal["signature", "authentication"], ...] = ()
    """open_windows: which."""
    host_challenge: Challenge
    initialize_update: bytes
    person: Person | None = None
    """replace_*: the identity that goes into the new certificates."""
    municipality: Municipality | None = None
    card_expires_on: datetime.date | None = None
    resident_version: int = 0
    """Of the registry's record that ``person`` is; 0 when not told."""
    opened_ms: int = 0
    """When the operation was opened that this write belongs to; 0 at the factory."""


class WriteSettled(Request, frozen=True, kw_only=True):
    """The card write ended on the chip.

    finished → what it put there is valid (and what it replaced is revoked); undone → certificates issued for it alone
    are revoked. Key pairs are destroyed either way.
    """

    NAME: ClassVar[str] = "authority.settled"

    card_id: CardId
    write_id: WriteId
    outcome: Literal["finished", "undone"]


class RevokeCertificates(Request, frozen=True, kw_only=True):
    """Revoke what the event hits (jpki.md 2.4). Idempotent; a held certificate is never released."""

    NAME: ClassVar[str] = "authority.revoke"
    ANSWER: ClassVar[type[Answer]] = Certificates

    card_id: CardId
    event: CertificateEvent
    kinds: tuple[CertificateKind, ...] = ()
    """Only these of what the event hits; all of it when empty."""
    at_ms: int = 0
    """When it happened: what an operation that was opened later put onto the card is not hit, however late this comes.
    0: whatever there is."""


class Withdrawn(Answer, frozen=True, kw_only=True):
    """What mass revocation did."""

    revoked: int
    """How many of those named stand revoked now, whenever that happened."""
    unknown: tuple[int, ...]
    """Serial numbers under which nothing was signed."""


class RevokeSerials(Request, frozen=True, kw_only=True):
    """Revoke many certificates by serial number: a batch of compromised keys, an error in records, a compromised CA.

    Idempotent; sixteen a commit, so a request that broke off goes on when it comes again.
    """

    NAME: ClassVar[str] = "authority.revoke_serials"
    ANSWER: ClassVar[type[Answer]] = Withdrawn

    ca: CertificateKind
    serials: Annotated[tuple[int, ...], Meta(min_length=1, max_length=1_000)]
    event: Literal["key_compromise", "record_error", "authority_compromise"]


class AskCertificates(Request, frozen=True, kw_only=True):
    """The certificates of a card, newest last."""

    NAME: ClassVar[str] = "authority.certificates"
    ANSWER: ClassVar[type[Answer]] = Certificates
    CHANGES: ClassVar[bool] = False

    card_id: CardId
    with_der: bool = False


class Authorities(Answer, frozen=True, kw_only=True):
    """CA certificates of one kind, newest generation last (DER)."""

    certificates: tuple[bytes, ...]
    generations: tuple[int, ...] = ()
    """Their numbers, in the same order."""


class AskAuthorities(Request, frozen=True, kw_only=True):
    """The trust anchors of one CA."""

    NAME: ClassVar[str] = "authority.authorities"
    ANSWER: ClassVar[type[Answer]] = Authorities
    CHANGES: ClassVar[bool] = False

    ca: CertificateKind


HolderName = Annotated[str, Meta(pattern=r"^[a-z0-9@._-]{1,60}$")]


class HolderApproval(Struct, frozen=True, kw_only=True):
    """One key holder's consent to one act (``domain.certificates.ceremony`` says to which text)."""

    holder: HolderName
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]
    """Ed25519."""


class EnrolHolder(Request, frozen=True, kw_only=True):
    """Make a person a holder of the authorities' keys. From the third on, two of the holders must approve."""

    NAME: ClassVar[str] = "authority.enrol_holder"

    holder: HolderName
    public_key: Annotated[bytes, Meta(min_length=32, max_length=32)]
    approvals: Annotated[tuple[HolderApproval, ...], Meta(max_length=10)] = ()


class GenerationMade(Answer, frozen=True, kw_only=True):
    """A new generation, and the minutes of its ceremony, signed with its key."""

    generation: int
    der: bytes
    minutes: bytes
    signature: bytes


class MakeGeneration(Request, frozen=True, kw_only=True):
    """A key ceremony: make the next generation of an authority's key, to issue from an instant on. Two must approve."""

    NAME: ClassVar[str] = "authority.make_generation"
    ANSWER: ClassVar[type[Answer]] = GenerationMade

    ca: CertificateKind
    generation: Annotated[int, Meta(ge=2, le=1000)]
    active_from_ms: Annotated[int, Meta(ge=0, le=253_402_300_799_000)]
    """Of the epoch; to the year 9999."""
    approvals: Annotated[tuple[HolderApproval, ...], Meta(max_length=10)]


class RevocationList(Answer, frozen=True, kw_only=True):
    """A list (DER), with every revocation that was committed before the request."""

    number: int
    der: bytes
    """Empty when it was not asked for."""
    generation: int = 0
    """Of the CA's key that signed it."""


class PublishList(Request, frozen=True, kw_only=True):
    """Make the list current and return it: the full one (no municipality) or one municipality's partition."""

    NAME: ClassVar[str] = "authority.list"
    ANSWER: ClassVar[type[Answer]] = RevocationList
    CHANGES: ClassVar[bool] = False

    ca: CertificateKind
    municipality: Annotated[str, Meta(pattern=r"^([0-9]{6})?$")] = ""
    generation: int = 0
    """Whose certificates it is about: each generation of a CA's key signs its own lists; 0 is the newest."""
    with_der: bool = True
    """Without, the answer is the number alone: a list of millions fits no message; the responder reads the register."""


class ResponderCertificate(Answer, frozen=True, kw_only=True):
    """A delegated responder's certificate (DER)."""

    der: bytes


class AskResponderCertificate(Request, frozen=True, kw_only=True):
    """Certify a responder's key for one CA (RFC 6960 section 4.2.2.2)."""

    NAME: ClassVar[str] = "authority.responder_certificate"
    ANSWER: ClassVar[type[Answer]] = ResponderCertificate

    ca: CertificateKind
    public_key: bytes
    generation: int = 0
    """Which generation of the CA's key delegates (the one that signed the certificates asked about); 0: the newest."""


class OcspResponse(Answer, frozen=True, kw_only=True):
    """A signed OCSP response (DER)."""

    der: bytes


class AskOcsp(Request, frozen=True, kw_only=True):
    """RFC 6960 request in DER; the responder's HTTP face does the same."""

    NAME: ClassVar[str] = "responder.ocsp"
    ANSWER: ClassVar[type[Answer]] = OcspResponse
    CHANGES: ClassVar[bool] = False

    request: Annotated[bytes, Meta(max_length=10_000)]


class SerialStatus(Struct, frozen=True, kw_only=True):
    """Whether one certificate stands: nothing else of it."""

    serial: int
    status: Literal["good", "revoked", "unknown"]
    reason: str = ""
    revoked_ms: int | None = None


class Statuses(Answer, frozen=True, kw_only=True):
    """In the order of the serial numbers asked."""

    statuses: tuple[SerialStatus, ...]


class AskStatuses(Request, frozen=True, kw_only=True):
    """The status of many certificates of one CA, by serial number; asked by the front for verifiers."""

    NAME: ClassVar[str] = "authority.statuses"
    ANSWER: ClassVar[type[Answer]] = Statuses
    CHANGES: ClassVar[bool] = False

    ca: CertificateKind
    serials: Annotated[tuple[int, ...], Meta(max_length=1_000)]


class ListPart(Answer, frozen=True, kw_only=True):
    """A part of a list (DER)."""

    digest: Digest
    """SHA-256 of the whole list: which one this is a part of."""
    total: int
    """Bytes of the whole."""
    data: bytes


class AskListPart(Request, frozen=True, kw_only=True):
    """A current list in parts that fit a message; for the front."""

    NAME: ClassVar[str] = "responder.list_part"
    ANSWER: ClassVar[type[Answer]] = ListPart
    CHANGES: ClassVar[bool] = False

    ca: CertificateKind
    municipality: Annotated[str, Meta(pattern=r"^([0-9]{6})?$")] = ""
    offset: Annotated[int, Meta(ge=0)] = 0
    digest: bytes = b""
    """Of the list that an offset continues."""


class FoundCertificate(Struct, frozen=True, kw_only=True):
    """A certificate that a search found."""

    kind: CertificateKind
    serial: int
    state: CertificateState
    card_id: CardId
    resident_id: ResidentId
    municipality: Municipality
    not_after: datetime.date
    reason: str = ""


class FoundCertificates(Answer, frozen=True, kw_only=True):
    """A page, by kind and serial number."""

    certificates: tuple[FoundCertificate, ...]
    next_kind: CertificateKind | Literal[""] = ""
    """Where the next page starts after; empty: this was the last."""
    next_serial: int = 0


class SearchCertificates(Request, frozen=True, kw_only=True):
    """Search by resident, card, serial number (with its kind), name, municipality, or name and municipality."""

    NAME: ClassVar[str] = "authority.search"
    ANSWER: ClassVar[type[Answer]] = FoundCertificates
    CHANGES: ClassVar[bool] = False

    purpose: Purpose
    resident_id: Annotated[str, Meta(pattern=r"^([0-9A-HJKMNP-TV-Z]{26})?$")] = ""
    card_id: Annotated[str, Meta(pattern=r"^([0-9A-Z]{15})?$")] = ""
    kind: CertificateKind | None = None
    serial: int = 0
    name: Annotated[str, Meta(max_length=100)] = ""
    municipality: Annotated[str, Meta(pattern=r"^([0-9]{6})?$")] = ""
    limit: Annotated[int, Meta(ge=1, le=100)] = 100
    after_kind: CertificateKind | Literal[""] = ""
    after_serial: int = 0


class ImportedView(Answer, frozen=True, kw_only=True):
    """A certificate of an authority that closed, as its records say. No answer of ours is signed for it."""

    authority: str
    name: str
    """Of the authority."""
    serial: int
    not_before: datetime.date
    not_after: datetime.date
    municipality: str
    reason: str
    """Empty: not revoked."""
    revoked_ms: int | None


class AskImported(Request, frozen=True, kw_only=True):
    """What is known of a certificate of an authority whose records were imported (audited)."""

    NAME: ClassVar[str] = "authority.imported"
    ANSWER: ClassVar[type[Answer]] = ImportedView
    CHANGES: ClassVar[bool] = False

    purpose: Purpose
    authority: Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,40}$")]
    serial: int
