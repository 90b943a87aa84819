"""A client that believes nothing: it checks all that a lent card's text, face and issuer applets claim.

It begins with the one key it was given, walks down to the keys inside the chip, and has the chip use them.
"""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from lend_kit import Desk, run

from warifu.chip import apdu, client, layout, tlv
from warifu.chip.client import Transmit
from warifu.chip.sessions import TerminalMessages
from warifu.lend.authority import ROOT_KEY

CHALLENGE = b"who are you, card?"
DIGEST_INFO = bytes.fromhex("3031300D060960864801650304020105000420") + hashlib.sha256(CHALLENGE).digest()


def objects(raw: bytes) -> dict[int, tlv.Tlv]:
    """The objects inside a file's one object."""
    return {item.tag: item for item in tlv.parse(next(tlv.parse(raw)).value)}


def key_in(raw: bytes) -> rsa.RSAPublicKey:
    """A key in 90 and 91 objects."""
    found = tlv.fields(raw)
    return rsa.RSAPublicNumbers(int.from_bytes(found[0x90], "big"), int.from_bytes(found[0x91], "big")).public_key()


def check(key: rsa.RSAPublicKey, signature: tlv.Tlv, *signed: tlv.Tlv) -> None:
    key.verify(signature.value, b"".join(item.raw for item in signed), padding.PKCS1v15(), SHA256())


def certified(upper: rsa.RSAPublicKey, raw: bytes) -> tuple[bytes, bytes, rsa.RSAPublicKey]:
    """Issuer's id, subject's id, subject's key of a card-verifiable certificate; its signature must be ``upper``'s."""
    parts = tlv.fields(raw)
    body = parts[0x5F4E]
    upper.verify(parts[0x5F37], body, padding.PKCS1v15(), SHA256())
    return body[:16], body[16:32], key_in(body[32:])


async def default_key_signs(send: Transmit, key: rsa.RSAPublicKey) -> None:
    """The chip proves that it has the private half: P2 00, no PIN."""
    answer = await client.call(send, apdu.build(0x80, 0x2A, 0x00, 0x00, DIGEST_INFO, 256))
    key.verify(answer, CHALLENGE, padding.PKCS1v15(), SHA256())


@pytest.fixture
def root(desk: Desk) -> rsa.RSAPublicKey:
    key = load_der_public_key(desk.authority.device.public_key(ROOT_KEY))
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def test_the_default_state_has_a_chain_down_to_the_key_of_internal_authenticate(
    desk: Desk, root: rsa.RSAPublicKey
) -> None:
    desk.card("adult")

    async def look() -> None:
        card = await desk.connect("adult")
        try:

            async def get(tag: int) -> bytes:
                return await client.call(card.transmit, apdu.build(0x00, 0xCA, *divmod(tag, 256), b"", 65536))

            await client.select_applet(card.transmit, layout.ISD)
            _, middle, management = certified(root, await get(0x00F8))
            assert await get(0x00F7) == middle
            above, _, internal = certified(management, await get(0x7F21))
            assert above == middle
            await client.select_applet(card.transmit, layout.COMMON)
            answer = await client.call(card.transmit, apdu.build(0x00, 0x88, 0x00, 0x99, CHALLENGE, 256))
            internal.verify(answer, CHALLENGE, padding.PKCS1v15(), SHA256())
        finally:
            await card.close()

    run(look())


def test_the_text_applet_holds_before_a_client_that_checks_everything(desk: Desk, root: rsa.RSAPublicKey) -> None:
    made = desk.card("adult")

    async def look() -> None:
        card = await desk.connect("adult")
        send = card.transmit
        try:
            await client.verify_pin(send, layout.TEXT, layout.TEXT_PIN, made.pins["text"])
            files = {fid: await client.read_ef(send, None, fid) for fid in range(1, 8)}
            _, _, management = certified(root, tlv.fields(files[4])[0x7F21])
            integrity = objects(files[3])
            check(management, integrity[0xDF33], integrity[0xDF31], integrity[0xDF32])
            attributes = b"".join(item.raw for tag, item in objects(files[2]).items() if tag != 0xDF21)
            assert integrity[0xDF31].value == hashlib.sha256(files[1]).digest()
            assert integrity[0xDF32].value == hashlib.sha256(attributes).digest()
            own = objects(files[7])
            check(management, own[0xDF52], own[0xDF51])
            await default_key_signs(send, key_in(own[0xDF51].value))
            terminal = TerminalMessages(b"fresh for every session, 32 byte")
            await client.call(send, terminal.deliver(key_in(tlv.fields(files[6])[0xA1])))
            await client.call(send, terminal.select_ef(1))
            assert terminal.open(await client.call(send, terminal.read_binary(0))) == files[1]
        finally:
            await card.close()

    run(look())


def test_the_face_applet_holds_before_a_client_that_checks_everything(desk: Desk, root: rsa.RSAPublicKey) -> None:
    made = desk.card("adult")

    async def look() -> None:
        card = await desk.connect("adult")
        send = card.transmit
        try:
            await client.verify_pin(send, layout.FACE, layout.FACE_BIRTH, made.birth_key)
            age = objects(await client.read_ef(send, None, 1))
            await client.verify_pin(send, layout.FACE, layout.FACE_NUMBER_A, made.individual_number)
            files = {fid: await client.read_ef(send, None, fid) for fid in (2, 4, 5)}
            _, _, management = certified(root, tlv.fields(files[4])[0x7F21])
            check(management, age[0xDF13], age[0xDF11], age[0xDF12])
            number, face = objects(files[5]), objects(files[2])
            check(management, number[0xDF43], number[0xDF41], number[0xDF42])
            groups = ((0xDF22, 0xDF23, 0xDF24), (0xDF25, 0xDF26), (0xDF27,))
            digests = b"".join(hashlib.sha256(b"".join(face[tag].raw for tag in tags)).digest() for tags in groups)
            recovered = management.recover_data_from_signature(face[0xDF28].value, padding.PKCS1v15(), None)
            assert recovered == bytes.fromhex("3071300D060960864801650304020105000460") + digests
            assert age[0xDF12].value == number[0xDF42].value == face[0xDF24].value
            assert face[0xDF25].value.startswith(b"\x89PNG")
            assert face[0xDF27].value.startswith(bytes.fromhex("0000000C6A502020"))  # JPEG 2000
            await default_key_signs(send, key_in(face[0xDF24].value))
        finally:
            await card.close()

    run(look())


def test_every_cards_keys_are_its_own(desk: Desk) -> None:
    async def face_key(persona: str) -> bytes:
        made = desk.card(persona)
        card = await desk.reader.connect(made.card_id)
        try:
            await client.verify_pin(card.transmit, layout.FACE, layout.FACE_NUMBER_A, made.individual_number)
            return objects(await client.read_ef(card.transmit, None, 2))[0xDF24].value
        finally:
            await card.close()

    for persona in ("adult", "child"):
        desk.card(persona)
    assert run(face_key("adult")) != run(face_key("child"))


def test_common_and_juki_name_the_same_key(desk: Desk) -> None:
    desk.card("adult")

    async def record(aid: bytes) -> bytes:
        card = await desk.connect("adult")
        try:
            await client.select_applet(card.transmit, aid)
            await client.select_ef(card.transmit, layout.KEY_REFERENCE)
            return await client.call(card.transmit, apdu.build(0x00, 0xB2, 0x01, 0x04, b"", 256))
        finally:
            await card.close()

    common, juki = run(record(layout.COMMON)), run(record(layout.JUKI))
    assert common == juki
    assert len(common) == 2 + 16
