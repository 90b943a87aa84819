"""Operations that nobody comes back for: what is provable without the chip is ended, the rest is told to people (F6).

Provable is:

* a card write of which no script was made: nothing of it can have reached the chip, so it is undone;
* an operation of which no card write was finished and none is under way: the chip is as it was, so it is abandoned and
  the card is free;
* an operation whose last step is a card write that was finished: it is done, so it is closed;
* an operation whose card another one has taken (an abolition waits for nobody): it is over.

A script that went out may have reached the chip, whoever is silent now. Only the chip can tell: the municipality is
told, and the card is asked when it is met again.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from warifu.contract.message import Done
from warifu.contract.unsettled import UnsettledWhy
from warifu.domain.cards.operations import State, end_operation, steps_of
from warifu.domain.cards.records import Card, CardWrite, Operation
from warifu.domain.cards.settling import Settlement, settle_as
from warifu.domain.decision import Asked, Decision
from warifu.ports.store import Update

Ending = Literal["abandoned", "closed"]


class Patience(Struct, frozen=True):
    """How long nobody is expected to come back, in milliseconds since the operation last moved."""

    unknown_ms: int
    """After which a card write under way is not on its way any more."""
    left_ms: int
    """After which an operation between two steps has been left; not less than ``unknown_ms``."""


def complete(state: State, patience: Patience, challenge: bytes, asked: Asked) -> Decision | None:
    """What can be ended of an operation without its card, or nothing.

    Args:
        state: the card, the operation and its pending write.
        patience: how long is long.
        challenge: 8 random bytes; whoever still holds the old one must open the operation again.
        asked: in whose name and when.
    """
    card, operation, write = state.card, state.operation, state.write
    if card is None or operation is None or operation.state != "open":
        return None
    idle_ms = asked.now_ms - moved_ms(operation, write)
    if idle_ms < patience.unknown_ms:
        return None
    if card.open_operation != operation.operation_id:
        return _displaced(card, operation, asked)
    settlement = Settlement(card, operation, "none")
    if operation.pending_write:
        if write is None or write.digest:
            return None
        settlement = settle_as(card, operation, write, "undone", asked)
        settlement = msgspec.structs.replace(
            settlement, operation=msgspec.structs.replace(settlement.operation, host_challenge=challenge)
        )
    ending = _ending(operation) if idle_ms >= patience.left_ms else None
    if ending is not None:
        return msgspec.structs.replace(end_operation(settlement, ending, asked), answer=Done())
    return _settled(settlement)


def why_unsettled(state: State, patience: Patience, now_ms: int) -> UnsettledWhy | None:
    """Why an operation waits for its card to be met; None for one that does not, or not yet."""
    card, operation, write = state.card, state.operation, state.write
    if card is None or operation is None or operation.state != "open":
        return None
    if card.open_operation != operation.operation_id:
        return None
    idle_ms = now_ms - moved_ms(operation, write)
    if operation.pending_write:
        is_out = write is None or bool(write.digest)
        return "unknown_write" if is_out and idle_ms >= patience.unknown_ms else None
    is_left = idle_ms >= patience.left_ms and _ending(operation) is None
    return "half_done" if is_left else None


def moved_ms(operation: Operation, write: CardWrite | None) -> int:
    """When the operation last moved: the making of a script changes the write's row alone."""
    return operation.changed_ms if write is None else max(operation.changed_ms, write.changed_ms)


def _ending(operation: Operation) -> Ending | None:
    """How an operation without a write under way ends by itself. A plan that ends with a card write is done with it."""
    if operation.writes_done == 0:
        return "abandoned"
    steps = steps_of(operation)
    writes = sum(step.action == "write" for step in steps)
    return "closed" if steps[-1].action == "write" and operation.writes_done == writes else None


def _displaced(card: Card, operation: Operation, asked: Asked) -> Decision:
    """The card's own record is another operation's. How a write of this one ended stays unknown in the journal."""
    return Decision(
        answer=Done(),
        writes=(Update(msgspec.structs.replace(operation, state="abandoned", changed_ms=asked.now_ms)),),
        journal=(asked.journal(f"card:{card.card_id}", "abandoned", kind=operation.kind),),
    )


def _settled(settlement: Settlement) -> Decision | None:
    if settlement.result == "none":
        return None
    return Decision(
        answer=Done(),
        writes=(Update(settlement.card), Update(settlement.operation), *settlement.writes),
        journal=settlement.journal,
        outbox=settlement.outbox,
    )
