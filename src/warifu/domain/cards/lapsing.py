"""Cards that end by the calendar: past their last day, or past the days for continued use (card.md 3.2, 3.3).

The record ends at the start of the next day in Japan. The chip is ended when it is met at a counter (an abolition of a
card that is abolished already); until then its certificates, revoked or expired, serve nobody.
"""

import datetime
from typing import Final, Literal

import msgspec

from warifu.contract.authority import RevokeCertificates
from warifu.contract.message import Done
from warifu.domain.cards.records import Card
from warifu.domain.decision import Asked, Decision
from warifu.kernel.calendar import jst_date
from warifu.ports.store import Update

Why = Literal["expired", "not_continued", "moved_again"]

UNDELIVERED: Final = frozenset({"ordered", "made", "shipped", "received", "set_up"})
"""A card that nobody holds yet has nothing to continue: the municipality decides what becomes of it."""


def why_over(card: Card, today: datetime.date) -> Why | None:
    """Why a card's days are over, or None."""
    if card.state == "abolished":
        return None
    if card.expires_on is not None and today > card.expires_on:
        return "expired"
    if card.state in UNDELIVERED or card.continuation_due is None:
        return None
    return "not_continued" if today > card.continuation_due else None


def end(card: Card, why: Why, asked: Asked) -> Decision:
    """End the record; JPKI revokes what is on the card."""
    after = msgspec.structs.replace(card, state="abolished", live_resident_id=None, changed_ms=asked.now_ms)
    revoke = RevokeCertificates(card_id=card.card_id, event="abolition")
    return Decision(
        answer=Done(),
        writes=(Update(after),),
        journal=(asked.journal(f"card:{card.card_id}", "lapsed", reason=why),),
        audit=(asked.audit("card.lapse", card.resident_id, f"calendar.{why}"),),
        outbox=(asked.outbox("authority", revoke, order_key=card.card_id),),
    )


def lapse(card: Card, asked: Asked) -> Decision | None:
    """What the calendar makes of a card today: its end, or nothing."""
    why = why_over(card, jst_date(asked.now_ms))
    return None if why is None else end(card, why, asked)
