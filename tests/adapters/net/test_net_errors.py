"""Errors that cross the wire: the whole tree there and back."""

from collections.abc import Iterator

import pytest

from warifu.adapters.net.codec import decode_reply, encode_reply
from warifu.adapters.net.handling import refusal
from warifu.contract.envelope import ErrorBody, Reply
from warifu.contract.errors import error_from
from warifu.kernel import errors
from warifu.kernel.errors import ConnectionExcess, Fault, Refused, TryAgain, WarifuError


def tree(root: type[WarifuError] = WarifuError) -> Iterator[type[WarifuError]]:
    yield root
    for child in root.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


def across(error: WarifuError) -> WarifuError:
    reply = decode_reply(encode_reply(refusal(error)))
    assert reply.error is not None
    return error_from(reply.error)


@pytest.mark.parametrize("cls", list(tree()))
def test_each_class_of_the_tree_arrives_as_itself(cls: type[WarifuError]) -> None:
    arrived = across(cls("why"))
    assert (type(arrived), str(arrived), arrived.code) == (cls, "why", cls.code)


def test_connection_excess_keeps_when_to_come_back_and_the_place_in_line() -> None:
    arrived = across(ConnectionExcess(retry_after_ms=1234, place_in_line=5))
    assert isinstance(arrived, ConnectionExcess)
    assert (arrived.retry_after_ms, arrived.place_in_line) == (1234, 5)


@pytest.mark.parametrize(("kind", "branch"), [("refused", Refused), ("try_again", TryAgain), ("fault", Fault)])
def test_an_unknown_code_becomes_its_branch_and_keeps_its_code(kind: str, branch: type[WarifuError]) -> None:
    sent = Reply(error=ErrorBody(code="of.tomorrow", kind=kind))  # type: ignore[arg-type]
    received = decode_reply(encode_reply(sent)).error
    assert received is not None
    error = error_from(received)
    assert isinstance(error, branch)
    assert error.code == "of.tomorrow"
    assert branch.code != "of.tomorrow"


def test_a_long_text_is_cut() -> None:
    assert len(str(across(Refused("x" * 5000)))) == 300
