"""Card management centre (カード管理業務サーバ): cards, operations at the counter, card writes.

An *operation* is what a clerk does for a resident, from opening to closing; its plan is a list of steps, decided by the
centre and resumable at any terminal of the municipality. A *card write* is one journalled change of a chip:

    center.write (intent, script)  →  the terminal runs the script, the chip commits atomically  →  center.confirm

``center.open`` with the chip's status settles whatever an earlier break left unknown.
"""

import datetime
from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from warifu.contract.message import Answer, Request
from warifu.contract.values import (
    ApplicationId,
    BatchId,
    CardId,
    CardState,
    CertificateKind,
    CertificateView,
    Challenge,
    ChipStatus,
    Digest,
    IndividualNumber,
    Municipality,
    OperationKind,
    Person,
    PinName,
    Purpose,
    ReissueReason,
    ResidentId,
    WrappedKeys,
    WriteId,
)

Modulus = Annotated[bytes, Meta(max_length=256)]


# ---- making cards: intake and issuance ----------------------------------------------------------------------------


class Ordered(Answer, frozen=True, kw_only=True):
    """The card is ordered, or (empty) the application has become void: the holder has a card or left the register."""

    card_id: Annotated[str, Meta(pattern=r"^([0-9A-Z]{15})?$")]


class OrderCard(Request, frozen=True, kw_only=True):
    """From intake, once an application is accepted. Refused while the resident has a live card."""

    NAME: ClassVar[str] = "center.order"
    ANSWER: ClassVar[type[Answer]] = Ordered

    application_id: ApplicationId
    resident_id: ResidentId
    wants_signature: bool
    wants_authentication: bool


class OrderedCard(Struct, frozen=True, kw_only=True):
    """A card to be made."""

    card_id: CardId
    application_id: ApplicationId
    resident_id: ResidentId
    municipality: Municipality
    wants_signature: bool
    wants_authentication: bool


class Orders(Answer, frozen=True, kw_only=True):
    """Cards to be made, oldest first."""

    cards: tuple[OrderedCard, ...]


class AskOrders(Request, frozen=True, kw_only=True):
    """What is there to make?"""

    NAME: ClassVar[str] = "center.orders"
    ANSWER: ClassVar[type[Answer]] = Orders
    CHANGES: ClassVar[bool] = False

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    after: str = ""
    """Card id after which to go on."""


class CardKeys(Answer, frozen=True, kw_only=True):
    """Sealed static keys, and card management's signature over the card's own key."""

    keys: WrappedKeys
    card_key_signature: bytes


class AskCardKeys(Request, frozen=True, kw_only=True):
    """The card management domain's static keys for a new card, wrapped for the factory's HSM."""

    NAME: ClassVar[str] = "center.card_keys"
    ANSWER: ClassVar[type[Answer]] = CardKeys
    CHANGES: ClassVar[bool] = False

    card_id: CardId
    factory_key: bytes
    """The factory HSM's public key (SubjectPublicKeyInfo DER, P-256)."""
    card_point: Annotated[bytes, Meta(min_length=65, max_length=65)]
    """The new card's own public key, an uncompressed P-256 point, to be certified."""


class CardData(Answer, frozen=True, kw_only=True):
    """What the factory prints and draws. Personal data; the request left audit entries."""

    card_id: CardId
    person: Person
    individual_number: IndividualNumber
    issued_on: datetime.date
    expires_on: datetime.date
    security_code: Annotated[str, Meta(pattern=r"^[0-9]{4}$")]
    municipality: str = ""
    """To which the card is shipped; fixed like the dates, whatever the holder does meanwhile."""
    resident_version: int = 0
    """Of the registry's record that ``person`` is."""

    def __repr__(self) -> str:
        """Without personal data."""
        return "CardData(<hidden>)"


class AskCardData(Request, frozen=True, kw_only=True):
    """For the factory. Fixes the card's issue date and validity when first asked."""

    NAME: ClassVar[str] = "center.card_data"
    ANSWER: ClassVar[type[Answer]] = CardData

    card_id: CardId


class ScriptPart(Struct, frozen=True, kw_only=True):
    """Wrapped APDUs for one domain: select the applet, then send them in order."""

    aid: bytes
    commands: tuple[bytes, ...]


class Personalisation(Answer, frozen=True, kw_only=True):
    """The factory's script for the card management's applets; run it after JPKI's part."""

    write_id: WriteId
    parts: tuple[ScriptPart, ...]
    digest: Digest


class ChipPublicKeys(Struct, frozen=True, kw_only=True):
    """Moduli (256 bytes, RSA-2048, exponent 65537) of the chip's own keys; empty where it has none."""

    internal: Modulus = b""
    """Answers INTERNAL AUTHENTICATE."""
    text: Modulus = b""
    """The text applet's default key."""
    face: Modulus = b""
    """The face applet's default key."""


class Personalise(Request, frozen=True, kw_only=True):
    """Make the script that fills a blank chip."""

    NAME: ClassVar[str] = "center.personalise"
    ANSWER: ClassVar[type[Answer]] = Personalisation

    card_id: CardId
    write_id: WriteId
    host_challenge: Challenge
    initialize_update: bytes
    """The chip's response in the issuer domain."""
    running_digest: Digest
    """Digest after JPKI's part of the same write."""
    name_image: bytes
    address_image: bytes
    number_image: bytes
    code_image: bytes
    photo: bytes
    """JPEG 2000, grey."""
    chip_keys: ChipPublicKeys = ChipPublicKeys()


class CardMade(Request, frozen=True, kw_only=True):
    """The chip committed its personalisation."""

    NAME: ClassVar[str] = "center.made"

    card_id: CardId
    chip: ChipStatus
    face_modulus: Modulus = b""
    """Of the chip's key in the face applet, for when its face record is written anew."""


class CardsShipped(Request, frozen=True, kw_only=True):
    """A batch left the factory for a municipality."""

    NAME: ClassVar[str] = "center.shipped"

    batch_id: BatchId
    municipality: Municipality
    card_ids: Annotated[tuple[CardId, ...], Meta(max_length=1000)]


# ---- the counter (these travel terminal → CS → relay → centre) ----------------------------------------------------


class Received(Answer, frozen=True, kw_only=True):
    """The cards of the batch, now at the municipality."""

    card_ids: tuple[CardId, ...]


class CardsReceived(Request, frozen=True, kw_only=True):
    """A batch arrived at the municipality and was counted."""

    NAME: ClassVar[str] = "center.receive"
    ANSWER: ClassVar[type[Answer]] = Received

    batch_id: BatchId
    card_ids: Annotated[tuple[CardId, ...], Meta(max_length=1000)]


class PlannedStep(Struct, frozen=True, kw_only=True):
    """One step of an operation's plan."""

    name: Annotated[str, Meta(pattern=r"^[a-z_]{1,30}$")]
    action: Literal["write", "set_pins", "check_pin"]
    pins: tuple[PinName, ...] = ()
    """set_pins: those the resident enters; check_pin: the one the resident proves."""
    with_jpki: bool = False
    """write: JPKI's domain takes part, so its INITIALIZE UPDATE is needed too."""


class Opened(Answer, frozen=True, kw_only=True):
    """The operation is open (or open again): what is known, and what comes next."""

    card_id: CardId
    resident_id: ResidentId
    kind: OperationKind
    card_state: CardState
    person: Person
    plan: tuple[PlannedStep, ...]
    next_step: int
    """Index into the plan; ``len(plan)`` when everything is done."""
    settled: Literal["none", "finished", "undone"] = "none"
    """What became of a card write that a break had left unknown."""
    host_challenge: Challenge
    pending_write: str = ""
    """A card write that is still unknown: ask the chip now and confirm it. What the chip said before this answer may be
    older than the write (a request can be long on its way), so it never ends a write as undone."""


class OpenOperation(Request, frozen=True, kw_only=True):
    """Open an operation, or take it up again after a break (same operation id, any terminal of the municipality)."""

    NAME: ClassVar[str] = "center.open"
    ANSWER: ClassVar[type[Answer]] = Opened

    kind: OperationKind
    card_id: CardId
    pins: tuple[PinName, ...] = ()
    """pin_reset: which PINs to set anew."""
    chip: ChipStatus


class Script(Answer, frozen=True, kw_only=True):
    """A card write's script, JPKI's part first; the chip's status afterwards goes into ``center.confirm``."""

    write_id: WriteId
    parts: tuple[ScriptPart, ...]
    digest: Digest


class PrepareWrite(Request, frozen=True, kw_only=True):
    """Record the intent of the card write that is the operation's next step, and get its script."""

    NAME: ClassVar[str] = "center.write"
    ANSWER: ClassVar[type[Answer]] = Script

    card_id: CardId
    step_name: Annotated[str, Meta(pattern=r"^[a-z_]{1,30}$")]
    chip: ChipStatus
    """As it is now: windows still open, the last write committed."""
    issuer_update: bytes
    """INITIALIZE UPDATE response of the issuer domain, for the host challenge of the last answer."""
    jpki_update: bytes = b""
    host_challenge: bytes = b""
    """The host challenge that both updates answer; empty from those who do not say."""


class Confirmed(Answer, frozen=True, kw_only=True):
    """The card write is settled (or, honestly, still unknown); what comes next."""

    result: Literal["finished", "undone", "unknown"]
    card_state: CardState
    next_step: int
    host_challenge: Challenge
    closed: bool = False
    """The operation was closed with it, as asked."""


class ConfirmWrite(Request, frozen=True, kw_only=True):
    """What the chip says after the script; ``chip`` is None when it could not be asked (pulled)."""

    NAME: ClassVar[str] = "center.confirm"
    ANSWER: ClassVar[type[Answer]] = Confirmed

    card_id: CardId
    write_id: WriteId
    chip: ChipStatus | None
    close: bool = False
    """Close the operation too, if this write was the last step of its plan: saves an exchange."""


class CardView(Answer, frozen=True, kw_only=True):
    """A card as the centre records it."""

    card_id: CardId
    resident_id: ResidentId
    municipality: Municipality
    state: CardState
    expires_on: datetime.date | None
    continuation_due: datetime.date | None
    """After a move: the day by which the new municipality must continue the card."""
    open_operation: str = ""
    certificates: tuple[CertificateView, ...] = ()
    batch_id: str = ""
    """The shipment it came with; "" before."""
    issued_on: datetime.date | None = None


class CloseOperation(Request, frozen=True, kw_only=True):
    """The operation's plan is done."""

    NAME: ClassVar[str] = "center.close"
    ANSWER: ClassVar[type[Answer]] = CardView

    card_id: CardId
    chip: ChipStatus


class AbandonOperation(Request, frozen=True, kw_only=True):
    """The clerk gives up: once all of the operation's card writes are settled; what they did stays done."""

    NAME: ClassVar[str] = "center.abandon"
    ANSWER: ClassVar[type[Answer]] = CardView

    card_id: CardId
    chip: ChipStatus | None = None
    """As it is now; needed once a card write of the operation was done."""


# ---- looks from the counter (the same way; only at cards and residents of the municipality that asks) -------------


class Cards(Answer, frozen=True, kw_only=True):
    """Cards of the municipality that asks, by card id."""

    cards: tuple[CardView, ...]


class AskCards(Request, frozen=True, kw_only=True):
    """The cards in one state: a box on its way, cards to set up, cards to hand over. No personal data."""

    NAME: ClassVar[str] = "center.cards"
    ANSWER: ClassVar[type[Answer]] = Cards
    CHANGES: ClassVar[bool] = False

    state: CardState
    limit: Annotated[int, Meta(ge=1, le=200)] = 100
    after: str = ""
    """Card id after which to go on."""


class Holder(Answer, frozen=True, kw_only=True):
    """A resident and their card. Personal data: each one shown left an audit entry."""

    resident_id: ResidentId
    person: Person
    registered: bool
    """False once the resident has left the register."""
    card: CardView | None = None
    application_id: str = ""
    """On which the card was ordered; "" without a card."""

    def __repr__(self) -> str:
        """Without personal data."""
        return "Holder(<hidden>)"


class AskHolder(Request, frozen=True, kw_only=True):
    """Whose card is this?"""

    NAME: ClassVar[str] = "center.holder"
    ANSWER: ClassVar[type[Answer]] = Holder
    CHANGES: ClassVar[bool] = False

    card_id: CardId
    purpose: Purpose


class Face(Answer, frozen=True, kw_only=True):
    """The photo of the application, JPEG."""

    photo: Annotated[bytes, Meta(min_length=1, max_length=700_000)]

    def __repr__(self) -> str:
        """Without the photo."""
        return "Face(<hidden>)"


class AskFace(Request, frozen=True, kw_only=True):
    """The holder's photo, to be compared with the face at the counter (audited)."""

    NAME: ClassVar[str] = "center.face"
    ANSWER: ClassVar[type[Answer]] = Face
    CHANGES: ClassVar[bool] = False

    card_id: CardId
    purpose: Purpose


class Holders(Answer, frozen=True, kw_only=True):
    """What a search found, at most ``SearchHolders.LIMIT``."""

    holders: tuple[Holder, ...]
    more: bool = False
    """There are others: ask more narrowly."""


class SearchHolders(Request, frozen=True, kw_only=True):
    """Search the municipality's residents. One of the fields (a birth date may stand beside a name) is given.

    Every field is answered from an index: the time is the same for a village and for the nation.
    """

    NAME: ClassVar[str] = "center.search"
    ANSWER: ClassVar[type[Answer]] = Holders
    CHANGES: ClassVar[bool] = False
    LIMIT: ClassVar[int] = 20

    name: Annotated[str, Meta(max_length=100)] = ""
    """As written in the register, or as read (kana)."""
    birth_date: datetime.date | None = None
    resident_code: Annotated[str, Meta(pattern=r"^([0-9]{11})?$")] = ""
    individual_number: Annotated[str, Meta(pattern=r"^([0-9]{12})?$")] = ""
    application_id: Annotated[str, Meta(pattern=r"^([0-9]{23})?$")] = ""
    purpose: Purpose


class FormGiven(Answer, frozen=True, kw_only=True):
    """What stands on the form. Personal data: the centre audited that it was given."""

    application_id: ApplicationId
    person: Person

    def __repr__(self) -> str:
        """Without personal data."""
        return "FormGiven(<hidden>)"


class GiveForm(Request, frozen=True, kw_only=True):
    """A resident of the asking municipality whose card has ended gets another form, by intake (再交付)."""

    NAME: ClassVar[str] = "center.new_form"
    ANSWER: ClassVar[type[Answer]] = FormGiven

    resident_id: ResidentId
    reason: ReissueReason


# ---- beside the counter ------------------------------------------------------------------------------------------


class AskCard(Request, frozen=True, kw_only=True):
    """A card's record (audited; no personal data in the answer)."""

    NAME: ClassVar[str] = "center.card"
    ANSWER: ClassVar[type[Answer]] = CardView
    CHANGES: ClassVar[bool] = False

    card_id: CardId


class LiveCard(Answer, frozen=True, kw_only=True):
    """The resident's card that is not abolished, if there is one."""

    card_id: str
    application_id: str = ""
    """On which it was ordered."""
    state: str = ""
    """A ``CardState``; empty without a card."""


class AskLiveCard(Request, frozen=True, kw_only=True):
    """Does the resident have a card (or one being made)?"""

    NAME: ClassVar[str] = "center.live_card"
    ANSWER: ClassVar[type[Answer]] = LiveCard
    CHANGES: ClassVar[bool] = False

    resident_id: ResidentId


class SigningKey(Answer, frozen=True, kw_only=True):
    """Card management's public key, SubjectPublicKeyInfo DER: certifies cards' own keys."""

    public_key: bytes
    root_key: bytes = b""
    """The key that certifies ``public_key`` in the cards' card-verifiable certificates."""


class AskSigningKey(Request, frozen=True, kw_only=True):
    """For terminals, at their installation."""

    NAME: ClassVar[str] = "center.signing_key"
    ANSWER: ClassVar[type[Answer]] = SigningKey
    CHANGES: ClassVar[bool] = False


class AbolishCard(Request, frozen=True, kw_only=True):
    """The card is lost for good, or over: its record ends without its chip, and its certificates are revoked."""

    NAME: ClassVar[str] = "center.abolish"
    ANSWER: ClassVar[type[Answer]] = CardView

    card_id: CardId


class SuspendCard(Request, frozen=True, kw_only=True):
    """The holder reports a loss (hotline or portal): the card is suspended at once and both certificates are held."""

    NAME: ClassVar[str] = "center.suspend"
    ANSWER: ClassVar[type[Answer]] = CardView

    card_id: CardId


class RevokeOnRequest(Request, frozen=True, kw_only=True):
    """The holder asks at a counter that certificates of a card in use be ended (失効); the card stays in use."""

    NAME: ClassVar[str] = "center.revoke_certificates"
    ANSWER: ClassVar[type[Answer]] = CardView

    card_id: CardId
    kinds: Annotated[tuple[CertificateKind, ...], Meta(min_length=1, max_length=2)]
