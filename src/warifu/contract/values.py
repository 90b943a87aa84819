"""Values that several messages carry. Parsed once, at the boundary; inside, only valid ones exist."""

import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct

ResidentId = Annotated[str, Meta(pattern=r"^[0-9A-HJKMNP-TV-Z]{26}$")]
ResidentCode = Annotated[str, Meta(pattern=r"^[0-9]{11}$")]
IndividualNumber = Annotated[str, Meta(pattern=r"^[0-9]{12}$")]
ApplicationId = Annotated[str, Meta(pattern=r"^[0-9]{23}$")]
CardId = Annotated[str, Meta(pattern=r"^[0-9A-Z]{15}$")]
WriteId = Annotated[str, Meta(pattern=r"^[0-9A-HJKMNP-TV-Z]{26}$")]
"""A ULID; on the chip its 16 bytes."""
BatchId = Annotated[str, Meta(pattern=r"^[0-9A-HJKMNP-TV-Z]{26}$")]
Municipality = Annotated[str, Meta(pattern=r"^[0-9]{6}$")]
Purpose = Annotated[str, Meta(pattern=r"^[a-z_.]{1,60}$")]
"""Why personal data is looked at; goes into the audit."""
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
Challenge = Annotated[bytes, Meta(min_length=8, max_length=8)]

Sex = Literal["male", "female", "other", "unknown"]
CertificateKind = Literal["signature", "authentication"]
PinName = Literal["signature", "authentication", "text", "juki"]
"""The four PINs of a holder, by the applet or key they open (card.md 1.5)."""

CardState = Literal["ordered", "made", "shipped", "received", "set_up", "in_use", "suspended", "abolished"]
"""States of the *record* (card.md 3.4)."""
ChipState = Literal["made", "set_up", "in_use", "suspended", "terminated"]
"""Life states of the *chip*."""
CertificateState = Literal["issued", "valid", "revoked"]
"""issued: on the chip, usable only after delivery. A held certificate is revoked with reason certificateHold."""
OperationKind = Literal[
    "setup", "delivery", "continuation", "update", "resumption", "pin_reset", "abolition", "certificate_renewal"
]
ReissueReason = Literal["lost", "damaged", "expired", "returned", "other"]
"""Why another card is asked for (個人番号カードの再交付の事由)."""
ResidentEvent = Literal["move", "name", "address", "birth_date", "sex", "death"]
CertificateEvent = Literal[
    "move", "name", "address", "birth_date", "sex", "death",
    "abolition", "return", "cancelled_delivery", "suspension", "renewal", "request", "key_compromise",
]  # fmt: skip


class Person(Struct, frozen=True, kw_only=True):
    """Identity information (本人確認情報) as the registry keeps it. Personal data: never logged."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    """Family name, full-width space, given name; Latin letters for some foreign residents."""
    kana: Annotated[str, Meta(max_length=200)] = ""
    former_surname: Annotated[str, Meta(max_length=50)] = ""
    birth_date: datetime.date
    sex: Sex
    address: Annotated[str, Meta(min_length=1, max_length=200)]
    """From the prefecture on, without postal code, full-width digits."""
    municipality: Municipality
    stay_until: datetime.date | None = None
    """Foreign residents: end of the period of stay."""

    def __repr__(self) -> str:
        """Without personal data."""
        return "Person(<hidden>)"


class ChipStatus(Struct, frozen=True, kw_only=True):
    """What a chip says of itself when asked (no PIN, no channel): the half of the tally that the centre cannot see."""

    card_id: CardId
    life_state: ChipState
    write_id: WriteId | None = None
    """The last committed card write."""
    write_digest: bytes = b""
    write_step: str = ""
    open_windows: tuple[PinName, ...] = ()
    pins_set: tuple[PinName, ...] = ()
    tries_left: dict[str, int] = {}


class WrappedKeys(Struct, frozen=True, kw_only=True):
    """One domain's static SCP03 keys (ENC, MAC, DEK) for one card, sealed to the factory."""

    encapsulation: bytes
    sealed: bytes


class CertificateView(Struct, frozen=True, kw_only=True):
    """A certificate as its register shows it."""

    kind: CertificateKind
    serial: int
    state: CertificateState
    card_id: CardId
    not_after: datetime.date
    reason: str = ""
    der: bytes = b""
