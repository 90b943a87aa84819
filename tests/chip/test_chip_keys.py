"""Keys that are not the holder's: default keys, INTERNAL AUTHENTICATE, the terminal CA; and key pairs made inside."""

import pytest
from chip_kit import (
    PINS,
    WRITE_ID,
    Card,
    SeededEntropy,
    blank_image,
    card_in_use,
    cv_body,
    jpki_part,
    modulus,
    pkcs8,
    rsa_key,
    run,
    sign,
)
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from warifu.chip import client, contents, issuer, keys, layout, personalise, tlv
from warifu.chip.card import Chip
from warifu.chip.errors import BadCardAnswer, BadContent
from warifu.chip.image import decode
from warifu.chip.terminal_keys import certificate_commands

DIGEST_INFO = bytes.fromhex("3031300D060960864801650304020105000420") + bytes(32)


def verified(key: rsa.RSAPrivateKey, answer: str, message: bytes) -> None:
    assert answer.endswith("9000")
    key.public_key().verify(bytes.fromhex(answer[:-4]), message, padding.PKCS1v15(), SHA256())


# --- default keys and INTERNAL AUTHENTICATE -----------------------------------------------------------------------


def test_text_and_face_sign_a_challenge_with_their_default_key_without_a_pin() -> None:
    card = card_in_use()
    for aid, name in ((layout.TEXT, "chip text"), (layout.FACE, "chip face")):
        card.select(aid)
        verified(rsa_key(name), card.send("802A0300" + "04" + b"tally".hex()[:8] + "00"), b"tall")
        assert card.send(f"802A0000{len(DIGEST_INFO):02X}{DIGEST_INFO.hex()}00").endswith("9000")
    card.select(layout.JPKI)
    assert card.send("802A0300" + "04" + "00" * 4 + "00") == "6A88"


def test_ef_0007_ties_the_text_key_to_the_certificate_in_ef_0004() -> None:
    card = card_in_use()
    run(client.verify_pin(card.transmit, layout.TEXT, layout.TEXT_PIN, PINS["text"]))
    signed = tlv.fields(run(client.read_ef(card.transmit, None, 7)))[0xFF50]
    certificate = tlv.fields(run(client.read_ef(card.transmit, None, 4)))[0x7F21]
    public, signature = tlv.parse(signed)
    body = tlv.fields(certificate)[0x5F4E]
    above = keys.parse_public_objects(body[32:])
    above.verify(signature.value, public.raw, padding.PKCS1v15(), SHA256())
    own = keys.parse_public_objects(public.value)
    card.select(layout.TEXT)
    answer = card.send("802A0300" + "04" + "01020304" + "00")
    own.verify(bytes.fromhex(answer[:-4]), bytes.fromhex("01020304"), padding.PKCS1v15(), SHA256())


def test_internal_authenticate_is_an_rsa_signature_over_the_challenge() -> None:
    card = card_in_use()
    card.select(layout.COMMON)
    for challenge in (b"\x00", b"c" * 255):
        answer = card.send(f"00880099{len(challenge):02X}{challenge.hex()}00")
        assert len(answer) == 2 * 258
        verified(rsa_key("chip internal"), answer, challenge)
        assert card.send(f"00880099{len(challenge):02X}{challenge.hex()}00") == answer
    assert card.send("0088009900") == "6700"
    assert card.send("00880199" + "0100") == "6A86"
    assert card.send("00880098" + "0100" + "00") == "6A88"


def test_other_keys_refuse_internal_authenticate() -> None:
    card = card_in_use()
    for aid, ref, word in ((layout.JPKI, "97", "6982"), (layout.TEXT, "93", "6985"), (layout.FACE, "9A", "6985")):
        card.select(aid)
        assert card.send(f"008800{ref}0400000000" + "00") == word


def test_a_card_without_chip_keys_says_that_they_are_not_there() -> None:
    key = personalise.new_card_key(SeededEntropy())
    statics = issuer.StaticKeys(enc=bytes(16), mac=bytes(16), dek=bytes(16))
    card = Card(personalise.manufacture("WRF000000000001", isd_keys=statics, jpki_keys=statics, card_key=key))
    card.select(layout.COMMON)
    assert card.send("008800990100" + "00") == "6A88"
    card.select(layout.TEXT)
    assert card.send("802A0300010000") == "6A88"
    with pytest.raises(BadContent):
        personalise.with_chip_keys(card.saved[0], personalise.ChipKeys(b"", b"", b"", b""))


def test_card_management_puts_a_key_into_a_slot() -> None:
    card = card_in_use()
    card.write(isd=[issuer.put_key(layout.COMMON, layout.COMMON_INTERNAL_KEY, pkcs8(rsa_key("new internal")))])
    card.select(layout.COMMON)
    verified(rsa_key("new internal"), card.send("008800990401020304" + "00"), bytes.fromhex("01020304"))
    for fid, key, word in ((0x1E, pkcs8(rsa_key("root")), 0x6A88), (0x19, b"no key", 0x6A80), (0x05, b"", 0x6A88)):
        card.chip.reset()
        put = issuer.put_key(layout.COMMON, fid, key)
        assert card.script(layout.ISD, [issuer.begin(layout.ISD, b"n" * 16), put]).status == word


# --- the terminal CA ----------------------------------------------------------------------------------------------


def certificate(issuer_id: str, subject: str, key: str, by: str) -> tuple[bytes, bytes]:
    """Both commands of one terminal certificate."""
    body = cv_body(issuer_id, subject, key)
    return certificate_commands(contents.cv_certificate(body, sign(rsa_key(by), body)))


def with_terminal_ca() -> Card:
    card = card_in_use()
    key_id = contents.key_id("9200073")
    card.write(jpki=[issuer.put_terminal_ca_key(key_id, modulus(rsa_key("terminal CA")))])
    card.select(layout.JPKI)
    card.send("00A4020C020016")
    return card


def show(card: Card, commands: tuple[bytes, bytes]) -> list[str]:
    return [card.chip.transmit(command).hex() for command in commands]


def test_a_chain_of_terminal_certificates_is_checked_link_by_link() -> None:
    card = with_terminal_ca()
    upper = certificate("9200073", "9299774", "terminal intermediate", by="terminal CA")
    lower = certificate("9299774", "9299775", "terminal", by="terminal intermediate")
    assert (len(upper[0]), upper[0][:10].hex()) == (7 + 307, "80a206c10001337f2182")
    assert upper[1][:7].hex() == "80a200c1000105"
    assert show(card, lower) == ["9000", "6a88"]
    assert show(card, upper) == ["9000", "9000"]
    assert show(card, lower) == ["9000", "9000"]
    card.select(layout.JPKI)
    card.send("00A4020C020016")
    assert show(card, lower) == ["9000", "6a88"]


def test_what_a_terminal_certificate_may_not_be() -> None:
    card = with_terminal_ca()
    good = certificate("9200073", "9299774", "terminal intermediate", by="terminal CA")
    assert show(card, certificate("9200073", "9299774", "terminal", by="root")) == ["9000", "6300"]
    assert card.chip.transmit(good[1]).hex() == "6985"
    assert card.chip.transmit(good[0][:-1] + b"").hex() == "6700"
    assert card.send("80A206C102" + "7F21") == "6A80"
    assert show(card, (good[0], good[1][:5] + b"\x00\x01" + b"\x00")) == ["9000", "6a80"]
    for p1p2 in ("0000", "00AE", "8000", "00B6"):
        assert card.send(f"80A2{p1p2}0100") == "6A86"
    card.send("00A4020C02000A")
    assert card.chip.transmit(good[0]).hex() == "6981"
    card.select(layout.JPKI)
    assert card.chip.transmit(good[0]).hex() == "6986"


def test_without_a_terminal_ca_key_there_is_nothing_to_check_with() -> None:
    card = card_in_use()
    card.select(layout.JPKI)
    card.send("00A4020C020016")
    assert show(card, certificate("9200073", "9299774", "terminal", by="terminal CA"))[0] == "6a88"
    bad = issuer.IssuerCommand(layout.JPKI, 0xDE, 0, 0, issuer.put_key(layout.JPKI, 0x16, b"too short").data)
    assert card.script(layout.JPKI, [issuer.begin(layout.JPKI, WRITE_ID), bad]).status == 0x6A80


# --- key pairs made on the chip -----------------------------------------------------------------------------------


def fresh(_: list[bytes] = []) -> bytes:  # noqa: B006 - counts calls
    _.append(b"")
    return pkcs8(rsa_key(f"made on the chip {len(_)}"))


def test_a_key_pair_made_on_the_chip_answers_its_public_half_and_works_after_commit() -> None:
    card = Card(blank_image())
    card.chip = Chip(blank_image(), card.saved.append, SeededEntropy(), make_key=fresh)
    generate = issuer.generate_key_pair("authentication")
    channel = card.channel(layout.JPKI)
    script = channel.script([issuer.begin(layout.JPKI, WRITE_ID), generate])
    result = run(client.run_script(card.transmit, script))
    assert result.ok
    made = issuer.read_generated_key(channel.read_responses(result.responses)[-1])
    slot = slot_of(card)
    assert slot == b""
    digest = issuer.running_digest(issuer.start_digest(WRITE_ID), [generate])
    assert card.script(layout.ISD, [issuer.begin(layout.ISD, WRITE_ID), issuer.commit(WRITE_ID, "key", digest)]).ok
    assert keys.modulus_of(slot_of(card)) == made


def slot_of(card: Card) -> bytes:
    applet = decode(card.saved[-1]).applet(layout.JPKI)
    assert applet is not None
    slot = applet.key(layout.AUTHENTICATION_KEY)
    assert slot is not None
    return slot.private_key


def test_a_generated_key_pair_is_as_staged_as_anything_else() -> None:
    card = Card()
    script = card.channel(layout.JPKI).script(
        [issuer.begin(layout.JPKI, WRITE_ID), issuer.generate_key_pair("signature")]
    )
    assert run(client.run_script(card.transmit, script)).ok
    card.chip.reset()
    card.write(write_id=b"another!" * 2, jpki=jpki_part()[:1])
    assert slot_of(card) == b""


def test_who_may_not_make_a_key_pair() -> None:
    card = Card()
    foreign = issuer.IssuerCommand(layout.ISD, 0x46, 0, 0x17, b"")
    assert card.script(layout.ISD, [issuer.begin(layout.ISD, WRITE_ID), foreign]).status == 0x6982
    for command, word in (
        (issuer.IssuerCommand(layout.JPKI, 0x46, 0, 0x16, b""), 0x6A86),
        (issuer.IssuerCommand(layout.JPKI, 0x46, 0, 0x17, b"x"), 0x6700),
    ):
        card.chip.reset()
        assert card.script(layout.JPKI, [issuer.begin(layout.JPKI, WRITE_ID), command]).status == word
    card.select(layout.JPKI)
    assert card.send("80460017") == "6982"


@pytest.mark.parametrize("answer", ["", "7F4902", "7F49008100", "7F4903810155"])
def test_an_answer_that_is_no_public_key(answer: str) -> None:
    with pytest.raises(BadCardAnswer):
        issuer.read_generated_key(bytes.fromhex(answer))


def test_a_key_made_by_the_library_is_one() -> None:
    keys.check_private_key(keys.generate_private_key())
