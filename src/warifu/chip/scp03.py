"""Secure Channel Protocol 03 (GlobalPlatform Card Specification, Amendment D), AES-128, S8 mode; and our key plan.

Arithmetic only, used by the chip and by the owners of its key domains. ``i`` is 0x30: pseudo-random card challenge,
C-MAC, C-DECRYPTION and R-MAC, no response encryption.
"""

import hmac
from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.cmac import CMAC
from msgspec import Struct

KEY_LENGTH: Final = 16
CHALLENGE_LENGTH: Final = 8
CRYPTOGRAM_LENGTH: Final = 8
MAC_LENGTH: Final = 8
BLOCK: Final = 16
KEY_VERSION: Final = 0x30
PROTOCOL: Final = 0x03
PROTOCOL_OPTIONS: Final = 0x30
SECURITY_LEVEL: Final = 0x13
"""C-MAC, C-DECRYPTION and R-MAC: the only level this card accepts."""
FIRST_CHAINING_VALUE: Final = bytes(BLOCK)

_CARD_CRYPTOGRAM, _HOST_CRYPTOGRAM, _CARD_CHALLENGE, _S_ENC, _S_MAC, _S_RMAC = 0x00, 0x01, 0x02, 0x04, 0x06, 0x07


class StaticKeys(Struct, frozen=True):
    """One domain's static keys on one card, 16 bytes each."""

    enc: bytes
    mac: bytes
    dek: bytes

    def __repr__(self) -> str:
        """Without the keys."""
        return "StaticKeys(<hidden>)"


class SessionKeys(Struct, frozen=True):
    """One channel's session keys and the domain's static DEK, 16 bytes each."""

    enc: bytes
    mac: bytes
    rmac: bytes
    dek: bytes

    def __repr__(self) -> str:
        """Without the keys."""
        return "SessionKeys(<hidden>)"


def cmac(key: bytes, data: bytes) -> bytes:
    """AES-CMAC (RFC 4493), 16 bytes."""
    mac = CMAC(algorithms.AES(key))
    mac.update(data)
    return mac.finalize()


def static_keys(master_cmac: Callable[[bytes], bytes], card_id: str) -> StaticKeys:
    """The static keys of ``card_id`` under a master key: NIST SP 800-108, counter mode, CMAC.

    Each key is one block: CMAC(master, [1] | label | 00 | card id in ASCII | [128 as two bytes]).

    Args:
        master_cmac: AES-CMAC under the domain owner's master key (so that an HSM can do it).
        card_id: fifteen ASCII characters.
    """

    def one(label: bytes) -> bytes:
        return master_cmac(b"\x01" + label + b"\x00" + card_id.encode("ascii") + b"\x00\x80")

    return StaticKeys(enc=one(b"warifu card ENC"), mac=one(b"warifu card MAC"), dek=one(b"warifu card DEK"))


def derive(key: bytes, constant: int, context: bytes, bits: int) -> bytes:
    """The data derivation of Amendment D, 4.1.5, for results of at most 128 bits."""
    block = bytes(11) + bytes((constant, 0)) + bits.to_bytes(2, "big") + b"\x01" + context
    return cmac(key, block)[: bits // 8]


def session_keys(static: StaticKeys, host_challenge: bytes, card_challenge: bytes) -> SessionKeys:
    """The session keys of one channel (Amendment D, 6.2.1)."""
    context = host_challenge + card_challenge
    return SessionKeys(
        enc=derive(static.enc, _S_ENC, context, 128),
        mac=derive(static.mac, _S_MAC, context, 128),
        rmac=derive(static.mac, _S_RMAC, context, 128),
        dek=static.dek,
    )


def card_challenge(static_enc: bytes, sequence: int, aid: bytes) -> bytes:
    """The pseudo-random card challenge (Amendment D, 6.2.2.1), 8 bytes."""
    return derive(static_enc, _CARD_CHALLENGE, sequence.to_bytes(3, "big") + aid, 64)


def card_cryptogram(s_mac: bytes, host: bytes, card: bytes) -> bytes:
    """What proves the chip to the host, 8 bytes."""
    return derive(s_mac, _CARD_CRYPTOGRAM, host + card, 64)


def host_cryptogram(s_mac: bytes, host: bytes, card: bytes) -> bytes:
    """What proves the host to the chip, 8 bytes."""
    return derive(s_mac, _HOST_CRYPTOGRAM, host + card, 64)


def command_mac(s_mac: bytes, chaining: bytes, mac_input: bytes) -> bytes:
    """The full 16-byte C-MAC: the next chaining value; its first 8 bytes are sent."""
    return cmac(s_mac, chaining + mac_input)


def response_mac(s_rmac: bytes, chaining: bytes, data: bytes, status: bytes) -> bytes:
    """The 8-byte R-MAC over a response (Amendment D, 6.2.5)."""
    return cmac(s_rmac, chaining + data + status)[:MAC_LENGTH]


def pad(data: bytes) -> bytes:
    """ISO/IEC 9797-1 padding method 2 to whole blocks."""
    return data + b"\x80" + bytes(-(len(data) + 1) % BLOCK)


def unpad(data: bytes) -> bytes:
    """The inverse of ``pad``. Raises ``ValueError`` when the padding is wrong."""
    body = data.rstrip(b"\x00")
    if not body.endswith(b"\x80") or len(data) - len(body) >= BLOCK:
        raise ValueError("wrong padding")
    return body[:-1]


def encrypt_command(s_enc: bytes, counter: int, data: bytes) -> bytes:
    """C-DECRYPTION's counterpart: AES-CBC under the counter's ICV (Amendment D, 6.2.6); no data stays no data."""
    return _cbc(s_enc, counter, pad(data), decrypt=False) if data else b""


def decrypt_command(s_enc: bytes, counter: int, data: bytes) -> bytes:
    """The inverse of ``encrypt_command``. Raises ``ValueError`` when length or padding is wrong."""
    if not data:
        return b""
    if len(data) % BLOCK:
        raise ValueError("not whole blocks")
    return unpad(_cbc(s_enc, counter, data, decrypt=True))


def _cbc(key: bytes, counter: int, data: bytes, *, decrypt: bool) -> bytes:
    icv = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(counter.to_bytes(BLOCK, "big"))  # noqa: S305 - one block, as Amendment D says
    return _run_cbc(key, icv, data, decrypt=decrypt)


def _run_cbc(key: bytes, icv: bytes, data: bytes, *, decrypt: bool) -> bytes:
    cipher = Cipher(algorithms.AES(key), modes.CBC(icv))
    return (cipher.decryptor() if decrypt else cipher.encryptor()).update(data)


def encrypt_key(dek: bytes, key: bytes) -> bytes:
    """Sensitive data under the DEK: padded, AES-CBC with a zero ICV (Amendment D, 6.2.8)."""
    return _run_cbc(dek, bytes(BLOCK), pad(key), decrypt=False)


def decrypt_key(dek: bytes, wrapped: bytes) -> bytes:
    """The inverse of ``encrypt_key``. Raises ``ValueError`` when length or padding is wrong."""
    if not wrapped or len(wrapped) % BLOCK:
        raise ValueError("not whole blocks")
    return unpad(_run_cbc(dek, bytes(BLOCK), wrapped, decrypt=True))


def same(one: bytes, other: bytes) -> bool:
    """Comparison in constant time."""
    return hmac.compare_digest(one, other)
