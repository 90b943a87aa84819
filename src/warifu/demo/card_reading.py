"""What a resident, an official with a reader or the checker reads from a card: over APDUs, knowing nothing else."""

import hashlib
from typing import Final

from msgspec import Struct

from warifu.chip import client, layout, tlv
from warifu.chip.errors import BadCardAnswer
from warifu.contract.values import CertificateKind, PinName
from warifu.domain.cards.chip_names import PIN_PLACES
from warifu.ports.reader import Connection

DIGEST_INFO: Final = bytes.fromhex("3031300D060960864801650304020105000420")
"""DER of a SHA-256 DigestInfo up to the digest (RFC 8017 section 9.2, note 1)."""
CERTIFICATE_FILES: Final[dict[CertificateKind, int]] = {
    "signature": layout.SIGNATURE_CERTIFICATE,
    "authentication": layout.AUTHENTICATION_CERTIFICATE,
}
_NUMBER_FIELD: Final = slice(3, 15)
_ID_LENGTH, _CODE_LENGTH, _DATE_LENGTH = 15, 5, 8


class Text(Struct, frozen=True, kw_only=True):
    """What the text applet shows to its PIN."""

    number: str
    name: str
    address: str
    birth: str
    sex: str

    def __repr__(self) -> str:
        """Without personal data."""
        return "Text(<hidden>)"


class Common(Struct, frozen=True):
    """The common applet's record, free to read. Dates are YYYYMMDD, the municipality has five digits."""

    card_id: str
    municipality: str
    expiry: str


async def present_pin(connection: Connection, pin: PinName, value: str) -> None:
    """Show the chip a PIN; its applet is selected. ``WrongPin``, ``PinBlocked`` or ``CardRefused`` otherwise."""
    aid, reference = PIN_PLACES[pin][0]
    await client.verify_pin(connection.transmit, aid, reference, value)


async def read_text(connection: Connection, pin: str) -> Text:
    """The text applet: individual number and the four particulars."""
    await present_pin(connection, "text", pin)
    number = await client.read_ef(connection.transmit, None, 0x0001)
    attributes = await client.read_ef(connection.transmit, None, 0x0002)
    try:
        fields = tlv.fields(tlv.fields(attributes)[0xFF20])
        return Text(
            number=number[_NUMBER_FIELD].decode("ascii"),
            name=fields[0xDF22].decode("utf-8"),
            address=fields[0xDF23].decode("utf-8"),
            birth=fields[0xDF24].decode("ascii"),
            sex=fields[0xDF25].decode("ascii"),
        )
    except (tlv.TlvError, KeyError, UnicodeDecodeError):
        raise BadCardAnswer("the text applet's files are not what they should be") from None


async def read_common(connection: Connection) -> Common:
    """The common applet's record."""
    raw = await client.read_record(connection.transmit, layout.COMMON, layout.COMMON_RECORD)
    text = raw[2:].decode("ascii", errors="replace")
    if len(text) != _ID_LENGTH + _CODE_LENGTH + _DATE_LENGTH:
        raise BadCardAnswer("the common applet's record has another length")
    return Common(text[:_ID_LENGTH], text[_ID_LENGTH:-_DATE_LENGTH], text[-_DATE_LENGTH:])


async def read_resident_code(connection: Connection, pin: str) -> str:
    """The resident record code in the juki applet."""
    await present_pin(connection, "juki", pin)
    return (await client.read_ef(connection.transmit, None, layout.JUKI_RESIDENT_CODE)).decode("ascii", "replace")


async def read_certificate(connection: Connection, kind: CertificateKind, pin: str = "") -> bytes:
    """A certificate (DER); the one for signatures needs its PIN."""
    if kind == "signature":
        await present_pin(connection, "signature", pin)
        return await client.read_ef(connection.transmit, None, CERTIFICATE_FILES[kind])
    return await client.read_ef(connection.transmit, layout.JPKI, CERTIFICATE_FILES[kind])


async def sign(connection: Connection, kind: CertificateKind, pin: str, message: bytes) -> tuple[bytes, bytes]:
    """Sign a message on the chip after its PIN; the certificate (DER) and the signature (PKCS#1 v1.5, SHA-256)."""
    await present_pin(connection, kind, pin)
    certificate = await client.read_ef(connection.transmit, None, CERTIFICATE_FILES[kind])
    digest = hashlib.sha256(message).digest()
    return certificate, await client.sign_digest(connection.transmit, kind, DIGEST_INFO + digest)


async def tries_left(connection: Connection, pin: PinName) -> int:
    """Tries left of a PIN."""
    aid, reference = PIN_PLACES[pin][0]
    return await client.tries_left(connection.transmit, aid, reference)
