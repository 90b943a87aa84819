"""What public clients send, and what they need back (card.md 1.4 and 1.6)."""

import hashlib

import pytest
from chip_kit import (
    ADDRESS,
    CARD_ID,
    NAME,
    NUMBER_A,
    NUMBER_B,
    PINS,
    Card,
    card_in_use,
    certificate,
    rsa_key,
    run,
    spki,
)
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256

from warifu.chip import client, layout

DIGEST_INFO = bytes.fromhex("3031300D060960864801650304020105000420")
SELECT_JPKI = "00A4040C0AD392F000260100000001"
SELECT_TEXT = "00A4040C0AD3921000310001010408"


def test_opensc_reads_a_certificate_by_header_then_body() -> None:
    card = card_in_use()
    assert card.send(SELECT_JPKI) == "9000"
    assert card.send("00A4020C02000A") == "9000"
    head = card.send("00B0000004")
    assert head.startswith("3082")
    size = int(head[4:8], 16) + 4
    body = "".join(card.send(f"00B0{at:04X}{min(size - at, 231):02X}")[:-4] for at in range(0, size, 231))
    assert bytes.fromhex(body) == certificate("authentication", "auth CA")


def test_the_signature_ca_file_is_longer_than_its_certificate() -> None:
    card = card_in_use()
    card.send(SELECT_JPKI)
    card.send("00A4020C020002")
    whole = bytes.fromhex(card.send("00B00000000000")[:-4])
    der = certificate("signature CA", "signature CA")
    assert (len(whole), whole.rstrip(b"\x00")) == (1900, der.rstrip(b"\x00"))
    assert card.send("00B0076B00") == "009000"
    assert card.send("00B0076C00") == "6B00"


def test_empty_verify_never_says_9000() -> None:
    card = card_in_use()
    card.send(SELECT_JPKI)
    card.send("00A4020C020018")
    assert card.send("00200080") == "63C3"
    assert card.send("0020008004" + PINS["authentication"].encode().hex()) == "9000"
    assert card.send("00200080") == "63C3"
    assert card.send("0020008000") == "63C3"


def test_opensc_signs_a_digest_info_with_both_keys() -> None:
    card = card_in_use()
    message = b"tally"
    info = DIGEST_INFO + hashlib.sha256(message).digest()
    for key, pin_ef, pin, name in (("0017", "0018", "1234", "authentication"), ("001A", "001B", "ABC123", "signature")):
        card.send(SELECT_JPKI)
        card.send(f"00A4020C02{key}")
        assert card.send(f"802A0080{len(info):02X}{info.hex()}00") == "6982"
        card.send(f"00A4020C02{pin_ef}")
        assert card.send(f"00200080{len(pin):02X}{pin.encode().hex()}") == "9000"
        card.send(f"00A4020C02{key}")
        answer = card.send(f"802A0080{len(info):02X}{info.hex()}00")
        assert answer.endswith("9000")
        signature = bytes.fromhex(answer[:-4])
        rsa_key(name).public_key().verify(signature, message, padding.PKCS1v15(), SHA256())


def test_opensc_logout_is_a_reselect() -> None:
    card = card_in_use()
    run(client.verify_pin(card.transmit, layout.JPKI, layout.SIGNATURE_PIN, PINS["signature"]))
    card.send("00A4020C020001")
    assert card.send("00B0000004").endswith("9000")
    card.send(SELECT_JPKI)
    card.send("00A4020C020001")
    assert card.send("00B0000004") == "6982"


def test_pyjpki_reselects_after_verify_and_needs_the_lenient_profile() -> None:
    for strict, expected in ((True, "6982"), (False, "9000")):
        card = card_in_use(strict=strict)
        card.send(SELECT_TEXT)
        card.send("00A4020C020011")
        assert card.send("0020008004" + PINS["text"].encode().hex()) == "9000"
        card.send(SELECT_TEXT)
        card.send("00A4020C020002")
        assert card.send("00B0000000")[-4:] == expected


def test_pyjpki_reads_with_ff_until_6b00() -> None:
    card = card_in_use()
    card.send(SELECT_JPKI)
    card.send("00A4020C02000A")
    content, answer, at = b"", "", 0
    while (answer := card.send(f"00B0{at:04X}FF"))[-4:] == "9000":
        content += bytes.fromhex(answer[:-4])
        at += 0xFF
    assert answer == "6B00"
    assert content == certificate("authentication", "auth CA")


def test_myna_reads_fixed_sizes_of_the_text_applet() -> None:
    card = card_in_use()
    run(client.verify_pin(card.transmit, layout.TEXT, layout.TEXT_PIN, PINS["text"]))
    card.send("00A4020C020001")
    assert card.send("00B0000011") == "FF100C" + NUMBER_A.encode().hex().upper() + "FFFF9000"
    card.send("00A4020C020003")
    assert len(card.send("00B0000000")) == 2 * 258
    assert len(card.send("00B0010000")) == 2 * (336 - 256 + 2)
    card.send("00A4020C020005")
    assert len(card.send("00B0000000")) == 2 * 258


def test_attributes_stand_where_the_offset_table_says() -> None:
    card = card_in_use()
    run(client.verify_pin(card.transmit, layout.TEXT, layout.TEXT_PIN, PINS["text"]))
    raw = run(client.read_ef(card.transmit, None, 2))
    offsets = [int.from_bytes(raw[6 + 2 * n : 8 + 2 * n], "big") for n in range(4)]
    assert offsets[0] == 0x0E
    assert [raw[at : at + 2].hex() for at in offsets] == ["df22", "df23", "df24", "df25"]
    assert NAME.encode() in raw
    assert ADDRESS.encode() in raw


def test_myna_prints_the_card_id_from_the_common_record() -> None:
    card = card_in_use()
    card.send("00A4040C0AD3921000310001010100")
    record = bytes.fromhex(card.send("00B2010C00")[:-4])
    assert record[:2] == b"\x01\x1c"
    assert record[2:17].decode() == CARD_ID
    assert card.send("00B2020C00") == "6A83"
    card.send("00A4020C020001")
    assert card.send("00B2010500").startswith("011C")
    assert card.send("00B0000000") == "6981"


def test_pin_status_of_every_reference_myna_asks_for() -> None:
    card = card_in_use()
    for aid, refs in (
        (layout.TEXT, {0x11: 3, 0x12: 0, 0x14: 10, 0x15: 10}),
        (layout.FACE, {0x13: 10, 0x12: 10, 0x11: 10}),
        (layout.JPKI, {0x18: 3, 0x1B: 5}),
        (layout.COMMON, {0x1C: 3}),
        (layout.JUKI, {0x1C: 3}),
    ):
        for ref, tries in refs.items():
            assert run(client.tries_left(card.transmit, aid, ref)) == tries


def test_verification_numbers_open_complementary_files() -> None:
    card = card_in_use()
    for ref, value, opened in ((layout.TEXT_NUMBER_A, NUMBER_A, {1, 3}), (layout.TEXT_NUMBER_B, NUMBER_B, {2, 3})):
        run(client.verify_pin(card.transmit, layout.TEXT, ref, value))
        for fid in (1, 2, 3):
            card.send(f"00A4020C02{fid:04X}")
            assert card.send("00B0000001")[-4:] == ("9000" if fid in opened else "6982")


@pytest.mark.parametrize("name", ["A0000003080000", "A00000000101", "D27600012401", "D392F000260100000002", "D392F0"])
def test_unknown_names_are_not_found(name: str) -> None:
    assert Card().send(f"00A40400{len(name) // 2:02X}{name}") == "6A82"


def test_select_by_prefix_and_with_fci() -> None:
    card = Card()
    assert card.send("00A4040C07D392F000260100") == "9000"
    assert card.send("00A404000AD392F00026010000000100") == "6F0C840AD392F0002601000000019000"


def test_select_master_file_oddities() -> None:
    card = Card()
    assert card.send("00A40000") == "6A86"
    card.select(layout.JPKI)
    assert card.send("00A40000") == "9000"
    assert card.send("00A40000023F00") == "6A82"
    card.send("00A4020C020018")
    assert card.send("00A40000") == "9000"
    assert card.send("00200080") == "63C0"


def test_file_rules() -> None:
    card = card_in_use()
    assert card.send("00A4020C02000A") == "6986"
    assert card.send("00B0000004") == "6986"
    card.select(layout.JPKI)
    assert card.send("00B0000004") == "6986"
    assert card.send("00A4020C02EEEE") == "6A82"
    assert card.send("00A4000C02000A") == "6A82"
    assert card.send("00B08A0004").startswith("3082")
    assert card.send("00B0000004").startswith("3082")
    assert card.send("00B07FFF01") == "6B00"
    assert len(card.send("00B00000000000")) > 2 * 258
    card.send("00A4020C020018")
    assert card.send("00B0000004") == "6981"


def test_get_data_of_the_default_state() -> None:
    card = card_in_use()
    assert bytes.fromhex(card.send("00CA004500")[:-4]).decode() == CARD_ID
    assert card.send("00CA00F000") == b"13221".hex() + "9000"
    assert card.send("00CA00F700").startswith(b"6000002".hex())
    assert card.send("00CA00F800") == "6700"
    for tag in ("00F8", "7F21"):
        assert card.send(f"00CA{tag}000000").startswith("5F4E820129")
    assert card.send("00CA00F300") == "6A88"
    assert card.send("00CADF6000") == "6700"
    assert card.send("00CADF60000000")[-4:] == "9000"
    card.select(layout.JPKI)
    assert card.send("00CA5F5100") == layout.CONTACT_ATR[1:].hex().upper() + "9000"
    assert card.send("00CA004500") == "6A88"


def test_other_signature_modes() -> None:
    card = card_in_use()
    run(client.verify_pin(card.transmit, layout.JPKI, layout.AUTHENTICATION_PIN, "1234"))
    public = rsa_key("authentication").public_key()
    digest = hashlib.sha256(b"tally").digest()
    hashed, plain = f"20{digest.hex()}00", f"05{b'tally'.hex()}00"
    pss = padding.PSS(padding.MGF1(SHA256()), 32)
    for p1, body, form in (
        ("02", hashed, padding.PKCS1v15()),
        ("03", plain, padding.PKCS1v15()),
        ("04", hashed, pss),
        ("05", plain, pss),
    ):
        public.verify(bytes.fromhex(card.send(f"802A{p1}97{body}"))[:-2], b"tally", form, SHA256())
    bare = int.from_bytes(bytes.fromhex(card.send(f"802A0197{plain}"))[:-2], "big")
    numbers = public.public_numbers()
    assert pow(bare, numbers.e, numbers.n).to_bytes(256, "big")[-33:] == b"\x00" + digest
    assert card.send(f"802A0697{plain}") == "6A86"
    assert card.send(f"802A0297{plain}") == "6700"
    assert card.send(f"802A0000{plain}") == "6A88"
    assert card.send("802A0097F6" + "00" * 246 + "00") == "6700"


@pytest.mark.parametrize(("le", "word"), [("", "9000"), ("00", "9000"), ("FF", "6700"), ("01", "6700")])
def test_a_signature_fits_what_was_asked_for_or_is_not_given(le: str, word: str) -> None:
    card = card_in_use()
    run(client.verify_pin(card.transmit, layout.JPKI, layout.AUTHENTICATION_PIN, "1234"))
    answer = card.send(f"802A009705{b'tally'.hex()}{le}")
    assert (answer[-4:], len(answer)) == (word, 2 * 258 if word == "9000" else 4)
    card.select(layout.COMMON)
    assert card.send(f"0088009905{b'tally'.hex()}{le}")[-4:] == word


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("802A0397" + "000005" + b"tally".hex() + "0100", "9000"),  # extended Lc and Le
        ("802A0397" + "000005" + b"tally".hex() + "0000", "9000"),
        ("802A0397" + "000005" + b"tally".hex() + "00FF", "6700"),
        ("802A0397" + "000005" + b"tally".hex(), "9000"),
        ("802A0397" + "00012C" + "55" * 300 + "0100", "9000"),  # more than a short command holds
        ("802A0097" + "0000F5" + "55" * 245 + "0100", "9000"),
        ("802A0097" + "0000F6" + "55" * 246 + "0100", "6700"),
        ("00B0000000" + "0100", "9000"),
        ("00B0000000" + "0000", "9000"),
        ("00B0000000" + "00", "6700"),
        ("00B00000", "6700"),
        ("00B0000001" + "AA", "6700"),
        ("0020009800" + "0004" + "31323334", "9000"),
        ("0020009804" + "31323334" + "00", "9000"),
        ("0020009805" + "31323334", "6700"),
        ("00200098" + "11" + "31" * 17, "6700"),
        ("10A4040C02" + "D392", "6E00"),
        ("01A4040C0A" + "D392F000260100000001", "6E00"),
        ("00C0000000", "6D00"),
        ("00A404", "6700"),
    ],
)
def test_lengths_short_and_extended(command: str, word: str) -> None:
    card = card_in_use()
    run(client.verify_pin(card.transmit, layout.JPKI, layout.AUTHENTICATION_PIN, "1234"))
    card.send("00A4020C02000A")
    assert card.send(command)[-4:] == word
    card.send(SELECT_JPKI)
    assert card.send("00200098") == "63C3"


def test_card_proves_its_certified_key() -> None:
    async def prove(card: Card) -> None:
        key = await client.read_card_key(card.transmit, spki(rsa_key("management")))
        assert key.card_id == CARD_ID
        await client.prove_card(card.transmit, key, b"challenge")

    run(prove(card_in_use()))


def test_get_challenge() -> None:
    card = Card()
    assert len(card.send("0084000008")) == 20
    assert len(card.send("0084000000")) == 2 * 258
    assert card.send("00840000") == "6700"
    assert card.send("00840000000101") == "6985"
    assert card.send("00840001" + "08") == "6A86"
