"""The factory: a blank chip with its keys. Its contents are written like any other card write."""

from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import Struct

from warifu.chip import contents
from warifu.chip.errors import BadContent
from warifu.chip.image import Domain, Image, encode
from warifu.chip.layout import CARD_ID_LENGTH, COMMON, COMMON_CARD_CERTIFICATE, ISD, JPKI, factory_applets
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
    scalar = int.from_bytes(entropy.random_bytes(40), "big") % (_P256_ORDER - 1) + 1
    public = ec.derive_private_key(scalar, ec.SECP256R1()).public_key()
    return NewCardKey(scalar.to_bytes(32, "big"), encode_point(public))


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
    return encode(_with_certificate(image, certificate))


def _with_certificate(image: Image, certificate: bytes) -> Image:
    applet = image.applet(COMMON)
    ef = None if applet is None else applet.ef(COMMON_CARD_CERTIFICATE)
    if applet is None or ef is None:
        raise BadContent("the layout has no place for the card certificate")
    return image.with_applet(applet.with_ef(type(ef)(ef.fid, ef.read, certificate)))
