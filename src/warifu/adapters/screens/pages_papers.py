"""Papers at the counter: who printed whose paper stands in the trail before the PDF leaves; nothing of it is kept.

Every print is a posted form: no address names a resident, and no other page can ask for one.
"""

import asyncio
import datetime
from typing import Final, get_args

import msgspec
from starlette.responses import Response

from warifu.adapters.papers import (
    ApplicationForm,
    DeliveryNotice,
    DeliveryNotices,
    Entry,
    Paper,
    Particulars,
    Receipt,
)
from warifu.adapters.screens.visit import Visit
from warifu.adapters.screens.words import CERTIFICATES
from warifu.contract.center import AskCard, AskHolder, CardView, FormGiven, GiveForm, Holder
from warifu.contract.values import CardId, ReissueReason
from warifu.domain.counter.errors import PaperNotDue
from warifu.domain.counter.records import Work
from warifu.kernel.calendar import age_on, jst_date
from warifu.kernel.errors import Malformed
from warifu.kernel.ids import parse_card_id

COLLECT_DAYS: Final = 90
"""How long a card waits for its holder, as the notice says."""
HOURS: Final = "平日 8時30分～17時"
USABLE: Final = frozenset({"issued", "valid"})
"""Of certificates on a card that is handed over: JPKI hears of the activation a moment after the card."""
ADULT_FROM: Final = 15
"""From this age on without a legal representative, and with a signature certificate."""
MAX_NOTICES: Final = 200
LINES: Final = 4
"""Of the space for appended particulars."""
HEADERS: Final = {
    "content-disposition": 'inline; filename="paper.pdf"',
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; object-src 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
}
"""A browser's own viewer styles its page; otherwise as every page."""


async def notices(visit: Visit) -> Response:
    """The delivery notices of the chosen cards, a page each."""
    cards = tuple(dict.fromkeys(parse_card_id(card) for card in visit.values("card_id")))
    if not 0 < len(cards) <= MAX_NOTICES:
        raise Malformed("choose the cards whose notices are to be printed")
    holders = [await _holder(visit, card_id, "paper.notice", {"set_up"}) for card_id in cards]
    paper = DeliveryNotices(all=tuple(_notice(visit, holder) for holder in holders))
    return await _printed(visit, paper, "paper.notice", *holders)


async def receipt(visit: Visit) -> Response:
    """The receipt of a delivery that is done."""
    work = await visit.counter.desk.find(visit.value("operation_id"), visit.staff)
    if (work.kind, work.state) != ("delivery", "done"):
        raise PaperNotDue("a receipt is for a delivery that is done")
    holder = await _holder(visit, work.card_id, "paper.receipt", {"in_use", "suspended"})
    card = await visit.counter.desk.ask(AskCard(card_id=work.card_id), CardView, visit.staff)
    paper = _receipt(visit, holder, card, work)
    return await _printed(visit, paper, "paper.receipt", holder, operation_id=work.operation_id)


async def particulars(visit: Visit) -> Response:
    """The appended particulars, as the register has them now, to be printed onto the card."""
    what = visit.values("what")
    skip = visit.value("skip") or "0"
    if skip not in {str(line) for line in range(LINES)} or not what or not set(what) <= {"address", "name"}:
        raise Malformed("choose what is to be printed, and the first free line")
    card_id = parse_card_id(visit.value("card_id"))
    holder = await _holder(visit, card_id, "paper.particulars", {"in_use"})
    entries = tuple(_entry(visit, holder, one) for one in ("address", "name") if one in what)
    if int(skip) + len(entries) > LINES:
        raise Malformed("the card has no line left for it")
    paper = Particulars(entries=entries, skip=int(skip))
    return await _printed(visit, paper, "paper.particulars", holder)


async def application_form(visit: Visit) -> Response:
    """Give a resident whose card has ended another form; asked again, the same one is printed again."""
    reason = visit.value("reason")
    if reason not in get_args(ReissueReason):
        raise Malformed("not one of the choices")
    try:
        request = msgspec.convert({"resident_id": visit.value("resident_id"), "reason": reason}, GiveForm)
    except msgspec.ValidationError:
        raise Malformed("not a resident") from None
    given = await visit.counter.desk.ask(request, FormGiven, visit.staff)
    paper = ApplicationForm(
        application_id=given.application_id,
        name=given.person.name,
        address=given.person.address,
        birth_date=given.person.birth_date,
        municipality=visit.counter.place.full_name,
        printed_on=visit.counter.today(),
    )
    return await _answer(visit, paper, "paper.application_form", (request.resident_id,))


async def _holder(visit: Visit, card_id: CardId, purpose: str, states: set[str]) -> Holder:
    """Whose card it is, if it is the municipality's and in one of the states. ``NotFound``, ``PaperNotDue``."""
    holder = await visit.counter.desk.ask(AskHolder(card_id=card_id, purpose=purpose), Holder, visit.staff)
    if _card(holder).state not in states:
        raise PaperNotDue(f"the card is {_card(holder).state}")
    return holder


def _card(holder: Holder) -> CardView:
    if holder.card is None:
        raise PaperNotDue("there is no card")
    return holder.card


def _notice(visit: Visit, holder: Holder) -> DeliveryNotice:
    today, place = visit.counter.today(), visit.counter.place
    return DeliveryNotice(
        application_id=holder.application_id,
        name=holder.person.name,
        address=holder.person.address,
        municipality=place.full_name,
        counter=f"{place.full_name}　個人番号カード交付窓口",
        hours=HOURS,
        until=today + datetime.timedelta(days=COLLECT_DAYS),
        under_15=age_on(holder.person.birth_date, today) < ADULT_FROM,
        printed_on=today,
    )


def _receipt(visit: Visit, holder: Holder, card: CardView, work: Work) -> Receipt:
    if card.expires_on is None:
        raise PaperNotDue("the card has no last day yet")
    return Receipt(
        name=holder.person.name,
        card_id=card.card_id,
        expires_on=card.expires_on,
        certificates=tuple(CERTIFICATES[one.kind][0] for one in card.certificates if one.state in USABLE),
        municipality=visit.counter.place.full_name,
        clerk=visit.staff.name,
        proxy="（下に署名した人）" if "proxy" in work.checks else "",
        returned_card="returned" in work.checks,
        delivered_on=jst_date(work.changed_ms),
    )


def _entry(visit: Visit, holder: Holder, what: str) -> Entry:
    person = holder.person
    name = f"{person.name}［旧氏　{person.former_surname}］" if person.former_surname else person.name
    text = f"住所　{person.address}" if what == "address" else f"氏名　{name}"
    return Entry(day=visit.counter.today(), text=text, municipality=visit.counter.place.name)


async def _printed(visit: Visit, paper: Paper, action: str, *holders: Holder, operation_id: str = "") -> Response:
    return await _answer(visit, paper, action, tuple(one.resident_id for one in holders), operation_id)


async def _answer(
    visit: Visit, paper: Paper, action: str, residents: tuple[str, ...], operation_id: str = ""
) -> Response:
    """The PDF; set first, so that what does not fit is refused and not recorded as printed."""
    counter = visit.counter
    async with counter.printing:
        pdf = await asyncio.to_thread(counter.press.pdf, paper)
    traces = [
        counter.trail.trace(visit.staff, counter.name, action, one, purpose=action, operation_id=operation_id)
        for one in residents
    ]
    await counter.trail.record(*traces)
    return Response(pdf, media_type="application/pdf", headers=HEADERS)
