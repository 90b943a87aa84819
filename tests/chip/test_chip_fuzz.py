"""No input makes the chip raise, and none gives away what a PIN or a channel guards."""

from chip_kit import Card, blank_image, card_in_use
from hypothesis import given, settings
from hypothesis import strategies as st

from warifu.chip import apdu, issuer, layout, tlv
from warifu.chip.image import decode
from warifu.chip.staging import STAGED

INSTRUCTIONS = [0xA4, 0xB0, 0xB2, 0xCA, 0x84, 0x20, 0x24, 0x32, 0x2C, 0x2A, 0x88, 0x50, 0x82, 0xE0, 0xE2, 0xE4, 0xD8]
BYTES = st.integers(0, 255)
NAMES = [layout.ISD, layout.JPKI, layout.TEXT, layout.FACE, layout.JUKI, layout.COMMON]

selects = st.builds(lambda name: apdu.build(0, 0xA4, 4, 0x0C, name), st.sampled_from(NAMES))
files = st.builds(lambda fid: apdu.build(0, 0xA4, 2, 0x0C, bytes((0, fid))), st.integers(0, 0x22))
shaped = st.builds(
    apdu.build,
    st.sampled_from([0x00, 0x80, 0x84]),
    st.sampled_from(INSTRUCTIONS),
    BYTES,
    st.one_of(BYTES, st.sampled_from([0x80, 0x0C, 0x9B])),
    st.one_of(st.binary(max_size=40), st.binary(min_size=8, max_size=8), st.binary(max_size=600)),
    st.one_of(st.none(), st.integers(1, 65536)),
)
commands = st.lists(st.one_of(selects, files, shaped, st.binary(max_size=300)), max_size=30)


@settings(max_examples=300, deadline=None)
@given(commands)
def test_no_command_raises_and_no_stranger_changes_the_card(sequence: list[bytes]) -> None:
    for image in (blank_image(), card_in_use().saved[-1]):
        card = Card(image)
        before = decode(image)
        for command in sequence:
            response = card.chip.transmit(command)
            assert len(response) >= 2
            assert response[-2] in {0x90, 0x63, 0x66, 0x67, 0x68, 0x69, 0x6A, 0x6B, 0x6D, 0x6E, 0x6F}
        after = decode(card.saved[-1])
        assert (after.life, after.last_write, after.domains) == (before.life, before.last_write, before.domains)
        for old, new in zip(before.applets, after.applets, strict=True):
            assert (old.efs, old.keys) == (new.efs, new.keys)
            assert [pin.value for pin in old.pins] == [pin.value for pin in new.pins]
            assert all(a.tries_left >= b.tries_left for a, b in zip(old.pins, new.pins, strict=True))


targets = st.builds(
    lambda name, fid, value, rest: (
        tlv.encode(0x4F, name) + tlv.encode(0x51, bytes((0, fid))) + tlv.encode(0x53, value) + rest
    ),
    st.sampled_from(NAMES),
    st.integers(0, 0x22),
    st.binary(max_size=30),
    st.one_of(st.just(b""), st.binary(max_size=5), st.just(tlv.encode(0x8C, b"\x11"))),
)
written = st.builds(
    issuer.IssuerCommand,
    st.just(layout.ISD),
    st.sampled_from([*sorted(STAGED), 0xE4, 0xE6, 0xE0]),
    st.integers(0, 2),
    st.integers(0, 0x1F),
    st.one_of(targets, st.binary(max_size=80)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(written, max_size=8))
def test_no_issuer_command_raises_and_nothing_is_durable_without_its_commit(
    sequence: list[issuer.IssuerCommand],
) -> None:
    card = Card(card_in_use().saved[-1])
    before = card.chip.image
    apdus = card.channel(layout.ISD).script([issuer.begin(layout.ISD, b"w" * 16), *sequence])
    for command in apdus:
        assert len(card.chip.transmit(command)) >= 2
    assert (card.chip.image.applets, card.chip.image.life) == (before.applets, before.life)


@given(BYTES, BYTES, BYTES, BYTES, st.binary(max_size=1000), st.one_of(st.none(), st.integers(1, apdu.EXTENDED_LE_MAX)))
def test_what_is_built_is_parsed(  # noqa: PLR0917 - hypothesis gives them in order
    cla: int, ins: int, p1: int, p2: int, data: bytes, expected: int | None
) -> None:
    command = apdu.parse(apdu.build(cla, ins, p1, p2, data, expected))
    assert (command.cla, command.ins, command.p1, command.p2) == (cla, ins, p1, p2)
    assert (command.data, command.expected) == (data, expected)
