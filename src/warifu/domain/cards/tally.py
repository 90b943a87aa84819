"""The tally: what the chip's last commit says of a card write whose end nobody here saw (F6).

The chip commits a write's changes and its tuple (write id, digest, step) in one atomic act, or nothing. So the next
contact decides, and it is always possible to go on: a card is never made anew because a message was lost.
"""

from typing import Literal

import msgspec

from warifu.contract.values import ChipStatus
from warifu.domain.cards.errors import AnotherCard, ChipDiffers
from warifu.domain.cards.records import Card, CardWrite

Outcome = Literal["finished", "undone"]


def outcome(card: Card, write: CardWrite, chip: ChipStatus) -> Outcome:
    """What became of a write.

    Raises:
        AnotherCard: the chip is another card.
        ChipDiffers: the chip's last commit is neither this write nor the one before it.
    """
    require_same_card(card, chip)
    if chip.write_id == write.write_id:
        if chip.write_digest != write.digest:
            raise ChipDiffers("same write, another digest")
        return "finished"
    if (chip.write_id or "") != card.write_id:
        raise ChipDiffers("the chip has a write that the record does not know")
    return "undone"


def require_same_card(card: Card, chip: ChipStatus) -> None:
    """The chip on the reader is the card of the record. ``AnotherCard`` otherwise."""
    if chip.card_id != card.card_id:
        raise AnotherCard(f"{chip.card_id} on the reader, {card.card_id} expected")


def require_equal(card: Card, chip: ChipStatus) -> None:
    """Chip and record agree while no write is open. ``ChipDiffers`` otherwise."""
    require_same_card(card, chip)
    if (chip.write_id or "") != card.write_id:
        raise ChipDiffers("the last write on the chip is not the record's")


def settled(write: CardWrite, result: Outcome, now_ms: int) -> CardWrite:
    """The journal's row once the end is known."""
    return msgspec.structs.replace(write, state=result, changed_ms=now_ms)
