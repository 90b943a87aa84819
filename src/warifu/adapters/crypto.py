"""Fresh keys, made by this machine's processor."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from warifu.adapters import hpke
from warifu.ports.crypto import KeyKind, KeyPair, SharedKey

_PUBLIC_EXPONENT: Final = 65537
_RSA_BITS: Final = 2048


class SystemCrypto:
    """Implements ``ports.crypto.Crypto``.

    RSA pairs are made on threads (the library releases the interpreter's lock there). The threads are an executor of
    our own instead of ``asyncio.to_thread`` behind a semaphore: a cancelled caller leaves its thread running, so only
    the executor's size is a bound that holds.

    Args:
        workers: how many pairs are made at the same time; the number of processors by default.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._threads = ThreadPoolExecutor(workers or os.cpu_count() or 1, thread_name_prefix="keygen")

    async def generate_key_pair(self, kind: KeyKind) -> KeyPair:
        """A new key pair (RSA-2048 takes about 80 ms of one core; does not block the loop)."""
        if kind == "ec-p256":
            return _generate_p256()
        return await asyncio.get_running_loop().run_in_executor(self._threads, _generate_rsa)

    def agree(self, recipient: bytes, info: bytes) -> SharedKey:
        """HPKE base mode, DHKEM(P-256, HKDF-SHA256), export-only use: the exported secret of 32 bytes.

        Args:
            recipient: the receiver's public key, SubjectPublicKeyInfo DER.
            info: HPKE ``info``; the exporter context is ``hpke.MESSAGE_KEY``.

        Raises:
            Malformed: ``recipient`` is no P-256 public key.
        """
        return agree_with(ec.generate_private_key(ec.SECP256R1()), recipient, info)

    def close(self) -> None:
        """Let the threads go; pairs nobody has begun are not made."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def agree_with(ephemeral: ec.EllipticCurvePrivateKey, recipient: bytes, info: bytes) -> SharedKey:
    """The sender's side of ``Crypto.agree`` with a given ephemeral key (which must be fresh, except in a test)."""
    point = hpke.point_of_spki(recipient)
    encapsulation = hpke.encode_point(ephemeral.public_key())

    def diffie_hellman(other: bytes) -> bytes:
        return ephemeral.exchange(ec.ECDH(), hpke.parse_point(other))

    secret = hpke.sender_secret(diffie_hellman, encapsulation, point)
    return SharedKey(encapsulation=encapsulation, key=hpke.export(secret, info))


def public_bytes(key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey) -> bytes:
    """SubjectPublicKeyInfo DER."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def private_bytes(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS#8 DER, not encrypted: only for a place that encrypts it itself."""
    return key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _generate_rsa() -> KeyPair:
    key = rsa.generate_private_key(_PUBLIC_EXPONENT, _RSA_BITS)
    return KeyPair(private_key=private_bytes(key), public_key=public_bytes(key.public_key()))


def _generate_p256() -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    return KeyPair(private_key=private_bytes(key), public_key=public_bytes(key.public_key()))
