"""SELECT, READ BINARY, READ RECORD, GET DATA, GET CHALLENGE and the card status."""

from typing import Final

from warifu.chip import apdu, tlv
from warifu.chip.apdu import Command, StatusError
from warifu.chip.image import Access, Applet, Ef
from warifu.chip.keys import MODULUS_LENGTH
from warifu.chip.layout import ISD
from warifu.chip.state import ChipState

STATUS_TAG: Final = 0xDF60
"""Our own GET DATA tag: the card status."""
OWN_KEYS_TAG: Final = 0xDF61
"""Our own: public halves of the chip's own keys, for the factory, as long as the card is ``made``."""
ATR_TAG: Final = 0x5F51
CARD_ID_TAG: Final = 0x5F20
LIFE_TAG, LAST_WRITE_TAG, WINDOW_TAG, PIN_TAG, SEQUENCE_TAG, STAGING_TAG = 0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC5
OWN_KEY_TAG: Final = 0xC6
LIFE_STATES: Final = ("made", "set_up", "in_use", "suspended", "terminated")
_PREFIX_MIN: Final = 5


def select(state: ChipState, command: Command) -> bytes:
    """SELECT by DF name (P1 04), EF under the current DF (P1 02), and the MF's oddities (P1 00)."""
    if command.p1 == 0x04:
        return _select_applet(state, command)
    if command.p1 == 0x02:
        return select_ef(state, command)
    if command.p1 == 0x00:
        return _select_mf(state, command)
    raise StatusError(apdu.WRONG_P1P2)


def _select_applet(state: ChipState, command: Command) -> bytes:
    if command.p2 not in (0x00, 0x0C):
        raise StatusError(apdu.WRONG_P1P2)
    applet = _by_name(state, command.data)
    same = applet.aid == state.volatile.aid and state.volatile.moved
    if not same or state.clear_security_on_reselect_same_df:
        state.volatile.verified = set()
    state.volatile.aid, state.volatile.fid, state.volatile.moved = applet.aid, None, True
    state.volatile.channel = state.volatile.messages = state.volatile.terminal = None
    state.volatile.offered = b""
    return _fci(applet) if command.p2 == 0x00 else b""


def _by_name(state: ChipState, name: bytes) -> Applet:
    """Full name, or a prefix of at least the five bytes of a registered provider; nothing at all is the ISD."""
    wanted = name or ISD
    for applet in state.image.applets:
        if len(wanted) >= _PREFIX_MIN and applet.aid.startswith(wanted):
            return applet
    raise StatusError(apdu.NOT_FOUND)


def _fci(applet: Applet) -> bytes:
    proprietary = tlv.encode(0xA5, tlv.encode(0x9F65, b"\xff")) if applet.aid == ISD else b""
    return tlv.encode(0x6F, tlv.encode(0x84, applet.aid) + proprietary)


def select_ef(state: ChipState, command: Command) -> bytes:
    """SELECT an EF, PIN or key of the current applet by its file id."""
    if command.p2 != 0x0C:
        raise StatusError(apdu.WRONG_P1P2)
    if len(command.data) != 2:
        raise StatusError(apdu.WRONG_LENGTH)
    if state.volatile.aid == ISD:
        raise StatusError(apdu.NO_CURRENT_EF)
    fid = int.from_bytes(command.data, "big")
    if not state.applet.has(fid):
        raise StatusError(apdu.NOT_FOUND)
    state.volatile.fid = fid
    return b""


def _select_mf(state: ChipState, command: Command) -> bytes:
    """Real cards: 6A82 by file id; otherwise 6A86 after a reset and a no-op while an applet is current."""
    if command.data:
        raise StatusError(apdu.NOT_FOUND)
    if not state.volatile.moved:
        raise StatusError(apdu.WRONG_P1P2)
    return b""


def _check_read(state: ChipState, access: Access) -> None:
    if not access.free and state.volatile.verified.isdisjoint(access.refs):
        raise StatusError(apdu.SECURITY_STATUS)


def _select_short(state: ChipState, sfi: int) -> None:
    if state.volatile.aid == ISD or not state.applet.has(sfi):
        raise StatusError(apdu.NOT_FOUND)
    state.volatile.fid = sfi


def read_binary(state: ChipState, command: Command) -> bytes:
    """READ BINARY by offset (P1 P2 up to 7FFF), or P1 80 + short identifier and P2 the offset."""
    if command.expected is None or command.data:
        raise StatusError(apdu.WRONG_LENGTH)
    offset = command.p1 << 8 | command.p2
    if command.p1 & 0x80:
        if command.p1 & 0x60:
            raise StatusError(apdu.WRONG_P1P2)
        if command.p1 & 0x1F:
            _select_short(state, command.p1 & 0x1F)
        offset = command.p2
    ef = state.current_ef()
    if ef.records:
        raise StatusError(apdu.STRUCTURE_CONFLICT)
    _check_read(state, ef.read)
    content = ef.content.ljust(ef.size, b"\x00") if ef.content else b""
    if offset >= len(content):
        raise StatusError(apdu.WRONG_OFFSET)
    return content[offset : offset + command.expected]


def read_record(state: ChipState, command: Command) -> bytes:
    """READ RECORD number P1 (P2 low bits 4) or from P1 to the last (5), of the current EF or a short identifier."""
    if command.expected is None or command.data:
        raise StatusError(apdu.WRONG_LENGTH)
    sfi, mode = command.p2 >> 3, command.p2 & 0x07
    if mode not in (4, 5) or command.p1 == 0:
        raise StatusError(apdu.WRONG_P1P2)
    if sfi:
        _select_short(state, sfi)
    ef = state.current_ef()
    if not ef.records:
        raise StatusError(apdu.STRUCTURE_CONFLICT)
    _check_read(state, ef.read)
    rows = split_records(ef)
    if command.p1 > len(rows):
        raise StatusError(apdu.NO_RECORD)
    chosen = rows[command.p1 - 1 :] if mode == 5 else rows[command.p1 - 1 : command.p1]
    return b"".join(chosen)[: command.expected]


def split_records(ef: Ef) -> list[bytes]:
    """The records of a record EF, each with its tag and length byte."""
    rows, at = [], 0
    while at < len(ef.content):
        end = at + 2 + ef.content[at + 1]
        rows.append(ef.content[at:end])
        at = end
    return rows


def get_data(state: ChipState, command: Command) -> bytes:
    """GET DATA of P1 P2: in the default state what the issuer domain holds, the ATR anywhere, and the card status.

    The ATR is that of the contacts, without TS, over either interface: a contactless reader makes up another one.
    """
    tag = command.p1 << 8 | command.p2
    value = _data_object(state, tag)
    room = apdu.SHORT_LE_MAX if command.expected is None else command.expected
    if len(value) > room:
        raise StatusError(apdu.WRONG_LENGTH)
    return value


def _data_object(state: ChipState, tag: int) -> bytes:
    if tag == ATR_TAG:
        return state.image.contact_atr[1:]
    if state.volatile.aid == ISD:
        if tag == STATUS_TAG:
            return tlv.encode(STATUS_TAG, _status(state))
        if tag == OWN_KEYS_TAG and state.image.life == "made":
            return tlv.encode(OWN_KEYS_TAG, b"".join(_own_keys(state)))
        ef = state.applet.ef(tag)
        if ef is not None and ef.content:
            return ef.content
    raise StatusError(apdu.NO_REFERENCE)


def _status(state: ChipState) -> bytes:
    image = state.image
    parts = [tlv.encode(CARD_ID_TAG, image.card_id.encode("ascii"))]
    parts.append(tlv.encode(LIFE_TAG, bytes((LIFE_STATES.index(image.life),))))
    last = image.last_write
    if last is not None:
        body = last.write_id + last.digest + bytes((last.committed,)) + last.step.encode("ascii")
        parts.append(tlv.encode(LAST_WRITE_TAG, body))
    for applet in image.applets:
        parts += _pin_status(applet)
    for domain in image.domains:
        parts.append(tlv.encode(SEQUENCE_TAG, domain.sequence.to_bytes(3, "big") + domain.aid))
    if state.volatile.staging is not None:
        parts.append(tlv.encode(STAGING_TAG, state.volatile.staging.write_id + state.volatile.staging.digest))
    return b"".join(parts)


def _pin_status(applet: Applet) -> list[bytes]:
    parts = []
    for pin in applet.pins:
        numbers = bytes((pin.fid, bool(pin.value), pin.tries_left, pin.tries_max))
        parts.append(tlv.encode(PIN_TAG, numbers + applet.aid))
        if pin.window:
            parts.append(tlv.encode(WINDOW_TAG, bytes((pin.fid,)) + pin.window + applet.aid))
    return parts


def _own_keys(state: ChipState) -> list[bytes]:
    """Of each filled slot whose key belongs to no person: file id (2), modulus (256), AID."""
    found = []
    for applet in state.image.applets:
        for key in applet.keys:
            if key.private_key and key.use in ("internal", "default"):
                modulus = state.rsa_key(key.private_key).public_key().public_numbers().n.to_bytes(MODULUS_LENGTH, "big")
                found.append(tlv.encode(OWN_KEY_TAG, key.fid.to_bytes(2, "big") + modulus + applet.aid))
    return found


def get_challenge(state: ChipState, command: Command) -> bytes:
    """GET CHALLENGE: Le random bytes, 1 to 256. The extended form is refused with 6985, as on real cards."""
    if command.p1 or command.p2:
        raise StatusError(apdu.WRONG_P1P2)
    if command.extended:
        raise StatusError(apdu.CONDITIONS)
    if command.data or command.expected is None:
        raise StatusError(apdu.WRONG_LENGTH)
    return state.entropy.random_bytes(command.expected)


def last_command(_state: ChipState, _command: Command) -> bytes:
    """80 FC, the iPhone's last-command indicator: real cards answer 6700."""
    raise StatusError(apdu.WRONG_LENGTH)
