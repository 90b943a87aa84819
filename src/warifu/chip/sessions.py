"""SET SESSION KEY and secure messaging, which of all applets only the text applet has.

As measured on real cards: the PIN first, in the clear; confidentiality only (CLA 08); one data object a command,
86 or 96; a counter that every secured command moves on; anything wrong with the objects ends the session.
"""

from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256

from warifu.chip import apdu, pins, reading, tlv
from warifu.chip.apdu import Command, StatusError
from warifu.chip.image import Key
from warifu.chip.layout import COMMON, FACE, ISD, TEXT
from warifu.chip.scp03 import BLOCK, pad, unpad
from warifu.chip.state import ChipState, Messages

SECURED, SECURED_WITH_HEADER = 0x08, 0x0C
CRYPTOGRAM_TAG, EXPECTED_TAG = 0x86, 0x96
PADDED: Final = b"\x01"
SEED_LENGTH: Final = 32
DELIVERY_HEAD: Final = bytes.fromhex("A0228020")
_SELECT, _READ, _VERIFY = 0xA4, 0xB0, 0x20


def set_session_key(state: ChipState, command: Command) -> bytes:
    """SET SESSION KEY: RSA-OAEP (SHA-256) of A0 { 80 seed (32) } under the key in EF 0006.

    66F1 where nothing is set up for it; 6982 before the PIN; 6F00 a number above the modulus; 6A80 anything else.
    """
    if state.volatile.aid in (COMMON, FACE, ISD):
        raise StatusError(apdu.NOT_SET_UP)
    slot = next((key for key in state.applet.keys if key.use == "session"), None)
    if state.volatile.aid != TEXT or slot is None or slot.pin not in state.volatile.verified:
        # JPKI and juki answer 6982 whatever is presented.
        raise StatusError(apdu.SECURITY_STATUS)
    if command.p1 or command.p2:
        raise StatusError(apdu.WRONG_P1P2)
    if not slot.private_key:
        raise StatusError(apdu.NOT_SET_UP)
    seed = _seed(state, slot, command.data)
    state.volatile.messages = Messages(seed[:BLOCK])
    return b""


def _seed(state: ChipState, slot: Key, delivered: bytes) -> bytes:
    private = state.rsa_key(slot.private_key)
    if int.from_bytes(delivered, "big") >= private.public_key().public_numbers().n:
        raise StatusError(apdu.FAILED)
    message = _open(private, delivered)
    if len(message) != len(DELIVERY_HEAD) + SEED_LENGTH or not message.startswith(DELIVERY_HEAD):
        raise StatusError(apdu.WRONG_DATA)
    return message[len(DELIVERY_HEAD) :]


def _open(private: rsa.RSAPrivateKey, delivered: bytes) -> bytes:
    try:
        return private.decrypt(delivered, padding.OAEP(padding.MGF1(SHA256()), SHA256(), None))
    except ValueError as error:
        raise StatusError(apdu.WRONG_DATA) from error


def secured(state: ChipState, command: Command) -> bytes:
    """A command of CLA 08 or 0C: VERIFY, SELECT of an EF, READ BINARY. Others have no such form: 6882."""
    if command.ins not in (_SELECT, _READ, _VERIFY):
        raise StatusError(apdu.SECURE_MESSAGING_UNKNOWN)
    messages = _messages(state, command)
    if command.cla == SECURED_WITH_HEADER:
        # There is no checksum key: the objects such a command needs cannot be there.
        raise _end(messages, apdu.SECURE_MESSAGING_MISSING)
    number = messages.counter
    messages.counter += 1
    plain = _unwrapped(messages, number, command)
    if plain.ins != _READ:
        return _run(state, plain)
    answer = reading.read_binary(state, plain)
    sealed = tlv.encode(CRYPTOGRAM_TAG, PADDED + _cbc(messages.key, number, pad(answer), decrypt=False))
    if command.expected is None or len(sealed) > command.expected:
        raise StatusError(apdu.WRONG_LENGTH)
    return sealed


def _messages(state: ChipState, command: Command) -> Messages:
    messages = state.volatile.messages
    if messages is None and command.ins == _SELECT:
        raise StatusError(apdu.SECURE_MESSAGING_UNKNOWN)
    if messages is None or messages.broken:
        raise StatusError(apdu.NO_SESSION)
    return messages


def _end(messages: Messages, word: int) -> StatusError:
    messages.broken, messages.key = True, b""
    return StatusError(word)


def _run(state: ChipState, plain: Command) -> bytes:
    if plain.ins == _VERIFY:
        return pins.verify(state, plain)
    if plain.p1 != 0x02:
        raise StatusError(apdu.WRONG_P1P2)
    return reading.select_ef(state, plain)


def _unwrapped(messages: Messages, number: int, command: Command) -> Command:
    """The plain command in the one data object that is right for it."""
    if not command.data:
        raise _end(messages, apdu.SECURE_MESSAGING_MISSING)
    try:
        item, *more = tlv.parse(command.data)
    except tlv.TlvError as error:
        raise _end(messages, apdu.SECURE_MESSAGING) from error
    if more or item.tag != (EXPECTED_TAG if command.ins == _READ else CRYPTOGRAM_TAG):
        raise _end(messages, apdu.SECURE_MESSAGING)
    if command.ins == _READ:
        return msgspec.structs.replace(command, data=b"", expected=_expected(messages, item.value))
    return msgspec.structs.replace(command, data=_decrypted(messages, number, item.value), expected=None)


def _expected(messages: Messages, value: bytes) -> int:
    if len(value) != 3 or value[0]:
        raise _end(messages, apdu.SECURE_MESSAGING)
    return int.from_bytes(value, "big") or apdu.EXTENDED_LE_MAX


def _decrypted(messages: Messages, number: int, value: bytes) -> bytes:
    sealed = value[1:]
    if value[:1] != PADDED or not sealed or len(sealed) % BLOCK:
        raise _end(messages, apdu.SECURE_MESSAGING)
    try:
        return unpad(_cbc(messages.key, number, sealed, decrypt=True))
    except ValueError as error:
        raise _end(messages, apdu.SECURE_MESSAGING) from error


def _cbc(key: bytes, number: int, data: bytes, *, decrypt: bool) -> bytes:
    """AES-128-CBC; the initial value is the counter, itself encrypted."""
    first = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(number.to_bytes(BLOCK, "big"))  # noqa: S305 - one block
    cipher = Cipher(algorithms.AES(key), modes.CBC(first))
    return (cipher.decryptor() if decrypt else cipher.encryptor()).update(data)


class TerminalMessages:
    """A terminal's end: opens a session and wraps commands for it. ``seed`` (32) must be fresh for every session."""

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_LENGTH:
            raise ValueError("a seed has 32 bytes")
        self._seed = seed
        self._counter = 1

    def deliver(self, public_key: rsa.RSAPublicKey) -> bytes:
        """The SET SESSION KEY command for the key in EF 0006."""
        sealed = public_key.encrypt(DELIVERY_HEAD + self._seed, padding.OAEP(padding.MGF1(SHA256()), SHA256(), None))
        return apdu.build(0x80, 0xAE, 0x00, 0x00, sealed)

    def verify(self, ref: int, value: bytes) -> bytes:
        """VERIFY of a PIN or number by its short identifier."""
        return self._cryptogram(_VERIFY, 0x00, 0x80 | ref, value)

    def select_ef(self, fid: int) -> bytes:
        """SELECT of an EF of the current applet."""
        return self._cryptogram(_SELECT, 0x02, 0x0C, fid.to_bytes(2, "big"))

    def read_binary(self, offset: int, count: int = 0) -> bytes:
        """READ BINARY of ``count`` bytes (0: all) of the current EF; ``open`` its answer before the next command."""
        self._counter += 1
        data = tlv.encode(EXPECTED_TAG, count.to_bytes(3, "big"))
        return apdu.build(SECURED, _READ, *divmod(offset, 256), data, apdu.EXTENDED_LE_MAX)

    def open(self, answer: bytes) -> bytes:
        """The content in the answer (without its status word) to the newest ``read_binary``."""
        value = tlv.fields(answer)[CRYPTOGRAM_TAG]
        return unpad(_cbc(self._seed[:BLOCK], self._counter - 1, value[1:], decrypt=True))

    def _cryptogram(self, ins: int, p1: int, p2: int, value: bytes) -> bytes:
        sealed = _cbc(self._seed[:BLOCK], self._counter, pad(value), decrypt=False)
        self._counter += 1
        return apdu.build(SECURED, ins, p1, p2, tlv.encode(CRYPTOGRAM_TAG, PADDED + sealed))
