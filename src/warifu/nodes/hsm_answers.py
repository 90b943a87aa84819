"""What a device may answer to a command: the form of each answer, and the errors it may give (F1).

An answer of another form never reaches who asked: the worker that gave it is fenced.
"""

from typing import Final

from warifu.kernel.errors import Refused, TryAgain
from warifu.ports import hsm
from warifu.ports.hsm import HsmCommand, HsmReply

_TAG_BYTES: Final = 16
_WRAP_BYTES: Final = 12 + _TAG_BYTES
_POINT_BYTES: Final = 65
_CHANNEL_KEY_BYTES: Final = 16
_SIGNATURE_BYTES: Final = 256
_LENGTHS: Final[dict[type, int]] = {
    hsm.Sign: 256,
    hsm.SignDigestInfo: 256,
    hsm.Mac: 16,
    hsm.DeriveCardKeys: _POINT_BYTES + 3 * 16 + _TAG_BYTES,
}
_GROWTH: Final[dict[type, int]] = {
    hsm.Wrap: _WRAP_BYTES,
    hsm.Unwrap: -_WRAP_BYTES,
    hsm.EncryptMessage: _TAG_BYTES,
    hsm.DecryptMessage: -_TAG_BYTES,
}


class HsmRejected(Refused):
    """The device refused the command: changed data, or a key that is for something else."""

    code = "hsm.rejected"


class NoSuchKey(Refused):
    """The device has no key of this name."""

    code = "hsm.no_such_key"


class UnknownSession(TryAgain):
    """Nobody here knows the message session any more: agree a new one, then send the same request again."""

    code = "hsm.unknown_session"


def error_of(reply: hsm.Rejected) -> HsmRejected | NoSuchKey | UnknownSession:
    """A refusal as an error of our tree; it repeats nothing the device said beside its code."""
    kinds = (NoSuchKey, UnknownSession)
    kind = next((kind for kind in kinds if kind.code == reply.code), HsmRejected)
    return kind("the HSM refused the command")


def fits(command: HsmCommand, reply: HsmReply) -> bool:
    """Whether the reply has the form this command's answer has. A ``Rejected`` always has, except in a self-test."""
    if isinstance(reply, hsm.Rejected):
        return not isinstance(command, hsm.SelfTest)
    if isinstance(command, hsm.OpenCardChannel):
        return isinstance(reply, hsm.ChannelKeys) and all(
            len(key) == _CHANNEL_KEY_BYTES for key in (reply.enc, reply.mac, reply.rmac, reply.dek)
        )
    if isinstance(command, hsm.OpenMessageSession | hsm.SelfTest):
        return isinstance(reply, hsm.Done)
    if isinstance(command, hsm.CreateKey) and command.purpose not in {"sign", "agree"}:
        return isinstance(reply, hsm.Done)
    if isinstance(command, hsm.SignMany):
        sizes = [len(each) for each in reply.data] if isinstance(reply, hsm.ManyBytes) else []
        return sizes == [_SIGNATURE_BYTES] * len(command.data)
    return isinstance(reply, hsm.Bytes) and _length_of(command) in {None, len(reply.data)}


def _length_of(command: HsmCommand) -> int | None:
    """How many bytes the answer must have; None when that is not known."""
    if isinstance(command, hsm.Wrap | hsm.Unwrap | hsm.EncryptMessage | hsm.DecryptMessage):
        return len(command.data) + _GROWTH[type(command)]
    return _LENGTHS.get(type(command))
