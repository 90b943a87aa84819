"""A card write: changes are staged in memory and become durable together, with the record of the write, at COMMIT.

The running digest is H0 = SHA-256(write_id), H(n+1) = SHA-256(H(n) | domain AID | INS P1 P2 | plain data) over the
staged commands of both domains in their order. Only card management's domain commits, and only under that digest.
"""

import hashlib
from collections.abc import Callable
from typing import Final

import msgspec

from warifu.chip import apdu, key_changes, loading, locking, scp03, tlv
from warifu.chip.apdu import Command, StatusError
from warifu.chip.changing import (
    ACCESS_TAG,
    APPLET_TAG,
    FID_TAG,
    NOBODY,
    VALUE_TAG,
    access,
    check_records,
    fields,
    file_id,
    management_only,
    own_applet,
    pin_of,
)
from warifu.chip.channel import open_channel
from warifu.chip.image import Access, Applet, Change, Ef, Image, LastWrite, LifeState
from warifu.chip.layout import (
    CERTIFICATE_AVAILABILITY,
    DATA_OBJECTS,
    ISD,
    JPKI,
    JUKI,
    JUKI_PARTICULARS,
    PARTICULARS_MAX,
)
from warifu.chip.pins import has_form
from warifu.chip.reading import LIFE_STATES, split_records
from warifu.chip.state import ChipState, Staging

__all__ = ["ACCESS_TAG", "APPLET_TAG", "FID_TAG", "NOBODY", "VALUE_TAG"]

BEGIN: Final = 0xE0
PUT_EF: Final = 0xE2
COMMIT: Final = 0xE4
ROLLBACK: Final = 0xE6
PUT_KEY_PAIR: Final = 0xD8
OPEN_PIN_WINDOW: Final = 0xD4
CLOSE_PIN_WINDOWS: Final = 0xD6
SET_LIFE_STATE: Final = 0xF0
SET_CERTIFICATE_AVAILABILITY: Final = 0xDA
SET_VERIFICATION_NUMBER: Final = 0xD2
APPEND_PARTICULARS: Final = 0xDC

PUT_KEY: Final = 0xDE
GENERATE_KEY_PAIR: Final = 0x46
"""ISO/IEC 7816-8: GENERATE ASYMMETRIC KEY PAIR."""
UNDER_DEK: Final = frozenset((PUT_KEY_PAIR, PUT_KEY, loading.INSTALL_APPLET))
"""Commands whose data holds keys: inside the channel it is encrypted once more, under the domain's DEK."""

WRITE_ID_LENGTH: Final = 16
DIGEST_LENGTH: Final = 32
STEP_MAX: Final = 32
EF_MAX: Final = 0x8000
STAGED_MAX: Final = 0x40000
COMMANDS_MAX: Final = 2000
"""Commands in one card write."""
_RECORD_MAX: Final = 255

_TRANSITIONS: Final[dict[LifeState, tuple[LifeState, ...]]] = {
    "made": ("set_up", "terminated"),
    "set_up": ("in_use", "terminated"),
    "in_use": ("suspended", "terminated"),
    "suspended": ("in_use", "terminated"),
    "terminated": (),
}


def start_digest(write_id: bytes) -> bytes:
    """H0."""
    return hashlib.sha256(write_id).digest()


def next_digest(before: bytes, domain: bytes, head: bytes, data: bytes) -> bytes:
    """H(n+1); ``head`` is INS P1 P2."""
    return hashlib.sha256(before + domain + head + data).digest()


# --- opening and ending -------------------------------------------------------------------------------------------


def begin(state: ChipState, command: Command) -> bytes:
    """BEGIN: opens staging for a write_id, or joins it from the other domain. Answers the running digest."""
    open_channel(state)
    state.alive()
    write_id = command.data
    if len(write_id) != WRITE_ID_LENGTH:
        raise StatusError(apdu.WRONG_LENGTH)
    staging = state.volatile.staging
    if staging is None:
        last = state.image.last_write
        if last is not None and last.write_id == write_id:
            raise StatusError(apdu.WRITE_SETTLED)
        staging = state.volatile.staging = Staging(write_id, start_digest(write_id), state.image)
    if staging.write_id != write_id:
        raise StatusError(apdu.OTHER_WRITE_OPEN)
    return staging.digest


def commit(state: ChipState, command: Command) -> bytes:
    """COMMIT: data write_id (16) | digest (32) | step (ASCII). One save makes everything durable.

    The same COMMIT again, after it was done, is answered 9000 and changes nothing.
    """
    management_only(open_channel(state).domain)
    wanted = _last_write(command.data)
    if wanted == state.image.last_write:
        return b""
    staging = _staging(state, wanted.write_id)
    if staging.digest != wanted.digest:
        raise StatusError(apdu.DIGEST_DIFFERS)
    image = state.image
    for change in staging.changes:
        image = change(image)
    state.keep(msgspec.structs.replace(image, last_write=wanted))
    state.volatile.staging = None
    return b""


def _last_write(data: bytes) -> LastWrite:
    write_id, digest, step = data[:16], data[16:48], data[48:]
    if not 1 <= len(step) <= STEP_MAX or not step.isascii():
        raise StatusError(apdu.WRONG_DATA)
    return LastWrite(write_id, digest, step.decode("ascii"), committed=True)


def rollback(state: ChipState, command: Command) -> bytes:
    """ROLLBACK: drops what is staged and remembers durably that this write_id will never be committed."""
    management_only(open_channel(state).domain)
    if len(command.data) != WRITE_ID_LENGTH:
        raise StatusError(apdu.WRONG_LENGTH)
    last, staging = state.image.last_write, state.volatile.staging
    if last is not None and last.write_id == command.data:
        if last.committed:
            raise StatusError(apdu.WRITE_SETTLED)
        return b""
    digest = staging.digest if staging and staging.write_id == command.data else bytes(DIGEST_LENGTH)
    undone = LastWrite(command.data, digest, "", committed=False)
    state.keep(msgspec.structs.replace(state.image, last_write=undone))
    state.volatile.staging = None
    return b""


def _staging(state: ChipState, write_id: bytes | None = None) -> Staging:
    staging = state.volatile.staging
    if staging is None:
        raise StatusError(apdu.CONDITIONS)
    if write_id is not None and staging.write_id != write_id:
        raise StatusError(apdu.OTHER_WRITE_OPEN)
    return staging


# --- staged commands ----------------------------------------------------------------------------------------------


def stage(state: ChipState, command: Command) -> bytes:
    """One staged command: checked against what is staged so far, digested, remembered. Nothing durable happens."""
    domain = open_channel(state).domain
    plain = _plain(state, command)
    try:
        change = _BUILDERS[plain.ins](plain, domain, _room(state, plain))
    except tlv.TlvError as error:
        raise StatusError(apdu.WRONG_DATA) from error
    _take(_staging(state), domain, plain, change)
    return b""


def generate_key_pair(state: ChipState, command: Command) -> bytes:
    """GENERATE KEY PAIR, staged like the others, but it answers: the public half."""
    domain = open_channel(state).domain
    staging = _room(state, command)
    if domain != JPKI:
        raise StatusError(apdu.SECURITY_STATUS)
    change, public = key_changes.generated_key_pair(command, domain, state.make_key)
    _take(staging, domain, command, change)
    return public


def _room(state: ChipState, plain: Command) -> Staging:
    """The open staging, if it can take this command: else 6A84."""
    staging = _staging(state)
    if staging.size + len(plain.data) > STAGED_MAX or len(staging.changes) >= COMMANDS_MAX:
        raise StatusError(apdu.NO_SPACE)
    return staging


def _take(staging: Staging, domain: bytes, plain: Command, change: Change) -> None:
    staging.scratch = change(staging.scratch)
    staging.changes.append(change)
    staging.size += len(plain.data)
    staging.digest = next_digest(staging.digest, domain, bytes((plain.ins, plain.p1, plain.p2)), plain.data)


def _plain(state: ChipState, command: Command) -> Command:
    """The command with its data in the clear."""
    if command.ins not in UNDER_DEK:
        return command
    try:
        data = scp03.decrypt_key(open_channel(state).keys.dek, command.data)
    except ValueError as error:
        raise StatusError(apdu.WRONG_DATA) from error
    return msgspec.structs.replace(command, data=data)


def _put_ef(command: Command, domain: bytes, _staging: Staging) -> Change:
    aid, found = fields(command)
    if command.p1 not in (0, 1) or command.p2 or VALUE_TAG not in found:
        raise StatusError(apdu.WRONG_DATA)
    fid, value, append = file_id(found), found[VALUE_TAG], command.p1 == 1
    read = access(found[ACCESS_TAG]) if ACCESS_TAG in found else None

    def change(image: Image) -> Image:
        applet = own_applet(image, aid, domain)
        old = applet.ef(fid) or _new_ef(applet, fid, read)
        content = old.content + value if append else value
        if len(content) > EF_MAX:
            raise StatusError(apdu.NO_SPACE)
        new = msgspec.structs.replace(old, content=content, read=read or old.read)
        if new.records:
            check_records(new)
        return image.with_applet(applet.with_ef(new))

    return change


def _new_ef(applet: Applet, fid: int, read: Access | None) -> Ef:
    if read is None or applet.has(fid) or (applet.aid == ISD and fid not in DATA_OBJECTS):
        raise StatusError(apdu.NOT_FOUND)
    return Ef(fid, read)


def _open_pin_window(command: Command, domain: bytes, staging: Staging) -> Change:
    aid, _ = fields(command)
    if command.p1 not in (0, 1):
        raise StatusError(apdu.WRONG_P1P2)
    write_id, unblocks = staging.write_id, command.p1 == 1

    def change(image: Image) -> Image:
        applet = own_applet(image, aid, domain)
        pin = pin_of(applet, command.p2)
        if pin.change == "never":
            raise StatusError(apdu.CONDITIONS)
        opened = msgspec.structs.replace(pin, window=write_id, window_unblocks=unblocks)
        return image.with_applet(applet.with_pin(opened))

    return change


def _close_pin_windows(command: Command, domain: bytes, _staging: Staging) -> Change:
    aid, _ = fields(command)

    def change(image: Image) -> Image:
        applet = own_applet(image, aid, domain)
        for pin in applet.pins:
            applet = applet.with_pin(msgspec.structs.replace(pin, window=b"", window_unblocks=False))
        return image.with_applet(applet)

    return change


def _set_life_state(command: Command, domain: bytes, _staging: Staging) -> Change:
    management_only(domain)
    if command.p1 or command.p2 >= len(LIFE_STATES):
        raise StatusError(apdu.WRONG_P1P2)
    new: LifeState = LIFE_STATES[command.p2]

    def change(image: Image) -> Image:
        if new != image.life and new not in _TRANSITIONS[image.life]:
            raise StatusError(apdu.CONDITIONS)
        return msgspec.structs.replace(image, life=new)

    return change


def _set_certificate_availability(command: Command, domain: bytes, _staging: Staging) -> Change:
    if len(command.data) != 3:
        raise StatusError(apdu.WRONG_LENGTH)

    def change(image: Image) -> Image:
        applet = own_applet(image, JPKI, domain)
        ef = applet.ef(CERTIFICATE_AVAILABILITY)
        if ef is None:
            raise StatusError(apdu.NOT_FOUND)
        return image.with_applet(applet.with_ef(msgspec.structs.replace(ef, content=command.data)))

    return change


def _set_verification_number(command: Command, domain: bytes, _staging: Staging) -> Change:
    aid, found = fields(command)
    value = found.get(VALUE_TAG, b"")

    def change(image: Image) -> Image:
        applet = own_applet(image, aid, domain)
        pin = pin_of(applet, command.p2)
        if pin.kind not in ("number_a", "number_b", "birth_digits"):
            raise StatusError(apdu.CONDITIONS)
        if not has_form(pin.kind, value):
            raise StatusError(apdu.WRONG_DATA)
        known = msgspec.structs.replace(pin, value=value, tries_left=pin.tries_max)
        return image.with_applet(applet.with_pin(known))

    return change


def _append_particulars(command: Command, domain: bytes, _staging: Staging) -> Change:
    if not 1 <= len(command.data) <= _RECORD_MAX:
        raise StatusError(apdu.WRONG_LENGTH)

    def change(image: Image) -> Image:
        applet = own_applet(image, JUKI, domain)
        ef = applet.ef(JUKI_PARTICULARS)
        if ef is None:
            raise StatusError(apdu.NOT_FOUND)
        number = len(split_records(ef)) + 1
        if number > PARTICULARS_MAX:
            raise StatusError(apdu.NO_SPACE)
        row = bytes((number, len(command.data))) + command.data
        return image.with_applet(applet.with_ef(msgspec.structs.replace(ef, content=ef.content + row)))

    return change


def _alone(build: Callable[[Command, bytes], Change]) -> Callable[[Command, bytes, Staging], Change]:
    """A builder that does not look at what is staged."""
    return lambda command, domain, _staging: build(command, domain)


_BUILDERS: Final[dict[int, Callable[[Command, bytes, Staging], Change]]] = {
    PUT_EF: _put_ef,
    PUT_KEY_PAIR: _alone(key_changes.put_key_pair),
    PUT_KEY: _alone(key_changes.put_key),
    OPEN_PIN_WINDOW: _open_pin_window,
    CLOSE_PIN_WINDOWS: _close_pin_windows,
    SET_LIFE_STATE: _set_life_state,
    SET_CERTIFICATE_AVAILABILITY: _set_certificate_availability,
    SET_VERIFICATION_NUMBER: _set_verification_number,
    APPEND_PARTICULARS: _append_particulars,
    loading.INSTALL_APPLET: _alone(loading.install_applet),
    loading.DELETE_APPLET: _alone(loading.delete_applet),
    locking.UNLOCK_KEY: _alone(locking.unlock_key),
    locking.LOCK_DF: _alone(locking.lock_df),
    locking.UNLOCK_DF: _alone(locking.unlock_df),
    locking.MANAGE_ATTRIBUTES: _alone(locking.manage_attributes),
}
STAGED: Final = frozenset((*_BUILDERS, GENERATE_KEY_PAIR))
"""The INS bytes of staged commands: those the running digest covers."""
