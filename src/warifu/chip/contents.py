"""What stands in the files of a card: pure builders, byte for byte as public clients read them.

Where a signature is part of a file, one function gives the bytes to be signed and the next takes the signature (256),
so that the key can be in an HSM. Public keys are given as RSA-2048 moduli (256 bytes) with exponent 65537.
Dates are eight ASCII digits, YYYYMMDD.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from warifu.chip import tlv
from warifu.chip.errors import BadContent

MODULUS_LENGTH: Final = 256
SIGNATURE_LENGTH: Final = 256
KEY_ID_LENGTH: Final = 16
_OFFSET_LENGTH: Final = 2
_LONG_FORM_FROM: Final = 0x80
_BASIC_INFO_LENGTH: Final = 256
_SHA256_OID: Final = bytes.fromhex("300D06096086480165030402010500")


def key_id(number: str) -> bytes:
    """A key identifier: seven ASCII digits, then fixed bytes as seen on test cards (their numbers begin with 6)."""
    return _exactly(7, number.encode("ascii")) + b"\x08\x05" + b"001" + bytes(4)


def rsa_public_key(modulus: bytes) -> bytes:
    """90 exponent, 91 modulus."""
    return _object(0x90, b"\x01\x00\x01") + _object(0x91, _exactly(MODULUS_LENGTH, modulus))


def _object(tag: int, value: bytes) -> bytes:
    """A data object as real cards write it: lengths from 128 on are always 82 and two bytes, also where 81 would do."""
    head = tag.to_bytes(2 if tag > 0xFF else 1, "big")
    return head + _length(len(value)) + value


def _length(count: int) -> bytes:
    return bytes((count,)) if count < _LONG_FORM_FROM else b"\x82" + count.to_bytes(2, "big")


def _exactly(count: int, value: bytes) -> bytes:
    if len(value) != count:
        raise BadContent(f"must be {count} bytes, is {len(value)}")
    return value


def _with_offsets(outer: int, table: int, items: Sequence[bytes]) -> bytes:
    """A file that begins with a table of where, from its start, each of ``items`` stands."""
    table_length = len(_object(table, bytes(_OFFSET_LENGTH * len(items))))
    body_length = table_length + sum(len(item) for item in items)
    at = 2 + len(_length(body_length)) + table_length
    offsets = b""
    for item in items:
        offsets += at.to_bytes(_OFFSET_LENGTH, "big")
        at += len(item)
    return _object(outer, _object(table, offsets) + b"".join(items))


# --- card-verifiable certificates ---------------------------------------------------------------------------------


def cv_certificate_body(issuer_key_id: bytes, subject_key_id: bytes, modulus: bytes) -> bytes:
    """What stands in a card-verifiable certificate's 5F4E object: 297 bytes, signed without tag and length."""
    ids = _exactly(KEY_ID_LENGTH, issuer_key_id) + _exactly(KEY_ID_LENGTH, subject_key_id)
    return ids + rsa_public_key(modulus)


def cv_certificate(body: bytes, signature: bytes) -> bytes:
    """7F21 {5F4E, 5F37}: 568 bytes. The signature is RSASSA-PKCS1-v1_5 with SHA-256 over ``body``."""
    return _object(0x7F21, cv_certificate_objects(body, signature))


def cv_certificate_objects(body: bytes, signature: bytes) -> bytes:
    """The same without its 7F21 header: what GET DATA 00F8 and 7F21 answer."""
    return _object(0x5F4E, body) + _object(0x5F37, _exactly(SIGNATURE_LENGTH, signature))


def card_key_body(card_id: str, point: bytes) -> bytes:
    """Our own: the bytes card management signs (RSA, SHA-256) to certify a card's P-256 key (65-byte point)."""
    return _object(0x5F20, card_id.encode("ascii")) + _object(0x86, _exactly(65, point))


def card_key_certificate(body: bytes, signature: bytes) -> bytes:
    """Our own: the card key's certificate, 7F21 {5F20, 86, 5F37}, for EF 0005 of the common applet."""
    return _object(0x7F21, body + _object(0x5F37, _exactly(SIGNATURE_LENGTH, signature)))


# --- text applet --------------------------------------------------------------------------------------------------


def text_individual_number(number: str) -> bytes:
    """EF 0001: FF10 with twelve digits and two filler bytes, 17 in all."""
    return _object(0xFF10, _exactly(12, number.encode("ascii"))) + b"\xff\xff"


def text_attributes(name: str, address: str, birth: str, sex: str) -> bytes:
    """EF 0002: name (U+3000 between its parts), address, birth (YYYYMMDD), sex ("1", "2", "9" or "0").

    Clients exist that only understand a body under 128 bytes; longer names and addresses are written all the same.
    """
    return _with_offsets(0xFF20, 0xDF21, _attribute_items(name, address, birth, sex))


def _attribute_items(name: str, address: str, birth: str, sex: str) -> tuple[bytes, ...]:
    return (
        _object(0xDF22, name.encode("utf-8")),
        _object(0xDF23, address.encode("utf-8")),
        _object(0xDF24, _exactly(8, birth.encode("ascii"))),
        _object(0xDF25, _exactly(1, sex.encode("ascii"))),
    )


def text_integrity_body(individual_number_file: bytes, attributes_file: bytes) -> bytes:
    """The to-be-signed part of EF 0003: DF31 over all of EF 0001, DF32 over the objects after EF 0002's table."""
    _, *objects = tlv.parse(tlv.fields(attributes_file)[0xFF20])
    attributes = b"".join(item.raw for item in objects)
    return _object(0xDF31, hashlib.sha256(individual_number_file).digest()) + _object(
        0xDF32, hashlib.sha256(attributes).digest()
    )


def text_integrity(body: bytes, signature: bytes) -> bytes:
    """EF 0003: 336 bytes. The signature is RSASSA-PKCS1-v1_5 with SHA-256 over ``body``."""
    return _object(0xFF30, body + _object(0xDF33, _exactly(SIGNATURE_LENGTH, signature)))


def text_basic_info(subject_key_id: bytes, opaque: bytes = b"\xff" * 128) -> bytes:
    """EF 0005: FF40 and filler to 256 bytes. What DF43 (128 bytes) means is not public; FF unless given."""
    info = _object(0xDF41, bytes.fromhex("01030E01"))
    key = _object(0xDF42, _exactly(KEY_ID_LENGTH, subject_key_id))
    return _object(0xFF40, info + key + _object(0xDF43, _exactly(128, opaque))).ljust(_BASIC_INFO_LENGTH, b"\xff")


def text_session_key(modulus: bytes) -> bytes:
    """EF 0006: A1 with the public key that session keys are encrypted to."""
    return _object(0xA1, rsa_public_key(modulus))


def text_signed_key_body(modulus: bytes) -> bytes:
    """The to-be-signed part of EF 0007: the public half of the key that signs without a PIN (0013)."""
    return _object(0xDF51, rsa_public_key(modulus))


def text_signed_key(body: bytes, signature: bytes) -> bytes:
    """EF 0007: FF50. RSASSA-PKCS1-v1_5 with SHA-256 over ``body``, by the key that EF 0004 certifies."""
    return _object(0xFF50, body + _object(0xDF52, _exactly(SIGNATURE_LENGTH, signature)))


# --- face applet --------------------------------------------------------------------------------------------------


def face_age_body(birth: str, modulus: bytes) -> bytes:
    """The to-be-signed part of EF 0001: birth (YYYYMMDD) and the public key."""
    return _object(0xDF11, _exactly(8, birth.encode("ascii"))) + _object(0xDF12, rsa_public_key(modulus))


def face_age(body: bytes, signature: bytes) -> bytes:
    """EF 0001: FF10, 547 bytes. RSASSA-PKCS1-v1_5 with SHA-256 over ``body``."""
    return _object(0xFF10, body + _object(0xDF13, _exactly(SIGNATURE_LENGTH, signature)))


class Face(Struct, frozen=True):
    """What is printed on the front: images are PNG (name, address, security code) and JPEG 2000 (photo)."""

    birth: str
    sex: str
    modulus: bytes
    name_png: bytes
    address_png: bytes
    photo_jpeg2000: bytes
    expiry: str
    security_code_png: bytes


def _face_segments(face: Face) -> tuple[tuple[bytes, ...], ...]:
    """The three groups the signature covers: DF22-24, DF25-26, DF27."""
    return (
        (
            _object(0xDF22, _exactly(8, face.birth.encode("ascii"))),
            _object(0xDF23, _exactly(1, face.sex.encode("ascii"))),
            _object(0xDF24, rsa_public_key(face.modulus)),
        ),
        (_object(0xDF25, face.name_png), _object(0xDF26, face.address_png)),
        (_object(0xDF27, face.photo_jpeg2000),),
    )


def face_digest_info(face: Face) -> bytes:
    """What is signed for EF 0002, PKCS#1 v1.5 padded *as it is*: a DigestInfo that holds three SHA-256s (96 bytes)."""
    digests = b"".join(hashlib.sha256(b"".join(group)).digest() for group in _face_segments(face))
    return tlv.encode(0x30, _SHA256_OID + tlv.encode(0x04, digests))


def face_record(face: Face, signature: bytes) -> bytes:
    """EF 0002: FF20 with an offset table and nine objects; expiry and security code stand after the signature."""
    items = [item for group in _face_segments(face) for item in group]
    items.append(_object(0xDF28, _exactly(SIGNATURE_LENGTH, signature)))
    items.append(_object(0xDF29, _exactly(8, face.expiry.encode("ascii"))))
    items.append(_object(0xDF2A, face.security_code_png))
    return _with_offsets(0xFF20, 0xDF21, items)


def face_basic_info(
    public_key_id: bytes, municipality: str, reference_key_id: bytes, opaque: bytes = b"\xff" * 256
) -> bytes:
    """EF 0003: FF30. ``municipality`` is five digits; what DF35's 256 bytes mean is not public; FF unless given."""
    return _object(
        0xFF30,
        _object(0xDF31, bytes.fromhex("06030E01"))
        + _object(0xDF32, _exactly(KEY_ID_LENGTH, public_key_id))
        + _object(0xDF33, b"\x01")
        + _object(0xDF34, _exactly(5, municipality.encode("ascii")))
        + _object(0xDF35, _exactly(KEY_ID_LENGTH, reference_key_id) + _exactly(256, opaque)),
    )


def face_number_body(number_png: bytes, modulus: bytes) -> bytes:
    """The to-be-signed part of EF 0005: the individual number as an image, and the public key."""
    return _object(0xDF41, number_png) + _object(0xDF42, rsa_public_key(modulus))


def face_number(body: bytes, signature: bytes) -> bytes:
    """EF 0005: FF40. RSASSA-PKCS1-v1_5 with SHA-256 over ``body``."""
    return _object(0xFF40, body + _object(0xDF43, _exactly(SIGNATURE_LENGTH, signature)))


# --- common, JPKI and issuer domain -------------------------------------------------------------------------------


def common_record(card_id: str, municipality: str, expiry: str) -> bytes:
    """EF 0001 of the common applet, one record: 01 1C, card id (15), municipality (5), expiry (8)."""
    text = _exactly(15, card_id.encode("ascii")) + _exactly(5, municipality.encode("ascii"))
    return record(0x01, text + _exactly(8, expiry.encode("ascii")))


def key_reference(key: bytes) -> bytes:
    """EF 0002 of the common and the juki applet, one record: a key id (16), the same in both. Its tag is inferred."""
    return record(0x01, _exactly(KEY_ID_LENGTH, key))


def record(tag: int, value: bytes) -> bytes:
    """One record of a record EF: tag, length, value (at most 255 bytes)."""
    return bytes((tag, len(value))) + value


def token_info(serial: str, *, manufacturer: str = "Warifu", model: str = "WARIFU1") -> bytes:
    """EF 0006 of the JPKI applet: a PKCS#11 CK_TOKEN_INFO as bytes, 160; its label is that of a real card."""
    text = b"".join(
        word.encode("ascii")[:width].ljust(width)
        for word, width in (("JPKIAPICCTOKEN2", 32), (manufacturer, 32), (model, 16), (serial, 16))
    )
    numbers = (0x40D, 1, 0, 1, 0, 16, 6, *(0xFFFFFFFF,) * 4)
    return text + b"".join(number.to_bytes(4, "big") for number in numbers) + b"03" + b"01" + b"9" * 16


def data_objects(
    card_id: str, municipality: str, expiry: str, issuer_key_id: bytes, chain: "CertificateChain | None" = None
) -> dict[int, bytes]:
    """What GET DATA answers in the default state: tag to content. Files of the issuer domain, to be put like EFs."""
    oid = _object(0x06, bytes.fromhex("2A864886FC6B01"))
    scp = _object(0x64, _object(0x06, bytes.fromhex("2A864886FC6B040330")))
    found = {
        0x0042: _exactly(KEY_ID_LENGTH, issuer_key_id),
        0x0045: _exactly(15, card_id.encode("ascii")),
        0x0066: _object(0x66, _object(0x73, oid + scp)),
        0x00F0: _exactly(5, municipality.encode("ascii")),
        0x00F2: _exactly(8, expiry.encode("ascii")),
    }
    if chain is None:
        return found
    found[0x00F7] = _exactly(KEY_ID_LENGTH, chain.intermediate_key_id)
    found[0x00F8] = cv_certificate_objects(*chain.upper)
    return found if chain.lower is None else found | {0x7F21: cv_certificate_objects(*chain.lower)}


class CertificateChain(Struct, frozen=True):
    """The card-verifiable certificates of the default state, root to intermediate and on, each (body, signature).

    There are cards without a ``lower`` one.
    """

    intermediate_key_id: bytes
    upper: tuple[bytes, bytes]
    lower: tuple[bytes, bytes] | None
