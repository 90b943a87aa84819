"""Errors on their way between nodes: rendered in one place, opened in one place."""

from typing import Final, TypeVar

from warifu.contract.codec import decode
from warifu.contract.envelope import ErrorBody, Reply
from warifu.contract.message import Answer
from warifu.kernel.errors import ConnectionExcess, Fault, Refused, TryAgain, WarifuError

A = TypeVar("A", bound=Answer)


def error_body(error: WarifuError) -> ErrorBody:
    """An error as it travels. The branch of the tree goes with it, so that an unknown code can still be acted on."""
    kind = "refused" if isinstance(error, Refused) else "try_again" if isinstance(error, TryAgain) else "fault"
    retry_after_ms = getattr(error, "retry_after_ms", 0)
    place_in_line = getattr(error, "place_in_line", 0)
    text = str(error)[:300]
    return ErrorBody(
        code=error.code,
        text=text,
        kind=kind,  # type: ignore[arg-type]  # one of three literals
        retry_after_ms=retry_after_ms,
        place_in_line=place_in_line,
    )


class RemoteRefusal(Refused):
    """Another node refused; ``code`` is the one it gave."""


class RemoteTryAgain(TryAgain):
    """Another node asks to try again; ``code`` is the one it gave."""


class RemoteFault(Fault):
    """Another node failed; ``code`` is the one it gave."""


def open_reply(reply: Reply, answer: type[A]) -> A:
    """The answer in a reply.

    Raises:
        WarifuError: the error in the reply, as the class of its code where this side knows it.
    """
    if reply.error is not None:
        raise error_from(reply.error)
    if reply.body is None:
        raise Fault("a reply without body or error")
    return decode(answer, reply.body)


def error_from(body: ErrorBody) -> WarifuError:
    """The error that a body describes: its own class where this side knows the code, else that of its branch."""
    known = _class_of(body.code)
    if known is None:
        error = _BRANCHES[body.kind](body.text)
        error.code = body.code  # type: ignore[misc]  # of this instance only
        return error
    # Made without its constructor, which may want what did not travel.
    error = known.__new__(known, body.text)
    if isinstance(error, ConnectionExcess):
        error.retry_after_ms, error.place_in_line = body.retry_after_ms, body.place_in_line
    return error


_BRANCHES: Final[dict[str, type[WarifuError]]] = {
    "refused": RemoteRefusal,
    "try_again": RemoteTryAgain,
    "fault": RemoteFault,
}
_classes: dict[str, type[WarifuError]] = {}


def _class_of(code: str) -> type[WarifuError] | None:
    """The class with this code; the tree is walked again when an unknown one comes (rooms are imported as needed)."""
    if code not in _classes:
        waiting: list[type[WarifuError]] = [WarifuError]
        while waiting:
            kind = waiting.pop()
            _classes.setdefault(kind.code, kind)
            waiting.extend(kind.__subclasses__())
    return _classes.get(code)
