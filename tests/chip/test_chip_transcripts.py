"""Transcripts: what each public client sends, byte for byte, and what it is answered.

Taken from the clients' own code: myna in Rust (0.7.1: reader.rs, jpki.rs, text.rs, visual.rs, unknown.rs) and in Go
(0.5.1: libmyna), jpki-rs (0.4.3: core/src), pyjpki (pyjpki/card.py). Each test is one thing a user does with it.
"""

import hashlib
from functools import cache

import pytest
from chip_kit import (
    ADDRESS,
    CARD_ID,
    NAME,
    NUMBER_A,
    PINS,
    Card,
    card_in_use,
    certificate,
    rsa_key,
)
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

from warifu.chip import layout, tlv

SELECT_JPKI = ("00A4040C0AD392F000260100000001", "9000")
SELECT_TEXT = ("00A4040C0AD3921000310001010408", "9000")
SELECT_FACE = ("00A4040C0AD3921000310001010402", "9000")
SELECT_COMMON = ("00A4040C0AD3921000310001010100", "9000")
TOKEN = b"JPKIAPICCTOKEN2".ljust(32)
DIGEST_INFO = bytes.fromhex("3031300D060960864801650304020105000420") + hashlib.sha256(b"tally").digest()

Exchange = tuple[str, str]


def select(fid: int) -> Exchange:
    return f"00A4020C02{fid:04X}", "9000"


def verify(pin: str, answer: str = "9000") -> Exchange:
    return f"00200080{len(pin):02X}{pin.encode().hex()}", answer


def read(content: bytes, at: int, expected: int) -> Exchange:
    """READ BINARY; ``expected`` 256 is Le 00."""
    return f"00B0{at:04X}{expected & 0xFF:02X}", content[at : at + expected].hex() + "9000"


def pieces(content: bytes, start: int, end: int) -> list[Exchange]:
    """From ``start`` to ``end``: Le 00 while more than 255 are left, then exactly what is left."""
    found = []
    while start < end:
        left = end - start
        found.append(read(content, start, 256 if left > 255 else left))
        start += min(256, left)
    return found


def signed(card: Card, exchange: str) -> bytes:
    answer = card.send(exchange)
    assert answer.endswith("9000")
    assert len(answer) == 2 * 258
    return bytes.fromhex(answer[:-4])


def sign_command() -> str:
    return f"802A008033{DIGEST_INFO.hex()}00"


def check_signature(signature: bytes, name: str = "signature") -> None:
    rsa_key(name).public_key().verify(signature, b"tally", padding.PKCS1v15(), SHA256())


def talk(card: Card, *exchanges: Exchange) -> None:
    for number, (command, answer) in enumerate(exchanges):
        assert card.send(command) == answer.upper(), (number, command)


@cache
def content(aid: bytes, fid: int) -> bytes:
    applet = card_in_use().chip.image.applet(aid)
    assert applet is not None
    ef = applet.ef(fid)
    assert ef is not None
    return ef.content


def whole_object(raw: bytes) -> int:
    """The length of the object a file begins with, header included."""
    first = next(tlv.parse(raw[: len(raw)]))
    return len(first.raw)


AUTH_CERT = certificate("authentication", "auth CA")
SIGN_CERT = certificate("signature", "signature CA")


# --- myna, Rust -----------------------------------------------------------------------------------------------------

RUST_OPENS_JPKI = (SELECT_JPKI, select(0x0006), ("00B0000020", TOKEN.hex() + "9000"))
"""Every use of the applet begins with the token's name."""


def rust_reads_all(raw: bytes) -> list[Exchange]:
    """``read_binary_all``: seven bytes, then the rest of the object."""
    return [read(raw, 0, 7), *pieces(raw, 7, whole_object(raw))]


def test_myna_rust_reads_a_certificate() -> None:
    talk(card_in_use(), *RUST_OPENS_JPKI, select(0x000A), *rust_reads_all(AUTH_CERT))


def test_myna_rust_reads_the_signature_certificate_after_its_password_only() -> None:
    card = card_in_use()
    talk(card, *RUST_OPENS_JPKI, select(0x0001), ("00B0000007", "6982"))
    talk(card, select(0x001B), verify(PINS["signature"]), select(0x0001), *rust_reads_all(SIGN_CERT))


def test_myna_rust_signs_a_cms_with_the_password_shown_first() -> None:
    card = card_in_use()
    talk(card, *RUST_OPENS_JPKI, select(0x001B), verify(PINS["signature"]))
    talk(card, select(0x0001), *rust_reads_all(SIGN_CERT), select(0x001A))
    check_signature(signed(card, sign_command()))


def test_myna_rust_asks_for_the_status_of_seven_pins() -> None:
    talk(
        card_in_use(),
        SELECT_TEXT,
        *(step for fid, left in ((0x11, 3), (0x14, 10), (0x15, 10)) for step in (select(fid), empty(left))),
        SELECT_FACE,
        *(step for fid in (0x13, 0x12) for step in (select(fid), empty(10))),
        *RUST_OPENS_JPKI,
        *(step for fid, left in ((0x18, 3), (0x1B, 5)) for step in (select(fid), empty(left))),
    )


def empty(left: int) -> Exchange:
    return "00200080", f"63C{left:X}"


def test_myna_rust_changes_pins() -> None:
    card = card_in_use()
    talk(card, SELECT_TEXT, select(0x11), verify(PINS["text"]), ("0024018004" + b"1111".hex(), "9000"))
    talk(card, *RUST_OPENS_JPKI, select(0x18), verify(PINS["authentication"]), ("0024018004" + b"2222".hex(), "9000"))
    talk(card, *RUST_OPENS_JPKI, select(0x1B), verify(PINS["signature"]), ("0024018006" + b"NEW001".hex(), "9000"))
    talk(card, SELECT_TEXT, select(0x11), verify(PINS["text"], "63C2"), verify("1111"))


def test_myna_rust_reads_number_and_attributes() -> None:
    card = card_in_use()
    number = b"\xff\x10\x0c" + NUMBER_A.encode() + b"\xff\xff"
    talk(card, SELECT_TEXT, select(0x11), verify(PINS["text"]), select(1), ("00B0000011", number.hex() + "9000"))
    attributes = content(layout.TEXT, 2)
    assert attributes[6:8] == b"\x00\x0e"
    assert NAME.encode() in attributes
    assert ADDRESS.encode() in attributes
    talk(card, SELECT_TEXT, select(0x11), verify(PINS["text"]), select(2), *rust_reads_all(attributes))


def test_myna_rust_reads_what_the_applets_say_about_themselves() -> None:
    text, face = content(layout.TEXT, 5), content(layout.FACE, 3)
    assert text[:5].hex() == "ff4082009f"  # the very header in its own test
    assert [item.tag for item in tlv.parse(next(tlv.parse(face)).value)] == [0xDF31, 0xDF32, 0xDF33, 0xDF34, 0xDF35]
    talk(card_in_use(), SELECT_TEXT, select(5), *rust_reads_all(text[: whole_object(text)]))
    talk(card_in_use(), SELECT_FACE, select(3), *rust_reads_all(face))


def test_myna_rust_reads_the_face_with_the_individual_number() -> None:
    face = content(layout.FACE, 2)
    assert [item.tag for item in tlv.parse(next(tlv.parse(face)).value)] == list(range(0xDF21, 0xDF2B))
    talk(card_in_use(), SELECT_FACE, select(0x13), verify(NUMBER_A), select(2), *rust_reads_all(face))


def test_myna_rust_prints_the_makers_number() -> None:
    record = b"\x01\x1c" + CARD_ID.encode() + b"13221" + b"20350217"
    talk(card_in_use(), SELECT_COMMON, ("00B2010C00", record.hex() + "9000"))


# --- myna, Go -------------------------------------------------------------------------------------------------------


def go_reads(raw: bytes) -> list[Exchange]:
    """Seven bytes for the size, then all of it from the beginning."""
    return [read(raw, 0, 7), *pieces(raw, 0, whole_object(raw))]


def test_myna_go_checks_the_card_by_its_token() -> None:
    talk(card_in_use(), SELECT_JPKI, select(6), select(6), ("00B0000020", TOKEN.hex() + "9000"))


def test_myna_go_reads_certificates() -> None:
    talk(card_in_use(), SELECT_JPKI, select(0x0A), *go_reads(AUTH_CERT))
    talk(card_in_use(), SELECT_JPKI, select(0x1B), verify(PINS["signature"]), select(0x01), *go_reads(SIGN_CERT))


def test_myna_go_reads_fixed_sizes_and_never_an_empty_9000() -> None:
    """Its loop has no way out of an empty answer: past the end must be an error."""
    card = card_in_use()
    talk(card, SELECT_TEXT, select(0x11), verify(PINS["text"]))
    talk(card, select(1), *pieces(content(layout.TEXT, 1), 0, 17))
    talk(card, select(2), *go_reads(content(layout.TEXT, 2)))
    talk(card, select(3), *pieces(content(layout.TEXT, 3), 0, 336))
    talk(card, select(4), *pieces(content(layout.TEXT, 4), 0, 568))
    talk(card, select(5), *pieces(content(layout.TEXT, 5), 0, 256), ("00B0010000", "6B00"))


def test_myna_go_signs() -> None:
    card = card_in_use()
    talk(card, SELECT_JPKI, select(0x1B), verify(PINS["signature"]), select(0x1A))
    check_signature(signed(card, sign_command()))


def test_myna_go_asks_for_pins_and_reads_the_face() -> None:
    card = card_in_use()
    talk(
        card,
        SELECT_JPKI,
        select(0x18),
        empty(3),
        select(0x1B),
        empty(5),
        select(6),
        read(content(layout.JPKI, 6), 0, 32),
    )
    talk(card, SELECT_FACE, select(0x13), empty(10), select(0x12), empty(10))
    talk(card, SELECT_TEXT, select(0x11), empty(3), select(0x14), empty(10), select(0x15), empty(10))
    talk(card, SELECT_FACE, select(0x13), verify(NUMBER_A), select(2), *go_reads(content(layout.FACE, 2)))


def test_myna_go_understands_a_blocked_pin() -> None:
    card = card_in_use()
    talk(card, SELECT_TEXT, select(0x11), *(verify("0000", f"63C{left}") for left in (2, 1, 0)))
    talk(card, verify("0000", "6984"), verify(PINS["text"], "6984"), empty(0))


# --- jpki-rs --------------------------------------------------------------------------------------------------------


def twice(*exchanges: Exchange) -> list[Exchange]:
    """It offers a buffer that has no room for the status word, and when that is noticed the command has been sent."""
    return [again for exchange in exchanges for again in (exchange, exchange)]


def test_jpki_rs_reads_a_certificate_sending_everything_twice() -> None:
    talk(card_in_use(), *twice(SELECT_JPKI, select(0x0A), *go_reads(AUTH_CERT)))


def test_jpki_rs_signs_twice_and_both_are_the_same() -> None:
    card = card_in_use()
    talk(card, *twice(SELECT_JPKI, select(0x18), verify(PINS["authentication"]), select(0x17)))
    first, second = (signed(card, sign_command()) for _ in range(2))
    assert first == second
    check_signature(first, "authentication")


def test_jpki_rs_spends_two_tries_on_one_wrong_pin() -> None:
    card = card_in_use()
    talk(card, *twice(SELECT_JPKI, select(0x18)), verify("0000", "63C2"), verify("0000", "63C1"))
    talk(card, *twice(select(0x18), empty(1)))


def test_jpki_rs_reads_number_attributes_and_face() -> None:
    card = card_in_use()
    talk(
        card,
        *twice(SELECT_TEXT, select(0x11), verify(PINS["text"]), select(1), *pieces(content(layout.TEXT, 1), 0, 17)),
    )
    talk(card, *twice(select(0x11), verify(PINS["text"]), select(2), *go_reads(content(layout.TEXT, 2))))
    talk(card, *twice(SELECT_FACE, select(0x13), verify(NUMBER_A), select(2), *go_reads(content(layout.FACE, 2))))


# --- pyjpki -----------------------------------------------------------------------------------------------------------


def py_reads(raw: bytes) -> list[Exchange]:
    """255 bytes at a time until 6B00."""
    found = [read(raw, at, 255) for at in range(0, len(raw), 255)]
    return [*found, (f"00B0{len(raw):04X}FF", "6B00")]


def py_verifies(df: Exchange, fid: int, pin: str) -> list[Exchange]:
    return [df, select(fid), verify(pin)]


def lenient() -> Card:
    return card_in_use(strict=False)


def test_pyjpki_reads_certificates() -> None:
    talk(card_in_use(), SELECT_JPKI, select(0x0A), *py_reads(AUTH_CERT))
    showing = py_verifies(SELECT_JPKI, 0x1B, PINS["signature"])
    talk(lenient(), *showing, SELECT_JPKI, select(0x01), *py_reads(SIGN_CERT))
    talk(card_in_use(), *showing, SELECT_JPKI, select(0x01), ("00B00000FF", "6982"))


@pytest.mark.parametrize(("fid", "key", "name"), [(0x18, 0x17, "authentication"), (0x1B, 0x1A, "signature")])
def test_pyjpki_signs_after_selecting_the_applet_again(fid: int, key: int, name: str) -> None:
    """Its DigestInfo has no NULL parameters (its ASN.1 library leaves them out): the card signs what it is given."""
    short = bytes.fromhex("302F300B06096086480165030402010420") + hashlib.sha256(b"tally").digest()
    command = f"802A008031{short.hex()}00"
    card = lenient()
    talk(card, *py_verifies(SELECT_JPKI, fid, PINS[name]), SELECT_JPKI, select(key))
    signature = signed(card, command)
    assert rsa_key(name).public_key().recover_data_from_signature(signature, padding.PKCS1v15(), None) == short
    strict = card_in_use()
    talk(strict, *py_verifies(SELECT_JPKI, fid, PINS[name]), SELECT_JPKI, select(key), (command, "6982"))


def test_pyjpki_reads_attributes_with_one_read_and_one_length_byte() -> None:
    attributes = content(layout.TEXT, 2)
    assert attributes[2] == len(attributes) - 3
    card = lenient()
    talk(card, *py_verifies(SELECT_TEXT, 0x11, PINS["text"]))
    talk(card, SELECT_TEXT, select(2), ("00B0000000", attributes.hex() + "9000"))


def test_pyjpki_takes_63_for_a_wrong_pin() -> None:
    talk(card_in_use(), SELECT_JPKI, select(0x18), verify("9999", "63C2"))
