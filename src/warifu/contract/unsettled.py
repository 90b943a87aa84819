"""What the card management centre tells of operations that nobody came back for (F6)."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta, Struct

from warifu.contract.envelope import OperationId
from warifu.contract.message import Answer, Request
from warifu.contract.values import CardId, Municipality, OperationKind

UnsettledWhy = Literal["unknown_write", "half_done"]
"""A script went out and nobody heard what the chip made of it; or a write is done and steps with the card are not."""


class Unsettled(Struct, frozen=True, kw_only=True):
    """An operation that nobody came back for and that only its card can settle."""

    card_id: CardId
    operation_id: OperationId
    kind: OperationKind
    municipality: Municipality
    """Whose counter opened it, and takes it up again when the card is met."""
    why: UnsettledWhy
    since_ms: int
    """When it last moved, milliseconds since 1970 UTC."""
    step_name: str = ""
    """Of the write whose end is unknown."""


class UnsettledCards(Answer, frozen=True, kw_only=True):
    """A page of them; it may be empty and not the last."""

    unsettled: tuple[Unsettled, ...]
    after: str = ""
    """Where to go on; "" when there are no more."""


class AskUnsettled(Request, frozen=True, kw_only=True):
    """Operations that wait for their card: of the municipality that asks, or of all (driver). No personal data."""

    NAME: ClassVar[str] = "center.unsettled"
    ANSWER: ClassVar[type[Answer]] = UnsettledCards
    CHANGES: ClassVar[bool] = False

    limit: Annotated[int, Meta(ge=1, le=100)] = 50
    after: str = ""
    """``UnsettledCards.after`` of the page before."""
