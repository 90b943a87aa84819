"""SCP03 against vectors of other implementations, and against the real chip."""

import hashlib

import pytest
from chip_kit import CARD_ID, WRITE_ID, Card, run, static_keys
from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.cmac import CMAC

from warifu.chip import client, issuer, layout, scp03
from warifu.chip.errors import BadCardAnswer, CardNotAuthentic, CardRefused

VECTOR_KEYS = scp03.StaticKeys(
    enc=bytes.fromhex("000102030405060708090a0b0c0d0e0f"),
    mac=bytes.fromhex("101112131415161718191a1b1c1d1e1f"),
    dek=bytes.fromhex("202122232425262728292a2b2c2d2e2f"),
)
"""Keys of the vectors in pySim's unit tests, recorded from a real eUICC."""

CASES = [
    # host challenge, INITIALIZE UPDATE response, EXTERNAL AUTHENTICATE
    (
        "b13e5f938fc108c4",
        "000000000000000000003003703eb51047495b249f66c484c1d2ef1948000002",
        "84821100107d5f5826a993ebc89eea24957fa0b3ce",
    ),
    (
        "8e1552d0513c60f3",
        "0000000000000000000030037030760cd2c47c1dd395065fe5ead8a9d7000001",
        "8482030010fd4721a14d9b07003c451d2f8ae6bb21",
    ),
    (
        "fdf38259a1e0de44",
        "000000000000000000003003703b1aca81e821f219081cdc01c26b372d000003",
        "84823300108c36f96bcc00724a4e13ad591d7da3f0",
    ),
]


@pytest.mark.parametrize(("host", "response", "authenticate"), CASES)
def test_handshake_of_recorded_channels(host: str, response: str, authenticate: str) -> None:
    host_challenge, raw, expected = bytes.fromhex(host), bytes.fromhex(response), bytes.fromhex(authenticate)
    card_challenge = raw[13:21]
    keys = scp03.session_keys(VECTOR_KEYS, host_challenge, card_challenge)
    assert scp03.card_cryptogram(keys.mac, host_challenge, card_challenge) == raw[21:29]
    cryptogram = scp03.host_cryptogram(keys.mac, host_challenge, card_challenge)
    mac = scp03.command_mac(keys.mac, scp03.FIRST_CHAINING_VALUE, expected[:5] + cryptogram)
    assert expected[:5] + cryptogram + mac[:8] == expected


def test_encrypted_commands_of_a_recorded_channel() -> None:
    host, response, authenticate = (bytes.fromhex(text) for text in CASES[1])
    keys = scp03.session_keys(VECTOR_KEYS, host, response[13:21])
    chaining = scp03.command_mac(keys.mac, scp03.FIRST_CHAINING_VALUE, authenticate[:-8])
    commands = [
        ("80e29100", "bf3e035c015a", "84e2910018ca9c00f6713d79bc8baa642bdff51c3f6a4082d3bd9ad26c"),
        ("80f22002", "", "84f2200208c9811b11f1264cf1"),
        ("80ca0066", "", "84ca006608e10ab60b30547988"),
        ("80f22002", "4f0212345c054f9f70c5", "84f22002184e2908bdb48b2315a55482e9e936ca122d6ecfae7d17416e"),
        ("80f28002", "4f00", "84f28002180dd10a6b6193e5340b9e77d32d5a179cd710ac2773aefb28"),
    ]
    for counter, (head, plain, wrapped) in enumerate(commands, start=1):
        sealed = scp03.encrypt_command(keys.enc, counter, bytes.fromhex(plain))
        start = bytes((0x84,)) + bytes.fromhex(head)[1:] + bytes((len(sealed) + 8,)) + sealed
        chaining = scp03.command_mac(keys.mac, chaining, start)
        assert (start + chaining[:8]).hex() == wrapped
        assert scp03.decrypt_command(keys.enc, counter, sealed) == bytes.fromhex(plain)


def test_response_mac_of_a_recorded_channel() -> None:
    host, response, authenticate = (bytes.fromhex(text) for text in CASES[0])
    keys = scp03.session_keys(VECTOR_KEYS, host, response[13:21])
    chaining = scp03.command_mac(keys.mac, scp03.FIRST_CHAINING_VALUE, authenticate[:-8])
    chaining = scp03.command_mac(keys.mac, chaining, bytes.fromhex("84e291000ebf3e035c015a"))
    data = bytes.fromhex("bf3e125a1089882119900000000000000000000005")
    assert scp03.response_mac(keys.rmac, chaining, data, b"\x90\x00").hex() == "971be68992dbbdfa"


def test_card_keys_are_sp_800_108_blocks() -> None:
    """An independent derivation: counter mode, one block, from the standard's text."""
    master = bytes(range(16))
    mac = CMAC(algorithms.AES(master))
    mac.update(b"\x01" + b"warifu card MAC" + b"\x00" + b"WRF000000000001" + (128).to_bytes(2, "big"))
    assert static_keys(layout.ISD).mac == mac.finalize()
    assert static_keys(layout.ISD) != static_keys(layout.ISD, "WRF000000000002")
    assert static_keys(layout.ISD) != static_keys(layout.JPKI)


def test_card_challenge_follows_from_the_sequence() -> None:
    card = Card()
    for sequence in range(2):
        card.select(layout.ISD)
        answer = issuer.parse_initialize_update(card.chip.transmit(issuer.initialize_update(b"hostchal")))
        assert answer.sequence == sequence
        assert answer.card_challenge == scp03.card_challenge(static_keys(layout.ISD).enc, sequence, layout.ISD)
        assert card.script(layout.ISD, []).ok


def test_wrong_keys_are_noticed_before_anything_is_sent() -> None:
    card = Card()
    card.select(layout.ISD)
    response = card.chip.transmit(issuer.initialize_update(b"hostchal"))
    challenge = issuer.parse_initialize_update(response).card_challenge
    keys = issuer.session_keys(static_keys(layout.JPKI), b"hostchal", challenge)
    with pytest.raises(CardNotAuthentic):
        issuer.HostChannel(layout.ISD, keys, b"hostchal", response)
    with pytest.raises(CardRefused):
        issuer.parse_initialize_update(b"\x6a\x88")
    with pytest.raises(BadCardAnswer):
        issuer.parse_initialize_update(response[1:])
    assert hashlib.sha256(card.saved[-1]).digest() == hashlib.sha256(card.saved[0]).digest()


def test_a_recorded_script_does_not_work_twice() -> None:
    card = Card()
    script = card.channel(layout.ISD).script([issuer.begin(layout.ISD, WRITE_ID)])
    assert run(client.run_script(card.transmit, script)).ok
    card.chip.reset()
    card.select(layout.ISD)
    card.chip.transmit(issuer.initialize_update(b"hostchal"))
    replayed = run(client.run_script(card.transmit, script))
    assert (replayed.failed_at, replayed.failed_ins, replayed.status) == (0, 0x82, 0x6982)


def test_a_changed_skipped_or_repeated_command_ends_the_channel() -> None:
    commands = [issuer.begin(layout.ISD, WRITE_ID), issuer.set_life_state("set_up"), issuer.set_life_state("set_up")]

    def changed(script: tuple[bytes, ...]) -> list[bytes]:
        return [*script[:2], script[2][:-9] + bytes((script[2][-9] ^ 1,)) + script[2][-8:], script[3]]

    def skipped(script: tuple[bytes, ...]) -> list[bytes]:
        return [*script[:2], script[3]]

    def repeated(script: tuple[bytes, ...]) -> list[bytes]:
        return [*script[:2], script[1], script[2]]

    for attack in (changed, skipped, repeated):
        card = Card()
        apdus = attack(card.channel(layout.ISD).script(commands))
        statuses = [card.chip.transmit(apdu).hex()[-4:] for apdu in apdus]
        assert statuses[:2] == ["9000", "9000"]
        assert set(statuses[2:]) == {"6982"}


def test_selecting_an_applet_ends_the_channel_but_not_a_started_one() -> None:
    card = Card()
    jpki = card.channel(layout.JPKI)
    isd = card.channel(layout.ISD)
    card.select(layout.JPKI)
    first = jpki.script([issuer.begin(layout.JPKI, WRITE_ID), issuer.begin(layout.JPKI, WRITE_ID)])
    assert [card.chip.transmit(apdu).hex()[-4:] for apdu in first[:2]] == ["9000", "9000"]
    card.select(layout.ISD)
    assert card.chip.transmit(first[2]).hex() == "6982"
    assert run(client.run_script(card.transmit, isd.script([issuer.begin(layout.ISD, WRITE_ID)]))).ok


def test_the_owner_knows_the_chips_own_answers() -> None:
    card = Card()
    channel = card.channel(layout.ISD)
    result = run(client.run_script(card.transmit, channel.script([issuer.begin(layout.ISD, WRITE_ID)])))
    assert channel.read_responses(result.responses) == (b"", issuer.start_digest(WRITE_ID))
    forged = (result.responses[0], bytes(40) + b"\x90\x00")
    with pytest.raises(CardNotAuthentic):
        channel.read_responses(forged)
    with pytest.raises(CardRefused):
        channel.read_responses((result.responses[0], b"\x69\x85"))


def test_issuer_commands_need_a_channel() -> None:
    card = Card()
    for ins in ("E0", "E2", "E4", "E6", "D8", "DE", "46", "D4", "D6", "F0", "DA", "D2", "DC", "C2", "C4", "52", "54"):
        assert card.send(f"80{ins}000001AA") == "6982"
        assert card.send(f"84{ins}000001AA") == "6982"
    assert card.send("8050300008" + "00" * 8 + "00")[-4:] == "9000"
    card.select(layout.TEXT)
    assert card.send("8050300008" + "00" * 8 + "00") == "6982"
    assert card.chip.card_id == CARD_ID


def test_each_domain_writes_only_its_own_applets() -> None:
    card = Card()
    own = issuer.put_ef(layout.TEXT, 1, b"x")[0]
    foreign = issuer.IssuerCommand(layout.JPKI, own.ins, 0, 0, own.data)
    assert card.script(layout.JPKI, [issuer.begin(layout.JPKI, WRITE_ID), foreign]).status == 0x6982
    card.chip.reset()
    other = issuer.put_ef(layout.JPKI, layout.TOKEN_INFO, b"x")[0]
    foreign = issuer.IssuerCommand(layout.ISD, other.ins, 0, 0, other.data)
    assert card.script(layout.ISD, [issuer.begin(layout.ISD, WRITE_ID), foreign]).status == 0x6982
    card.chip.reset()
    end = issuer.IssuerCommand(layout.JPKI, 0xE4, 0, 0, issuer.commit(WRITE_ID, "x", bytes(32)).data)
    assert card.script(layout.JPKI, [issuer.begin(layout.JPKI, WRITE_ID), end]).status == 0x6982
