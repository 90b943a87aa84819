"""What a device must be able to do; the commands of ``ports.hsm`` are built from these in ``engine``."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, Protocol, TypeVar

from warifu.adapters.hsm.errors import DeviceFailed
from warifu.ports.hsm import Purpose

KeyUse = Purpose | Literal["message"]
"""A stored key's purpose, or ``message``: AES-256-GCM with nonces given by the caller, never stored."""

KEY_BYTES: Final[dict[KeyUse, int]] = {"wrap": 32, "mac": 32, "card-master": 16, "message": 32}
PAIRS: Final[frozenset[KeyUse]] = frozenset({"sign", "agree"})
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
DIGEST_INFO_LIMIT: Final = 245

Key = TypeVar("Key")
"""A device's own handle of a key, usable until the worker ends or ``forget``."""


class Device(Protocol[Key]):
    """One session with one device.

    Every method may raise ``DeviceFailed``; those that take a label raise ``Rejection`` (``hsm.no_such_key``, or
    ``hsm.rejected`` when the key is there for another purpose).
    """

    def create(self, label: str, purpose: Purpose) -> None:
        """Make the key unless it is there. Safe against other workers doing the same."""

    def find(self, label: str, purpose: Purpose) -> Key:
        """The key of this name."""

    def public_key(self, label: str) -> bytes:
        """SubjectPublicKeyInfo DER of a ``sign`` or ``agree`` key."""

    def import_key(self, use: KeyUse, material: bytes) -> Key:
        """A key for this worker's life, inside the device. ``material``: PKCS#8 DER, or the bytes of an AES key."""

    def forget(self, key: Key) -> None:
        """Destroy an imported key."""

    def random(self, count: int) -> bytes:
        """``count`` bytes of the device's randomness."""

    def sign(self, key: Key, data: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256."""

    def sign_digest_info(self, key: Key, data: bytes) -> bytes:
        """PKCS#1 v1.5 type 1 padding of ``data`` (at most ``DIGEST_INFO_LIMIT`` bytes) as it is."""

    def mac(self, key: Key, data: bytes) -> bytes:
        """AES-CMAC, 16 bytes."""

    def agree(self, key: Key, point: bytes) -> bytes:
        """ECDH on P-256: the x-coordinate (32 bytes). ``point`` has been proved to be on the curve."""

    def seal(self, key: Key, nonce: bytes, context: bytes, data: bytes) -> bytes:
        """AES-256-GCM: ciphertext | tag."""

    def unseal(self, key: Key, nonce: bytes, context: bytes, data: bytes) -> bytes:
        """The inverse; ``Rejection`` when anything was changed. ``data`` is at least a tag long."""

    def close(self) -> None:
        """Log out."""


def read_pin(path: str) -> str:
    """The PIN in a file.

    Raises:
        DeviceFailed: the file cannot be read, or is empty.
    """
    try:
        pin = Path(path).read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DeviceFailed(f"PIN file not readable: {type(error).__name__}") from None
    if not pin:
        raise DeviceFailed("PIN file is empty")
    return pin


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock between processes. The kernel gives it back when its holder is killed."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
