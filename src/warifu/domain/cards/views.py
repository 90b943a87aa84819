"""A card's record as the contract shows it."""

from typing import cast

from warifu.contract.center import CardView
from warifu.contract.values import CardState
from warifu.domain.cards.records import Card


def card_view(card: Card) -> CardView:
    """Without personal data; certificates are JPKI's to tell."""
    return CardView(
        card_id=card.card_id,
        resident_id=card.resident_id,
        municipality=card.municipality,
        state=cast("CardState", card.state),
        expires_on=card.expires_on,
        continuation_due=card.continuation_due,
        open_operation=card.open_operation,
        batch_id=card.batch_id or "",
        issued_on=card.issued_on,
    )
