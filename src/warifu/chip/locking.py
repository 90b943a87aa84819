"""JICSAP's administration commands, staged: UNLOCK KEY, LOCK DF, UNLOCK DF, MANAGE ATTRIBUTES.

Their numbers are JICSAP's; what real cards want in their data is not public. In the clear they answer as real cards do.
"""

from typing import Final

import msgspec

from warifu.chip import apdu
from warifu.chip.apdu import Command, StatusError
from warifu.chip.changing import ACCESS_TAG, access, fields, file_id, own_applet, pin_of
from warifu.chip.image import Change, Image
from warifu.chip.layout import ISD
from warifu.chip.state import ChipState

LOCK_DF: Final = 0x50
UNLOCK_DF: Final = 0x52
UNLOCK_KEY: Final = 0x54
MANAGE_ATTRIBUTES: Final = 0x8A
_EF_ATTRIBUTES, _DF_ATTRIBUTES = 0x22, 0x24


def unlock_key(command: Command, domain: bytes) -> Change:
    """UNLOCK KEY: 4F applet, P2 the PIN; its tries are full again, its value stays. 6985 when it was never set."""
    aid, _ = fields(command)

    def change(image: Image) -> Image:
        applet = own_applet(image, aid, domain)
        pin = pin_of(applet, command.p2)
        if not pin.value:
            raise StatusError(apdu.CONDITIONS)
        return image.with_applet(applet.with_pin(msgspec.structs.replace(pin, tries_left=pin.tries_max)))

    return change


def lock_df(command: Command, domain: bytes) -> Change:
    """LOCK DF: 4F applet. The issuer domain's own cannot be locked (6985)."""
    return _set_lock(command, domain, locked=True)


def unlock_df(command: Command, domain: bytes) -> Change:
    """UNLOCK DF: 4F applet."""
    return _set_lock(command, domain, locked=False)


def _set_lock(command: Command, domain: bytes, *, locked: bool) -> Change:
    aid, _ = fields(command)
    if aid == ISD:
        raise StatusError(apdu.CONDITIONS)

    def change(image: Image) -> Image:
        applet = own_applet(image, aid, domain)
        return image.with_applet(msgspec.structs.replace(applet, locked=locked))

    return change


def manage_attributes(command: Command, domain: bytes) -> Change:
    """MANAGE ATTRIBUTES, P1 22: 4F applet, 51 EF, 8C who reads it from now on. P1 24, of a DF: nothing to change."""
    if command.p1 == _DF_ATTRIBUTES:
        raise StatusError(apdu.NOT_SUPPORTED)
    if command.p1 != _EF_ATTRIBUTES:
        raise StatusError(apdu.WRONG_P1P2)
    aid, found = fields(command)
    fid, rule = file_id(found), found.get(ACCESS_TAG)
    if rule is None:
        raise StatusError(apdu.WRONG_DATA)

    def change(image: Image) -> Image:
        applet = own_applet(image, aid, domain)
        ef = applet.ef(fid)
        if ef is None:
            raise StatusError(apdu.NOT_FOUND)
        return image.with_applet(applet.with_ef(msgspec.structs.replace(ef, read=access(rule))))

    return change


def issuer_only(_state: ChipState, command: Command) -> bytes:
    """Any of them without a channel: 6982; MANAGE ATTRIBUTES of anything but a current EF or DF: 6A86."""
    if command.ins == MANAGE_ATTRIBUTES and command.p1 not in (_EF_ATTRIBUTES, _DF_ATTRIBUTES):
        raise StatusError(apdu.WRONG_P1P2)
    raise StatusError(apdu.SECURITY_STATUS)
