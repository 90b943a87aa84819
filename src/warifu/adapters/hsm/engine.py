"""The commands of ``ports.hsm`` over any device: the same checks, formats and refusals whatever holds the keys."""

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final, Generic

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from warifu.adapters import hpke
from warifu.adapters.crypto import agree_with
from warifu.adapters.hsm.device import DIGEST_INFO_LIMIT, NONCE_BYTES, PAIRS, TAG_BYTES, Device, Key
from warifu.adapters.hsm.errors import Rejection, rejected
from warifu.adapters.hsm.self_test import KnownAnswers
from warifu.chip import scp03
from warifu.kernel.errors import Malformed
from warifu.ports import hsm

SESSION_LIMIT: Final = 4096
"""Message sessions one worker keeps; the oldest unused leaves. About 1,750 communication servers exist."""
LABEL_LIMIT: Final = 100
_CARD_ID_LIMIT: Final = 32
_SCALAR_BYTES: Final = 40
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class _Session(Struct, frozen=True):
    key: Any
    origin: bytes
    """Digest of what the session was opened with."""


class Engine(Generic[Key]):
    """Does commands, one at a time.

    Args:
        device: where the keys are.
        session_limit: how many message sessions are kept.
    """

    def __init__(self, device: Device[Key], session_limit: int = SESSION_LIMIT) -> None:
        self._device = device
        self._session_limit = session_limit
        self._known_answers = KnownAnswers(device)
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()
        self._points: dict[str, bytes] = {}
        self._commands: dict[type, Callable[[Any], hsm.HsmReply]] = {
            hsm.CreateKey: self._create_key,
            hsm.PublicKey: self._public_key,
            hsm.Sign: self._sign,
            hsm.SignMany: self._sign_many,
            hsm.SignDigestInfo: self._sign_digest_info,
            hsm.Mac: self._mac,
            hsm.Wrap: self._wrap,
            hsm.Unwrap: self._unwrap,
            hsm.OpenMessageSession: self._open_session,
            hsm.DecryptMessage: self._decrypt,
            hsm.EncryptMessage: self._encrypt,
            hsm.DeriveCardKeys: self._derive_card_keys,
            hsm.OpenCardChannel: self._open_card_channel,
            hsm.SelfTest: self._self_test,
        }

    def perform(self, command: hsm.HsmCommand) -> hsm.HsmReply:
        """Do one command.

        Raises:
            DeviceFailed: the device does not work; the worker should end.
        """
        try:
            return self._commands[type(command)](command)
        except Rejection as rejection:
            return hsm.Rejected(rejection.reply_code)
        except Malformed:
            return hsm.Rejected("hsm.rejected")

    def _create_key(self, command: hsm.CreateKey) -> hsm.HsmReply:
        if not 0 < len(command.label) <= LABEL_LIMIT:
            raise rejected("not a usable label")
        self._device.create(command.label, command.purpose)
        return hsm.Bytes(self._device.public_key(command.label)) if command.purpose in PAIRS else hsm.Done()

    def _public_key(self, command: hsm.PublicKey) -> hsm.HsmReply:
        return hsm.Bytes(self._device.public_key(command.label))

    def _sign(self, command: hsm.Sign) -> hsm.HsmReply:
        return hsm.Bytes(self._device.sign(self._device.find(command.label, "sign"), command.data))

    def _sign_many(self, command: hsm.SignMany) -> hsm.HsmReply:
        if not 0 < len(command.data) <= hsm.SIGN_MANY_LIMIT:
            raise rejected("too many texts, or none")
        key = self._device.find(command.label, "sign")
        return hsm.ManyBytes(tuple([self._device.sign(key, data) for data in command.data]))

    def _sign_digest_info(self, command: hsm.SignDigestInfo) -> hsm.HsmReply:
        if not 0 < len(command.data) <= DIGEST_INFO_LIMIT:
            raise rejected("not a DigestInfo")
        return hsm.Bytes(self._device.sign_digest_info(self._device.find(command.label, "sign"), command.data))

    def _mac(self, command: hsm.Mac) -> hsm.HsmReply:
        return hsm.Bytes(self._device.mac(self._device.find(command.label, "mac"), command.data))

    def _wrap(self, command: hsm.Wrap) -> hsm.HsmReply:
        return hsm.Bytes(self._wrapped(command.label, command.data, command.context))

    def _wrapped(self, label: str, data: bytes, context: bytes) -> bytes:
        key, nonce = self._device.find(label, "wrap"), self._device.random(NONCE_BYTES)
        return nonce + self._device.seal(key, nonce, context, data)

    def _unwrap(self, command: hsm.Unwrap) -> hsm.HsmReply:
        key = self._device.find(command.label, "wrap")
        nonce, sealed = command.data[:NONCE_BYTES], command.data[NONCE_BYTES:]
        return hsm.Bytes(self._unseal(key, nonce, command.context, sealed))

    def _unseal(self, key: Key, nonce: bytes, context: bytes, sealed: bytes) -> bytes:
        if len(nonce) != NONCE_BYTES or len(sealed) < TAG_BYTES:
            raise rejected("too short")
        return self._device.unseal(key, nonce, context, sealed)

    def _open_session(self, command: hsm.OpenMessageSession) -> hsm.HsmReply:
        origin = _origin(command)
        known = self._sessions.get(command.session)
        if known is None:
            self._sessions[command.session] = _Session(self._message_key(command), origin)
            self._drop_oldest_sessions()
        elif known.origin != origin:
            raise rejected("the session was opened with something else")
        self._sessions.move_to_end(command.session)
        return hsm.Done()

    def _message_key(self, command: hsm.OpenMessageSession) -> Key:
        key = self._device.find(command.label, "agree")
        hpke.parse_point(command.encapsulation)
        secret = hpke.recipient_secret(
            lambda point: self._device.agree(key, point), command.encapsulation, self._point(command.label)
        )
        return self._device.import_key("message", hpke.export(secret, command.info))

    def _point(self, label: str) -> bytes:
        if label not in self._points:
            self._points[label] = hpke.point_of_spki(self._device.public_key(label))
        return self._points[label]

    def _drop_oldest_sessions(self) -> None:
        while len(self._sessions) > self._session_limit:
            _, oldest = self._sessions.popitem(last=False)
            self._device.forget(oldest.key)

    def _session_key(self, session: bytes) -> Key:
        known = self._sessions.get(session)
        if known is None:
            raise Rejection("hsm.unknown_session", "no such message session in this worker")
        self._sessions.move_to_end(session)
        key: Key = known.key
        return key

    def _decrypt(self, command: hsm.DecryptMessage) -> hsm.HsmReply:
        key = self._session_key(command.session)
        return hsm.Bytes(self._unseal(key, command.nonce, command.context, command.data))

    def _encrypt(self, command: hsm.EncryptMessage) -> hsm.HsmReply:
        key = self._session_key(command.session)
        if len(command.nonce) != NONCE_BYTES:
            raise rejected("not a nonce")
        return hsm.Bytes(self._device.seal(key, command.nonce, command.context, command.data))

    def _static_keys(self, master: str, card_id: str) -> scp03.StaticKeys:
        if not card_id.isascii() or not 0 < len(card_id) <= _CARD_ID_LIMIT:
            raise rejected("not a card id")
        key = self._device.find(master, "card-master")
        return scp03.static_keys(lambda data: self._device.mac(key, data), card_id)

    def _derive_card_keys(self, command: hsm.DeriveCardKeys) -> hsm.HsmReply:
        static = self._static_keys(command.master, command.card_id)
        context = command.card_id.encode("ascii")
        # A fresh pair for each sealing (FIPS 186-5, A.2.1: 320 random bits reduced), so its key seals only this once.
        scalar = int.from_bytes(self._device.random(_SCALAR_BYTES), "big") % (_P256_ORDER - 1) + 1
        ephemeral = ec.derive_private_key(scalar, ec.SECP256R1())
        shared = agree_with(ephemeral, command.recipient, hsm.SEALED_KEYS_INFO + context)
        sealed = AESGCM(shared.key).encrypt(bytes(NONCE_BYTES), static.enc + static.mac + static.dek, context)
        return hsm.Bytes(shared.encapsulation + sealed)

    def _open_card_channel(self, command: hsm.OpenCardChannel) -> hsm.HsmReply:
        challenges = (command.host_challenge, command.card_challenge)
        if any(len(challenge) != scp03.CHALLENGE_LENGTH for challenge in challenges):
            raise rejected("not a challenge")
        keys = scp03.session_keys(self._static_keys(command.master, command.card_id), *challenges)
        return hsm.ChannelKeys(enc=keys.enc, mac=keys.mac, rmac=keys.rmac, dek=keys.dek)

    def _self_test(self, _: hsm.SelfTest) -> hsm.HsmReply:
        self._known_answers.prove()
        return hsm.Done()


def _origin(command: hsm.OpenMessageSession) -> bytes:
    fields = (command.label.encode(), command.encapsulation, command.info)
    return sha256(b"".join(len(field).to_bytes(4, "big") + field for field in fields)).digest()
