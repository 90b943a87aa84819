"""Cards and their holders: home, search, the reader, a card's page, the face, receiving, set-up, delivery."""

import datetime
from collections import Counter as Tally
from typing import cast, get_args

from starlette.responses import Response

from warifu.adapters.screens.visit import Visit
from warifu.contract.center import (
    AskCard,
    AskCards,
    AskFace,
    AskHolder,
    Cards,
    CardView,
    Face,
    Holder,
    Holders,
    RevokeOnRequest,
    SearchHolders,
    SuspendCard,
)
from warifu.contract.terminal import ReceiveShipment
from warifu.contract.unsettled import AskUnsettled, Unsettled, UnsettledCards
from warifu.contract.values import CardId, CardState, CertificateKind, ChipStatus, ReissueReason
from warifu.domain.counter import rules
from warifu.domain.counter.errors import ChecksMissing
from warifu.kernel.check_digits import require_individual_number
from warifu.kernel.errors import Malformed, TryAgain
from warifu.kernel.ids import parse_card_id
from warifu.kernel.together import together

NUMBER_LENGTHS = {11: "resident_code", 12: "individual_number", 23: "application_id"}
RECEIVE_MS = 60_000
REISSUE = get_args(ReissueReason)
KINDS: tuple[CertificateKind, ...] = get_args(CertificateKind)
UNSETTLED_MS = 2_000
"""Home waits no longer for the centre's list."""
UNSETTLED_EVERY_MS = 30_000


async def home(visit: Visit) -> Response:
    """What waits, what lies on the reader, and the search."""
    desk = visit.counter.desk
    works = await desk.open_works(visit.counter.municipality)
    known = {work.operation_id for work in works}
    left = () if visit.staff.role == "auditor" else await _unsettled(visit)
    return visit.page(
        "home.html",
        works=works,
        seat=visit.seat,
        running=desk.is_running,
        unsettled=[one for one in left if one.operation_id not in known],
    )


async def _unsettled(visit: Visit) -> tuple[Unsettled, ...]:
    """Operations that only their card can settle, as the centre said a moment ago; without it, what it said last."""
    counter = visit.counter
    if visit.counter.desk.now_ms >= counter.unsettled_ms + UNSETTLED_EVERY_MS:
        counter.unsettled_ms = counter.desk.now_ms
        call = counter.desk.call(AskUnsettled(), visit.staff, remaining_ms=UNSETTLED_MS)
        try:
            found = await counter.terminal.inquire(call, AskUnsettled(), UnsettledCards)
            counter.unsettled = found.unsettled
        except TryAgain as error:
            counter.log.info("screens.unsettled_not_known", code=error.code)
    return counter.unsettled


async def cards_in(visit: Visit, state: CardState) -> tuple[CardView, ...]:
    """The municipality's cards in a state."""
    return (await visit.counter.desk.ask(AskCards(state=state), Cards, visit.staff)).cards


# ---- the reader --------------------------------------------------------------------------------------------------


async def tray(visit: Visit) -> Response:
    """The virtual tray: which cards could be laid on the reader."""
    states: tuple[CardState, ...] = ("received", "set_up", "in_use", "suspended")
    found = await together(cards_in(visit, state) for state in states)
    return visit.page("tray.html", cards=dict(zip(states, found, strict=True)), seat=visit.seat)


async def lay(visit: Visit) -> Response:
    """Lay a card on the reader: its resident's page opens."""
    card_id = parse_card_id(visit.value("card_id").upper())
    if visit.counter.tray is not None:
        visit.counter.tray.lay(card_id)
    visit.seat.card_id = card_id
    back = visit.value("back")
    if back.isalnum():
        return visit.see(f"/work/{back}")
    # Where cards wait for their holders, only one thing can be meant.
    return visit.see(f"/card/{card_id}/checks/delivery" if visit.value("for") == "delivery" else f"/card/{card_id}")


async def lift(visit: Visit) -> Response:
    """Take the card off the reader, whatever is going on."""
    seat = visit.seat
    if visit.counter.tray is not None and seat.card_id:
        visit.counter.tray.lift(seat.card_id)
    seat.card_id = ""
    back = visit.value("back")
    return visit.see(f"/work/{back}" if back.isalnum() else "/")


# ---- search and holders ------------------------------------------------------------------------------------------


async def search(visit: Visit) -> Response:
    """Search; what was asked stands in the form, never in the address."""
    asked = visit.value("asked")
    if len(asked) == 15 and asked.upper().startswith("WRF"):  # noqa: PLR2004 - a card number
        return visit.see(f"/card/{parse_card_id(asked.upper())}")
    request = search_request(asked, visit.value("birth_date"))
    found = await visit.counter.desk.ask(request, Holders, visit.staff)
    await _trace(visit, "resident.search", [one.resident_id for one in found.holders], request.purpose)
    return visit.page(
        "found.html", reissue_reasons=REISSUE, found=found, asked=asked, birth_date=visit.value("birth_date")
    )


def search_request(asked: str, birth_date: str) -> SearchHolders:
    """What was entered, as a search. ``Malformed`` when a number or date is none."""
    born = parse_date(birth_date) if birth_date else None
    digits = "".join(asked.split()).replace("-", "")
    field = NUMBER_LENGTHS.get(len(digits)) if digits.isascii() and digits.isdigit() else None
    if digits.isdigit() and field is None:
        raise Malformed("a number of 11, 12 or 23 digits")
    if field == "individual_number":
        require_individual_number(digits)
    if field is not None:
        return SearchHolders(purpose="counter.search", **{field: digits})  # type: ignore[arg-type]  # one of three
    return SearchHolders(name=asked[:100], birth_date=born, purpose="counter.search")


def parse_date(text: str) -> datetime.date:
    """A date as forms send it. ``Malformed``."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise Malformed("not a date") from None


async def _trace(visit: Visit, action: str, subjects: list[str], purpose: str) -> None:
    trail = visit.counter.trail
    await trail.record(
        *(trail.trace(visit.staff, visit.counter.name, action, one, purpose=purpose) for one in subjects)
    )


async def holder_of(visit: Visit, card_id: CardId, purpose: str) -> Holder:
    """Whose card it is; the look stands in the trail before it shows."""
    found = await visit.counter.desk.ask(AskHolder(card_id=card_id, purpose=purpose), Holder, visit.staff)
    await _trace(visit, "resident.look", [found.resident_id], purpose)
    return found


async def chip_of(visit: Visit, card_id: CardId) -> ChipStatus | None:
    """What the chip says, when it lies on the reader and nothing works on it."""
    if visit.seat.card_id != card_id:
        return None
    try:
        return await visit.counter.terminal.look(card_id)
    except TryAgain:
        return None


async def card(visit: Visit) -> Response:
    """A card's page: holder, states, tries left, certificates, deadlines, what can be done."""
    card_id = parse_card_id(visit.path("card_id"))
    holder, view = await _holder_and_card(visit, card_id)
    moved = view.continuation_due is not None
    return visit.page(
        "card.html",
        holder=holder,
        card=view,
        chip=await chip_of(visit, card_id),
        here=visit.seat.card_id == card_id,
        works=await visit.counter.desk.works_of(visit.counter.municipality, card_id),
        possible=rules.possible(view.state, moved=moved),
        reasons=rules.REASONS,
        reissue_reasons=REISSUE,
    )


async def _holder_and_card(visit: Visit, card_id: CardId) -> tuple[Holder, CardView]:
    """Both at the same time: each goes all the way to the centre."""

    async def view() -> CardView:
        return await visit.counter.desk.ask(AskCard(card_id=card_id), CardView, visit.staff)

    found: list[Holder | CardView] = await together((holder_of(visit, card_id, "counter.card"), view()))
    return cast("tuple[Holder, CardView]", tuple(found))


async def face(visit: Visit) -> Response:
    """The holder's photo."""
    card_id = parse_card_id(visit.path("card_id"))
    found = await visit.counter.desk.ask(AskFace(card_id=card_id, purpose="counter.face"), Face, visit.staff)
    await _trace(visit, "photo.look", [card_id], "counter.face")
    return Response(found.photo, media_type="image/jpeg")


async def suspend(visit: Visit) -> Response:
    """The holder reports a loss: suspended at once."""
    card_id = parse_card_id(visit.path("card_id"))
    await visit.counter.desk.ask(SuspendCard(card_id=card_id), CardView, visit.staff)
    await _trace(visit, "card.suspend", [card_id], "holder.report")
    return visit.see(f"/card/{card_id}")


async def revoke(visit: Visit) -> Response:
    """The holder, whose documents were seen, wants certificates no more."""
    card_id = parse_card_id(visit.path("card_id"))
    kinds = tuple(kind for kind in KINDS if kind in visit.values("certificate"))
    if not kinds or visit.value("documents") != "seen":
        raise ChecksMissing("documents, certificate")
    await _trace(visit, "certificates.revoke", [card_id], "holder.request")
    await visit.counter.desk.ask(RevokeOnRequest(card_id=card_id, kinds=kinds), CardView, visit.staff)
    return visit.see(f"/card/{card_id}")


# ---- receiving and set-up ----------------------------------------------------------------------------------------


async def shipments(visit: Visit) -> Response:
    """Boxes on their way, by packing list."""
    cards = await cards_in(visit, "shipped")
    return visit.page("shipments.html", boxes=Tally(card.batch_id for card in cards))


async def receive(visit: Visit) -> Response:
    """Count a box in: every chip answers with its own card id."""
    batch = visit.value("batch_id")
    cards = tuple(card.card_id for card in await cards_in(visit, "shipped") if card.batch_id == batch)
    request = ReceiveShipment(batch_id=batch, card_ids=cards)
    await visit.counter.terminal.receive(visit.counter.desk.call(request, visit.staff, remaining_ms=RECEIVE_MS))
    return visit.see("/setup")


async def setup(visit: Visit) -> Response:
    """Cards that wait for their set-up, and the tray that is being worked on."""
    desk, batch = visit.counter.desk, visit.seat.batch
    works = {}
    if batch is not None:
        works = {card: await desk.find(operation, visit.staff) for card, operation in tuple(batch.operations.items())}
    waiting = await cards_in(visit, "received")
    return visit.page("setup.html", waiting=waiting, batch=batch, works=works)


async def set_up(visit: Visit) -> Response:
    """Set the chosen cards up, one after the other."""
    chosen = tuple(dict.fromkeys(parse_card_id(card) for card in visit.values("card_id")))
    if visit.counter.tray is not None:
        for card_id in chosen:
            visit.counter.tray.lay(card_id)
    if chosen:
        visit.counter.desk.set_up_all(visit.seat, visit.staff, chosen)
    return visit.see("/setup")


async def deliveries(visit: Visit) -> Response:
    """Cards that wait for their holders."""
    return visit.page("deliveries.html", waiting=await cards_in(visit, "set_up"))


async def before(visit: Visit) -> Response:
    """The checks before a delivery or a reset: documents, proxy, face."""
    card_id, kind = parse_card_id(visit.path("card_id")), visit.path("kind")
    if kind not in {"delivery", "pin_reset"}:
        raise Malformed("this operation asks for no documents")
    return visit.page(
        "checks.html",
        holder=await holder_of(visit, card_id, f"operation.{kind}"),
        card_id=card_id,
        kind=kind,
        chip=await chip_of(visit, card_id),
        here=visit.seat.card_id == card_id,
        documents_a=rules.DOCUMENTS_A,
        documents_b=rules.DOCUMENTS_B,
        proxy=rules.PROXY,
        pins=("signature", "authentication", "text", "juki"),
    )
