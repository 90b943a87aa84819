"""The chip's end of SCP03: INITIALIZE UPDATE, EXTERNAL AUTHENTICATE, unwrapping and wrapping.

80 50 is also JICSAP's LOCK DF: in an applet with a security domain of its own GlobalPlatform's meaning wins, elsewhere
it is LOCK DF without the issuer's authority, 6982.
"""

from typing import Final

import msgspec

from warifu.chip import apdu, scp03
from warifu.chip.apdu import Command, StatusError
from warifu.chip.image import Domain
from warifu.chip.state import Channel, ChipState

SECURE: Final = 0x84
EXTERNAL_AUTHENTICATE: Final = 0x82
SEQUENCE_MAX: Final = 0xFFFFFF
DIVERSIFICATION_LENGTH: Final = 10


def initialize_update(state: ChipState, command: Command) -> bytes:
    """INITIALIZE UPDATE: starts a channel to the current domain, ending the open one.

    A started channel waits per domain and outlives SELECT (GlobalPlatform would end it): so a terminal can start those
    of both owners, ask both at once, and run their scripts one after the other.
    """
    domain = state.image.domain(state.volatile.aid)
    if domain is None:
        raise StatusError(apdu.SECURITY_STATUS)
    if command.p1 not in (0, scp03.KEY_VERSION) or command.p2:
        raise StatusError(apdu.NO_REFERENCE)
    if len(command.data) != scp03.CHALLENGE_LENGTH:
        raise StatusError(apdu.WRONG_LENGTH)
    challenge = scp03.card_challenge(domain.keys.enc, domain.sequence, domain.aid)
    keys = scp03.session_keys(domain.keys, command.data, challenge)
    state.volatile.channel = None
    state.volatile.pending[domain.aid] = Channel(domain.aid, keys, command.data, challenge)
    who = state.image.card_id.encode("ascii")[-DIVERSIFICATION_LENGTH:]
    info = bytes((scp03.KEY_VERSION, scp03.PROTOCOL, scp03.PROTOCOL_OPTIONS))
    cryptogram = scp03.card_cryptogram(keys.mac, command.data, challenge)
    return who + info + challenge + cryptogram + domain.sequence.to_bytes(3, "big")


def external_authenticate(state: ChipState, command: Command) -> bytes:
    """EXTERNAL AUTHENTICATE: opens the channel and counts it durably, so that no recorded script works twice."""
    channel, domain = _pending(state)
    if command.p1 != scp03.SECURITY_LEVEL or command.p2:
        raise StatusError(apdu.WRONG_P1P2)
    if len(command.data) != scp03.CRYPTOGRAM_LENGTH + scp03.MAC_LENGTH:
        raise StatusError(apdu.WRONG_LENGTH)
    cryptogram = _check_mac(channel, command)
    expected = scp03.host_cryptogram(channel.keys.mac, channel.host_challenge, channel.card_challenge)
    if not scp03.same(cryptogram, expected):
        raise StatusError(apdu.AUTHENTICATION_FAILED)
    if domain.sequence >= SEQUENCE_MAX:
        raise StatusError(apdu.CONDITIONS)
    counted = msgspec.structs.replace(domain, sequence=domain.sequence + 1)
    state.keep(state.image.with_domain(counted))
    state.volatile.channel = channel
    return b""


def _pending(state: ChipState) -> tuple[Channel, Domain]:
    state.volatile.channel = None
    channel = state.volatile.pending.pop(state.volatile.aid, None)
    domain = state.image.domain(state.volatile.aid)
    if channel is None or domain is None:
        raise StatusError(apdu.CONDITIONS)
    return channel, domain


def mac_input(command: Command) -> bytes:
    """What a C-MAC covers: the header with the length that includes the MAC, and the data without it."""
    count = len(command.data)
    length = b"\x00" + count.to_bytes(2, "big") if command.extended else bytes((count,))
    head = bytes((command.cla, command.ins, command.p1, command.p2))
    return head + length + command.data[: -scp03.MAC_LENGTH]


def _check_mac(channel: Channel, command: Command) -> bytes:
    """The data without its MAC; moves the chaining value on."""
    if len(command.data) < scp03.MAC_LENGTH:
        raise StatusError(apdu.SECURITY_STATUS)
    mac = scp03.command_mac(channel.keys.mac, channel.chaining, mac_input(command))
    if not scp03.same(mac[: scp03.MAC_LENGTH], command.data[-scp03.MAC_LENGTH :]):
        raise StatusError(apdu.SECURITY_STATUS)
    channel.chaining = mac
    return command.data[: -scp03.MAC_LENGTH]


def unwrap(state: ChipState, command: Command) -> Command:
    """The plain command inside a secured one. Anything wrong ends the channel with 6982."""
    channel = open_channel(state)
    state.volatile.channel = None
    sealed = _check_mac(channel, command)
    channel.counter += 1
    try:
        data = scp03.decrypt_command(channel.keys.enc, channel.counter, sealed)
    except ValueError as error:
        raise StatusError(apdu.SECURITY_STATUS) from error
    state.volatile.channel = channel
    return msgspec.structs.replace(command, data=data)


def open_channel(state: ChipState) -> Channel:
    """The open channel. 6982 when there is none."""
    channel = state.volatile.channel
    if channel is None:
        raise StatusError(apdu.SECURITY_STATUS)
    return channel


def wrap_response(channel: Channel, data: bytes) -> bytes:
    """A good answer with its R-MAC; bad ones go out bare."""
    return data + scp03.response_mac(channel.keys.rmac, channel.chaining, data, apdu.word(apdu.OK))
