"""Applets in the free area: INSTALL APPLET and DELETE APPLET, staged, by card management.

An applet is a description: its files, PINs and keys with their rules; it runs no code of its own. It may bring a
security domain of its own: then its owner, not card management, writes it, inside a card write card management commits.

    4F AID, then any number of
    A1 { 51 file id, 8C who reads, 83 01 when it holds records }
    A2 { 51 file id, 80 kind, 81 tries, 82 how it is changed }
    A3 { 51 file id, 84 use, 83 the PIN it needs }
    AE { enc (16), mac (16), dek (16) }: once at most, its own domain's keys
"""

from typing import Final, get_args

from warifu.chip import apdu, tlv
from warifu.chip.apdu import Command, StatusError
from warifu.chip.changing import ACCESS_TAG, APPLET_TAG, FID_TAG, access, fields, file_id, management_only
from warifu.chip.image import Applet, Change, Domain, Ef, Image, Key, KeyUse, Pin, PinChange, PinKind
from warifu.chip.layout import BUILT_IN, ISD, LOADED_MAX
from warifu.chip.scp03 import KEY_LENGTH, StaticKeys

INSTALL_APPLET: Final = 0xC2
DELETE_APPLET: Final = 0xC4
EF_TAG, PIN_TAG, KEY_TAG, DOMAIN_TAG = 0xA1, 0xA2, 0xA3, 0xAE
KIND_TAG, TRIES_TAG, CHANGE_TAG, MARK_TAG, USE_TAG = 0x80, 0x81, 0x82, 0x83, 0x84
PIN_KINDS: Final[tuple[PinKind, ...]] = get_args(PinKind)
PIN_CHANGES: Final[tuple[PinChange, ...]] = get_args(PinChange)
KEY_USES: Final[tuple[KeyUse, ...]] = get_args(KeyUse)
AID_MIN, AID_MAX = 5, 16
PARTS_MAX: Final = 32
TRIES_MAX: Final = 15


def describe(applet: Applet, domain_keys: StaticKeys | None = None) -> bytes:
    """The data of INSTALL APPLET for an applet without contents, values or keys."""
    parts = [tlv.encode(APPLET_TAG, applet.aid)]
    parts += [tlv.encode(EF_TAG, _describe_ef(ef)) for ef in applet.efs]
    parts += [tlv.encode(PIN_TAG, _describe_pin(pin)) for pin in applet.pins]
    parts += [tlv.encode(KEY_TAG, _describe_key(key)) for key in applet.keys]
    if domain_keys is not None:
        parts.append(tlv.encode(DOMAIN_TAG, domain_keys.enc + domain_keys.mac + domain_keys.dek))
    return b"".join(parts)


def _fid(fid: int) -> bytes:
    return tlv.encode(FID_TAG, fid.to_bytes(2, "big"))


def _describe_ef(ef: Ef) -> bytes:
    rule = b"" if ef.read.free else bytes(ef.read.refs) or b"\xff"
    mark = tlv.encode(MARK_TAG, b"\x01") if ef.records else b""
    return _fid(ef.fid) + tlv.encode(ACCESS_TAG, rule) + mark


def _describe_pin(pin: Pin) -> bytes:
    kind, change = bytes((PIN_KINDS.index(pin.kind),)), bytes((PIN_CHANGES.index(pin.change),))
    tries = tlv.encode(TRIES_TAG, bytes((pin.tries_max,)))
    return _fid(pin.fid) + tlv.encode(KIND_TAG, kind) + tries + tlv.encode(CHANGE_TAG, change)


def _describe_key(key: Key) -> bytes:
    use = tlv.encode(USE_TAG, bytes((KEY_USES.index(key.use),)))
    return _fid(key.fid) + use + tlv.encode(MARK_TAG, bytes((key.pin,)))


def install_applet(command: Command, domain: bytes) -> Change:
    """INSTALL APPLET. 6A80 not a description; 6985 the name is taken, or begins or is begun by one; 6A84 no room."""
    management_only(domain)
    applet, own = _parse(command)

    def change(image: Image) -> Image:
        if any(old.aid.startswith(applet.aid) or applet.aid.startswith(old.aid) for old in image.applets):
            raise StatusError(apdu.CONDITIONS)
        if len(image.applets) - len(BUILT_IN) >= LOADED_MAX:
            raise StatusError(apdu.NO_SPACE)
        return image.with_new_applet(applet, own)

    return change


def delete_applet(command: Command, domain: bytes) -> Change:
    """DELETE APPLET: 4F AID. 6A82 not there; 6985 one that every card has."""
    management_only(domain)
    aid, _ = fields(command)

    def change(image: Image) -> Image:
        if aid in BUILT_IN:
            raise StatusError(apdu.CONDITIONS)
        if image.applet(aid) is None:
            raise StatusError(apdu.NOT_FOUND)
        return image.without_applet(aid)

    return change


def _parse(command: Command) -> tuple[Applet, Domain | None]:
    aid, found = fields(command)
    if command.p1 or command.p2 or not AID_MIN <= len(aid) <= AID_MAX:
        raise StatusError(apdu.WRONG_DATA)
    items = tuple(tlv.parse(command.data))
    if len(items) > PARTS_MAX or any(item.tag not in _KNOWN for item in items):
        raise StatusError(apdu.WRONG_DATA)
    own = _domain(aid, found[DOMAIN_TAG]) if DOMAIN_TAG in found else None
    applet = Applet(
        aid,
        aid if own else ISD,
        efs=tuple(_ef(tlv.fields(item.value)) for item in items if item.tag == EF_TAG),
        pins=tuple(_pin(tlv.fields(item.value)) for item in items if item.tag == PIN_TAG),
        keys=tuple(_key(tlv.fields(item.value)) for item in items if item.tag == KEY_TAG),
    )
    _check(applet)
    return applet, own


_KNOWN: Final = frozenset((APPLET_TAG, EF_TAG, PIN_TAG, KEY_TAG, DOMAIN_TAG))


def _check(applet: Applet) -> None:
    """Every number is used once, and every rule names a PIN that is there."""
    pins = {pin.fid for pin in applet.pins}
    fids = [*(ef.fid for ef in applet.efs), *pins, *(key.fid for key in applet.keys)]
    named = {ref for ef in applet.efs for ref in ef.read.refs} | {key.pin for key in applet.keys if key.pin}
    if len(set(fids)) != len(applet.efs) + len(applet.pins) + len(applet.keys) or not named <= pins:
        raise StatusError(apdu.WRONG_DATA)


def _domain(aid: bytes, raw: bytes) -> Domain:
    if len(raw) != 3 * KEY_LENGTH:
        raise StatusError(apdu.WRONG_DATA)
    return Domain(aid, StaticKeys(enc=raw[:16], mac=raw[16:32], dek=raw[32:]))


def _byte(found: dict[int, bytes], tag: int, top: int) -> int:
    """A field of one byte, 0 when it is missing. 6A80 above ``top``."""
    raw = found.get(tag, b"\x00")
    if len(raw) != 1 or raw[0] > top:
        raise StatusError(apdu.WRONG_DATA)
    return raw[0]


def _ef(found: dict[int, bytes]) -> Ef:
    if ACCESS_TAG not in found:
        raise StatusError(apdu.WRONG_DATA)
    return Ef(file_id(found), access(found[ACCESS_TAG]), records=_byte(found, MARK_TAG, 1) == 1)


def _pin(found: dict[int, bytes]) -> Pin:
    kind = PIN_KINDS[_byte(found, KIND_TAG, len(PIN_KINDS) - 1)]
    change = PIN_CHANGES[_byte(found, CHANGE_TAG, len(PIN_CHANGES) - 1)]
    tries = _byte(found, TRIES_TAG, TRIES_MAX)
    if not tries or file_id(found) > 0x1E:
        raise StatusError(apdu.WRONG_DATA)
    return Pin(file_id(found), kind, tries, change)


def _key(found: dict[int, bytes]) -> Key:
    use = KEY_USES[_byte(found, USE_TAG, len(KEY_USES) - 1)]
    return Key(file_id(found), _byte(found, MARK_TAG, 0x1E), use=use)
