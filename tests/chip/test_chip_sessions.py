"""SET SESSION KEY and secure messaging in the text applet, as measured on real cards."""

import hashlib

import pytest
from chip_kit import NUMBER_A, PINS, Card, card_in_use, rsa_key, run
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from warifu.chip import apdu, client, contents, layout, tlv
from warifu.chip.sessions import TerminalMessages

SEED = bytes(range(100, 132))
PUBLIC = rsa_key("chip session").public_key()


def with_pin() -> Card:
    card = card_in_use()
    run(client.verify_pin(card.transmit, layout.TEXT, layout.TEXT_PIN, PINS["text"]))
    return card


def opened() -> tuple[Card, TerminalMessages]:
    card, messages = with_pin(), TerminalMessages(SEED)
    assert card.chip.transmit(messages.deliver(PUBLIC)).hex() == "9000"
    return card, messages


def sealed_by_hand(counter: int, plain: bytes) -> bytes:
    """The arithmetic once more, from its description: nothing of the code under test."""
    key = SEED[:16]
    iv = Cipher(algorithms.AES(key), modes.CBC(bytes(16))).encryptor().update(counter.to_bytes(16, "big"))
    padded = plain + b"\x80" + bytes(-(len(plain) + 1) % 16)
    return Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor().update(padded)


def test_the_public_key_is_in_ef_0006_behind_the_pin() -> None:
    card = card_in_use()
    card.select(layout.TEXT)
    card.send("00A4020C020006")
    assert card.send("00B0000000") == "6982"
    card = with_pin()
    assert run(client.read_ef(card.transmit, None, 6)) == contents.text_session_key(
        PUBLIC.public_numbers().n.to_bytes(256, "big")
    )


def test_the_first_commands_of_a_session_byte_for_byte() -> None:
    """VERIFY of number A, SELECT and READ of the individual number: the commands myna-card sends."""
    card, _ = opened()
    verify = sealed_by_hand(1, NUMBER_A.encode())
    assert card.send("08200094" + "13" + "861101" + verify.hex()) == "9000"
    select = sealed_by_hand(2, b"\x00\x01")
    assert card.send("08A4020C" + "13" + "861101" + select.hex()) == "9000"
    answer = card.send("08B00000" + "000005" + "9603000000" + "0000")
    content = b"\xff\x10\x0c" + NUMBER_A.encode() + b"\xff\xff"
    assert answer.lower() == "862101" + sealed_by_hand(3, content).hex() + "9000"


def test_a_terminal_reads_long_files_in_one_piece_and_parts() -> None:
    card, messages = opened()
    assert card.chip.transmit(messages.select_ef(3)).hex() == "9000"
    whole = messages.open(card.chip.transmit(messages.read_binary(0))[:-2])
    part = messages.open(card.chip.transmit(messages.read_binary(100, 20))[:-2])
    assert len(whole) == 336
    assert part == whole[100:120]
    assert whole == run(client.read_ef(card.transmit, None, 3))


def test_a_failed_verify_is_spent_and_counted_and_the_session_lives() -> None:
    card, messages = opened()
    assert card.chip.transmit(messages.verify(layout.TEXT_PIN, b"0000")).hex() == "63c2"
    assert card.chip.transmit(messages.verify(layout.TEXT_BLOCKED, b"0000")).hex() == "6984"
    assert card.chip.transmit(messages.verify(layout.TEXT_PIN, PINS["text"].encode())).hex() == "9000"


def test_plain_commands_between_do_not_move_the_counter() -> None:
    card, messages = opened()
    card.send("00A4020C020001")
    assert card.send("00B0000011").endswith("9000")
    assert card.chip.transmit(messages.select_ef(1)).hex() == "9000"
    assert messages.open(card.chip.transmit(messages.read_binary(0))[:-2]).startswith(b"\xff\x10")


@pytest.mark.parametrize(
    "wrong",
    [
        "08200094" + "05" + "9603000000",  # the object of READ on VERIFY
        "08B00000" + "13" + "861101" + "00" * 16 + "00",  # and the other way round
        "08200094" + "13" + "861102" + "00" * 16,  # another padding indicator
        "08200094" + "13" + "861101" + "00" * 16,  # a wrong counter or key: the padding does not come off
        "08200094" + "26" + ("861101" + "00" * 16) * 2,  # two objects
        "08B00000" + "04" + "96020000" + "00",  # another length of length
        "08200094" + "02" + "8640",  # runs past the end
    ],
)
def test_a_wrong_object_ends_the_session(wrong: str) -> None:
    card, messages = opened()
    assert card.send(wrong) == "6988"
    assert card.chip.transmit(messages.select_ef(1)).hex() == "69fc"
    assert card.chip.transmit(messages.verify(0x11, b"1")).hex() == "69fc"


def test_a_header_in_the_checksum_or_no_object_at_all_is_6987() -> None:
    for command in ("0C200094" + "13" + "861101" + "00" * 16, "08200094"):
        card, messages = opened()
        assert card.send(command) == "6987"
        assert card.chip.transmit(messages.select_ef(1)).hex() == "69fc"


def test_without_a_session_each_command_has_its_own_refusal() -> None:
    card = with_pin()
    assert card.send("08A4020C13" + "861101" + "00" * 16) == "6882"
    assert card.send("08B0000005960300000000") == "69FC"
    assert card.send("0C20009413" + "861101" + "00" * 16) == "69FC"
    assert card.send("082A0080") == "6882"


def test_the_pin_comes_first_in_the_clear() -> None:
    card = card_in_use()
    deliver = TerminalMessages(SEED).deliver(PUBLIC)
    card.select(layout.TEXT)
    assert card.chip.transmit(deliver).hex() == "6982"
    run(client.verify_pin(card.transmit, layout.TEXT, layout.TEXT_NUMBER_A, NUMBER_A))
    assert card.chip.transmit(deliver).hex() == "6982"


def test_what_is_delivered_must_be_an_encryption_key_and_nothing_else() -> None:
    card = with_pin()
    assert card.chip.transmit(TerminalMessages(SEED).deliver(rsa_key("signature").public_key())).hex() in (
        "6a80",
        "6f00",
    )
    assert card.send("80AE0000" + "000100" + "FF" * 256) == "6F00"
    assert card.send("80AE0000" + "01" + "00") == "6A80"
    assert card.send("80AE0100" + "01" + "00") == "6A86"


def test_a_session_ends_with_select_by_name_and_reset() -> None:
    for end in ("select", "reset"):
        card, messages = opened()
        if end == "select":
            card.select(layout.TEXT)
        else:
            card.chip.reset()
            card.select(layout.TEXT)
        assert card.chip.transmit(messages.verify(0x11, b"1234")).hex() == "69fc"


def test_the_other_applets_refuse_each_in_its_own_way() -> None:
    card = card_in_use()
    deliver = TerminalMessages(SEED).deliver(PUBLIC)
    for aid, word in (
        (layout.COMMON, "66f1"),
        (layout.FACE, "66f1"),
        (layout.ISD, "66f1"),
        (layout.JPKI, "6982"),
        (layout.JUKI, "6982"),
    ):
        card.select(aid)
        assert card.chip.transmit(deliver).hex() == word
        assert card.send("08B0000005960300000000") == "69FC"


def test_a_terminals_objects_are_as_short_as_they_can_be() -> None:
    messages = TerminalMessages(SEED)
    command = apdu.parse(messages.verify(0x14, NUMBER_A.encode()))
    assert (command.cla, command.p2, len(command.data)) == (0x08, 0x94, 0x13)
    assert next(tlv.parse(command.data)).tag == 0x86
    assert hashlib.sha256(SEED).digest() not in command.data
    with pytest.raises(ValueError, match="32 bytes"):
        TerminalMessages(b"short")
