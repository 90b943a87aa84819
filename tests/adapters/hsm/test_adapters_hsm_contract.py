"""What every HSM worker promises (``ports.hsm``), shown on each device: in this process, and through real ones."""

import asyncio
import re
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from warifu.adapters.crypto import SystemCrypto, public_bytes
from warifu.adapters.hsm.config import SoftwareConfig
from warifu.adapters.hsm.engine import Engine
from warifu.adapters.hsm.prepare import prepare_softhsm, prepare_software
from warifu.adapters.hsm.process import ProcessHsmFactory, ProcessHsmWorker
from warifu.adapters.hsm.software import SoftwareDevice, StoredKey
from warifu.chip import scp03
from warifu.ports import hsm
from warifu.ports.crypto import SharedKey

Ask = Callable[[hsm.HsmCommand], hsm.HsmReply]
CARD = "123456789012345"
FACTORY = public_bytes(ec.derive_private_key(7, ec.SECP256R1()).public_key())
"""Some public key; nobody needs its private half."""
NONCE = bytes(12)
KEYS: dict[str, hsm.Purpose] = {
    "ca/sign": "sign",
    "relay/agree": "agree",
    "store/wrap": "wrap",
    "audit/mac": "mac",
    "cards/master": "card-master",
}


class Subject:
    """Two workers of one device, with a key of each kind."""

    def __init__(self, one: Ask, other: Ask) -> None:
        self.one, self.other = one, other
        for label, purpose in KEYS.items():
            assert not isinstance(one(hsm.CreateKey(label, purpose)), hsm.Rejected)

    def data(self, command: hsm.HsmCommand) -> bytes:
        reply = self.one(command)
        assert isinstance(reply, hsm.Bytes), reply
        return reply.data

    def open_session(self, session: bytes, info: bytes = b"info") -> SharedKey:
        shared = SystemCrypto(workers=1).agree(self.data(hsm.PublicKey("relay/agree")), info)
        assert self.one(opening(session, shared, info)) == hsm.Done()
        return shared


def opening(session: bytes, shared: SharedKey, info: bytes = b"info") -> hsm.OpenMessageSession:
    return hsm.OpenMessageSession("relay/agree", session, shared.encapsulation, info)


def in_process(config: SoftwareConfig) -> Subject:
    engines: list[Engine[StoredKey]] = [Engine(SoftwareDevice(config)) for _ in range(2)]
    return Subject(engines[0].perform, engines[1].perform)


@pytest.fixture(
    scope="module", params=["software", "software-worker", pytest.param("softhsm-worker", marks=pytest.mark.real)]
)
def subject(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Subject]:
    folder: Path = tmp_path_factory.mktemp("device")
    if request.param == "software":
        yield in_process(prepare_software(folder))
        return
    config = prepare_software(folder) if request.param == "software-worker" else prepare_softhsm(folder, "contract")
    factory = ProcessHsmFactory(config)
    with asyncio.Runner() as runner:
        workers = [runner.run(factory.spawn(f"test/hsm-{number}")) for number in range(2)]
        yield Subject(*(partial(_ask, runner, worker) for worker in workers))
        for worker in workers:
            runner.run(worker.kill())


def _ask(runner: asyncio.Runner, worker: ProcessHsmWorker, command: hsm.HsmCommand) -> hsm.HsmReply:
    return runner.run(worker.call(command))


def changed(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_it_proves_itself(subject: Subject) -> None:
    assert subject.one(hsm.SelfTest()) == hsm.Done()
    assert subject.one(hsm.SelfTest()) == hsm.Done()


@pytest.mark.parametrize("label", KEYS)
def test_making_a_key_again_changes_nothing_whoever_does_it(subject: Subject, label: str) -> None:
    create = hsm.CreateKey(label, KEYS[label])
    assert subject.one(create) == subject.other(create)


def test_making_a_key_for_another_purpose_is_refused(subject: Subject) -> None:
    assert subject.one(hsm.CreateKey("store/wrap", "mac")) == hsm.Rejected("hsm.rejected")


@pytest.mark.parametrize("label", ["", "x" * 101])
def test_a_label_out_of_bounds_is_refused(subject: Subject, label: str) -> None:
    assert subject.one(hsm.CreateKey(label, "mac")) == hsm.Rejected("hsm.rejected")


def test_a_key_made_by_one_worker_is_there_for_the_other(subject: Subject) -> None:
    assert subject.other(hsm.Mac("later/mac", b"")) == hsm.Rejected("hsm.no_such_key")
    assert subject.one(hsm.CreateKey("later/mac", "mac")) == hsm.Done()
    assert subject.other(hsm.Mac("later/mac", b"")) == subject.one(hsm.Mac("later/mac", b""))


def test_public_keys_are_of_the_kinds_the_purposes_name(subject: Subject) -> None:
    signing = serialization.load_der_public_key(subject.data(hsm.PublicKey("ca/sign")))
    agreeing = serialization.load_der_public_key(subject.data(hsm.PublicKey("relay/agree")))
    assert isinstance(signing, rsa.RSAPublicKey)
    assert (signing.key_size, signing.public_numbers().e) == (2048, 65537)
    assert isinstance(agreeing, ec.EllipticCurvePublicKey)
    assert agreeing.curve.name == "secp256r1"


def test_only_pairs_have_public_keys(subject: Subject) -> None:
    assert subject.one(hsm.PublicKey("store/wrap")) == hsm.Rejected("hsm.rejected")
    assert subject.one(hsm.PublicKey("nobody")) == hsm.Rejected("hsm.no_such_key")


def test_a_signature_verifies_and_another_text_does_not(subject: Subject) -> None:
    key = serialization.load_der_public_key(subject.data(hsm.PublicKey("ca/sign")))
    assert isinstance(key, rsa.RSAPublicKey)
    signature = subject.data(hsm.Sign("ca/sign", b"text"))
    key.verify(signature, b"text", padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(InvalidSignature):
        key.verify(signature, b"texT", padding.PKCS1v15(), hashes.SHA256())


def test_a_given_digest_info_is_signed_as_it_is(subject: Subject) -> None:
    digest_info = bytes.fromhex("3031300d060960864801650304020105000420") + sha256(b"text").digest()
    assert subject.one(hsm.SignDigestInfo("ca/sign", digest_info)) == subject.one(hsm.Sign("ca/sign", b"text"))
    key = serialization.load_der_public_key(subject.data(hsm.PublicKey("ca/sign")))
    assert isinstance(key, rsa.RSAPublicKey)
    signature = subject.data(hsm.SignDigestInfo("ca/sign", b"x" * 245))
    assert key.recover_data_from_signature(signature, padding.PKCS1v15(), None) == b"x" * 245


@pytest.mark.parametrize("length", [0, 246])
def test_what_cannot_be_a_digest_info_is_refused(subject: Subject, length: int) -> None:
    assert subject.one(hsm.SignDigestInfo("ca/sign", bytes(length))) == hsm.Rejected("hsm.rejected")


@pytest.mark.parametrize(
    "command",
    [
        hsm.Sign("relay/agree", b""),
        hsm.SignDigestInfo("relay/agree", b"x"),
        hsm.Mac("cards/master", b""),
        hsm.Wrap("audit/mac", b"", b""),
        hsm.Unwrap("ca/sign", bytes(40), b""),
        hsm.OpenMessageSession("ca/sign", b"never", bytes(65), b""),
        hsm.DeriveCardKeys("audit/mac", CARD, FACTORY),
        hsm.DeriveCardKeys("cards/master", CARD, b"no public key"),
        hsm.OpenCardChannel("store/wrap", CARD, bytes(8), bytes(8)),
    ],
    ids=lambda command: type(command).__name__,
)
def test_a_key_does_nothing_but_its_purpose(subject: Subject, command: hsm.HsmCommand) -> None:
    assert subject.one(command) == hsm.Rejected("hsm.rejected")


@pytest.mark.parametrize(
    "command",
    [
        hsm.PublicKey("nobody"),
        hsm.Sign("nobody", b""),
        hsm.SignDigestInfo("nobody", b"x"),
        hsm.Mac("nobody", b""),
        hsm.Wrap("nobody", b"", b""),
        hsm.Unwrap("nobody", bytes(40), b""),
        hsm.OpenMessageSession("nobody", b"never", bytes(65), b""),
        hsm.DeriveCardKeys("nobody", CARD, FACTORY),
        hsm.OpenCardChannel("nobody", CARD, bytes(8), bytes(8)),
    ],
    ids=lambda command: type(command).__name__,
)
def test_a_key_that_is_not_there_is_named_as_the_reason(subject: Subject, command: hsm.HsmCommand) -> None:
    assert subject.one(command) == hsm.Rejected("hsm.no_such_key")


def test_a_mac_is_the_same_from_every_worker_and_depends_on_key_and_data(subject: Subject) -> None:
    assert len(subject.data(hsm.Mac("audit/mac", b"data"))) == 16
    assert subject.one(hsm.Mac("audit/mac", b"data")) == subject.other(hsm.Mac("audit/mac", b"data"))
    assert subject.one(hsm.Mac("audit/mac", b"data")) != subject.one(hsm.Mac("audit/mac", b"Data"))


@pytest.mark.parametrize("data", [b"", b"individual number", bytes(100_000)], ids=len)
def test_what_one_worker_wraps_the_other_unwraps(subject: Subject, data: bytes) -> None:
    wrapped = subject.data(hsm.Wrap("store/wrap", data, b"context"))
    assert len(wrapped) == len(data) + 28
    assert subject.other(hsm.Unwrap("store/wrap", wrapped, b"context")) == hsm.Bytes(data)


def test_wrapping_the_same_twice_shows_nothing(subject: Subject) -> None:
    assert subject.data(hsm.Wrap("store/wrap", b"x", b"")) != subject.data(hsm.Wrap("store/wrap", b"x", b""))


@pytest.mark.parametrize("at", [0, 11, 12, -16, -1])
def test_changed_wrapping_is_refused_and_the_worker_stays_well(subject: Subject, at: int) -> None:
    wrapped = bytearray(subject.data(hsm.Wrap("store/wrap", b"data", b"context")))
    wrapped[at] ^= 1
    assert subject.one(hsm.Unwrap("store/wrap", bytes(wrapped), b"context")) == hsm.Rejected("hsm.rejected")
    assert subject.one(hsm.SelfTest()) == hsm.Done()


def test_a_wrapping_does_not_open_in_another_context_or_when_cut(subject: Subject) -> None:
    wrapped = subject.data(hsm.Wrap("store/wrap", b"data", b"context"))
    assert subject.one(hsm.Unwrap("store/wrap", wrapped, b"Context")) == hsm.Rejected("hsm.rejected")
    for length in (0, 11, 27, len(wrapped) - 1):
        assert subject.one(hsm.Unwrap("store/wrap", wrapped[:length], b"context")) == hsm.Rejected("hsm.rejected")


def test_the_sender_and_the_device_agree_on_the_message_key(subject: Subject) -> None:
    shared = subject.open_session(b"agreed")
    sealed = subject.data(hsm.EncryptMessage(b"agreed", NONCE, b"context", b"answer"))
    assert AESGCM(shared.key).decrypt(NONCE, sealed, b"context") == b"answer"
    request = AESGCM(shared.key).encrypt(NONCE, b"request", b"context")
    assert subject.one(hsm.DecryptMessage(b"agreed", NONCE, b"context", request)) == hsm.Bytes(b"request")


def test_another_info_gives_another_message_key(subject: Subject) -> None:
    shared = SystemCrypto(workers=1).agree(subject.data(hsm.PublicKey("relay/agree")), b"info")
    subject.one(opening(b"other info", shared, b"other"))
    request = AESGCM(shared.key).encrypt(NONCE, b"request", b"")
    assert subject.one(hsm.DecryptMessage(b"other info", NONCE, b"", request)) == hsm.Rejected("hsm.rejected")


def test_opening_a_message_session_again_is_the_same_session(subject: Subject) -> None:
    shared = subject.open_session(b"twice")
    assert subject.one(opening(b"twice", shared)) == hsm.Done()
    assert subject.one(opening(b"twice", shared, b"other")) == hsm.Rejected("hsm.rejected")
    subject.data(hsm.EncryptMessage(b"twice", NONCE, b"", b""))


def test_a_message_session_is_known_only_where_it_was_opened(subject: Subject) -> None:
    shared = subject.open_session(b"one worker")
    command = hsm.EncryptMessage(b"one worker", NONCE, b"", b"text")
    assert subject.other(command) == hsm.Rejected("hsm.unknown_session")
    assert subject.other(opening(b"one worker", shared)) == hsm.Done()
    assert subject.other(command) == subject.one(command)


def test_the_oldest_unused_message_session_leaves_when_there_are_too_many(tmp_path: Path) -> None:
    engine = Engine(SoftwareDevice(prepare_software(tmp_path)), session_limit=2)
    subject = Subject(engine.perform, engine.perform)
    for session in (b"a", b"b"):
        subject.open_session(session)
    subject.data(hsm.EncryptMessage(b"a", NONCE, b"", b""))
    subject.open_session(b"c")
    subject.data(hsm.EncryptMessage(b"a", NONCE, b"", b""))
    assert subject.one(hsm.EncryptMessage(b"b", NONCE, b"", b"")) == hsm.Rejected("hsm.unknown_session")


@pytest.mark.parametrize("encapsulation", [b"", bytes(65), b"\x04" + bytes(64), b"\x04" + b"\x01" * 64])
def test_an_encapsulation_that_is_no_point_is_refused_and_the_worker_stays_well(
    subject: Subject, encapsulation: bytes
) -> None:
    command = hsm.OpenMessageSession("relay/agree", b"no point", encapsulation, b"")
    assert subject.one(command) == hsm.Rejected("hsm.rejected")
    assert subject.one(hsm.SelfTest()) == hsm.Done()


def test_changed_messages_and_wrong_nonces_are_refused(subject: Subject) -> None:
    subject.open_session(b"changed")
    sealed = subject.data(hsm.EncryptMessage(b"changed", NONCE, b"context", b"text"))
    refused: list[hsm.HsmCommand] = [
        hsm.DecryptMessage(b"changed", NONCE, b"context", changed(sealed, 0)),
        hsm.DecryptMessage(b"changed", NONCE, b"Context", sealed),
        hsm.DecryptMessage(b"changed", changed(NONCE, 0), b"context", sealed),
        hsm.DecryptMessage(b"changed", NONCE, b"context", sealed[:15]),
        hsm.DecryptMessage(b"changed", NONCE[:11], b"context", sealed),
        hsm.EncryptMessage(b"changed", NONCE[:11], b"context", b"text"),
    ]
    assert [subject.one(command) for command in refused] == [hsm.Rejected("hsm.rejected")] * len(refused)
    assert subject.one(hsm.DecryptMessage(b"changed", NONCE, b"context", sealed)) == hsm.Bytes(b"text")


def test_a_cards_keys_reach_the_factory_sealed_and_open_its_channels(subject: Subject) -> None:
    factory = subject.data(hsm.PublicKey("relay/agree"))
    sealed = subject.data(hsm.DeriveCardKeys("cards/master", CARD, factory))
    encapsulation, ciphertext = sealed[:65], sealed[65:]
    info = hsm.SEALED_KEYS_INFO + CARD.encode()
    assert subject.one(hsm.OpenMessageSession("relay/agree", b"factory", encapsulation, info)) == hsm.Done()
    content = subject.data(hsm.DecryptMessage(b"factory", bytes(12), CARD.encode(), ciphertext))
    static = scp03.StaticKeys(enc=content[:16], mac=content[16:32], dek=content[32:])
    expected = scp03.session_keys(static, b"hosthost", b"cardcard")
    channel = subject.other(hsm.OpenCardChannel("cards/master", CARD, b"hosthost", b"cardcard"))
    assert channel == hsm.ChannelKeys(enc=expected.enc, mac=expected.mac, rmac=expected.rmac, dek=expected.dek)


def test_no_two_cards_share_keys(subject: Subject) -> None:
    one = subject.one(hsm.OpenCardChannel("cards/master", CARD, bytes(8), bytes(8)))
    other = subject.one(hsm.OpenCardChannel("cards/master", CARD[::-1], bytes(8), bytes(8)))
    assert isinstance(one, hsm.ChannelKeys)
    assert isinstance(other, hsm.ChannelKeys)
    keys = [one.enc, one.mac, one.rmac, one.dek, other.enc, other.mac, other.rmac, other.dek]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("card_id", ["", "１２３", "1" * 33])
def test_what_is_no_card_id_is_refused(subject: Subject, card_id: str) -> None:
    assert subject.one(hsm.DeriveCardKeys("cards/master", card_id, FACTORY)) == hsm.Rejected("hsm.rejected")


def test_what_is_no_challenge_is_refused(subject: Subject) -> None:
    assert subject.one(hsm.OpenCardChannel("cards/master", CARD, bytes(7), bytes(8))) == hsm.Rejected("hsm.rejected")


def test_replies_do_not_show_what_they_hold(subject: Subject) -> None:
    reply = subject.one(hsm.Unwrap("store/wrap", subject.data(hsm.Wrap("store/wrap", b"secret", b"")), b""))
    assert reply == hsm.Bytes(b"secret")
    assert not re.search("secret", repr(reply))
