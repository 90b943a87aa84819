"""What the staged commands have in common: naming an applet, a file, a PIN, an access rule."""

from warifu.chip import apdu, tlv
from warifu.chip.apdu import Command, StatusError
from warifu.chip.image import Access, Applet, Ef, Image, Pin
from warifu.chip.layout import ISD
from warifu.chip.reading import split_records

APPLET_TAG = 0x4F
FID_TAG = 0x51
VALUE_TAG = 0x53
ACCESS_TAG = 0x8C
NOBODY = 0xFF
"""In an access field: nobody reads."""


def fields(command: Command) -> tuple[bytes, dict[int, bytes]]:
    """The applet named in the data, and all fields. 6A80 without 4F."""
    found = tlv.fields(command.data)
    aid = found.get(APPLET_TAG)
    if aid is None:
        raise StatusError(apdu.WRONG_DATA)
    return aid, found


def file_id(found: dict[int, bytes]) -> int:
    """The file id in 51. 6A80 without it."""
    raw = found.get(FID_TAG, b"")
    if len(raw) != 2:
        raise StatusError(apdu.WRONG_DATA)
    return int.from_bytes(raw, "big")


def own_applet(image: Image, aid: bytes, domain: bytes) -> Applet:
    """The applet, if this domain's owner writes it: else 6982; 6A82 when it is not on the card."""
    applet = image.applet(aid)
    if applet is None:
        raise StatusError(apdu.NOT_FOUND)
    if applet.domain != domain:
        raise StatusError(apdu.SECURITY_STATUS)
    return applet


def pin_of(applet: Applet, ref: int) -> Pin:
    """The PIN; 6A88 when there is none."""
    pin = applet.pin(ref)
    if pin is None:
        raise StatusError(apdu.NO_REFERENCE)
    return pin


def management_only(domain: bytes) -> None:
    """6982 unless card management's domain asks."""
    if domain != ISD:
        raise StatusError(apdu.SECURITY_STATUS)


def access(field: bytes) -> Access:
    """An access field: references that may read; empty: all; FF: nobody."""
    if field == bytes((NOBODY,)):
        return Access()
    return Access(refs=tuple(field), free=not field)


def check_records(ef: Ef) -> None:
    """6A80 unless the content is a row of whole records."""
    try:
        rows = split_records(ef)
    except IndexError as error:
        raise StatusError(apdu.WRONG_DATA) from error
    if sum(len(row) for row in rows) != len(ef.content) or any(len(row) != row[1] + 2 for row in rows):
        raise StatusError(apdu.WRONG_DATA)
