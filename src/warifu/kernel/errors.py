"""The one tree of errors.

Each class carries a stable ``code``; codes are interface, texts are not. Each edge (frame, HTTP, command line, screen,
APDU) renders an error in one place of its own. Texts never hold personal data, PINs or keys.

* ``WarifuError``
    * ``Refused`` -- the request is wrong or not allowed; sending it again changes nothing
        * ``Malformed``        ``request.malformed``
        * ``NotFound``         ``record.not_found``
        * ``NotAllowed``       ``request.not_allowed``
        * ``KeyReused``        ``request.key_reused``
    * ``TryAgain`` -- nothing happened, or nobody knows yet; the same request may be sent again under the same key
        * ``ConnectionExcess`` ``connection_excess``
        * ``Stale``            ``store.stale``
        * ``Unavailable``      ``part.unavailable``
            * ``Unreachable``  ``part.unreachable``
            * ``DiskFull``     ``disk.full``
        * ``DeadlinePassed``   ``deadline.passed``
    * ``Fault`` -- a promise of our own is broken: never expected, always logged
"""

from typing import ClassVar


class WarifuError(Exception):
    """Root of the tree."""

    code: ClassVar[str] = "warifu.error"


class Refused(WarifuError):  # noqa: N818 - reads as a sentence: "the request was refused"
    """The request is wrong or not allowed; repeating it changes nothing."""

    code = "request.refused"


class Malformed(Refused):
    """The bytes or fields do not have the form the contract gives them."""

    code = "request.malformed"


class NotFound(Refused):
    """No such record."""

    code = "record.not_found"


class NotAllowed(Refused):
    """The state of the record, or the caller's role, does not allow this."""

    code = "request.not_allowed"


class KeyReused(Refused):
    """The same idempotency key came with another request."""

    code = "request.key_reused"


class TryAgain(WarifuError):  # noqa: N818 - likewise
    """Nothing happened, or nobody knows yet: the same request may be sent again under the same key."""

    code = "request.try_again"


class ConnectionExcess(TryAgain):
    """More work than the limit; says when to come back.

    Args:
        retry_after_ms: when to come back, in milliseconds, jittered by the refuser.
        place_in_line: for people; 0 when unknown.
    """

    code = "connection_excess"

    def __init__(
        self, text: str = "more work than the limit", *, retry_after_ms: int = 1000, place_in_line: int = 0
    ) -> None:
        super().__init__(text)
        self.retry_after_ms = retry_after_ms
        self.place_in_line = place_in_line


class Stale(TryAgain):
    """A record changed between read and guarded write, or a unique key is taken: read and decide again."""

    code = "store.stale"


class Unavailable(TryAgain):
    """A part that is needed (database, HSM, node) does not answer now."""

    code = "part.unavailable"


class Unreachable(Unavailable):
    """No connection to the node: the request was possibly never received."""

    code = "part.unreachable"


class DiskFull(Unavailable):
    """No space left where something has to be written."""

    code = "disk.full"


class DeadlinePassed(TryAgain):
    """The time that was left for the request ran out; its effect is unknown."""

    code = "deadline.passed"


class Fault(WarifuError):  # noqa: N818 - likewise
    """A promise of our own is broken. Never expected, always logged, never retried blindly."""

    code = "internal.fault"
