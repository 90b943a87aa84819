"""HPKE base mode with DHKEM(P-256, HKDF-SHA256) and HKDF-SHA256, used for its exported secrets only (RFC 9180).

The library's own HPKE seals single messages and offers neither the export interface nor a hook for a Diffie-Hellman
step done in an HSM, so the key schedule is written here, around a shared x-coordinate that comes from anywhere.

Everything is a function of values. A point is 65 bytes, uncompressed (SEC 1).
"""

import hmac
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from warifu.kernel.errors import Malformed

EXPORT_ONLY: Final = 0xFFFF
"""AEAD identifier of a context that only exports (RFC 9180, section 7.3)."""

MESSAGE_KEY: Final = b"warifu message key"
"""The exporter context of the one secret that Warifu takes from a context."""

POINT_BYTES: Final = 65
KEY_BYTES: Final = 32

_MODE_BASE: Final = b"\x00"
_KEM_SUITE: Final = b"KEM" + (0x0010).to_bytes(2, "big")
_CURVE: Final = ec.SECP256R1()

DiffieHellman = Callable[[bytes], bytes]
"""From the other side's point to the x-coordinate (32 bytes) of the shared point."""


def parse_point(data: bytes) -> ec.EllipticCurvePublicKey:
    """A point of P-256, proved to be on the curve.

    Raises:
        Malformed: it is none.
    """
    if len(data) != POINT_BYTES:
        raise Malformed("not an uncompressed point of P-256")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, data)
    except ValueError:
        raise Malformed("not a point of P-256") from None


def encode_point(key: ec.EllipticCurvePublicKey) -> bytes:
    """The 65 bytes of a public key."""
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def point_of_spki(spki: bytes) -> bytes:
    """The point inside a SubjectPublicKeyInfo (DER).

    Raises:
        Malformed: not a P-256 public key.
    """
    try:
        key = serialization.load_der_public_key(spki)
    except ValueError:
        raise Malformed("not a public key") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != _CURVE.name:
        raise Malformed("not a P-256 public key")
    return encode_point(key)


def sender_secret(diffie_hellman: DiffieHellman, ephemeral: bytes, recipient: bytes) -> bytes:
    """``Encap`` with a given ephemeral pair: the KEM's shared secret (32 bytes). What to send is ``ephemeral``."""
    return _kem_secret(diffie_hellman(recipient), ephemeral + recipient)


def recipient_secret(diffie_hellman: DiffieHellman, encapsulation: bytes, recipient: bytes) -> bytes:
    """``Decap``: the KEM's shared secret (32 bytes). The caller has proved ``encapsulation`` to be on the curve."""
    return _kem_secret(diffie_hellman(encapsulation), encapsulation + recipient)


def export(
    shared_secret: bytes, info: bytes, *, context: bytes = MESSAGE_KEY, aead: int = EXPORT_ONLY, length: int = KEY_BYTES
) -> bytes:
    """The secret exported from the base-mode context of ``shared_secret`` and ``info`` (sections 5.1 and 5.3)."""
    suite = b"HPKE" + b"".join(number.to_bytes(2, "big") for number in (0x0010, 0x0001, aead))
    psk_id_hash = _labeled_extract(suite, b"", b"psk_id_hash", b"")
    schedule = _MODE_BASE + psk_id_hash + _labeled_extract(suite, b"", b"info_hash", info)
    secret = _labeled_extract(suite, shared_secret, b"secret", b"")
    exporter = _labeled_expand(suite, secret, b"exp", schedule, KEY_BYTES)
    return _labeled_expand(suite, exporter, b"sec", context, length)


def _kem_secret(shared_x: bytes, kem_context: bytes) -> bytes:
    prk = _labeled_extract(_KEM_SUITE, b"", b"eae_prk", shared_x)
    return _labeled_expand(_KEM_SUITE, prk, b"shared_secret", kem_context, KEY_BYTES)


def _labeled_extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.digest(salt, b"HPKE-v1" + suite + label + material, "sha256")


def _labeled_expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    labeled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return _expand(key, labeled, length)


def _expand(key: bytes, info: bytes, length: int) -> bytes:
    """HKDF-Expand (RFC 5869)."""
    result = block = b""
    for number in range(1, -(-length // sha256().digest_size) + 1):
        block = hmac.digest(key, block + info + bytes([number]), "sha256")
        result += block
    return result[:length]
