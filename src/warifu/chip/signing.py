"""COMPUTE DIGITAL SIGNATURE and INTERNAL AUTHENTICATE."""

import hashlib
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256

from warifu.chip import apdu
from warifu.chip.apdu import Command, StatusError
from warifu.chip.image import Key
from warifu.chip.layout import COMMON, COMMON_CARD_KEY
from warifu.chip.state import ChipState

RAW_MAX: Final = 245
"""What PKCS#1 v1.5 type 1 padding leaves of 256 bytes."""
DIGEST_LENGTH: Final = 32
INTERNAL_AUTHENTICATE_LABEL: Final = b"warifu internal authenticate"
"""Put before the challenge, so that no challenge makes the card key sign something else."""
_PRE_HASHED: Final = (2, 4)
_HASHES: Final = (1, 3, 5)


def compute_signature(state: ChipState, command: Command) -> bytes:
    """COMPUTE DIGITAL SIGNATURE with the key of the current EF (P2 80) or of a short identifier (80 + n).

    P1: 00 the data as given, PKCS#1 v1.5 padded; 01 its SHA-256, likewise bare; 02 a SHA-256 in DigestInfo; 03 hash and
    DigestInfo; 04 a SHA-256, PSS; 05 hash and PSS (salt 32).
    """
    key = _usable_key(state, command)
    mode, data = command.p1, command.data
    if not data or (mode == 0 and len(data) > RAW_MAX) or (mode in _PRE_HASHED and len(data) != DIGEST_LENGTH):
        raise StatusError(apdu.WRONG_LENGTH)
    digest = hashlib.sha256(data).digest() if mode in _HASHES else data
    private = state.rsa_key(key.private_key)
    if mode in (0, 1):
        return private.sign(digest, padding.PKCS1v15(), utils.NoDigestInfo())
    prehashed = utils.Prehashed(SHA256())
    if mode in (2, 3):
        return private.sign(digest, padding.PKCS1v15(), prehashed)
    return _sign_pss(private, digest, prehashed)


def _sign_pss(private: rsa.RSAPrivateKey, digest: bytes, prehashed: utils.Prehashed) -> bytes:
    """The library draws the salt itself: this mode is not repeatable under a seeded entropy."""
    return private.sign(digest, padding.PSS(padding.MGF1(SHA256()), DIGEST_LENGTH), prehashed)


def _usable_key(state: ChipState, command: Command) -> Key:
    if command.p1 > 5:
        raise StatusError(apdu.WRONG_P1P2)
    if command.p2 == 0x00:
        # The default key (0013 of the text and face applets on real cards) is not on this card.
        raise StatusError(apdu.NO_REFERENCE)
    key = state.applet.key(state.reference(command.p2))
    if key is None or not key.private_key:
        raise StatusError(apdu.NO_REFERENCE)
    if state.image.life != "in_use":
        raise StatusError(apdu.CONDITIONS)
    if key.pin not in state.volatile.verified:
        raise StatusError(apdu.SECURITY_STATUS)
    return key


def internal_authenticate(state: ChipState, command: Command) -> bytes:
    """INTERNAL AUTHENTICATE in the common applet: ECDSA P-256/SHA-256 over label and challenge (1 to 255 bytes), DER.

    Works in every life state: it proves which card this is, not what it may do.
    """
    if command.p1:
        raise StatusError(apdu.WRONG_P1P2)
    if state.volatile.aid != COMMON or state.reference(command.p2) != COMMON_CARD_KEY:
        raise StatusError(apdu.NO_REFERENCE)
    if not 1 <= len(command.data) <= apdu.SHORT_DATA_MAX:
        raise StatusError(apdu.WRONG_LENGTH)
    key = ec.derive_private_key(int.from_bytes(state.image.card_key, "big"), ec.SECP256R1())
    return key.sign(INTERNAL_AUTHENTICATE_LABEL + command.data, ec.ECDSA(SHA256(), deterministic_signing=True))
