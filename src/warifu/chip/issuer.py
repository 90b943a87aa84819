"""The owner of a key domain: builds issuer commands, wraps them for one channel, checks what came back.

A script can be computed whole before the chip sees any of it: the C-MAC chain does not depend on answers.

Typical card write, at card management::

    commands = (begin(ISD, write_id), *put_ef(TEXT, 0x0002, content), open_pin_window(TEXT, 0x0011))
    digest = running_digest(start_digest(write_id), commands)  # JPKI continues from here for its own commands
    channel = HostChannel(ISD, keys, host_challenge, initialize_update_response)
    apdus = channel.script((*commands, commit(write_id, "set_up", digest)))
    ...  # the terminal selects ISD, sends them, returns the responses
    channel.read_responses(responses)  # raises unless the chip itself gave them
"""

from collections.abc import Iterable, Sequence
from typing import Final, Protocol

from msgspec import Struct

from warifu.chip import apdu, scp03, tlv
from warifu.chip.channel import EXTERNAL_AUTHENTICATE, SECURE
from warifu.chip.errors import BadCardAnswer, CardNotAuthentic, CardRefused
from warifu.chip.image import Access, Applet, LifeState
from warifu.chip.key_changes import PUBLIC_KEY_TAG
from warifu.chip.keys import MODULUS_LENGTH, public_objects
from warifu.chip.layout import COMMON, FACE, ISD, JPKI, JUKI, KEY_OF_SLOT, TERMINAL_CA_KEY, TEXT, Slot, domain_of
from warifu.chip.loading import DELETE_APPLET, INSTALL_APPLET, describe
from warifu.chip.locking import LOCK_DF, MANAGE_ATTRIBUTES, UNLOCK_DF, UNLOCK_KEY
from warifu.chip.reading import LIFE_STATES
from warifu.chip.scp03 import SessionKeys, StaticKeys, session_keys, static_keys
from warifu.chip.staging import (
    ACCESS_TAG,
    APPEND_PARTICULARS,
    APPLET_TAG,
    BEGIN,
    CLOSE_PIN_WINDOWS,
    COMMIT,
    FID_TAG,
    GENERATE_KEY_PAIR,
    NOBODY,
    OPEN_PIN_WINDOW,
    PUT_EF,
    PUT_KEY,
    PUT_KEY_PAIR,
    ROLLBACK,
    SET_CERTIFICATE_AVAILABILITY,
    SET_LIFE_STATE,
    SET_VERIFICATION_NUMBER,
    STAGED,
    UNDER_DEK,
    VALUE_TAG,
    next_digest,
    start_digest,
)

__all__ = [
    "COMMON",
    "FACE",
    "ISD",
    "JPKI",
    "JUKI",
    "TEXT",
    "CardChallenge",
    "ChannelKeys",
    "HostChannel",
    "IssuerCommand",
    "SessionKeys",
    "StaticKeys",
    "append_particulars",
    "begin",
    "close_pin_windows",
    "commit",
    "delete_applet",
    "generate_key_pair",
    "initialize_update",
    "install_applet",
    "lock_applet",
    "open_pin_window",
    "parse_initialize_update",
    "put_ef",
    "put_key",
    "put_key_pair",
    "put_terminal_ca_key",
    "read_generated_key",
    "rollback",
    "running_digest",
    "session_keys",
    "set_access",
    "set_certificate_availability",
    "set_life_state",
    "set_verification_number",
    "start_digest",
    "static_keys",
    "unlock_applet",
    "unlock_pin",
]

CHUNK: Final = 2000
"""Bytes of content in one PUT EF: an extended APDU; some readers need less (200 keeps every APDU short)."""

_INITIALIZE_UPDATE_LENGTH: Final = 32


class IssuerCommand(Struct, frozen=True):
    """One issuer command in the clear. ``aid`` is the *domain* whose channel carries it; ``data`` is plain."""

    aid: bytes
    ins: int
    p1: int
    p2: int
    data: bytes

    def __repr__(self) -> str:
        """Without the data."""
        return f"IssuerCommand({self.ins:02X} {self.p1:02X} {self.p2:02X}, {len(self.data)} bytes)"


# --- builders -----------------------------------------------------------------------------------------------------


def begin(aid: bytes, write_id: bytes, *, domain: bytes | None = None) -> IssuerCommand:
    """Open or join the card write ``write_id`` (16 bytes) from the domain of ``aid``."""
    return IssuerCommand(domain or domain_of(aid), BEGIN, 0, 0, write_id)


def put_ef(
    aid: bytes, fid: int, content: bytes, *, read: Access | None = None, chunk: int = CHUNK, domain: bytes | None = None
) -> tuple[IssuerCommand, ...]:
    """Replace the content of an EF; with ``read``, also its access rule, which creates the EF when it is not there.

    ``domain``: of a loaded applet that has a security domain of its own; its AID.
    """
    target = _target(aid, fid)
    rule = b"" if read is None else tlv.encode(ACCESS_TAG, _access_field(read))
    pieces = [content[at : at + chunk] for at in range(0, len(content), chunk)] or [b""]
    return tuple(
        IssuerCommand(
            domain or domain_of(aid),
            PUT_EF,
            int(n > 0),
            0,
            target + (b"" if n else rule) + tlv.encode(VALUE_TAG, piece),
        )
        for n, piece in enumerate(pieces)
    )


def _access_field(read: Access) -> bytes:
    if read.free:
        return b""
    return bytes(read.refs) or bytes((NOBODY,))


def put_key_pair(slot: Slot, pkcs8: bytes) -> IssuerCommand:
    """Put an RSA-2048 private key (PKCS#8 DER) into a JPKI slot. The channel encrypts it under the DEK as well."""
    return IssuerCommand(JPKI, PUT_KEY_PAIR, 0, KEY_OF_SLOT[slot], pkcs8)


def put_key(aid: bytes, fid: int, pkcs8: bytes, *, domain: bytes | None = None) -> IssuerCommand:
    """Put an RSA-2048 private key (PKCS#8 DER) into any applet's slot, encrypted like ``put_key_pair``."""
    return IssuerCommand(domain or domain_of(aid), PUT_KEY, 0, 0, _target(aid, fid) + tlv.encode(VALUE_TAG, pkcs8))


def put_terminal_ca_key(key_id: bytes, modulus: bytes) -> IssuerCommand:
    """The key (id of 16 bytes, modulus of 256) that terminals' certificates are checked against in the JPKI applet."""
    value = key_id + public_objects(modulus)
    return IssuerCommand(JPKI, PUT_KEY, 0, 0, _target(JPKI, TERMINAL_CA_KEY) + tlv.encode(VALUE_TAG, value))


def generate_key_pair(slot: Slot) -> IssuerCommand:
    """Make an RSA-2048 key pair on the chip, staged; its answer, read by ``read_generated_key``, is the public half."""
    return IssuerCommand(JPKI, GENERATE_KEY_PAIR, 0, KEY_OF_SLOT[slot], b"")


def read_generated_key(answer: bytes) -> bytes:
    """The modulus (256 bytes; the exponent is 65537) in the answer to GENERATE KEY PAIR, its R-MAC checked before.

    Raises:
        BadCardAnswer: not such an answer.
    """
    try:
        modulus = tlv.fields(tlv.fields(answer)[PUBLIC_KEY_TAG])[0x81]
    except (tlv.TlvError, KeyError) as error:
        raise BadCardAnswer("not a public key") from error
    if len(modulus) != MODULUS_LENGTH:
        raise BadCardAnswer("not an RSA-2048 public key")
    return modulus


def _target(aid: bytes, fid: int) -> bytes:
    return tlv.encode(APPLET_TAG, aid) + tlv.encode(FID_TAG, fid.to_bytes(2, "big"))


def install_applet(applet: Applet, domain_keys: StaticKeys | None = None) -> IssuerCommand:
    """Load an applet (its files, PINs and keys; contents come later) into the free area.

    With ``domain_keys`` it gets a security domain of its own, named like it: only that domain's channel writes it.
    """
    return IssuerCommand(ISD, INSTALL_APPLET, 0, 0, describe(applet, domain_keys))


def delete_applet(aid: bytes) -> IssuerCommand:
    """Take a loaded applet, its contents and its security domain off the card."""
    return IssuerCommand(ISD, DELETE_APPLET, 0, 0, tlv.encode(APPLET_TAG, aid))


def lock_applet(aid: bytes, *, domain: bytes | None = None) -> IssuerCommand:
    """LOCK DF: the applet can be selected and nothing else, until ``unlock_applet``."""
    return IssuerCommand(domain or domain_of(aid), LOCK_DF, 0, 0, tlv.encode(APPLET_TAG, aid))


def unlock_applet(aid: bytes, *, domain: bytes | None = None) -> IssuerCommand:
    """UNLOCK DF."""
    return IssuerCommand(domain or domain_of(aid), UNLOCK_DF, 0, 0, tlv.encode(APPLET_TAG, aid))


def unlock_pin(aid: bytes, ref: int, *, domain: bytes | None = None) -> IssuerCommand:
    """UNLOCK KEY: full tries again for a PIN whose value its holder still knows."""
    return IssuerCommand(domain or domain_of(aid), UNLOCK_KEY, 0, ref, tlv.encode(APPLET_TAG, aid))


def set_access(aid: bytes, fid: int, read: Access, *, domain: bytes | None = None) -> IssuerCommand:
    """MANAGE ATTRIBUTES: who reads an EF from now on."""
    data = _target(aid, fid) + tlv.encode(ACCESS_TAG, _access_field(read))
    return IssuerCommand(domain or domain_of(aid), MANAGE_ATTRIBUTES, 0x22, 0, data)


def open_pin_window(aid: bytes, ref: int, *, unblock: bool = True, domain: bytes | None = None) -> IssuerCommand:
    """Let the PIN ``ref`` of applet ``aid`` be set once without the old one; ``unblock``: also when it is blocked."""
    return IssuerCommand(domain or domain_of(aid), OPEN_PIN_WINDOW, int(unblock), ref, tlv.encode(APPLET_TAG, aid))


def close_pin_windows(aid: bytes) -> IssuerCommand:
    """Close every open window of the applet ``aid``."""
    return IssuerCommand(domain_of(aid), CLOSE_PIN_WINDOWS, 0, 0, tlv.encode(APPLET_TAG, aid))


def set_life_state(state: LifeState) -> IssuerCommand:
    """Move the card: made > set_up > in_use <> suspended; any > terminated, for ever. The same again is no error."""
    return IssuerCommand(ISD, SET_LIFE_STATE, 0, LIFE_STATES.index(state), b"")


def set_certificate_availability(*, signature: bool, authentication: bool) -> IssuerCommand:
    """EF 0008 of the JPKI applet: 8F where there is a certificate. The third byte's meaning is not public: 00."""
    mark = {True: 0x8F, False: 0x00}
    return IssuerCommand(JPKI, SET_CERTIFICATE_AVAILABILITY, 0, 0, bytes((mark[signature], mark[authentication], 0)))


def set_verification_number(aid: bytes, ref: int, value: str) -> IssuerCommand:
    """Set number A (12 digits), B (14) or the face applet's birth digits (6), with full tries."""
    data = tlv.encode(APPLET_TAG, aid) + tlv.encode(VALUE_TAG, value.encode("ascii"))
    return IssuerCommand(ISD, SET_VERIFICATION_NUMBER, 0, ref, data)


def append_particulars(text: str) -> IssuerCommand:
    """Add one entry (at most 255 bytes of UTF-8) to what was added to the card; there is room for eight."""
    return IssuerCommand(ISD, APPEND_PARTICULARS, 0, 0, text.encode("utf-8"))


def commit(write_id: bytes, step: str, digest: bytes) -> IssuerCommand:
    """Make the write durable, if the chip's running digest is ``digest``. ``step``: 1 to 32 ASCII characters."""
    return IssuerCommand(ISD, COMMIT, 0, 0, write_id + digest + step.encode("ascii"))


def rollback(write_id: bytes) -> IssuerCommand:
    """Drop what is staged and make sure that ``write_id`` can never be committed while it is the newest write."""
    return IssuerCommand(ISD, ROLLBACK, 0, 0, write_id)


def running_digest(start: bytes, commands: Iterable[IssuerCommand]) -> bytes:
    """The chip's running digest after these commands, from ``start`` (``start_digest(write_id)``, or another result).

    BEGIN, COMMIT and ROLLBACK do not count.
    """
    digest = start
    for command in commands:
        if command.ins in STAGED:
            digest = next_digest(digest, command.aid, bytes((command.ins, command.p1, command.p2)), command.data)
    return digest


# --- the channel --------------------------------------------------------------------------------------------------


class CardChallenge(Struct, frozen=True):
    """What INITIALIZE UPDATE answered: the challenge (8), the cryptogram (8), and the domain's channel count."""

    card_challenge: bytes
    cryptogram: bytes
    sequence: int


def initialize_update(host_challenge: bytes) -> bytes:
    """The INITIALIZE UPDATE APDU for a challenge of 8 bytes; to be sent after SELECT of the domain."""
    return apdu.build(0x80, 0x50, scp03.KEY_VERSION, 0x00, host_challenge, apdu.SHORT_LE_MAX)


def parse_initialize_update(response: bytes) -> CardChallenge:
    """Take a response to INITIALIZE UPDATE (with its status word) apart.

    Raises:
        CardRefused: the status word is not 9000.
        BadCardAnswer: not of SCP03 with the options this card has.
    """
    data, status = response[:-2], int.from_bytes(response[-2:], "big")
    if status != apdu.OK:
        raise CardRefused(0x50, status)
    if len(data) != _INITIALIZE_UPDATE_LENGTH or data[11:13] != bytes((scp03.PROTOCOL, scp03.PROTOCOL_OPTIONS)):
        raise BadCardAnswer("not an SCP03 answer of this kind of card")
    return CardChallenge(data[13:21], data[21:29], int.from_bytes(data[29:32], "big"))


class ChannelKeys(Protocol):
    """The keys of one channel, 16 bytes each: ``SessionKeys``, or an HSM's answer."""

    @property
    def enc(self) -> bytes:
        """S-ENC."""

    @property
    def mac(self) -> bytes:
        """S-MAC."""

    @property
    def rmac(self) -> bytes:
        """S-RMAC."""

    @property
    def dek(self) -> bytes:
        """The static DEK."""


class HostChannel:
    """The owner's end of one channel: wraps scripts, checks responses. Use it once, throw it away.

    Args:
        aid: the domain's AID.
        keys: from ``session_keys``, or an HSM's.
        host_challenge: the 8 bytes sent with INITIALIZE UPDATE.
        response: the chip's whole response to it.

    Raises:
        CardNotAuthentic: the card cryptogram is not what these keys give.
        CardRefused, BadCardAnswer: as ``parse_initialize_update``.
    """

    def __init__(self, aid: bytes, keys: ChannelKeys, host_challenge: bytes, response: bytes) -> None:
        answer = parse_initialize_update(response)
        expected = scp03.card_cryptogram(keys.mac, host_challenge, answer.card_challenge)
        if not scp03.same(answer.cryptogram, expected):
            raise CardNotAuthentic("card cryptogram differs")
        self._aid = aid
        self._keys = keys
        self._cryptogram = scp03.host_cryptogram(keys.mac, host_challenge, answer.card_challenge)
        self._chaining = scp03.FIRST_CHAINING_VALUE
        self._counter = 0
        self._sent: list[tuple[int, bytes]] = []

    def script(self, commands: Sequence[IssuerCommand]) -> tuple[bytes, ...]:
        """EXTERNAL AUTHENTICATE and the wrapped commands, ready to send one after the other."""
        if self._sent:
            raise ValueError("a channel carries one script")
        first = self._seal(EXTERNAL_AUTHENTICATE, scp03.SECURITY_LEVEL, 0, self._cryptogram, None)
        return (first, *(self._wrap(command) for command in commands))

    def _wrap(self, command: IssuerCommand) -> bytes:
        if command.aid != self._aid:
            raise ValueError("the command belongs to another domain")
        data = scp03.encrypt_key(self._keys.dek, command.data) if command.ins in UNDER_DEK else command.data
        self._counter += 1
        sealed = scp03.encrypt_command(self._keys.enc, self._counter, data)
        expected = apdu.EXTENDED_LE_MAX if command.ins == GENERATE_KEY_PAIR else apdu.SHORT_LE_MAX
        return self._seal(command.ins, command.p1, command.p2, sealed, expected)

    def _seal(self, ins: int, p1: int, p2: int, data: bytes, expected: int | None) -> bytes:
        count = len(data) + scp03.MAC_LENGTH
        short = count <= apdu.SHORT_DATA_MAX and (expected or 0) <= apdu.SHORT_LE_MAX
        length = bytes((count,)) if short else b"\x00" + count.to_bytes(2, "big")
        mac = scp03.command_mac(self._keys.mac, self._chaining, bytes((SECURE, ins, p1, p2)) + length + data)
        self._chaining = mac
        self._sent.append((ins, mac))
        return apdu.build(SECURE, ins, p1, p2, data + mac[: scp03.MAC_LENGTH], expected)

    def read_responses(self, responses: Sequence[bytes]) -> tuple[bytes, ...]:
        """The data of the responses to ``script``, in order, after checking that the chip itself gave each of them.

        Args:
            responses: from EXTERNAL AUTHENTICATE's on; fewer than commands when the terminal stopped early.

        Raises:
            CardRefused: a response is an error (an error carries no MAC: it could also come from the terminal).
            CardNotAuthentic: a MAC is wrong.
        """
        answers = []
        for (ins, chaining), response in zip(self._sent, responses, strict=False):
            answers.append(self._read_response(ins, chaining, response))
        return tuple(answers)

    def _read_response(self, ins: int, chaining: bytes, response: bytes) -> bytes:
        body, status = response[:-2], response[-2:]
        if status != apdu.word(apdu.OK):
            raise CardRefused(ins, int.from_bytes(status, "big"))
        if ins == EXTERNAL_AUTHENTICATE:
            return body
        data, mac = body[: -scp03.MAC_LENGTH], body[-scp03.MAC_LENGTH :]
        if not scp03.same(mac, scp03.response_mac(self._keys.rmac, chaining, data, status)):
            raise CardNotAuthentic("response MAC differs")
        return data
