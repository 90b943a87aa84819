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
    """COMPUTE DIGITAL SIGNATURE with the key of the current EF (P2 80), a short identifier (80 + n) or default (00).

    P1: 00 the data as given, PKCS#1 v1.5 padded; 01 its SHA-256, likewise bare; 02 a SHA-256 in DigestInfo; 03 hash and
    DigestInfo; 04 a SHA-256, PSS; 05 hash and PSS (salt 32).
    """
    key = _usable_key(state, command)
    mode, data = command.p1, command.data
    if not data or (mode == 0 and len(data) > RAW_MAX) or (mode in _PRE_HASHED and len(data) != DIGEST_LENGTH):
        raise StatusError(apdu.WRONG_LENGTH)
    digest = hashlib.sha256(data).digest() if mode in _HASHES else data
    private = state.rsa_key(key.private_key)
    return _fitting(command, _signature(private, mode, digest))


def _signature(private: rsa.RSAPrivateKey, mode: int, digest: bytes) -> bytes:
    if mode in (0, 1):
        return private.sign(digest, padding.PKCS1v15(), utils.NoDigestInfo())
    prehashed = utils.Prehashed(SHA256())
    if mode in (2, 3):
        return private.sign(digest, padding.PKCS1v15(), prehashed)
    return _sign_pss(private, digest, prehashed)


def _fitting(command: Command, answer: bytes) -> bytes:
    """The answer. 6700 when it is longer than Le; without Le it is given all the same (inferred)."""
    if command.expected is not None and len(answer) > command.expected:
        raise StatusError(apdu.WRONG_LENGTH)
    return answer


def _sign_pss(private: rsa.RSAPrivateKey, digest: bytes, prehashed: utils.Prehashed) -> bytes:
    """The library draws the salt itself: this mode is not repeatable under a seeded entropy."""
    return private.sign(digest, padding.PSS(padding.MGF1(SHA256()), DIGEST_LENGTH), prehashed)


def _usable_key(state: ChipState, command: Command) -> Key:
    if command.p1 > 5:
        raise StatusError(apdu.WRONG_P1P2)
    key = _default_key(state) if command.p2 == 0x00 else state.applet.key(state.reference(command.p2))
    if key is None or not key.private_key or key.use not in ("signature", "default"):
        raise StatusError(apdu.NO_REFERENCE)
    if state.image.life != "in_use":
        raise StatusError(apdu.CONDITIONS)
    if key.pin and key.pin not in state.volatile.verified:
        raise StatusError(apdu.SECURITY_STATUS)
    return key


def _default_key(state: ChipState) -> Key | None:
    """The key that P2 00 names: of the text and the face applet the one that needs no PIN."""
    return next((key for key in state.applet.keys if key.use == "default"), None)


def internal_authenticate(state: ChipState, command: Command) -> bytes:
    """INTERNAL AUTHENTICATE with a challenge of 1 to 255 bytes, in every life state: which card this is.

    The common applet's 0019 answers with RSA, PKCS#1 v1.5 and SHA-256, over the challenge, as on real cards; our own
    001D with ECDSA P-256, SHA-256, DER, over label and challenge. Other keys refuse: 6982 behind a PIN, else 6985.
    """
    if command.p1:
        raise StatusError(apdu.WRONG_P1P2)
    fid = state.reference(command.p2)
    if not 1 <= len(command.data) <= apdu.SHORT_DATA_MAX:
        raise StatusError(apdu.WRONG_LENGTH)
    if (state.volatile.aid, fid) == (COMMON, COMMON_CARD_KEY):
        return _fitting(command, _sign_with_card_key(state, command.data))
    key = state.applet.key(fid)
    if key is None or not key.private_key:
        raise StatusError(apdu.NO_REFERENCE)
    if key.use != "internal":
        raise StatusError(apdu.SECURITY_STATUS if key.pin else apdu.CONDITIONS)
    return _fitting(command, state.rsa_key(key.private_key).sign(command.data, padding.PKCS1v15(), SHA256()))


def _sign_with_card_key(state: ChipState, challenge: bytes) -> bytes:
    key = ec.derive_private_key(int.from_bytes(state.image.card_key, "big"), ec.SECP256R1())
    return key.sign(INTERNAL_AUTHENTICATE_LABEL + challenge, ec.ECDSA(SHA256(), deterministic_signing=True))
