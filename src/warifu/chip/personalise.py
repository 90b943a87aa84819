"""The factory: a blank chip with its keys. Its contents are written like any other card write."""

from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct

from warifu.chip import contents, keys
from warifu.chip.apdu import StatusError
from warifu.chip.errors import BadContent
from warifu.chip.image import Domain, Image, Interface, decode, encode
from warifu.chip.layout import (
    CARD_ID_LENGTH,
    COMMON,
    COMMON_CARD_CERTIFICATE,
    COMMON_INTERNAL_KEY,
    CONTACT_ATR,
    FACE,
    FACE_DEFAULT_KEY,
    ISD,
    JPKI,
    TEXT,
    TEXT_DEFAULT_KEY,
    TEXT_SESSION_KEY,
    TEXT_SESSION_PUBLIC_KEY,
    factory_applets,
)
from warifu.chip.pins import encode_point
from warifu.chip.scp03 import StaticKeys
from warifu.chip.state import RandomBytes

_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class NewCardKey(Struct, frozen=True):
    """A fresh card key: private scalar (32) and public point (65)."""

    scalar: bytes
    point: bytes

    def __repr__(self) -> str:
        """Without the private half."""
        return "NewCardKey(scalar=<hidden>)"


def new_card_key(entropy: RandomBytes) -> NewCardKey:
    """A P-256 key pair for one card (FIPS 186-5, A.2.1: 320 random bits reduced)."""
    scalar = (int.from_bytes(entropy.random_bytes(40), "big") % (_P256_ORDER - 1) + 1).to_bytes(32, "big")
    return NewCardKey(scalar, card_point(scalar))


def card_point(scalar: bytes) -> bytes:
    """The public point (65) of a card key's private scalar (32)."""
    return encode_point(ec.derive_private_key(int.from_bytes(scalar, "big"), ec.SECP256R1()).public_key())


def card_key_body(card_id: str, key: NewCardKey) -> bytes:
    """The bytes card management signs (RSASSA-PKCS1-v1_5, SHA-256) to certify the card key."""
    return contents.card_key_body(card_id, key.point)


def manufacture(
    card_id: str,
    *,
    isd_keys: StaticKeys,
    jpki_keys: StaticKeys,
    card_key: NewCardKey,
    card_key_signature: bytes | None = None,
) -> bytes:
    """The image of a blank card in life state ``made``: no contents, no PINs, only keys.

    Args:
        card_id: fifteen ASCII characters.
        isd_keys: static keys of card management's domain (``issuer.static_keys``).
        jpki_keys: static keys of JPKI's domain.
        card_key: from ``new_card_key``.
        card_key_signature: card management's over ``card_key_body(card_id, card_key)``, 256 bytes; None when the
            certificate is written later (``put_ef(COMMON, COMMON_CARD_CERTIFICATE, ...)``).

    Raises:
        BadContent: the card id has not fifteen ASCII characters.
    """
    if len(card_id) != CARD_ID_LENGTH or not card_id.isascii():
        raise BadContent("a card id has fifteen ASCII characters")
    image = Image(
        card_id=card_id,
        life="made",
        card_key=card_key.scalar,
        applets=factory_applets(),
        domains=(Domain(ISD, isd_keys), Domain(JPKI, jpki_keys)),
    )
    if card_key_signature is None:
        return encode(image)
    certificate = contents.card_key_certificate(card_key_body(card_id, card_key), card_key_signature)
    return encode(_with_content(image, COMMON, COMMON_CARD_CERTIFICATE, certificate))


class ChipKeys(Struct, frozen=True):
    """A chip's own RSA-2048 keys (PKCS#8 DER each); they belong to no person and never leave it.

    ``internal`` is for INTERNAL AUTHENTICATE, ``text`` and ``face`` are those applets' default keys, under ``session``
    session keys are sent.
    """

    internal: bytes
    text: bytes
    face: bytes
    session: bytes

    def __repr__(self) -> str:
        """Without the keys."""
        return "ChipKeys(<hidden>)"


def with_chip_keys(image: bytes, chip_keys: ChipKeys) -> bytes:
    """A new card's image with RSA keys of its own; the public half of ``session`` is written into the text EF 0006.

    A key pair takes 80 ms: a factory makes them ahead. Without them the card works; what needs them answers 6A88.

    Raises:
        BadContent: one is not an RSA-2048 key.
        ImageDamaged: not an image.
    """
    slots = (
        (COMMON, COMMON_INTERNAL_KEY, chip_keys.internal),
        (TEXT, TEXT_DEFAULT_KEY, chip_keys.text),
        (FACE, FACE_DEFAULT_KEY, chip_keys.face),
        (TEXT, TEXT_SESSION_KEY, chip_keys.session),
    )
    card = decode(image)
    for aid, fid, key in slots:
        card = _with_key(card, aid, fid, key)
    session = contents.text_session_key(keys.modulus_of(chip_keys.session))
    return encode(_with_content(card, TEXT, TEXT_SESSION_PUBLIC_KEY, session))


def with_reset_profile(
    image: bytes, interface: Interface, *, contact_atr: bytes = CONTACT_ATR, clear_on_reselect: bool = True
) -> bytes:
    """The image of the same card, as seen over its contacts or by a contactless reader.

    Args:
        image: the card.
        interface: which answer to reset readers report.
        contact_atr: the card's own, with TS and TCK (``layout.CONTACT_ATRS``); GET DATA 5F51 tells it always.
        clear_on_reselect: whether SELECT of the current applet forgets verified PINs (pyjpki needs it off).

    Raises:
        BadContent: ``contact_atr`` is not of direct convention, or its check byte is wrong.
    """
    check = 0
    for byte in contact_atr[1:]:
        check ^= byte
    if contact_atr[:1] != b"\x3b" or check:
        raise BadContent("not an answer to reset with a check byte")
    changed = msgspec.structs.replace(
        decode(image), interface=interface, contact_atr=contact_atr, clear_on_reselect=clear_on_reselect
    )
    return encode(changed)


def _with_key(image: Image, aid: bytes, fid: int, pkcs8: bytes) -> Image:
    applet = image.applet(aid)
    slot = None if applet is None else applet.key(fid)
    if applet is None or slot is None:
        raise BadContent("the layout has no place for this key")
    try:
        keys.check_private_key(pkcs8)
    except StatusError as error:
        raise BadContent("not an RSA-2048 private key") from error
    return image.with_applet(applet.with_key(msgspec.structs.replace(slot, private_key=pkcs8)))


def _with_content(image: Image, aid: bytes, fid: int, content: bytes) -> Image:
    applet = image.applet(aid)
    ef = None if applet is None else applet.ef(fid)
    if applet is None or ef is None:
        raise BadContent("the layout has no place for this file")
    return image.with_applet(applet.with_ef(msgspec.structs.replace(ef, content=content)))
