"""Asking nodes from outside the chain: one key for each request, kept over every retry, within a budget of time.

Processes may be killed at any instant: what failed with "try again" is sent again under its own key, so that no effect
happens twice. Any other error is the answer.
"""

from typing import Final, TypeVar

from warifu.contract.center import AskCard, CardView
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.contract.errors import open_reply
from warifu.contract.message import Answer, Request
from warifu.contract.terminal import Performed, PerformOperation
from warifu.demo.errors import Unexpected
from warifu.demo.patience import BACKOFF_S, Patience
from warifu.domain.cards.errors import OperationEnded
from warifu.kernel.errors import NotFound, Refused
from warifu.kernel.ids import new_ulid
from warifu.ports.clock import Clock
from warifu.ports.entropy import Entropy
from warifu.ports.transport import Transport

DRIVER: Final = "driver"
ATTEMPT_MS: Final = 30_000
AFTER_A_BREAK: Final = frozenset(
    {
        "operation.write_not_settled",
        "operation.wrong_step",
        "operation.taken_up_again",
        "authority.write_ended",
        "card.refused",
    }
)
"""What a run may be refused with because an earlier, broken run still had a message under way: it is taken up again."""

A = TypeVar("A", bound=Answer)


class Asker:
    """The driver's voice.

    Args:
        transport: reaches every node by name, as ``driver``.
        clock: for operation ids.
        entropy: likewise.
        patience: how long each request is repeated.
        actor: the staff member on whose behalf, for the audit.
    """

    def __init__(
        self,
        transport: Transport,
        clock: Clock,
        entropy: Entropy,
        patience: Patience | None = None,
        *,
        actor: str = DRIVER,
    ) -> None:
        self._transport = transport
        self.actor = actor
        self.clock = clock
        self.entropy = entropy
        self.patience = patience or Patience()

    def new_operation(self) -> str:
        """A fresh operation id."""
        return new_ulid(self.clock.now_ms(), self.entropy.random_bytes(10))

    async def ask(
        self,
        destination: str,
        request: Request,
        answer: type[A],
        *,
        operation_id: str = "",
        step: str = "driver",
        attempt_ms: int = ATTEMPT_MS,
    ) -> A:
        """Ask a node; the same request under the same key until it is answered or patience ends.

        Args:
            destination: the node's name.
            request: what to ask.
            answer: the type of the answer.
            operation_id: the operation it belongs to; a fresh one by default.
            step: tells apart the requests of one operation.
            attempt_ms: the time each sending is given.

        Raises:
            WarifuError: the node's refusal, or the last "try again" when patience has ended.
        """
        envelope = self._envelope(request, operation_id or self.new_operation(), step, attempt_ms)

        async def attempt() -> A:
            return open_reply(await self._transport.call(destination, envelope), answer)

        return await self.patience.persist(attempt)

    def _envelope(self, request: Request, operation_id: str, step: str, attempt_ms: int) -> Envelope:
        return Envelope(
            name=request.NAME,
            operation_id=operation_id,
            step=step,
            sender=DRIVER,
            remaining_ms=attempt_ms,
            actor=self.actor,
            body=encode(request),
        )

    async def until_found(self, destination: str, request: Request, answer: type[A]) -> A:
        """Ask until the record is there."""

        async def look() -> A | None:
            try:
                return await self.ask(destination, request, answer)
            except NotFound:
                return None

        return await self.patience.until(request.NAME, look)

    async def perform(self, terminal: str, request: PerformOperation) -> Performed:
        """Do an operation at a counter: taken up again, under its own operation id, after every break.

        Raises:
            Unexpected: it waits for PINs, or does not advance.
            Refused: the centre, the terminal or the chip refuses.
        """
        envelope = self._envelope(request, self.new_operation(), "perform", ATTEMPT_MS)
        sent = 0

        async def attempt() -> Performed:
            nonlocal sent
            sent += 1
            return open_reply(await self._transport.call(terminal, envelope), Performed)

        deadline = self.patience.now() + self.patience.patience_s
        while self.patience.now() < deadline:
            try:
                done = await self.patience.persist(attempt)
            except OperationEnded:
                if sent == 1:
                    raise
                return await self._ended(request, envelope.operation_id)
            except Refused as error:
                if sent == 1 or error.code not in AFTER_A_BREAK:
                    raise
            else:
                if done.outcome == "done":
                    return done
                if done.outcome == "needs_pins":
                    raise Unexpected(f"{request.kind} waits for {', '.join(done.waiting_pins)}")
            await self.patience.pause(BACKOFF_S[-1])
        raise Unexpected(f"{request.kind} is not done within {self.patience.patience_s:g} s")

    async def _ended(self, request: PerformOperation, operation_id: str) -> Performed:
        """An operation whose closing was not heard of: the record says how it ended."""
        view = await self.ask("center", AskCard(card_id=request.card_id), CardView)
        if view.open_operation == operation_id:
            raise Unexpected(f"{request.kind} is ended and open at once")
        return Performed(outcome="done", card_state=view.state)
