"""Passwords, second factors and tokens of staff: Argon2id (RFC 9106), TOTP (RFC 6238), digests of cookies."""

import base64
import hashlib
import hmac
from typing import Final

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from warifu.ports.entropy import Entropy

ITERATIONS: Final = 2
MEMORY_KIB: Final = 19_456
"""OWASP's parameters for Argon2id: about 60 ms of one core."""
TOTP_BYTES: Final = 20
TOTP_DIGITS: Final = 6
TOTP_STEP_S: Final = 30
KEY_BYTES: Final = 32
TOKEN_BYTES: Final = 32
_NONCE: Final = 12
_CONTEXT: Final = b"warifu staff totp"


def hash_password(password: str, entropy: Entropy) -> str:
    """A PHC string."""
    return _argon(entropy.random_bytes(16)).derive_phc_encoded(password.encode())


def password_matches(password: str, stored: str) -> bool:
    """Whether the password is the stored one."""
    try:
        Argon2id.verify_phc_encoded(password.encode(), stored)
    except InvalidKey:
        return False
    return True


def spend_as_much(password: str) -> None:
    """Take the time of a check for an account that is not there: whether one is must not show."""
    _argon(bytes(16)).derive(password.encode())


def _argon(salt: bytes) -> Argon2id:
    return Argon2id(salt=salt, length=32, iterations=ITERATIONS, lanes=1, memory_cost=MEMORY_KIB)


def wrap(key: bytes, secret: bytes, entropy: Entropy) -> bytes:
    """A second factor's key, encrypted for the store."""
    nonce = entropy.random_bytes(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, secret, _CONTEXT)


def unwrap(key: bytes, wrapped: bytes) -> bytes:
    """The inverse of ``wrap``."""
    return AESGCM(key).decrypt(wrapped[:_NONCE], wrapped[_NONCE:], _CONTEXT)


def code_of(secret: bytes, step: int) -> str:
    """The code of a time step."""
    totp = TOTP(secret, TOTP_DIGITS, SHA1(), TOTP_STEP_S, enforce_key_length=False)  # noqa: S303 - RFC 6238's default
    return totp.generate(step * TOTP_STEP_S).decode("ascii")


def step_of(now_ms: int) -> int:
    """The time step of an instant."""
    return now_ms // 1000 // TOTP_STEP_S


def matching_step(secret: bytes, code: str, now_ms: int, after: int) -> int:
    """The step whose code this is, one before or after now allowed; 0 when none, or one not later than ``after``."""
    now = step_of(now_ms)
    found = 0
    for step in (now - 1, now, now + 1):
        if hmac.compare_digest(code_of(secret, step).encode(), code.encode()) and step > after:
            found = step
    return found


def secret_text(secret: bytes) -> str:
    """As an authenticator takes it: base 32."""
    return base64.b32encode(secret).decode("ascii")


def digest_of(token: str) -> bytes:
    """What the store keeps of a cookie."""
    return hashlib.sha256(token.encode()).digest()


def token_of(raw: bytes) -> str:
    """Random bytes as a cookie's text."""
    return base64.urlsafe_b64encode(raw).decode("ascii").rstrip("=")


def mark(key: bytes, purpose: str) -> str:
    """A keyed mark for one purpose: what a form or a cookie shows to prove where it comes from."""
    return token_of(hmac.digest(key, purpose.encode(), "sha256"))


def same(one: str, other: str) -> bool:
    """Whether two marks are equal, in constant time."""
    return hmac.compare_digest(one.encode(), other.encode())
