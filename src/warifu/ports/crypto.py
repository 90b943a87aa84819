"""The parts of cryptography that need fresh randomness or much time: key pairs and key agreement.

Deterministic primitives (hashes, AEAD with a given nonce, verification) are called directly.
"""

from typing import Literal, Protocol

from msgspec import Struct

KeyKind = Literal["rsa-2048", "ec-p256"]


class KeyPair(Struct, frozen=True):
    """A private key (PKCS#8 DER) and its public half (SubjectPublicKeyInfo DER)."""

    private_key: bytes
    public_key: bytes

    def __repr__(self) -> str:
        """Without the private half."""
        return "KeyPair(private_key=<hidden>)"


class SharedKey(Struct, frozen=True):
    """Result of an HPKE key agreement (RFC 9180): what to send, and the 32-byte key both sides now have."""

    encapsulation: bytes
    key: bytes

    def __repr__(self) -> str:
        """Without the key."""
        return "SharedKey(key=<hidden>)"


class Crypto(Protocol):
    """Fresh keys."""

    async def generate_key_pair(self, kind: KeyKind) -> KeyPair:
        """A new key pair (RSA-2048 takes about 80 ms of one core; does not block the loop)."""

    def agree(self, recipient: bytes, info: bytes) -> SharedKey:
        """HPKE base mode, DHKEM(P-256, HKDF-SHA256), export-only use: the exported secret of 32 bytes.

        Args:
            recipient: the receiver's public key, SubjectPublicKeyInfo DER.
            info: HPKE ``info``; the exporter context is ``b"warifu message key"``.
        """
