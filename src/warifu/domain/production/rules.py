"""Rules of shipping: one batch a municipality, every card in exactly one."""

from collections.abc import Sequence
from typing import Final

import msgspec

from warifu.contract.center import CardsShipped
from warifu.contract.issuance import Shipment
from warifu.contract.message import Done
from warifu.domain.decision import Asked, Decision
from warifu.domain.production.records import Batch, ProducedCard
from warifu.ports.store import Insert, Update

BATCH_MAX: Final = 100


def batches(cards: Sequence[ProducedCard]) -> tuple[tuple[ProducedCard, ...], ...]:
    """Cards that wait for shipment, grouped by municipality, at most ``BATCH_MAX`` a group."""
    groups: dict[str, list[ProducedCard]] = {}
    for card in sorted(cards, key=lambda each: each.card_id):
        groups.setdefault(card.municipality, []).append(card)
    return tuple(
        tuple(group[start : start + BATCH_MAX])
        for _, group in sorted(groups.items())
        for start in range(0, len(group), BATCH_MAX)
    )


def ship(cards: Sequence[ProducedCard], batch_id: str, asked: Asked) -> Decision:
    """Ship a group; the centre is told."""
    card_ids = tuple(card.card_id for card in cards)
    municipality = cards[0].municipality
    batch = Batch(batch_id=batch_id, municipality=municipality, card_ids=card_ids, shipped_ms=asked.now_ms)
    shipped = (
        Update(msgspec.structs.replace(card, state="shipped", batch_id=batch_id, changed_ms=asked.now_ms))
        for card in cards
    )
    told = CardsShipped(batch_id=batch_id, municipality=municipality, card_ids=card_ids)
    message = asked.outbox("center", told)
    return Decision(
        answer=Done(),
        writes=(Insert(batch), *shipped),
        journal=(asked.journal(f"batch:{batch_id}", "shipped", cards=len(card_ids)),),
        outbox=(msgspec.structs.replace(message, message_id=f"ship:{batch_id.lower()}"),),
    )


def shipment(batch: Batch) -> Shipment:
    """The packing list."""
    return Shipment(batch_id=batch.batch_id, municipality=batch.municipality, card_ids=batch.card_ids)
