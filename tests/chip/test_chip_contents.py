"""Card files, byte for byte (card.md 1.3)."""

import hashlib

import pytest
from chip_kit import NUMBER_A, certificate, face, modulus, rsa_key, sign
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

from warifu.chip import contents, tlv
from warifu.chip.errors import BadContent

SIGNATURE = bytes(256)
KEY_ID = contents.key_id("6000024")


def test_sizes_that_clients_read_blindly() -> None:
    number = contents.text_individual_number(NUMBER_A)
    attributes = contents.text_attributes("割符　花子", "東京都清瀬市", "19800217", "2")
    integrity = contents.text_integrity(contents.text_integrity_body(number, attributes), SIGNATURE)
    assert len(number) == 17
    assert (len(integrity), integrity[:5].hex()) == (336, "ff3082014b")
    cv = contents.cv_certificate(contents.cv_certificate_body(KEY_ID, KEY_ID, bytes(256)), SIGNATURE)
    assert (len(cv), cv[:10].hex()) == (568, "7f218202335f4e820129")
    assert len(contents.text_basic_info(KEY_ID)) == 256
    age = contents.face_age(contents.face_age_body("19800217", bytes(256)), SIGNATURE)
    assert age[:5].hex() == "ff1082021e"
    assert contents.common_record("WRF000000000001", "13221", "20350217")[:2].hex() == "011c"
    assert contents.face_basic_info(KEY_ID, "13221", KEY_ID)[:4].hex() == "ff308201"


def test_integrity_covers_the_whole_number_file_and_the_attributes_without_their_table() -> None:
    number = contents.text_individual_number(NUMBER_A)
    attributes = contents.text_attributes("a", "b", "19800217", "1")
    body = tlv.fields(contents.text_integrity_body(number, attributes))
    assert body[0xDF31] == hashlib.sha256(number).digest()
    assert attributes[:3].hex() == "ff20" + f"{len(attributes) - 3:02x}"
    assert body[0xDF32] == hashlib.sha256(attributes[14:]).digest()


def test_face_has_ten_children_in_order_and_a_signature_over_three_digests() -> None:
    info = contents.face_digest_info(face())
    assert info[:2].hex() == "3071"
    raw = contents.face_record(face(), sign(rsa_key("management"), b"x"))
    outer = next(tlv.parse(raw))
    children = list(tlv.parse(outer.value))
    assert [child.tag for child in children] == [0xDF21, *range(0xDF22, 0xDF2B)]
    table = children[0].value
    starts = [int.from_bytes(table[at : at + 2], "big") for at in range(0, len(table), 2)]
    assert [int.from_bytes(raw[at : at + 2], "big") for at in starts] == list(range(0xDF22, 0xDF2B))
    groups = (children[1:4], children[4:6], children[6:7])
    digests = b"".join(hashlib.sha256(b"".join(child.raw for child in group)).digest() for group in groups)
    assert info.endswith(digests)
    assert children[3].value == contents.rsa_public_key(modulus(rsa_key("chip face")))


def test_token_info_is_a_ck_token_info() -> None:
    info = contents.token_info("WRF000000000001")
    assert len(info) == 160
    assert info[:32] == b"JPKIAPICCTOKEN2".ljust(32)
    assert info[96:100].hex() == "0000040d"
    assert info[100:124].hex() == "".join(f"{n:08x}" for n in (1, 0, 1, 0, 16, 6))
    assert info[124:] == b"\xff" * 16 + b"03" + b"01" + b"9" * 16


def test_a_number_image_is_signed_with_its_key() -> None:
    body = contents.face_number_body(b"\x89PNG", modulus(rsa_key("chip face")))
    file = tlv.fields(contents.face_number(body, sign(rsa_key("management"), body)))[0xFF40]
    objects = list(tlv.parse(file))
    key = rsa_key("management").public_key()
    key.verify(objects[2].value, objects[0].raw + objects[1].raw, padding.PKCS1v15(), SHA256())
    assert [item.tag for item in objects] == [0xDF41, 0xDF42, 0xDF43]


@pytest.mark.parametrize("bad", ["12345678901", "1234567890123"])
def test_lengths_are_checked(bad: str) -> None:
    with pytest.raises(BadContent):
        contents.text_individual_number(bad)
    assert certificate("authentication", "auth CA").startswith(b"\x30\x82")


@pytest.mark.parametrize("bad", ["30", "3080", "3084000000", "3002ff", "1f", "1f8101", "5f20"])
def test_malformed_tlv_is_refused(bad: str) -> None:
    with pytest.raises(tlv.TlvError):
        list(tlv.parse(bytes.fromhex(bad)))
