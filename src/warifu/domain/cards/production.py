"""Rules beside the counter: ordering, making, shipping and receiving cards; suspension; changes of the resident."""

import datetime
from collections.abc import Sequence

import msgspec

from warifu.contract.authority import RevokeCertificates, WriteSettled
from warifu.contract.center import (
    CardMade,
    CardsReceived,
    CardsShipped,
    OrderCard,
    Ordered,
    Received,
    RevokeOnRequest,
)
from warifu.contract.message import Done
from warifu.contract.registry import ResidentChanged
from warifu.domain.cards.errors import OtherOperationOpen, WrongCardState, WrongMunicipality
from warifu.domain.cards.lapsing import UNDELIVERED, end
from warifu.domain.cards.operations import continuation_due
from warifu.domain.cards.records import Card
from warifu.domain.cards.tally import require_same_card
from warifu.domain.cards.views import card_view
from warifu.domain.decision import Asked, Decision
from warifu.kernel.errors import NotFound
from warifu.ports.store import Insert, Update


def order(
    existing: Card | None,
    live: Card | None,
    request: OrderCard,
    *,
    card_id: str,
    municipality: str | None,
    asked: Asked,
) -> Decision:
    """Order a card for an accepted application; one live card for each resident.

    An application that has become void (the holder has a card, or has left the register: ``municipality`` None) is
    answered without a card, and journalled: an outbox message that is refused would wait for ever.
    """
    if existing is not None:
        return Decision(answer=Ordered(card_id=existing.card_id))
    if live is not None or municipality is None:
        why = "left_register" if municipality is None else "already_held"
        entry = asked.journal(f"application:{request.application_id}", "void", reason=why)
        return Decision(answer=Ordered(card_id=""), journal=(entry,))
    card = Card(
        card_id=card_id,
        application_id=request.application_id,
        resident_id=request.resident_id,
        live_resident_id=request.resident_id,
        municipality=municipality,
        state="ordered",
        wants_signature=request.wants_signature,
        wants_authentication=request.wants_authentication,
        changed_ms=asked.now_ms,
    )
    return Decision(
        answer=Ordered(card_id=card_id),
        writes=(Insert(card),),
        journal=(asked.journal(f"card:{card_id}", "ordered", application=request.application_id),),
    )


def fix_data(card: Card, municipality: str, issued_on: datetime.date, expires_on: datetime.date) -> Card:
    """Municipality, issue date and validity are fixed when the factory first asks for the card's data."""
    if card.state != "ordered":
        raise WrongCardState(f"data for making a card that is {card.state}")
    if card.issued_on is not None:
        return card
    return msgspec.structs.replace(card, municipality=municipality, issued_on=issued_on, expires_on=expires_on)


def made(card: Card | None, request: CardMade, kinds: Sequence[str], asked: Asked) -> Decision:
    """The factory made the card: from now on its last write is known."""
    card = _known(card, request.card_id)
    require_same_card(card, request.chip)
    write_id = request.chip.write_id or ""
    if card.state == "made" and card.write_id == write_id:
        return Decision(answer=Done())
    if card.state not in {"ordered", "abolished"}:
        raise WrongCardState(f"made, of a card that is {card.state}")
    after = msgspec.structs.replace(
        card,
        state="abolished" if card.state == "abolished" else "made",
        write_id=write_id,
        face_modulus=request.face_modulus,
        has_signature="signature" in kinds,
        has_authentication="authentication" in kinds,
        changed_ms=asked.now_ms,
    )
    return Decision(
        answer=Done(),
        writes=(Update(after),),
        journal=(asked.journal(f"card:{card.card_id}", "made", write=write_id),),
        outbox=(
            asked.outbox(
                "authority",
                WriteSettled(card_id=card.card_id, write_id=write_id, outcome="finished"),
                order_key=card.card_id,
            ),
        ),
    )


def shipped(cards: Sequence[Card], request: CardsShipped, asked: Asked) -> Decision:
    """A batch left the factory."""
    _require_all(cards, request.card_ids)
    writes = []
    for card in cards:
        if card.batch_id == request.batch_id:
            continue
        if card.state not in {"made", "abolished"} or card.municipality != request.municipality:
            raise WrongCardState(f"shipped, of a card that is {card.state}")
        # A card that ended meanwhile travels in its box all the same; it does not hold up the others.
        state = "shipped" if card.state == "made" else card.state
        after = msgspec.structs.replace(card, state=state, batch_id=request.batch_id, changed_ms=asked.now_ms)
        writes.append(Update(after))
    return Decision(
        answer=Done(),
        writes=tuple(writes),
        journal=(asked.journal(f"batch:{request.batch_id}", "shipped", cards=len(cards)),),
    )


def received(cards: Sequence[Card], request: CardsReceived, asked: Asked) -> Decision:
    """A batch arrived: every card of the list, no other."""
    _require_all(cards, request.card_ids)
    writes = []
    for card in cards:
        if card.municipality != asked.municipality or card.batch_id != request.batch_id:
            raise WrongMunicipality(card.card_id)
        if card.state in {"received", "abolished"}:
            continue
        if card.state != "shipped":
            raise WrongCardState(f"received, of a card that is {card.state}")
        writes.append(Update(msgspec.structs.replace(card, state="received", changed_ms=asked.now_ms)))
    return Decision(
        answer=Received(card_ids=request.card_ids),
        writes=tuple(writes),
        journal=(asked.journal(f"batch:{request.batch_id}", "received", cards=len(cards)),),
    )


def suspend(card: Card | None, card_id: str, asked: Asked) -> Decision:
    """A reported loss: the record is suspended and JPKI holds both certificates, whatever the chip does meanwhile."""
    card = _reported(card, card_id, asked)
    if card.state not in {"in_use", "suspended"}:
        raise WrongCardState(f"suspension of a card that is {card.state}")
    after = msgspec.structs.replace(card, state="suspended", suspended_ms=asked.now_ms, changed_ms=asked.now_ms)
    hold = RevokeCertificates(card_id=card_id, event="suspension", at_ms=asked.now_ms)
    return Decision(
        answer=card_view(after),
        writes=(Update(after),),
        journal=(asked.journal(f"card:{card_id}", "suspended"),),
        audit=(asked.audit("card.suspend", card.resident_id, "holder.report"),),
        outbox=(asked.outbox("authority", hold, order_key=card_id),),
    )


def abolish(card: Card | None, card_id: str, asked: Asked) -> Decision:
    """The card is lost or over: its record ends without its chip, and JPKI revokes what is on it."""
    card = _reported(card, card_id, asked)
    if card.state == "abolished":
        return Decision(answer=card_view(card))
    if card.state not in {"in_use", "suspended"}:
        raise WrongCardState(f"abolition without the chip of a card that is {card.state}")
    after = msgspec.structs.replace(card, state="abolished", live_resident_id=None, changed_ms=asked.now_ms)
    revoke = RevokeCertificates(card_id=card_id, event="abolition")
    return Decision(
        answer=card_view(after),
        writes=(Update(after),),
        journal=(asked.journal(f"card:{card_id}", "abolished"),),
        audit=(asked.audit("card.abolish", card.resident_id, "holder.report"),),
        outbox=(asked.outbox("authority", revoke, order_key=card_id),),
    )


def revoke_on_request(card: Card | None, request: RevokeOnRequest, asked: Asked) -> Decision:
    """The holder wants certificates no more: JPKI revokes them, the card stays in use. New ones are a renewal."""
    card = _reported(card, request.card_id, asked)
    if card.state != "in_use":
        raise WrongCardState(f"certificates of a card that is {card.state}")
    if card.open_operation:
        raise OtherOperationOpen(card.open_operation)
    revoke = RevokeCertificates(card_id=card.card_id, event="request", kinds=request.kinds)
    return Decision(
        answer=card_view(card),
        writes=(Update(msgspec.structs.replace(card, changed_ms=asked.now_ms)),),
        journal=(asked.journal(f"card:{card.card_id}", "certificates_revoked"),),
        audit=(asked.audit("card.revoke_certificates", card.resident_id, "holder.request"),),
        outbox=(asked.outbox("authority", revoke, order_key=card.card_id),),
    )


def resident_changed(card: Card | None, request: ResidentChanged, asked: Asked) -> Decision:
    """A change of the holder's record: a move asks for continued use, a death ends the card.

    A holder who moves again before the card was continued has lost it (card.md 3.3).
    """
    if card is None:
        return Decision(answer=Done())
    if request.event == "move" and card.continuation_due is not None and card.state not in UNDELIVERED:
        return end(card, "moved_again", asked)
    after = card
    if request.event == "move":
        after = msgspec.structs.replace(
            card,
            continuation_due=continuation_due(request.occurred_on),
            continuation_municipality=request.municipality_after,
            changed_ms=asked.now_ms,
        )
    elif request.event == "death":
        after = msgspec.structs.replace(card, state="abolished", live_resident_id=None, changed_ms=asked.now_ms)
    return Decision(
        answer=Done(),
        writes=(Update(after),) if after is not card else (),
        journal=(asked.journal(f"card:{card.card_id}", "resident_changed", change=request.event),),
    )


def _reported(card: Card | None, card_id: str, asked: Asked) -> Card:
    """The card that a holder reports: to the hotline any, to a counter one that is its business."""
    card = _known(card, card_id)
    if asked.municipality and asked.municipality not in {card.municipality, card.continuation_municipality}:
        raise NotFound(f"card {card_id}")
    return card


def _known(card: Card | None, card_id: str) -> Card:
    if card is None:
        raise NotFound(f"card {card_id}")
    return card


def _require_all(cards: Sequence[Card], card_ids: Sequence[str]) -> None:
    missing = set(card_ids) - {card.card_id for card in cards}
    if missing:
        raise NotFound(f"card {min(missing)}")
