"""Traces: transcripts in, words out; a PIN never."""

import json

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
    ("00240180" + "04" + "39" * 4, "6982", "CHANGE authentication certificate (000A) (hidden)",
     "refused, 6982: a PIN or channel is missing"),
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


@pytest.mark.parametrize("applet", [layout.JPKI, layout.FACE, layout.TEXT, layout.JUKI, layout.COMMON, layout.ISD])
def test_every_applet_has_a_name(applet: bytes) -> None:
    words, _ = Decoder().decode(b"\x00\xa4\x04\x0c" + bytes((len(applet),)) + applet, b"\x90\x00")
    assert words.startswith("SELECT the ")
