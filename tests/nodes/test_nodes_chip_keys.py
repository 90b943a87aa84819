"""The chip's own RSA keys reach card management: its files and signatures name them, at the making and later."""

import asyncio
from functools import cache

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from nodes_house import MOVED, THERE, House
from nodes_parts import MemoryReader

from warifu.chip import contents, layout, tlv
from warifu.chip.image import Image
from warifu.chip.keys import generate_private_key, modulus_of
from warifu.chip.personalise import ChipKeys, with_chip_keys
from warifu.contract.center import AskSigningKey, SigningKey


@cache
def chip_keys() -> ChipKeys:
    return ChipKeys(*(generate_private_key() for _ in range(4)))


class KeyedReader(MemoryReader):
    """Its factory gives every chip RSA keys, as the file factory with its stock does."""

    async def make(self, card_id: str, image: bytes) -> None:
        await super().make(card_id, with_chip_keys(image, chip_keys()))


def keyed(house: House) -> House:
    """The same house with such chips."""
    house.reader.__class__ = KeyedReader
    return house


def file(image: Image, aid: bytes, fid: int) -> bytes:
    applet = image.applet(aid)
    assert applet is not None
    ef = applet.ef(fid)
    assert ef is not None
    return ef.content


def objects(raw: bytes) -> dict[int, tlv.Tlv]:
    return {item.tag: item for item in tlv.parse(next(tlv.parse(raw)).value)}


async def keys_of(house: House) -> tuple[rsa.RSAPublicKey, rsa.RSAPublicKey]:
    """Card management's key and the one above it, as a relying party asks for them."""
    answer = await house.ask("center", AskSigningKey(), SigningKey)
    own, root = load_der_public_key(answer.public_key), load_der_public_key(answer.root_key)
    assert isinstance(own, rsa.RSAPublicKey)
    assert isinstance(root, rsa.RSAPublicKey)
    return own, root


def check(key: rsa.RSAPublicKey, signature: bytes, signed: bytes) -> None:
    key.verify(signature, signed, padding.PKCS1v15(), SHA256())


def shown_keys(image: Image) -> list[bytes]:
    """What the face applet's three records show as the chip's key."""
    places = ((1, 0xDF12), (2, 0xDF24), (5, 0xDF42))
    return [objects(file(image, layout.FACE, fid))[tag].value for fid, tag in places]


def test_a_made_card_shows_its_own_keys_under_card_managements_signature() -> None:
    async def work() -> None:
        async with keyed(House()).running() as house:
            card_id = await house.card_at_counter()
            image = house.reader.image(card_id)
            own, root = await keys_of(house)
            key = contents.rsa_public_key(modulus_of(chip_keys().face))
            assert shown_keys(image) == [key] * 3
            signed = objects(file(image, layout.TEXT, 7))
            assert signed[0xDF51].value == contents.rsa_public_key(modulus_of(chip_keys().text))
            check(own, signed[0xDF52].value, signed[0xDF51].raw)
            upper, lower = (tlv.fields(file(image, layout.ISD, tag)) for tag in (0x00F8, 0x7F21))
            check(root, upper[0x5F37], upper[0x5F4E])
            check(own, lower[0x5F37], lower[0x5F4E])
            assert lower[0x5F4E].endswith(modulus_of(chip_keys().internal))
            assert house.card(card_id).face_modulus == modulus_of(chip_keys().face)

    asyncio.run(work())


def test_a_move_writes_the_face_anew_with_the_same_key() -> None:
    async def work() -> None:
        async with keyed(House()).running() as house:
            card_id = await house.card_at_counter()
            resident = house.card(card_id).resident_id
            await house.perform("setup", card_id)
            await house.perform("delivery", card_id)
            before = shown_keys(house.reader.image(card_id))
            await house.change(resident, "move", MOVED)
            await house.perform("continuation", card_id, place=THERE)
            image = house.reader.image(card_id)
            assert MOVED.address.encode() in file(image, layout.TEXT, 2)
            assert shown_keys(image) == before

    asyncio.run(work())


@pytest.mark.parametrize("fid", [1, 2, 5])
def test_a_chip_without_keys_shows_card_managements(fid: int) -> None:
    async def work() -> None:
        async with House().running() as house:
            card_id = await house.card_at_counter()
            image = house.reader.image(card_id)
            own, _ = await keys_of(house)
            modulus = own.public_numbers().n.to_bytes(256, "big")
            assert modulus in file(image, layout.FACE, fid)
            assert file(image, layout.TEXT, 7) == b""
            assert file(image, layout.ISD, 0x7F21) == b""

    asyncio.run(work())
