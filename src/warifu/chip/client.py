"""What a terminal does with a card, over any ``transmit``."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from msgspec import Struct

from warifu.chip import apdu, reading, tlv
from warifu.chip.errors import BadCardAnswer, CardCertificateInvalid, CardRefused, PinBlocked, WrongPin
from warifu.chip.image import LastWrite, LifeState
from warifu.chip.keys import MODULUS_LENGTH
from warifu.chip.layout import COMMON, COMMON_CARD_CERTIFICATE, COMMON_CARD_KEY, ISD, JPKI, KEY_OF_SLOT, Slot
from warifu.chip.pins import encode_point, window_cipher, window_context
from warifu.chip.signing import INTERNAL_AUTHENTICATE_LABEL
from warifu.chip.state import RandomBytes

Transmit = Callable[[bytes], Awaitable[bytes]]

_READ: Final = 256
_EF_PIECES_MAX: Final = 130
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class PinWindow(Struct, frozen=True):
    """An open one-use window: PIN ``ref`` of applet ``aid``, opened by the card write ``write_id``."""

    aid: bytes
    ref: int
    write_id: bytes


class PinStatus(Struct, frozen=True):
    """A PIN: whether it was ever set, and its tries (0 left: blocked, or not set)."""

    aid: bytes
    ref: int
    is_set: bool
    tries_left: int
    tries_max: int


class CardStatus(Struct, frozen=True):
    """What the chip says about itself to anyone. ``sequences``: channels opened so far, by domain AID."""

    card_id: str
    life: LifeState
    last_write: LastWrite | None
    pins: tuple[PinStatus, ...]
    windows: tuple[PinWindow, ...]
    sequences: dict[bytes, int]
    staged_write_id: bytes | None = None
    staged_digest: bytes | None = None


class CardKey(Struct, frozen=True):
    """A card's certified public key: an uncompressed P-256 point (65)."""

    card_id: str
    point: bytes


class ScriptResult(Struct, frozen=True):
    """How far a script came. ``responses``: all that the chip gave, each with its status word.

    ``failed_at``: index of the command that ended with ``status``; None when all ended with 9000.
    """

    responses: tuple[bytes, ...]
    failed_at: int | None = None
    failed_ins: int | None = None
    status: int = apdu.OK

    @property
    def ok(self) -> bool:
        """Whether every command ended with 9000."""
        return self.failed_at is None


async def call(transmit: Transmit, command: bytes) -> bytes:
    """Send one command; the response data.

    Raises:
        CardRefused: the status word is not 9000.
        BadCardAnswer: fewer than two bytes came.
    """
    data, status = split_response(await transmit(command))
    if status != apdu.OK:
        raise CardRefused(command[1], status)
    return data


def split_response(response: bytes) -> tuple[bytes, int]:
    """Data and status word. Raises ``BadCardAnswer`` when there is none."""
    if len(response) < 2:
        raise BadCardAnswer("a response without a status word")
    return response[:-2], int.from_bytes(response[-2:], "big")


async def select_applet(transmit: Transmit, aid: bytes) -> None:
    """SELECT by name. Raises ``CardRefused`` (6A82) when it is not on the card."""
    await call(transmit, apdu.build(0x00, 0xA4, 0x04, 0x0C, aid))


async def select_ef(transmit: Transmit, fid: int) -> None:
    """SELECT an EF, PIN or key of the current applet."""
    await call(transmit, apdu.build(0x00, 0xA4, 0x02, 0x0C, fid.to_bytes(2, "big")))


async def read_ef(transmit: Transmit, aid: bytes | None, fid: int) -> bytes:
    """The whole content of a binary EF; ``aid`` None: of the current applet, keeping its verified PINs.

    Raises:
        CardRefused: 6982 without the PIN; 6A82 no such EF; 6B00 it is empty.
    """
    if aid is not None:
        await select_applet(transmit, aid)
    await select_ef(transmit, fid)
    content = b""
    for _ in range(_EF_PIECES_MAX):
        piece, status = split_response(await transmit(apdu.build(0x00, 0xB0, *divmod(len(content), 256), b"", _READ)))
        if content and status == apdu.WRONG_OFFSET:
            break
        if status != apdu.OK:
            raise CardRefused(0xB0, status)
        content += piece
        if len(piece) < _READ or len(content) >= 0x8000:
            break
    return content


async def read_record(transmit: Transmit, aid: bytes, fid: int, number: int = 1) -> bytes:
    """One record (tag, length, value) of a record EF."""
    await select_applet(transmit, aid)
    await select_ef(transmit, fid)
    return await call(transmit, apdu.build(0x00, 0xB2, number, 0x04, b"", _READ))


async def read_card_status(transmit: Transmit) -> CardStatus:
    """Select the issuer domain and read the card status (this ends any channel, not what is staged)."""
    await select_applet(transmit, ISD)
    tag = reading.STATUS_TAG
    raw = await call(transmit, apdu.build(0x00, 0xCA, *divmod(tag, 256), b"", apdu.EXTENDED_LE_MAX))
    try:
        return _parse_status(tlv.fields(raw)[tag])
    except (tlv.TlvError, KeyError, IndexError, ValueError) as error:
        raise BadCardAnswer("not a card status") from error


def _parse_status(body: bytes) -> CardStatus:
    items = tuple(tlv.parse(body))
    single = {item.tag: item.value for item in items}
    staged = single.get(reading.STAGING_TAG)
    last = single.get(reading.LAST_WRITE_TAG)
    return CardStatus(
        card_id=single[reading.CARD_ID_TAG].decode("ascii"),
        life=reading.LIFE_STATES[single[reading.LIFE_TAG][0]],
        last_write=None
        if last is None
        else LastWrite(last[:16], last[16:48], last[49:].decode("ascii"), bool(last[48])),
        pins=tuple(PinStatus(v[4:], v[0], bool(v[1]), v[2], v[3]) for v in _values(items, reading.PIN_TAG)),
        windows=tuple(PinWindow(v[17:], v[0], v[1:17]) for v in _values(items, reading.WINDOW_TAG)),
        sequences={v[3:]: int.from_bytes(v[:3], "big") for v in _values(items, reading.SEQUENCE_TAG)},
        staged_write_id=None if staged is None else staged[:16],
        staged_digest=None if staged is None else staged[16:],
    )


async def read_own_keys(transmit: Transmit) -> dict[tuple[bytes, int], bytes]:
    """Moduli (256) of the chip's own keys by applet and file id; none when it has none, or is no longer ``made``."""
    await select_applet(transmit, ISD)
    tag = reading.OWN_KEYS_TAG
    raw, status = split_response(await transmit(apdu.build(0x00, 0xCA, *divmod(tag, 256), b"", apdu.EXTENDED_LE_MAX)))
    if status == apdu.NO_REFERENCE:
        return {}
    if status != apdu.OK:
        raise CardRefused(0xCA, status)
    try:
        values = _values(tuple(tlv.parse(tlv.fields(raw)[tag])), reading.OWN_KEY_TAG)
    except (tlv.TlvError, KeyError) as error:
        raise BadCardAnswer("not the chip's own keys") from error
    return {(v[2 + MODULUS_LENGTH :], int.from_bytes(v[:2], "big")): v[2 : 2 + MODULUS_LENGTH] for v in values}


def _values(items: Sequence[tlv.Tlv], tag: int) -> list[bytes]:
    return [item.value for item in items if item.tag == tag]


# --- PINs ---------------------------------------------------------------------------------------------------------


async def tries_left(transmit: Transmit, aid: bytes | None, ref: int) -> int:
    """Tries left of a PIN, without spending one; 0 when blocked or not set."""
    if aid is not None:
        await select_applet(transmit, aid)
    await select_ef(transmit, ref)
    _, status = split_response(await transmit(apdu.build(0x00, 0x20, 0x00, 0x80)))
    if status & 0xFFF0 != apdu.TRIES_LEFT:
        raise CardRefused(0x20, status)
    return status & 0x0F


async def verify_pin(transmit: Transmit, aid: bytes, ref: int, pin: str) -> None:
    """Select the applet and present the PIN (the signature password is put into upper case).

    Raises:
        WrongPin: with the tries left.
        PinBlocked: blocked or not set.
        CardRefused: anything else.
    """
    await select_applet(transmit, aid)
    await select_ef(transmit, ref)
    _, status = split_response(await transmit(apdu.build(0x00, 0x20, 0x00, 0x80, _pin_bytes(pin))))
    if status & 0xFFF0 == apdu.TRIES_LEFT:
        raise WrongPin(0x20, status)
    if status == apdu.BLOCKED:
        raise PinBlocked(0x20, status)
    if status != apdu.OK:
        raise CardRefused(0x20, status)


def _pin_bytes(pin: str) -> bytes:
    return pin.upper().encode("ascii", errors="replace")


async def change_pin(transmit: Transmit, aid: bytes, ref: int, old: str, new: str) -> None:
    """Present ``old``, set ``new``. Raises as ``verify_pin``; ``CardRefused`` 6A80 when ``new`` has not the form."""
    await verify_pin(transmit, aid, ref, old)
    head = (0x00, 0x24, 0x01) if aid in _CHANGE_REFERENCE_DATA else (0x80, 0x32, 0x00)
    await call(transmit, apdu.build(*head, 0x80, _pin_bytes(new)))


_CHANGE_REFERENCE_DATA: Final = (JPKI, bytes.fromhex("D3921000310001010408"))


async def read_card_key(transmit: Transmit, management_key: bytes) -> CardKey:
    """Read the card key's certificate from the common applet and verify it.

    Args:
        transmit: the card.
        management_key: card management's RSA key, SubjectPublicKeyInfo DER.

    Raises:
        CardCertificateInvalid: not signed by that key, or not of the form.
    """
    return verify_card_certificate(await read_ef(transmit, COMMON, COMMON_CARD_CERTIFICATE), management_key)


def verify_card_certificate(certificate: bytes, management_key: bytes) -> CardKey:
    """The key in a card certificate (7F21 {5F20 card id, 86 point, 5F37 signature over the two before})."""
    key = serialization.load_der_public_key(management_key)
    try:
        body = tuple(tlv.parse(tlv.fields(certificate)[0x7F21]))
        who, point, signature = body
        if not isinstance(key, rsa.RSAPublicKey) or [item.tag for item in body] != [0x5F20, 0x86, 0x5F37]:
            raise CardCertificateInvalid("not a card certificate")
        key.verify(signature.value, who.raw + point.raw, padding.PKCS1v15(), SHA256())
    except (tlv.TlvError, KeyError, ValueError, InvalidSignature) as error:
        raise CardCertificateInvalid("not a card certificate of this card management") from error
    return CardKey(who.value.decode("ascii", errors="replace"), point.value)


async def set_pin(transmit: Transmit, card_key: CardKey, window: PinWindow, pin: str, entropy: RandomBytes) -> None:
    """Set a PIN through an open window, encrypted to the card's certified key.

    Raises:
        CardRefused: 6985 no window is open (also: this one was used); 6A80 the PIN has not the form; 6984 blocked and
            the window does not unblock; 6988 the window is of another card write, or the card another card.
    """
    data = seal_pin(card_key, window, pin, entropy)
    await select_applet(transmit, window.aid)
    await call(transmit, apdu.build(0x80, 0x2C, 0x00, window.ref, data))


def seal_pin(card_key: CardKey, window: PinWindow, pin: str, entropy: RandomBytes) -> bytes:
    """The data of SET PIN: an ephemeral point (65) and the PIN under AES-128-GCM."""
    scalar = int.from_bytes(entropy.random_bytes(40), "big") % (_P256_ORDER - 1) + 1
    ephemeral = ec.derive_private_key(scalar, ec.SECP256R1())
    point = encode_point(ephemeral.public_key())
    peer = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), card_key.point)
    cipher, nonce = window_cipher(ephemeral.exchange(ec.ECDH(), peer), card_key.point, point)
    context = window_context(window.aid, window.ref, card_key.card_id, window.write_id)
    return point + cipher.encrypt(nonce, _pin_bytes(pin), context)


# --- keys ---------------------------------------------------------------------------------------------------------


async def sign_digest(transmit: Transmit, slot: Slot, digest_info: bytes) -> bytes:
    """Sign a DER DigestInfo (1 to 245 bytes) with a JPKI key; its PIN was verified, and the applet is still current.

    Returns:
        The signature, 256 bytes.

    Raises:
        CardRefused: 6982 PIN not verified; 6985 the card is not in use; 6A88 no key.
    """
    await select_ef(transmit, KEY_OF_SLOT[slot])
    return await call(transmit, apdu.build(0x80, 0x2A, 0x00, 0x80, digest_info, apdu.SHORT_LE_MAX))


async def prove_card(transmit: Transmit, card_key: CardKey, challenge: bytes) -> None:
    """INTERNAL AUTHENTICATE with the card key: that the chip has the private half of ``card_key``.

    Raises:
        CardCertificateInvalid: it has not.
    """
    await select_applet(transmit, COMMON)
    signature = await call(transmit, apdu.build(0x00, 0x88, 0x00, 0x80 | COMMON_CARD_KEY, challenge, apdu.SHORT_LE_MAX))
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), card_key.point)
    try:
        key.verify(signature, INTERNAL_AUTHENTICATE_LABEL + challenge, ec.ECDSA(SHA256()))
    except InvalidSignature as error:
        raise CardCertificateInvalid("the chip has not the certified key") from error


# --- scripts ------------------------------------------------------------------------------------------------------


async def run_script(transmit: Transmit, apdus: Sequence[bytes]) -> ScriptResult:
    """Send wrapped commands in order, stopping at the first that does not end with 9000."""
    responses: list[bytes] = []
    for index, command in enumerate(apdus):
        response = await transmit(command)
        responses.append(response)
        _, status = split_response(response)
        if status != apdu.OK:
            return ScriptResult(tuple(responses), index, command[1], status)
    return ScriptResult(tuple(responses))
