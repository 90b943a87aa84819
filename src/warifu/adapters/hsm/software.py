"""A key store made of files: one encrypted file per key, for laptops and laboratories without a token.

Not tamper-resistant: whoever reads both the folder and the PIN file has the keys. Every file is AES-256-GCM under a
key derived from the PIN (scrypt, RFC 7914), bound to its label and purpose, mode 0600, and appears whole or not at all.
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from msgspec import Struct

from warifu.adapters import hpke
from warifu.adapters.crypto import private_bytes, public_bytes
from warifu.adapters.hsm.config import SoftwareConfig
from warifu.adapters.hsm.device import KEY_BYTES, NONCE_BYTES, KeyUse, exclusive, read_pin
from warifu.adapters.hsm.errors import DeviceFailed, Rejection, rejected
from warifu.kernel.decoding import NOT_DECODED
from warifu.ports.hsm import Purpose

_SCRYPT_COST: Final = 1 << 14
"""About 40 ms; the PIN files we make hold 192 random bits, so the cost only matters for a PIN that a person chose."""
_PARAMETERS: Final = "store.parameters"
_LOCK: Final = "store.lock"
_SUFFIX: Final = ".key"
_NAME_LIMIT: Final = 200
_CHECK: Final = b"warifu software store 1"
_PUBLIC_EXPONENT: Final = 65537
_RSA_BITS: Final = 2048


class StoredKey(Struct, frozen=True):
    """A key in memory."""

    use: KeyUse
    secret: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | AESGCM | bytes

    def __repr__(self) -> str:
        """Without the key."""
        return f"StoredKey({self.use})"


class _Parameters(Struct, frozen=True):
    """How the store's own key comes from the PIN, and a text sealed under it that tells a wrong PIN."""

    salt: bytes
    cost: int
    nonce: bytes
    check: bytes


class _KeyFile(Struct, frozen=True):
    purpose: Purpose
    nonce: bytes
    sealed: bytes


class SoftwareDevice:
    """Implements ``Device`` over a folder.

    Raises:
        DeviceFailed: no PIN, a wrong PIN, or a folder that cannot be used.
    """

    def __init__(self, config: SoftwareConfig) -> None:
        pin = read_pin(config.pin_file)  # first: a device that is gone is not made by looking at it
        self._folder = Path(config.directory)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._store_key = self._unlock(pin)
        self._load = lru_cache(maxsize=1024)(self._read_key)

    def create(self, label: str, purpose: Purpose) -> None:
        """Make the key unless it is there."""
        path = self._path(label)
        with exclusive(self._folder / _LOCK):
            if not path.exists():
                self._write_key(path, label, purpose)
        self.find(label, purpose)

    def find(self, label: str, purpose: Purpose) -> StoredKey:
        """The key of this name."""
        key = self._load(label)
        if key.use != purpose:
            raise rejected("the key is for another purpose")
        return key

    def public_key(self, label: str) -> bytes:
        """SubjectPublicKeyInfo DER."""
        secret = self._load(label).secret
        if not isinstance(secret, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise rejected("the key has no public half")
        return public_bytes(secret.public_key())

    def import_key(self, use: KeyUse, material: bytes) -> StoredKey:
        """A key for this worker's life."""
        return _parse_key(use, material)

    def forget(self, key: StoredKey) -> None:
        """Nothing to do: the last reference is the key."""

    def random(self, count: int) -> bytes:
        """``count`` bytes."""
        return os.urandom(count)

    def sign(self, key: StoredKey, data: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256."""
        return _signer(key).sign(data, padding.PKCS1v15(), hashes.SHA256())

    def sign_digest_info(self, key: StoredKey, data: bytes) -> bytes:
        """PKCS#1 v1.5 over ``data`` as it is."""
        return _signer(key).sign(data, padding.PKCS1v15(), NoDigestInfo())

    def mac(self, key: StoredKey, data: bytes) -> bytes:
        """AES-CMAC."""
        if not isinstance(key.secret, bytes):
            raise rejected("not a MAC key")
        mac = CMAC(algorithms.AES(key.secret))
        mac.update(data)
        return mac.finalize()

    def agree(self, key: StoredKey, point: bytes) -> bytes:
        """ECDH on P-256."""
        if not isinstance(key.secret, ec.EllipticCurvePrivateKey):
            raise rejected("not an agreement key")
        return key.secret.exchange(ec.ECDH(), hpke.parse_point(point))

    def seal(self, key: StoredKey, nonce: bytes, context: bytes, data: bytes) -> bytes:
        """AES-256-GCM."""
        return _cipher(key).encrypt(nonce, data, context)

    def unseal(self, key: StoredKey, nonce: bytes, context: bytes, data: bytes) -> bytes:
        """The inverse."""
        try:
            return _cipher(key).decrypt(nonce, data, context)
        except InvalidTag:
            raise rejected("the data were changed") from None

    def close(self) -> None:
        """Forget what was loaded."""
        self._load.cache_clear()

    def _unlock(self, pin: str) -> AESGCM:
        path = self._folder / _PARAMETERS
        with exclusive(self._folder / _LOCK):
            if not path.exists():
                _write_whole(path, msgspec.msgpack.encode(_new_parameters(pin)))
        try:
            parameters = msgspec.msgpack.decode(path.read_bytes(), type=_Parameters)
            key = _derive(pin, parameters.salt, parameters.cost)
            key.decrypt(parameters.nonce, parameters.check, _CHECK)
        except (*NOT_DECODED, InvalidTag):
            raise DeviceFailed("the PIN does not open this store") from None
        return key

    def _path(self, label: str) -> Path:
        name = quote(label, safe="") + _SUFFIX
        if not label or label.startswith(".") or len(name) > _NAME_LIMIT:
            raise rejected("not a usable label")
        return self._folder / name

    def _write_key(self, path: Path, label: str, purpose: Purpose) -> None:
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._store_key.encrypt(nonce, _generate(purpose), _binding(label, purpose))
        _write_whole(path, msgspec.msgpack.encode(_KeyFile(purpose, nonce, sealed)))

    def _read_key(self, label: str) -> StoredKey:
        try:
            stored = msgspec.msgpack.decode(self._path(label).read_bytes(), type=_KeyFile)
            material = self._store_key.decrypt(stored.nonce, stored.sealed, _binding(label, stored.purpose))
        except FileNotFoundError:
            raise Rejection("hsm.no_such_key", "no key of this name") from None
        except (*NOT_DECODED, InvalidTag):
            raise DeviceFailed("a key file is damaged") from None
        return _parse_key(stored.purpose, material)


def _new_parameters(pin: str) -> _Parameters:
    salt, nonce = os.urandom(16), os.urandom(NONCE_BYTES)
    return _Parameters(salt, _SCRYPT_COST, nonce, _derive(pin, salt, _SCRYPT_COST).encrypt(nonce, b"", _CHECK))


def _derive(pin: str, salt: bytes, cost: int) -> AESGCM:
    return AESGCM(Scrypt(salt=salt, length=32, n=cost, r=8, p=1).derive(pin.encode()))


def _binding(label: str, purpose: Purpose) -> bytes:
    """What a key file's seal covers beside the key: a file renamed to another label does not open."""
    return msgspec.msgpack.encode((_CHECK, label, purpose))


def _generate(purpose: Purpose) -> bytes:
    if purpose == "sign":
        return private_bytes(rsa.generate_private_key(_PUBLIC_EXPONENT, _RSA_BITS))
    if purpose == "agree":
        return private_bytes(ec.generate_private_key(ec.SECP256R1()))
    return os.urandom(KEY_BYTES[purpose])


def _parse_key(use: KeyUse, material: bytes) -> StoredKey:
    if use in KEY_BYTES:
        if len(material) != KEY_BYTES[use]:
            raise DeviceFailed("a key has the wrong length")
        return StoredKey(use, AESGCM(material) if use in {"wrap", "message"} else material)
    # What we read is sealed, or published in our own code: proving its primes again would cost 30 ms at each start.
    pair = serialization.load_der_private_key(material, password=None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(pair, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise DeviceFailed("a key is of the wrong kind")
    return StoredKey(use, pair)


def _signer(key: StoredKey) -> rsa.RSAPrivateKey:
    if not isinstance(key.secret, rsa.RSAPrivateKey):
        raise rejected("not a signature key")
    return key.secret


def _cipher(key: StoredKey) -> AESGCM:
    if not isinstance(key.secret, AESGCM):
        raise rejected("not an encryption key")
    return key.secret


def _write_whole(path: Path, content: bytes) -> None:
    """Write, make durable, and only then give it its name. The caller holds the store's lock."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    temporary.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
