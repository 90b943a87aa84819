"""Traces: transcripts in, words out; a PIN never."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lend_kit import Desk, run

from warifu.chip import client, layout
from warifu.chip.issuer import initialize_update
from warifu.domain.cards.chip_names import PIN_PLACES
from warifu.lend.trace import Decoder, Line, Trace, json_line, shown_command

SELECT_JPKI = "00A4040C0AD392F000260100000001"
TRANSCRIPT = [
    (SELECT_JPKI, "9000", "SELECT the JPKI applet", "done"),
    ("00A4040C0AD3921000310001010408", "9000", "SELECT the text applet", "done"),
    ("00A4040C05A000000308", "6A82", "SELECT an applet this card does not know, A000000308",
     "refused, 6A82: not found"),
    (SELECT_JPKI, "9000", "SELECT the JPKI applet", "done"),
    ("00A4020C020018", "9000", "SELECT authentication PIN (0018)", "done"),
    ("00200080", "63C3", "VERIFY without data: how many tries has authentication PIN (0018)", "3 tries left"),
    ("002000800430303030", "63C2", "VERIFY authentication PIN (0018) (hidden)", "wrong, 2 tries left"),
    ("002000800430303030", "63C1", "VERIFY authentication PIN (0018) (hidden)", "wrong, 1 try left"),
    ("002000800431323334", "9000", "VERIFY authentication PIN (0018) (hidden)", "accepted"),
    ("0020009B0431323334", "6984", "VERIFY signature password (001B) (hidden)", "refused, 6984: blocked, or never set"),
    ("00A4020C020017", "9000", "SELECT authentication key (0017)", "done"),
    ("802A00800430313233" + "00", "AA" * 256 + "9000", "SIGN with authentication key (0017): 4 bytes, as it is",
     "256 bytes"),
    ("00A4020C02000A", "9000", "SELECT authentication certificate (000A)", "done"),
    ("00B0000004", "308204FE9000", "READ BINARY of authentication certificate (000A) from 0, up to 4 bytes", "4 bytes"),
    ("00B0010000", "6B00", "READ BINARY of authentication certificate (000A) from 256, up to 256 bytes",
     "refused, 6B00: behind the end of the file"),
    ("00B0860020", "41" * 32 + "9000", "READ BINARY of token info (0006) from 0, up to 32 bytes", "32 bytes"),
    ("00CA004500", "57" * 15 + "9000", "GET DATA 0045, card id", "15 bytes"),
    ("00B2010C00", "011C9000", "READ RECORD 1 of signature certificate (0001), up to 256 bytes", "2 bytes"),
    ("8050300008" + "11" * 8 + "00", "00" * 32 + "9000", "INITIALIZE UPDATE: begin a channel (8 bytes)", "32 bytes"),
    ("84E0000018" + "22" * 24 + "00", "00" * 8 + "9000", "BEGIN a card write, in the channel (24 bytes, encrypted)",
     "8 bytes"),
    ("84F0000208" + "22" * 8 + "00", "00" * 8 + "9000", "SET LIFE STATE: in_use, in the channel", "8 bytes"),
    ("802C0018" + "51" + "33" * 81, "9000", "SET PIN through the window of authentication PIN (0018) (hidden)", "done"),
    ("00240180" + "04" + "39" * 4, "6982", "CHANGE signature certificate (0001) (hidden)",
     "refused, 6982: a PIN or channel is missing"),
    ("84DE0000" + "20" + "44" * 32 + "00", "00" * 8 + "9000", "PUT KEY, in the channel (32 bytes, encrypted)",
     "8 bytes"),
    ("84C20000" + "20" + "44" * 32 + "00", "6A84", "INSTALL APPLET, in the channel (32 bytes, encrypted)",
     "refused, 6A84: no space"),
    ("84CADF60" + "08" + "44" * 8 + "00", "00" * 8 + "9000", "GET DATA DF60, in the channel", "8 bytes"),
    ("80A206C1" + "02" + "7F21", "6986", "SET PUBLIC IC KEY: a terminal's certificate, its body (2 bytes)",
     "refused, 6986: no file is selected"),
    ("00CADF6100", "6A88", "GET DATA DF61, the chip's own public keys", "refused, 6A88: no such key or object"),
    ("00A4040C0AD3921000310001010408", "9000", "SELECT the text applet", "done"),
    ("802A000004" + "30313233" + "00", "AA" * 256 + "9000", "SIGN with default key (0013): 4 bytes, as it is",
     "256 bytes"),
    ("80AE000002" + "4444", "6982", "SET SESSION KEY (2 bytes)", "refused, 6982: a PIN or channel is missing"),
    ("0820009413" + "8611" + "01" + "55" * 16, "9000", "VERIFY verification number A (0014), in the session (hidden)",
     "accepted"),
    ("08A4020C13" + "8611" + "01" + "55" * 16, "9000", "SELECT an EF, in the session (its name is encrypted)", "done"),
    ("08B0000000000596030000000000", "86110155" + "9000",
     "READ BINARY of the file selected in the session from 0, in the session", "4 bytes"),
    ("0CB00000", "6987", "READ BINARY of the file selected in the session from 0, in the session",
     "refused, 6987: secured data is missing"),
    ("00A4040C0AD3921000310001010100", "9000", "SELECT the common applet", "done"),
    ("00B2010C00", "011C9000", "READ RECORD 1 of card id, municipality, expiry (0001), up to 256 bytes", "2 bytes"),
    ("00B2020400", "6A83", "READ RECORD 2 of card id, municipality, expiry (0001), up to 256 bytes",
     "refused, 6A83: no such record"),
    ("0088009904" + "31" * 4 + "00", "AA" * 256 + "9000",
     "INTERNAL AUTHENTICATE with key of INTERNAL AUTHENTICATE (0019) (4 bytes)", "256 bytes"),
    ("00FE0000", "6D00", "unknown command, CLA 00 INS FE", "refused, 6D00: unknown command"),
    ("0020008005313233", "6700", "a command whose lengths do not add up", "refused, 6700: wrong length"),
]  # fmt: skip


def test_a_transcript_in_words() -> None:
    decoder = Decoder()
    for command, response, words, answer in TRANSCRIPT:
        assert decoder.decode(bytes.fromhex(command), bytes.fromhex(response)) == (words, answer)


def test_a_refused_select_changes_nothing_and_a_reset_forgets() -> None:
    decoder = Decoder()
    decoder.decode(bytes.fromhex(SELECT_JPKI), b"\x90\x00")
    decoder.decode(bytes.fromhex("00A4020C020018"), b"\x6a\x82")
    assert decoder.decode(bytes.fromhex("00200080"), b"\x69\x86")[0].endswith("no file")
    decoder.reset()
    decoder.decode(bytes.fromhex("00A4020C020018"), b"\x90\x00")
    assert decoder.decode(bytes.fromhex("00200080"), b"\x69\x86")[0].endswith(" 0018")


@given(
    st.sampled_from([0x20, 0x24, 0x32, 0x2C, 0xD8, 0x21, 0x2D, 0x77]),
    st.integers(0, 255),
    st.binary(min_size=2, max_size=2),
    st.binary(min_size=4, max_size=40),
    st.sampled_from([b"", b"\x00"]),
)
def test_no_byte_of_a_body_that_may_be_secret_is_ever_shown(
    ins: int, cla: int, parameters: bytes, body: bytes, end: bytes
) -> None:
    """Whatever the class, the lengths or the parameters: after the header stands a mark, and nothing else."""
    for length in (bytes((len(body),)), b"", b"\x07"):
        command = bytes((cla, ins)) + parameters + length + body + end
        lines: list[Line] = []
        Trace(lambda: 0, lines.append).pair(command, b"\x90\x00")
        (line,) = lines
        assert line.command == command[:4].hex().upper() + "••"
        assert body.decode("latin-1") not in line.words + line.answer


def test_long_data_is_cut() -> None:
    assert shown_command(bytes.fromhex("00B0000000")) == "00B0000000"
    assert shown_command(b"\x80\x2a\x00\x80" + bytes(200)).endswith("… (200 bytes)")


def test_the_trace_of_a_login_holds_the_story_and_no_pin(desk: Desk) -> None:
    made = desk.card("adult")
    lines: list[Line] = []

    async def login() -> None:
        card = await desk.connect("adult")
        try:
            clock = iter(range(0, 10_000, 5))
            transmit = Trace(lambda: next(clock), lines.append).around(card.transmit)
            await client.verify_pin(transmit, *PIN_PLACES["signature"][0], made.pins["signature"])
            await client.read_ef(transmit, None, layout.SIGNATURE_CERTIFICATE)
            await client.select_applet(transmit, layout.ISD)
            await transmit(initialize_update(bytes(8)))
        finally:
            await card.close()

    run(login())
    saved = b"".join(json_line(line) for line in lines).decode()
    assert lines[2].words == "VERIFY signature password (001B) (hidden)"
    assert lines[2].answer == "accepted"
    assert "READ BINARY of signature certificate (0001) from 1024, up to 256 bytes" in saved
    assert made.pins["signature"] not in saved
    assert made.pins["signature"].encode().hex().upper() not in saved
    assert [json.loads(line)["number"] for line in saved.splitlines()] == list(range(1, len(lines) + 1))
    assert [line.at_ms for line in lines] == sorted(line.at_ms for line in lines)


MANUAL = (Path(__file__).parents[2] / "docs" / "card-manual.md").read_text(encoding="utf-8")
SECTIONS = {text.split(".")[0]: text for text in MANUAL.split("\n## ")[1:]}


def manual_commands() -> list[bytes]:
    """Class, instruction and parameters of every command the card manual names: sections 2, 5 and 6."""
    plain = {
        (cla, ins)
        for row in re.findall(r"^\|[^|]*\|([^|]*)\|", SECTIONS["2"], re.MULTILINE)
        for cla, ins in re.findall(r"`(00|80|84) ([0-9A-F]{2})", row)
    }
    plain |= set(re.findall(r"^    (80) ([0-9A-F]{2})", SECTIONS["6"], re.MULTILINE))
    rows = re.findall(r"^\| [A-Z][^|]*\| ([0-9A-F]{2}(?:, [0-9A-F]{2})*) ", SECTIONS["5"], re.MULTILINE)
    staged = {("84", ins) for row in rows for ins in row.split(", ")}
    plain |= set(re.findall(r"`(80|84) ([0-9A-F]{2})", SECTIONS["5"]))
    assert len(plain) >= 19
    assert len(staged) >= 19
    return [bytes.fromhex(cla + ins + "0000") for cla, ins in sorted(plain | staged)]


@pytest.mark.parametrize("command", manual_commands(), ids=bytes.hex)
def test_every_command_of_the_manual_has_words(command: bytes) -> None:
    words, _ = Decoder().decode(command, b"\x90\x00")
    assert "unknown command" not in words


def test_every_status_word_of_the_manual_has_words() -> None:
    for word in set(re.findall(r"\b6[0-9A-F]{3}\b", MANUAL)):
        _, answer = Decoder().decode(b"\x00\xa4\x00\x00", bytes.fromhex(word))
        assert ":" in answer, word


def test_every_file_pin_and_key_of_a_card_has_a_name() -> None:
    for applet in layout.factory_applets():
        numbers = {ef.fid for ef in applet.efs} | {pin.fid for pin in applet.pins}
        numbers |= {key.fid for key in applet.keys if key.use != "reserved"}
        for fid in numbers if applet.aid != layout.ISD else ():
            decoder = Decoder()
            decoder.decode(b"\x00\xa4\x04\x0c" + bytes((len(applet.aid),)) + applet.aid, b"\x90\x00")
            words, _ = decoder.decode(b"\x00\xa4\x02\x0c\x02" + fid.to_bytes(2, "big"), b"\x90\x00")
            assert "(" in words, words


@pytest.mark.parametrize("applet", [layout.JPKI, layout.FACE, layout.TEXT, layout.JUKI, layout.COMMON, layout.ISD])
def test_every_applet_has_a_name(applet: bytes) -> None:
    words, _ = Decoder().decode(b"\x00\xa4\x04\x0c" + bytes((len(applet),)) + applet, b"\x90\x00")
    assert words.startswith("SELECT the ")
