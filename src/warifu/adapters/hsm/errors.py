"""What can go wrong inside a worker.

* ``Refused``
    * ``Rejection``     ``hsm.rejected``: becomes a ``Rejected`` reply with its own code
* ``Unavailable``
    * ``DeviceFailed``  ``hsm.device_failed``: the worker ends, and the pool makes another
"""

from typing import Literal

from warifu.kernel.errors import Refused, Unavailable

RejectionCode = Literal["hsm.rejected", "hsm.no_such_key", "hsm.unknown_session"]


class Rejection(Refused):
    """The device is well and will not do this command.

    Args:
        reply_code: what the caller is told.
        text: for people; never data.
    """

    code = "hsm.rejected"

    def __init__(self, reply_code: RejectionCode, text: str) -> None:
        super().__init__(text)
        self.reply_code: RejectionCode = reply_code


class DeviceFailed(Unavailable):
    """The device does not do its work."""

    code = "hsm.device_failed"


def rejected(text: str) -> Rejection:
    """``hsm.rejected``: the command itself is wrong, or the data were changed."""
    return Rejection("hsm.rejected", text)
