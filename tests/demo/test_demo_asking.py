"""The driver keeps a request's key over every retry, and knows when to stop."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from warifu.adapters.entropy import SystemEntropy
from warifu.contract.center import AskCard, CardView
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope, Reply
from warifu.contract.errors import error_body
from warifu.contract.message import Answer, Done
from warifu.contract.registry import AskIdentity
from warifu.contract.terminal import Performed, PerformOperation
from warifu.demo.asking import Asker
from warifu.demo.errors import Unexpected
from warifu.demo.patience import Patience
from warifu.domain.cards.errors import OperationEnded, WriteNotSettled, WrongCardState
from warifu.kernel.errors import ConnectionExcess, DeadlinePassed, Fault, NotFound, Unavailable, WarifuError

CARD = "WRF000000000001"
ASK = AskCard(card_id=CARD)
VIEW = CardView(
    card_id=CARD, resident_id="0" * 26, municipality="131016", state="set_up", expires_on=None, continuation_due=None
)
SETUP = PerformOperation(kind="setup", card_id=CARD)
DONE = Performed(outcome="done", card_state="set_up")
UNKNOWN = Performed(outcome="unknown", card_state="received")


class Clock:
    def __init__(self) -> None:
        self.s = 1_000_000.0

    def now_ms(self) -> int:
        return int(self.s * 1000)

    def now(self) -> float:
        return self.s

    async def pause(self, seconds: float) -> None:
        self.s += seconds


class Script:
    """A transport that answers as written down; what it raises never reached the node's answer."""

    def __init__(self, *replies: Answer | WarifuError) -> None:
        self.replies = list(replies)
        self.seen: list[tuple[str, Envelope]] = []

    async def call(self, destination: str, envelope: Envelope) -> Reply:
        self.seen.append((destination, envelope))
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Unavailable | DeadlinePassed):
            raise reply
        return Reply(error=error_body(reply)) if isinstance(reply, WarifuError) else Reply(body=encode(reply))

    def keys(self) -> set[tuple[str, str, bytes]]:
        return {(envelope.operation_id, envelope.step, envelope.digest()) for _, envelope in self.seen}


def asking(*replies: Answer | WarifuError, patience_s: float = 60) -> tuple[Asker, Script, Clock]:
    clock, script = Clock(), Script(*replies)
    return Asker(script, clock, SystemEntropy(), Patience(patience_s, clock.pause, clock.now)), script, clock


def run(work: Coroutine[Any, Any, Answer]) -> Answer:
    return asyncio.run(work)


@pytest.mark.parametrize("trouble", [Unavailable("gone"), DeadlinePassed("late"), ConnectionExcess()])
def test_a_retry_has_the_same_key(trouble: WarifuError) -> None:
    asker, script, _ = asking(trouble, trouble, VIEW)
    assert run(asker.ask("center", ASK, CardView)) == VIEW
    assert len(script.seen) == 3
    assert len(script.keys()) == 1
    assert asker.patience.retries == 2


def test_another_request_has_another_key() -> None:
    asker, script, _ = asking(VIEW)
    for _ in range(2):
        run(asker.ask("center", ASK, CardView))
    assert len(script.keys()) == 2


def test_the_request_is_the_drivers() -> None:
    asker, script, _ = asking(VIEW)
    run(asker.ask("center", ASK, CardView, operation_id="0" * 26, step="look", attempt_ms=777))
    destination, envelope = script.seen[0]
    assert (destination, envelope.sender, envelope.name) == ("center", "driver", "center.card")
    assert (envelope.operation_id, envelope.step, envelope.remaining_ms) == ("0" * 26, "look", 777)


@pytest.mark.parametrize("error", [NotFound("no card"), WrongCardState("made"), Fault("broken")])
def test_a_refusal_or_fault_is_the_answer(error: WarifuError) -> None:
    asker, script, _ = asking(error)
    with pytest.raises(type(error)):
        run(asker.ask("center", ASK, CardView))
    assert len(script.seen) == 1


def test_patience_ends() -> None:
    asker, script, clock = asking(Unavailable("gone"), patience_s=10)
    began = clock.s
    with pytest.raises(Unavailable):
        run(asker.ask("center", ASK, CardView))
    assert 8 <= clock.s - began <= 10
    assert len(script.seen) < 20


def test_it_waits_as_long_as_the_node_asks() -> None:
    asker, _, clock = asking(ConnectionExcess(retry_after_ms=7000), VIEW)
    began = clock.s
    run(asker.ask("center", ASK, CardView))
    assert clock.s - began >= 7


def test_a_record_is_waited_for() -> None:
    asker, script, _ = asking(NotFound("not yet"), Unavailable("gone"), NotFound("not yet"), VIEW)
    assert run(asker.until_found("center", ASK, CardView)) == VIEW
    assert len(script.seen) == 4


def test_a_record_that_never_comes_is_told() -> None:
    asker, _, _ = asking(NotFound("no"), patience_s=5)
    with pytest.raises(Unexpected, match=r"registry\.identity: not within 5 s"):
        run(asker.until_found("registry", AskIdentity(resident_id="0" * 26, purpose="test"), Done))


@pytest.mark.parametrize(
    "replies",
    [
        (DONE,),
        (UNKNOWN, DONE),
        (Unavailable("killed"), UNKNOWN, DeadlinePassed("late"), DONE),
        (Unavailable("killed"), WriteNotSettled("under way"), DONE),
        (UNKNOWN, WriteNotSettled("under way"), DONE),
    ],
)
def test_an_operation_is_taken_up_again_under_its_own_id(replies: tuple[Answer | WarifuError, ...]) -> None:
    asker, script, _ = asking(*replies)
    assert run(asker.perform("terminal-131016", SETUP)) == DONE
    assert len(script.seen) == len(replies)
    assert len(script.keys()) == 1


@pytest.mark.parametrize("error", [WriteNotSettled("at once"), OperationEnded("at once"), WrongCardState("never")])
def test_a_refusal_without_a_break_is_the_answer(error: WarifuError) -> None:
    asker, script, _ = asking(error)
    with pytest.raises(type(error)):
        run(asker.perform("terminal-131016", SETUP))
    assert len(script.seen) == 1


def test_a_break_does_not_excuse_every_refusal() -> None:
    asker, _, _ = asking(Unavailable("killed"), WrongCardState("made"))
    with pytest.raises(WrongCardState):
        run(asker.perform("terminal-131016", SETUP))


def test_a_closing_that_was_not_heard_of_is_looked_up() -> None:
    asker, script, _ = asking(Unavailable("killed"), OperationEnded("closed"), VIEW)
    assert run(asker.perform("terminal-131016", SETUP)) == DONE
    assert [destination for destination, _ in script.seen] == ["terminal-131016", "terminal-131016", "center"]


def test_pins_that_are_missing_are_a_mistake_of_ours() -> None:
    asker, _, _ = asking(Performed(outcome="needs_pins", card_state="set_up", waiting_pins=("text",)))
    with pytest.raises(Unexpected, match="waits for text"):
        run(asker.perform("terminal-131016", SETUP))


def test_an_operation_that_never_ends_is_told() -> None:
    asker, _, _ = asking(UNKNOWN, patience_s=20)
    with pytest.raises(Unexpected, match="setup is not done within 20 s"):
        run(asker.perform("terminal-131016", SETUP))


def test_retries_of_others_excuse_nothing() -> None:
    """The count of breaks is the operation's own, not the driver's."""
    asker, _, _ = asking(WriteNotSettled("at once"))
    asker.patience.retries = 5
    with pytest.raises(WriteNotSettled):
        run(asker.perform("terminal-131016", SETUP))


def test_until_looks_again() -> None:
    clock = Clock()
    patience = Patience(10, clock.pause, clock.now)
    seen = iter((None, None, "there"))

    async def look() -> str | None:
        return next(seen)

    found: Callable[[], Coroutine[Any, Any, str]] = lambda: patience.until("it", look)  # noqa: E731 - for its type
    assert asyncio.run(found()) == "there"
