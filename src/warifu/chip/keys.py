"""RSA keys inside the chip: reading, checking and making them, and how their public halves are written."""

import math
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from warifu.chip import apdu, tlv
from warifu.chip.apdu import StatusError

MODULUS_LENGTH: Final = 256
EXPONENT: Final = 65537
KEY_ID_LENGTH: Final = 16


def generate_private_key() -> bytes:
    """A fresh RSA-2048 key, PKCS#8 DER. About 80 ms of one core; the library draws its own randomness."""
    return rsa.generate_private_key(EXPONENT, MODULUS_LENGTH * 8).private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def load_private_key(pkcs8: bytes) -> rsa.RSAPrivateKey:
    """Parse what the chip itself stored, without proving the primes again.

    Raises:
        StatusError: 6A88, when it is not an RSA key.
    """
    key = serialization.load_der_private_key(pkcs8, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise StatusError(apdu.NO_REFERENCE)
    return key


def check_private_key(pkcs8: bytes) -> None:
    """6A80 unless it is an RSA-2048 key whose numbers belong together."""
    try:
        key = serialization.load_der_private_key(pkcs8, None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise StatusError(apdu.WRONG_DATA) from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size != 2048 or not _is_consistent(key.private_numbers()):
        raise StatusError(apdu.WRONG_DATA)


def _is_consistent(key: rsa.RSAPrivateNumbers) -> bool:
    """Whether the numbers belong together. That the primes are prime, which takes 40 ms, is left to who made them."""
    p, q, n, e = key.p, key.q, key.public_numbers.n, key.public_numbers.e
    crt = (key.dmp1, key.dmq1, key.iqmp * q % p)
    return p * q == n and crt == (key.d % (p - 1), key.d % (q - 1), 1) and key.d * e % math.lcm(p - 1, q - 1) == 1


def modulus_of(pkcs8: bytes) -> bytes:
    """The 256 bytes of a private key's modulus."""
    return load_private_key(pkcs8).public_key().public_numbers().n.to_bytes(MODULUS_LENGTH, "big")


def public_objects(modulus: bytes) -> bytes:
    """90 exponent, 91 modulus: how card files hold a public key."""
    return tlv.encode(0x90, EXPONENT.to_bytes(3, "big")) + tlv.encode(0x91, modulus)


def parse_public_objects(raw: bytes) -> rsa.RSAPublicKey:
    """The key in a 90 and a 91 object.

    Raises:
        StatusError: 6A80, when they are not an RSA-2048 key with an odd exponent of at least 3.
    """
    try:
        found = tlv.fields(raw)
        numbers = rsa.RSAPublicNumbers(int.from_bytes(found[0x90], "big"), int.from_bytes(found[0x91], "big"))
        key = numbers.public_key()
    except (tlv.TlvError, KeyError, ValueError) as error:
        raise StatusError(apdu.WRONG_DATA) from error
    if key.key_size != MODULUS_LENGTH * 8:
        raise StatusError(apdu.WRONG_DATA)
    return key
