"""Key pairs, HPKE agreement, clock and entropy of the real machine."""

import asyncio
import threading

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from warifu.adapters import hpke
from warifu.adapters.clock import SystemClock
from warifu.adapters.crypto import SystemCrypto, agree_with, public_bytes
from warifu.adapters.entropy import SystemEntropy
from warifu.kernel.errors import Malformed

# RFC 9180, appendix A.3.1: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-128-GCM, base mode.
INFO = bytes.fromhex("4f6465206f6e2061204772656369616e2055726e")
EPHEMERAL = bytes.fromhex("4995788ef4b9d6132b249ce59a77281493eb39af373d236a1fe415cb0c2d7beb")
RECIPIENT = bytes.fromhex("f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2")
ENCAPSULATION = bytes.fromhex(
    "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfc"
    "b9382657222d18c4"
)
SHARED_SECRET = bytes.fromhex("c0d26aeab536609a572b07695d933b589dcf363ff9d93c93adea537aeabb8cb8")
AES_128_GCM = 0x0001
EXPORTS = {
    b"": "5e9bc3d236e1911d95e65b576a8a86d478fb827e8bdfe77b741b289890490d4d",
    b"\x00": "6cff87658931bda83dc857e6353efe4987a201b849658d9b047aab4cf216e796",
    b"TestContext": "d8f1ea7942adbba7412c6d431c62d01371ea476b823eb697e1f6e6cae1dab85a",
}


def private_key(number: bytes) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(number, "big"), ec.SECP256R1())


def exchange_of(key: ec.EllipticCurvePrivateKey) -> hpke.DiffieHellman:
    return lambda other: key.exchange(ec.ECDH(), hpke.parse_point(other))


def test_the_kem_of_both_sides_gives_the_secret_of_the_rfc() -> None:
    ephemeral, recipient = private_key(EPHEMERAL), private_key(RECIPIENT)
    recipient_point = hpke.encode_point(recipient.public_key())
    assert hpke.encode_point(ephemeral.public_key()) == ENCAPSULATION
    assert hpke.sender_secret(exchange_of(ephemeral), ENCAPSULATION, recipient_point) == SHARED_SECRET
    assert hpke.recipient_secret(exchange_of(recipient), ENCAPSULATION, recipient_point) == SHARED_SECRET


@pytest.mark.parametrize("context", EXPORTS)
def test_the_exported_secrets_are_those_of_the_rfc(context: bytes) -> None:
    assert hpke.export(SHARED_SECRET, INFO, context=context, aead=AES_128_GCM).hex() == EXPORTS[context]


def test_an_export_only_context_gives_other_secrets_than_a_sealing_one() -> None:
    assert hpke.export(SHARED_SECRET, INFO) != hpke.export(SHARED_SECRET, INFO, aead=AES_128_GCM)


@settings(max_examples=20)
@given(info=st.binary(max_size=80))
def test_the_recipient_derives_the_key_the_sender_got(info: bytes) -> None:
    recipient = private_key(RECIPIENT)
    shared = SystemCrypto(workers=1).agree(public_bytes(recipient.public_key()), info)
    point = hpke.encode_point(recipient.public_key())
    secret = hpke.recipient_secret(exchange_of(recipient), shared.encapsulation, point)
    assert hpke.export(secret, info) == shared.key


def test_two_agreements_never_share_a_key() -> None:
    recipient = public_bytes(private_key(RECIPIENT).public_key())
    crypto = SystemCrypto(workers=1)
    assert crypto.agree(recipient, b"").key != crypto.agree(recipient, b"").key


def test_the_agreement_does_not_show_its_key() -> None:
    shared = agree_with(private_key(EPHEMERAL), public_bytes(private_key(RECIPIENT).public_key()), b"")
    assert shared.key.hex() not in repr(shared)
    assert str(shared.key) not in repr(shared)


P384 = ec.generate_private_key(ec.SECP384R1()).public_key()


@pytest.mark.parametrize("recipient", [b"", b"\x30\x03", public_bytes(P384)])
def test_a_recipient_that_is_no_p256_key_is_malformed(recipient: bytes) -> None:
    with pytest.raises(Malformed):
        SystemCrypto(workers=1).agree(recipient, b"")


@pytest.mark.parametrize("point", [b"", b"\x04" + bytes(64), b"\x04" + b"\x01" * 64, ENCAPSULATION + b"\x00"])
def test_a_point_off_the_curve_is_malformed(point: bytes) -> None:
    with pytest.raises(Malformed):
        hpke.parse_point(point)


async def generate(count: int) -> list[bytes]:
    crypto = SystemCrypto(workers=2)
    try:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            tasks = [group.create_task(crypto.generate_key_pair("rsa-2048")) for _ in range(count)]
    finally:
        crypto.close()
    return [task.result().public_key for task in tasks]


def test_rsa_pairs_are_fresh_and_made_by_a_bounded_number_of_threads() -> None:
    pairs = asyncio.run(generate(4))
    assert len(set(pairs)) == 4
    assert sum(thread.name.startswith("keygen") for thread in threading.enumerate()) <= 2
    key = serialization.load_der_public_key(pairs[0])
    assert isinstance(key, rsa.RSAPublicKey)
    assert (key.key_size, key.public_numbers().e) == (2048, 65537)


def test_a_p256_pair_fits_together() -> None:
    pair = asyncio.run(SystemCrypto(workers=1).generate_key_pair("ec-p256"))
    key = serialization.load_der_private_key(pair.private_key, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert public_bytes(key.public_key()) == pair.public_key


def test_the_clock_counts_milliseconds_since_1970() -> None:
    first = SystemClock().now_ms()
    assert 1_700_000_000_000 < first < 10_000_000_000_000
    assert SystemClock().now_ms() >= first


def test_entropy_gives_as_many_bytes_as_asked_and_never_the_same() -> None:
    assert len(SystemEntropy().random_bytes(16)) == 16
    assert SystemEntropy().random_bytes(16) != SystemEntropy().random_bytes(16)
