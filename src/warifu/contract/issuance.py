"""Commissioned issuance (委託発行): the card factory and its shipments."""

from typing import Annotated, ClassVar

from msgspec import Meta, Struct

from warifu.contract.message import Answer, Request
from warifu.contract.values import BatchId, CardId, Municipality


class Shipment(Struct, frozen=True, kw_only=True):
    """A batch on its way to a municipality."""

    batch_id: BatchId
    municipality: Municipality
    card_ids: tuple[CardId, ...]


class Produced(Answer, frozen=True, kw_only=True):
    """What a run made."""

    made: int
    failed: int
    shipments: tuple[Shipment, ...]


class RunProduction(Request, frozen=True, kw_only=True):
    """Make up to ``limit`` ordered cards and ship what is made. A broken run is simply run again."""

    NAME: ClassVar[str] = "issuance.run"
    ANSWER: ClassVar[type[Answer]] = Produced

    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class Shipments(Answer, frozen=True, kw_only=True):
    """Shipments to a municipality."""

    shipments: tuple[Shipment, ...]


class AskShipments(Request, frozen=True, kw_only=True):
    """What was shipped to this municipality (the packing lists that come with the boxes)? A page of it."""

    NAME: ClassVar[str] = "issuance.shipments"
    ANSWER: ClassVar[type[Answer]] = Shipments
    CHANGES: ClassVar[bool] = False

    municipality: Municipality
    limit: Annotated[int, Meta(ge=1, le=500)] = 500
    """A page of 500 full boxes fits a message."""
    after: str = ""
    """Batch id after which to go on."""
