"""80 A2, SET PUBLIC IC KEY: a terminal shows the card that its key is certified.

Two commands a certificate: P1P2 06C1 with 7F21's header and the body 5F4E, 00C1 with the signature 5F37. The first
certificate is checked with the terminal-CA key in the current EF (0016 of the JPKI applet), the next with the key of
the one before. What the chip found lasts until another SELECT by name; which command uses it on real cards is not
public, and on this card nothing opens by it.
"""

from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from warifu.chip import apdu
from warifu.chip.apdu import Command, StatusError
from warifu.chip.keys import KEY_ID_LENGTH, MODULUS_LENGTH, parse_public_objects
from warifu.chip.state import ChipState, Terminal

BODY_HEAD: Final = bytes.fromhex("7F218202335F4E820129")
BODY_LENGTH: Final = 297
SIGNATURE_HEAD: Final = bytes.fromhex("5F37820100")
BODY_NEXT, SIGNATURE = (0x06, 0xC1), (0x00, 0xC1)


def set_public_ic_key(state: ChipState, command: Command) -> bytes:
    """SET PUBLIC IC KEY. 6A86 other P1P2; 6986, 6981 EF 0016 is not current; 6A88 no CA key of that name; 6A80 form.

    Inferred: 6985 a signature without a body before it, and 6300 a signature that is wrong.
    """
    if (command.p1, command.p2) not in (BODY_NEXT, SIGNATURE):
        raise StatusError(apdu.WRONG_P1P2)
    authority = _authority(state)
    if (command.p1, command.p2) == BODY_NEXT:
        state.volatile.offered = _body(command.data)
        return b""
    body, state.volatile.offered = state.volatile.offered, b""
    if not body:
        raise StatusError(apdu.CONDITIONS)
    if len(command.data) != len(SIGNATURE_HEAD) + MODULUS_LENGTH or not command.data.startswith(SIGNATURE_HEAD):
        raise StatusError(apdu.WRONG_DATA)
    _check(_issuer_key(state, authority, body[:KEY_ID_LENGTH]), command.data[len(SIGNATURE_HEAD) :], body)
    subject, objects = body[KEY_ID_LENGTH : 2 * KEY_ID_LENGTH], body[2 * KEY_ID_LENGTH :]
    state.volatile.terminal = Terminal(subject, parse_public_objects(objects))
    return b""


def _authority(state: ChipState) -> bytes:
    """Key id and public objects of the terminal CA. The current EF must be its slot."""
    if state.volatile.fid is None:
        raise StatusError(apdu.NO_CURRENT_EF)
    slot = state.applet.key(state.volatile.fid)
    if slot is None or slot.use != "terminal_ca":
        raise StatusError(apdu.STRUCTURE_CONFLICT)
    if not slot.public_key:
        raise StatusError(apdu.NO_REFERENCE)
    return slot.public_key


def _body(data: bytes) -> bytes:
    body = data[len(BODY_HEAD) :]
    if len(body) != BODY_LENGTH or not data.startswith(BODY_HEAD):
        raise StatusError(apdu.WRONG_DATA)
    parse_public_objects(body[2 * KEY_ID_LENGTH :])
    return body


def _issuer_key(state: ChipState, authority: bytes, key_id: bytes) -> rsa.RSAPublicKey:
    above = state.volatile.terminal
    if above is not None and above.key_id == key_id:
        return above.key
    if authority[:KEY_ID_LENGTH] == key_id:
        return parse_public_objects(authority[KEY_ID_LENGTH:])
    raise StatusError(apdu.NO_REFERENCE)


def _check(key: rsa.RSAPublicKey, signature: bytes, body: bytes) -> None:
    try:
        key.verify(signature, body, padding.PKCS1v15(), SHA256())
    except InvalidSignature as error:
        raise StatusError(apdu.AUTHENTICATION_FAILED) from error


def certificate_commands(certificate: bytes) -> tuple[bytes, bytes]:
    """The two commands that show a 7F21 certificate (568 bytes) to the chip, EF 0016 being current."""
    split = len(BODY_HEAD) + BODY_LENGTH
    return (
        apdu.build(0x80, 0xA2, *BODY_NEXT, certificate[:split]),
        apdu.build(0x80, 0xA2, *SIGNATURE, certificate[split:]),
    )
