"""One HSM worker: a process (or, in the laboratory, a simulated one) that holds one session with a device.

The pool of workers -- deadlines, fencing, readmission -- is node code (``warifu.nodes.hsm_pool``). A worker does one
command at a time. A worker that does not answer in time is killed, never waited for.

Keys are named by labels and never leave the device except wrapped under another of its keys.
"""

from collections.abc import Sequence
from typing import Final, Literal, Protocol

from msgspec import Struct

Purpose = Literal["sign", "agree", "wrap", "mac", "card-master"]
"""What a key is for, and nothing else: sign = RSA-2048; agree = P-256; wrap = AES-256; mac = AES-256 (CMAC);
card-master = AES-128 from which SCP03 static keys are derived."""


SEALED_KEYS_INFO: Final = b"warifu card keys "
SIGN_MANY_LIMIT: Final = 64
"""Texts of one ``SignMany``: a slow device must have answered well before a worker counts as stalled."""


class CreateKey(Struct, frozen=True, tag=True):
    """Make the key unless it is there (idempotent). Answers ``Done``; for sign and agree keys ``Bytes`` (the SPKI)."""

    label: str
    purpose: Purpose


class PublicKey(Struct, frozen=True, tag=True):
    """Answers ``Bytes``: SubjectPublicKeyInfo DER."""

    label: str


class Sign(Struct, frozen=True, tag=True):
    """RSASSA-PKCS1-v1_5 with SHA-256 over ``data``. Answers ``Bytes`` (256)."""

    label: str
    data: bytes


class SignMany(Struct, frozen=True, tag=True):
    """As ``Sign``, for many texts in one frame. Answers ``ManyBytes``: a signature (256) each, in their order."""

    label: str
    data: tuple[bytes, ...]


class SignDigestInfo(Struct, frozen=True, tag=True):
    """PKCS#1 v1.5 type 1 padding of ``data`` as it is (a DER DigestInfo, at most 245 bytes). ``Bytes`` (256)."""

    label: str
    data: bytes


class Mac(Struct, frozen=True, tag=True):
    """AES-CMAC (RFC 4493). Answers ``Bytes`` (16)."""

    label: str
    data: bytes


class Wrap(Struct, frozen=True, tag=True):
    """AES-256-GCM under a wrap key with a fresh nonce. Answers ``Bytes``: nonce(12) | ciphertext | tag(16)."""

    label: str
    data: bytes
    context: bytes


class Unwrap(Struct, frozen=True, tag=True):
    """The inverse of ``Wrap``; fails with ``hsm.rejected`` if anything was changed. Answers ``Bytes``."""

    label: str
    data: bytes
    context: bytes


class OpenMessageSession(Struct, frozen=True, tag=True):
    """HPKE decapsulation (see ``ports.crypto``): the exported 32 bytes become an AES-256 session key in the device.

    Idempotent by ``session``; the worker keeps at most some thousands, the oldest unused leaves. Answers ``Done``.
    """

    label: str
    session: bytes
    encapsulation: bytes
    info: bytes


class DecryptMessage(Struct, frozen=True, tag=True):
    """AES-256-GCM inside the device. ``hsm.unknown_session`` when the worker does not have it. Answers ``Bytes``."""

    session: bytes
    nonce: bytes
    context: bytes
    data: bytes


class EncryptMessage(Struct, frozen=True, tag=True):
    """The inverse; the caller gives the nonce (a counter per direction) and never the same twice."""

    session: bytes
    nonce: bytes
    context: bytes
    data: bytes


class DeriveCardKeys(Struct, frozen=True, tag=True):
    """SCP03 static keys of one card, sealed for the factory's HSM. Answers ``Bytes``: encapsulation(65) | sealed.

    Sealed is AES-256-GCM (nonce of twelve zeros, context = card id in ASCII) over ENC(16) | MAC(16) | DEK(16), under
    the key that HPKE agrees with ``recipient`` for ``info`` = SEALED_KEYS_INFO | card id: a key of its own each time.
    """

    master: str
    card_id: str
    recipient: bytes
    """The factory HSM's public key, SubjectPublicKeyInfo DER, P-256."""


class OpenCardChannel(Struct, frozen=True, tag=True):
    """Session keys of one SCP03 channel, derived inside the device. Answers ``ChannelKeys``."""

    master: str
    card_id: str
    host_challenge: bytes
    card_challenge: bytes


class SelfTest(Struct, frozen=True, tag=True):
    """Do one operation of each kind with known answers. Answers ``Done``."""


HsmCommand = (
    CreateKey
    | PublicKey
    | Sign
    | SignMany
    | SignDigestInfo
    | Mac
    | Wrap
    | Unwrap
    | OpenMessageSession
    | DecryptMessage
    | EncryptMessage
    | DeriveCardKeys
    | OpenCardChannel
    | SelfTest
)


class Done(Struct, frozen=True, tag=True):
    """It happened."""


class Bytes(Struct, frozen=True, tag=True):
    """A result in bytes."""

    data: bytes

    def __repr__(self) -> str:
        """Without the content: it may be a key."""
        return f"Bytes(<{len(self.data)}>)"


class ManyBytes(Struct, frozen=True, tag=True):
    """Several results in bytes."""

    data: tuple[bytes, ...]

    def __repr__(self) -> str:
        """Without the content."""
        return f"ManyBytes(<{len(self.data)}>)"


class ChannelKeys(Struct, frozen=True, tag=True):
    """S-ENC, S-MAC, S-RMAC (each 16 bytes) of one channel and the static DEK: they live in memory for one channel."""

    enc: bytes
    mac: bytes
    rmac: bytes
    dek: bytes

    def __repr__(self) -> str:
        """Without the keys."""
        return "ChannelKeys(<hidden>)"


class Rejected(Struct, frozen=True, tag=True):
    """The device refused: ``hsm.rejected``, ``hsm.no_such_key``, ``hsm.unknown_session``."""

    code: str


HsmReply = Done | Bytes | ManyBytes | ChannelKeys | Rejected


class HsmWorker(Protocol):
    """One worker, alive from ``spawn`` until ``kill`` or its own death."""

    @property
    def name(self) -> str:
        """For logs and ``status``, e.g. ``relay-1/hsm-0``."""

    @property
    def pid(self) -> int:
        """The process, for ``status``; 0 in the laboratory."""

    async def call(self, command: HsmCommand) -> HsmReply:
        """Do one command. The caller sets the deadline (``asyncio.timeout``) and kills the worker if it passes.

        Raises:
            Unavailable: the worker is dead or dies meanwhile.
        """

    async def call_all(self, commands: Sequence[HsmCommand]) -> Sequence[HsmReply]:
        """Do several ``DecryptMessage`` and ``EncryptMessage``, one after another; a reply to each, in their order.

        One wake-up of the worker for all of them. What one is refused does not touch the others.

        Raises:
            Unavailable: as ``call``; which of them were done is unknown.
        """

    async def kill(self) -> None:
        """End it at once, whatever it is doing. Killing a dead worker is no error."""


class HsmFactory(Protocol):
    """Makes workers of one device."""

    async def spawn(self, name: str) -> HsmWorker:
        """A new worker, logged in and ready. ``Unavailable`` when the device is not there."""
