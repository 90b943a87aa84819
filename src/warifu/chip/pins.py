"""VERIFY, CHANGE REFERENCE DATA, CHANGE KEY, and SET PIN through a window.

A counter is lowered durably before anything is compared, so pulling the card never gives a try back.
"""

import hmac
import re
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from warifu.chip import apdu
from warifu.chip.apdu import Command, StatusError
from warifu.chip.image import Pin, PinChange, PinKind
from warifu.chip.state import ChipState

PIN_MAX: Final = 16
POINT_LENGTH: Final = 65
_FORMATS: Final[dict[PinKind, re.Pattern[bytes]]] = {
    "four_digits": re.compile(rb"[0-9]{4}"),
    "signature_password": re.compile(rb"(?=.*[A-Z])(?=.*[0-9])[A-Z0-9]{6,16}"),
    "birth_digits": re.compile(rb"[0-9]{6}"),
    "number_a": re.compile(rb"[0-9]{12}"),
    "number_b": re.compile(rb"[0-9]{14}"),
}


def has_form(kind: PinKind, value: bytes) -> bool:
    """Whether ``value`` has the form of such a PIN (the signature password in upper case, as it is stored)."""
    return _FORMATS[kind].fullmatch(value) is not None


def _find(state: ChipState, fid: int) -> Pin:
    pin = state.applet.pin(fid)
    if pin is None:
        raise StatusError(apdu.NO_REFERENCE)
    return pin


def _keep(state: ChipState, pin: Pin) -> None:
    state.keep(state.image.with_applet(state.applet.with_pin(pin)))


def verify(state: ChipState, command: Command) -> bytes:
    """VERIFY. Without data it only tells the tries left, as 63Cx, also after a success."""
    if command.p1:
        raise StatusError(apdu.WRONG_P1P2)
    pin = _find(state, state.reference(command.p2))
    if not command.data:
        raise StatusError(apdu.TRIES_LEFT | pin.tries_left)
    state.alive()
    state.volatile.verified.discard(pin.fid)
    if pin.tries_left == 0:
        raise StatusError(apdu.BLOCKED)
    if len(command.data) > PIN_MAX:
        raise StatusError(apdu.WRONG_LENGTH)
    lowered = msgspec.structs.replace(pin, tries_left=pin.tries_left - 1)
    _keep(state, lowered)
    if not hmac.compare_digest(pin.value, command.data):
        raise StatusError(apdu.TRIES_LEFT | lowered.tries_left)
    _keep(state, msgspec.structs.replace(pin, tries_left=pin.tries_max))
    state.volatile.verified.add(pin.fid)
    return b""


def change_reference_data(state: ChipState, command: Command) -> bytes:
    """CHANGE REFERENCE DATA, P1 01: the new value, after a VERIFY of the old."""
    if command.p1 != 0x01:
        raise StatusError(apdu.WRONG_P1P2)
    return _change(state, command, "reference_data")


def change_key(state: ChipState, command: Command) -> bytes:
    """CHANGE KEY (JICSAP): the same for the common and juki applets."""
    if command.p1:
        raise StatusError(apdu.WRONG_P1P2)
    return _change(state, command, "change_key")


def _change(state: ChipState, command: Command, how: PinChange) -> bytes:
    pin = _find(state, state.reference(command.p2))
    state.alive()
    if pin.change != how:
        raise StatusError(apdu.STRUCTURE_CONFLICT)
    if pin.fid not in state.volatile.verified:
        raise StatusError(apdu.SECURITY_STATUS)
    if not has_form(pin.kind, command.data):
        raise StatusError(apdu.WRONG_DATA)
    _keep(state, msgspec.structs.replace(pin, value=command.data, tries_left=pin.tries_max))
    return b""


def window_context(aid: bytes, fid: int, card_id: str, write_id: bytes) -> bytes:
    """What a PIN for a window is bound to: applet, reference, card, card write."""
    return b"warifu pin window" + bytes((len(aid),)) + aid + fid.to_bytes(2, "big") + card_id.encode() + write_id


def window_cipher(shared: bytes, card_point: bytes, ephemeral_point: bytes) -> tuple[AESGCM, bytes]:
    """The AEAD and its nonce for one PIN: HKDF-SHA256 of the agreed secret; one key is used once."""
    hkdf = HKDF(SHA256(), 16 + 12, salt=None, info=b"warifu pin key" + card_point + ephemeral_point)
    key = hkdf.derive(shared)
    return AESGCM(key[:16]), key[16:]


def set_pin(state: ChipState, command: Command) -> bytes:
    """SET PIN: P2 the reference, data an ephemeral P-256 point (65) and the PIN under AES-128-GCM.

    Value, full tries and the closed window become durable together.
    """
    if command.p1:
        raise StatusError(apdu.WRONG_P1P2)
    pin = _find(state, command.p2)
    state.alive()
    if not pin.window:
        raise StatusError(apdu.CONDITIONS)
    if pin.value and pin.tries_left == 0 and not pin.window_unblocks:
        raise StatusError(apdu.BLOCKED)
    value = _open_window_data(state, pin, command.data)
    if not has_form(pin.kind, value):
        raise StatusError(apdu.WRONG_DATA)
    state.volatile.verified.discard(pin.fid)
    _keep(
        state,
        msgspec.structs.replace(pin, value=value, tries_left=pin.tries_max, window=b"", window_unblocks=False),
    )
    return b""


def _open_window_data(state: ChipState, pin: Pin, data: bytes) -> bytes:
    point, sealed = data[:POINT_LENGTH], data[POINT_LENGTH:]
    own = ec.derive_private_key(int.from_bytes(state.image.card_key, "big"), ec.SECP256R1())
    try:
        peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point)
        cipher, nonce = window_cipher(own.exchange(ec.ECDH(), peer), encode_point(own.public_key()), point)
        context = window_context(state.volatile.aid, pin.fid, state.image.card_id, pin.window)
        return cipher.decrypt(nonce, sealed, context)
    except ValueError as error:
        raise StatusError(apdu.WRONG_DATA) from error
    except InvalidTag as error:
        raise StatusError(apdu.SECURE_MESSAGING) from error


def encode_point(key: ec.EllipticCurvePublicKey) -> bytes:
    """The uncompressed point, 65 bytes."""
    numbers = key.public_numbers()
    return b"\x04" + numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
