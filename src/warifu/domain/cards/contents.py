"""What is written into a card's applets for a person, as issuer commands (card.md 1.3).

Three moves, because the signatures come from an HSM: ``to_sign`` → sign each → ``*_commands``.
"""

import datetime
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from msgspec import Struct

from warifu.chip import contents, layout
from warifu.chip.contents import Face
from warifu.chip.issuer import IssuerCommand, append_particulars, put_ef, set_verification_number
from warifu.contract.center import ChipPublicKeys
from warifu.contract.values import Person, Sex
from warifu.kernel.calendar import birth_key, verification_number_b
from warifu.kernel.errors import Fault

SEX_CODES: Final[dict[Sex, str]] = {"male": "1", "female": "2", "other": "9", "unknown": "0"}
KEY_ID: Final = contents.key_id("6000024")
"""Of card management's signing key; numbers that begin with 6 are test ones."""
ROOT_KEY_ID: Final = contents.key_id("6000001")
"""Of the key above it."""
INTERNAL_KEY_ID: Final = contents.key_id("6000044")
"""Of every chip's INTERNAL AUTHENTICATE key. Own: what the lower certificate of a real card certifies is not public."""


class Pictures(Struct, frozen=True):
    """The drawn parts: PNG, and JPEG 2000 for the photo."""

    name: bytes
    address: bytes
    number: bytes
    code: bytes
    photo: bytes


class CardContents(Struct, frozen=True):
    """Everything personal that goes onto a chip."""

    card_id: str
    person: Person
    resident_code: str
    individual_number: str
    security_code: str
    expires_on: datetime.date
    pictures: Pictures
    chip_keys: ChipPublicKeys = ChipPublicKeys()

    def __repr__(self) -> str:
        """Without personal data."""
        return f"CardContents({self.card_id})"


class Unsigned(Struct, frozen=True):
    """Bytes that card management signs."""

    data: bytes
    is_digest_info: bool = False
    """Signed as they are (they are a DigestInfo already), not hashed first."""
    by_root: bool = False
    """By the key that certifies card management's."""


def modulus_of(public_key: bytes) -> bytes:
    """The 256-byte modulus of an RSA-2048 key (SubjectPublicKeyInfo DER)."""
    key = serialization.load_der_public_key(public_key)
    if not isinstance(key, rsa.RSAPublicKey):
        raise Fault("card management's signing key is not RSA")
    return key.public_numbers().n.to_bytes(256, "big")


def particulars_to_sign(card: CardContents, modulus: bytes) -> dict[str, Unsigned]:
    """What ``particulars`` needs signed, by name.

    Args:
        card: what goes onto the chip. A chip without a key of its own shows card management's where its own would be.
        modulus: of card management's signing key.
    """
    text = contents.text_integrity_body(_number_file(card), _attributes(card))
    face = contents.face_digest_info(_face(card, modulus))
    return {"text": Unsigned(text), "face": Unsigned(face, is_digest_info=True)}


def to_sign(card: CardContents, modulus: bytes) -> dict[str, Unsigned]:
    """What ``personalisation`` needs signed, by name; arguments as for ``particulars_to_sign``."""
    shown, own = card.chip_keys.face or modulus, card.chip_keys
    wanted = {
        "cv": Unsigned(contents.cv_certificate_body(ROOT_KEY_ID, KEY_ID, modulus), by_root=True),
        "age": Unsigned(contents.face_age_body(_date(card.person.birth_date), shown)),
        "number": Unsigned(contents.face_number_body(card.pictures.number, shown)),
    }
    if own.text:
        wanted["key"] = Unsigned(contents.text_signed_key_body(own.text))
    if own.internal:
        wanted["internal"] = Unsigned(contents.cv_certificate_body(KEY_ID, INTERNAL_KEY_ID, own.internal))
    return wanted | particulars_to_sign(card, modulus)


def personalisation(card: CardContents, modulus: bytes, signatures: dict[str, bytes]) -> tuple[IssuerCommand, ...]:
    """Fill a blank card: everything of card management's applets."""
    signed = {name: (each.data, signatures[name]) for name, each in to_sign(card, modulus).items()}
    cv = contents.cv_certificate(*signed["cv"])
    chain = contents.CertificateChain(KEY_ID, upper=signed["cv"], lower=signed.get("internal"))
    key = contents.text_signed_key(*signed["key"]) if "key" in signed else b""
    return (
        *put_ef(layout.JUKI, layout.JUKI_RESIDENT_CODE, card.resident_code.encode("ascii")),
        *put_ef(layout.TEXT, 0x0001, _number_file(card)),
        *put_ef(layout.TEXT, 0x0004, cv),
        *put_ef(layout.TEXT, 0x0005, contents.text_basic_info(KEY_ID)),
        *(put_ef(layout.TEXT, layout.TEXT_SIGNED_PUBLIC_KEY, key) if key else ()),
        *put_ef(layout.FACE, 0x0001, contents.face_age(*signed["age"])),
        *put_ef(layout.FACE, 0x0004, cv),
        *put_ef(layout.FACE, 0x0005, contents.face_number(*signed["number"])),
        *put_ef(layout.COMMON, layout.KEY_REFERENCE, contents.key_reference(KEY_ID)),
        *put_ef(layout.JUKI, layout.KEY_REFERENCE, contents.key_reference(KEY_ID)),
        *particulars(card, modulus, signatures, chain),
        *_verification_numbers(card),
    )


def particulars(
    card: CardContents,
    modulus: bytes,
    signatures: dict[str, bytes],
    chain: contents.CertificateChain | None = None,
) -> tuple[IssuerCommand, ...]:
    """Write what may change in a card's life: name, address and municipality, in every applet that shows them.

    ``chain``: for a new card; afterwards its certificates stay.
    """
    municipality = card.person.municipality[:5]
    expiry = _date(card.expires_on)
    text = contents.text_integrity_body(_number_file(card), _attributes(card))
    objects = contents.data_objects(card.card_id, municipality, expiry, KEY_ID, chain)
    return (
        *put_ef(layout.TEXT, 0x0002, _attributes(card)),
        *put_ef(layout.TEXT, 0x0003, contents.text_integrity(text, signatures["text"])),
        *put_ef(layout.FACE, 0x0002, contents.face_record(_face(card, modulus), signatures["face"])),
        *put_ef(layout.FACE, 0x0003, contents.face_basic_info(KEY_ID, municipality, KEY_ID)),
        *put_ef(layout.COMMON, layout.COMMON_RECORD, contents.common_record(card.card_id, municipality, expiry)),
        *(command for tag, value in objects.items() for command in put_ef(layout.ISD, tag, value)),
    )


def appended(person: Person, occurred_on: datetime.date) -> IssuerCommand:
    """The entry in the space for appended particulars (追記欄): the day and the new address."""
    text = f"{_date(occurred_on)} {person.address}"
    while len(text.encode()) > _ENTRY_BYTES:
        text = text[:-1]
    return append_particulars(text)


_ENTRY_BYTES: Final = 255


def _verification_numbers(card: CardContents) -> tuple[IssuerCommand, ...]:
    number_b = verification_number_b(card.person.birth_date, card.expires_on, card.security_code)
    return (
        set_verification_number(layout.TEXT, layout.TEXT_NUMBER_A, card.individual_number),
        set_verification_number(layout.TEXT, layout.TEXT_NUMBER_B, number_b),
        set_verification_number(layout.FACE, layout.FACE_NUMBER_A, card.individual_number),
        set_verification_number(layout.FACE, layout.FACE_NUMBER_B, number_b),
        set_verification_number(layout.FACE, layout.FACE_BIRTH, birth_key(card.person.birth_date)),
    )


def _number_file(card: CardContents) -> bytes:
    return contents.text_individual_number(card.individual_number)


def _attributes(card: CardContents) -> bytes:
    person = card.person
    return contents.text_attributes(person.name, person.address, _date(person.birth_date), SEX_CODES[person.sex])


def _face(card: CardContents, modulus: bytes) -> Face:
    return Face(
        birth=_date(card.person.birth_date),
        sex=SEX_CODES[card.person.sex],
        modulus=card.chip_keys.face or modulus,
        name_png=card.pictures.name,
        address_png=card.pictures.address,
        photo_jpeg2000=card.pictures.photo,
        expiry=_date(card.expires_on),
        security_code_png=card.pictures.code,
    )


def _date(day: datetime.date) -> str:
    return day.strftime("%Y%m%d")
