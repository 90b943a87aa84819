"""Unified terminal (統合端末): what the screen asks of it. PINs travel only here, from the resident's screen."""

from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from warifu.contract.message import Answer, Request
from warifu.contract.values import BatchId, CardId, CardState, OperationKind, PinName

Pin = Annotated[str, Meta(pattern=r"^[0-9A-Za-z]{4,16}$")]


class TerminalReceived(Answer, frozen=True, kw_only=True):
    """The cards counted in."""

    card_ids: tuple[CardId, ...]


class ReceiveShipment(Request, frozen=True, kw_only=True):
    """Count a shipment in: every card of the packing list must lie in the reader's tray."""

    NAME: ClassVar[str] = "terminal.receive"
    ANSWER: ClassVar[type[Answer]] = TerminalReceived

    batch_id: BatchId
    card_ids: Annotated[tuple[CardId, ...], Meta(max_length=1000)]


class Performed(Answer, frozen=True, kw_only=True):
    """How the operation stands when the terminal stops working on it."""

    outcome: Literal["done", "unknown", "needs_pins", "abandoned"]
    """unknown: a break; the same request takes it up again. needs_pins: these windows wait for the resident."""
    card_state: CardState
    waiting_pins: tuple[PinName, ...] = ()
    exchanges: int = 0
    """Messages to the CS in this run."""
    chip_commands: int = 0


class PerformOperation(Request, frozen=True, kw_only=True):
    """Do (or take up again) an operation with the card on the reader; the envelope's operation id names it."""

    NAME: ClassVar[str] = "terminal.perform"
    ANSWER: ClassVar[type[Answer]] = Performed
    CHANGES: ClassVar[bool] = False

    kind: OperationKind
    card_id: CardId
    reset_pins: tuple[PinName, ...] = ()
    new_pins: dict[PinName, Pin] = {}
    proof_pins: dict[PinName, Pin] = {}
    """PINs the resident proves (continued use: ``juki``)."""


class GiveUpOperation(Request, frozen=True, kw_only=True):
    """Give up the operation the envelope names, with the card on the reader; what its card writes did stays done."""

    NAME: ClassVar[str] = "terminal.abandon"
    ANSWER: ClassVar[type[Answer]] = Performed
    CHANGES: ClassVar[bool] = False

    kind: OperationKind
    card_id: CardId
    reset_pins: tuple[PinName, ...] = ()


class PinChanged(Answer, frozen=True, kw_only=True):
    """The holder changed a PIN."""

    changed: bool
    tries_left: int


class ChangePin(Request, frozen=True, kw_only=True):
    """The holder knows the old PIN and changes it: between resident and chip alone."""

    NAME: ClassVar[str] = "terminal.change_pin"
    ANSWER: ClassVar[type[Answer]] = PinChanged
    CHANGES: ClassVar[bool] = False

    card_id: CardId
    pin: PinName
    old: Pin
    new: Pin
