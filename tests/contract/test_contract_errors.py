"""Errors between nodes: every one of the tree travels and arrives as itself, without what it must not carry."""

import importlib
import pkgutil

import pytest

import warifu
from warifu.contract.codec import decode, encode
from warifu.contract.envelope import ErrorBody, Reply
from warifu.contract.errors import RemoteFault, RemoteRefusal, RemoteTryAgain, error_body, error_from, open_reply
from warifu.contract.message import Done
from warifu.kernel.errors import ConnectionExcess, Fault, NotFound, Refused, TryAgain, WarifuError

for module in pkgutil.walk_packages(warifu.__path__, "warifu."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)


def tree() -> list[type[WarifuError]]:
    found, waiting = [], [WarifuError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting.extend(kind.__subclasses__())
    return sorted(found, key=lambda each: each.__name__)


def made(kind: type[WarifuError]) -> WarifuError:
    """One, whatever its constructor wants."""
    return kind.__new__(kind, "why")


@pytest.mark.parametrize("kind", tree())
def test_an_error_arrives_with_its_code_and_in_its_branch(kind: type[WarifuError]) -> None:
    if issubclass(kind, ConnectionExcess):
        return
    error = made(kind)
    body = decode(ErrorBody, encode(error_body(error)))
    arrived = error_from(body)
    assert arrived.code == kind.code
    for branch in (Refused, TryAgain):
        assert isinstance(arrived, branch) == issubclass(kind, branch)


def test_an_excess_arrives_with_when_to_come_back_and_the_place_in_line() -> None:
    body = error_body(ConnectionExcess("full", retry_after_ms=1234, place_in_line=7))
    arrived = error_from(decode(ErrorBody, encode(body)))
    assert isinstance(arrived, ConnectionExcess)
    assert (str(arrived), arrived.retry_after_ms, arrived.place_in_line) == ("full", 1234, 7)


@pytest.mark.parametrize(
    ("branch", "kind"), [("refused", RemoteRefusal), ("try_again", RemoteTryAgain), ("fault", RemoteFault)]
)
def test_a_code_of_tomorrow_is_acted_on_by_its_branch(branch: str, kind: type[WarifuError]) -> None:
    arrived = error_from(ErrorBody(code="room.of_tomorrow", text="why", kind=branch))  # type: ignore[arg-type]
    assert (type(arrived), arrived.code, str(arrived)) == (kind, "room.of_tomorrow", "why")
    assert kind.code != "room.of_tomorrow"


def test_a_reply_is_an_answer_or_an_error() -> None:
    assert open_reply(Reply(body=encode(Done())), Done) == Done()
    with pytest.raises(NotFound, match="card"):
        open_reply(Reply(error=error_body(NotFound("card"))), Done)
    with pytest.raises(Fault):
        open_reply(Reply(), Done)


def test_texts_are_cut_to_what_an_error_may_carry() -> None:
    assert len(error_body(Fault("x" * 1000)).text) == 300


BOTH_SIDES = {"hsm.rejected"}
"""What a device's worker says and what its pool says of it: one refusal, seen from two processes."""


def test_a_code_is_one_class_and_those_that_refine_it() -> None:
    codes: dict[str, list[type[WarifuError]]] = {}
    for kind in tree():
        codes.setdefault(kind.code, []).append(kind)
    for code, kinds in codes.items():
        oldest = min(kinds, key=lambda each: len(each.__mro__))
        assert code in BOTH_SIDES or all(issubclass(each, oldest) for each in kinds), (code, kinds)
