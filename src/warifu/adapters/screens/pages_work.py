"""Work on cards: begin, follow, resume, give up; live events; approvals by two people; the auditor's trail."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Final, get_args

import msgspec
from starlette.responses import Response, StreamingResponse

from warifu.adapters.screens.pages_cards import chip_of, parse_date
from warifu.adapters.screens.seats import MAX_LISTENERS
from warifu.adapters.screens.visit import Visit
from warifu.contract.center import AbolishCard, CardView
from warifu.contract.values import OperationKind, PinName
from warifu.domain.counter import rules
from warifu.domain.counter.records import Approval
from warifu.kernel.errors import Malformed, NotFound
from warifu.kernel.ids import parse_card_id, parse_operation_id
from warifu.ports.store import Change, Find, Get, Insert, Update

STREAM_S: Final = 55.0
"""A page's stream of events ends after so long; the browser opens the next by itself."""


async def begin(visit: Visit) -> Response:
    """Begin an operation on the card on the reader."""
    kind = msgspec.convert(_known(visit.value("kind"), get_args(OperationKind)), OperationKind)
    pins = tuple(pin for pin in get_args(PinName) if pin in visit.values("pin")) if kind == "pin_reset" else ()
    checks = frozenset(visit.values("check"))
    card_id = parse_card_id(visit.value("card_id"))
    work = await visit.counter.desk.begin(visit.seat, visit.staff, kind, card_id, checks=checks, reset_pins=pins)
    return visit.see(f"/work/{work.operation_id}")


def _known(value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise Malformed("not one of the choices")
    return value


async def works(visit: Visit) -> Response:
    """Work that is not over, of every terminal of the municipality."""
    desk = visit.counter.desk
    return visit.page("works.html", works=await desk.open_works(visit.counter.municipality), running=desk.is_running)


async def work(visit: Visit) -> Response:
    """One piece of work: what is certain, what is not, what happens next."""
    desk = visit.counter.desk
    found = await desk.find(visit.path("operation_id"), visit.staff)
    live = desk.live.get(found.operation_id)
    return visit.page(
        "work.html",
        work=found,
        running=desk.is_running(found),
        progress=live.progress if live else None,
        busy=desk.busy.get(found.operation_id),
        now_ms=desk.now_ms,
        chip=None if live else await chip_of(visit, found.card_id),
        here=visit.seat.card_id == found.card_id,
        asked=visit.seat.ask is not None and visit.seat.ask.operation_id == found.operation_id,
    )


async def resume(visit: Visit) -> Response:
    """Take work up again."""
    desk = visit.counter.desk
    found = await desk.find(visit.path("operation_id"), visit.staff)
    await desk.resume(visit.seat, visit.staff, found)
    return visit.see(f"/work/{found.operation_id}")


async def give_up(visit: Visit) -> Response:
    """Give work up."""
    desk = visit.counter.desk
    found = await desk.find(visit.path("operation_id"), visit.staff)
    await desk.give_up(visit.seat, visit.staff, found)
    return visit.see(f"/work/{found.operation_id}")


async def change_pin(visit: Visit) -> Response:
    """Let the resident change a PIN they know."""
    card_id = parse_card_id(visit.path("card_id"))
    pin = msgspec.convert(_known(visit.value("pin"), get_args(PinName)), PinName)
    visit.counter.desk.ask_change(visit.seat, card_id, pin)
    return visit.see(f"/card/{card_id}")


# ---- live --------------------------------------------------------------------------------------------------------


async def events(visit: Visit) -> Response:
    """What happens at this seat, as server-sent events."""
    if len(visit.seat.listeners) >= MAX_LISTENERS:
        return Response(status_code=204)  # the browser does not ask again; the pages work without
    return StreamingResponse(_stream(visit), media_type="text/event-stream", headers={"x-accel-buffering": "no"})


async def _stream(visit: Visit) -> AsyncIterator[str]:
    with visit.seat.listening() as queue:
        yield first_words(visit)
        try:
            async with asyncio.timeout(STREAM_S):
                while True:
                    yield f"data: {json.dumps(await queue.get())}\n\n"
        except TimeoutError:
            return


def first_words(visit: Visit) -> str:
    """How a stream begins: with what happened between the page and now, if anything did."""
    missed = visit.request.query_params.get("turn") != str(visit.seat.turn)
    return "retry: 1000\n\n" + ('data: {"kind": "missed"}\n\n' if missed else "")


# ---- two people --------------------------------------------------------------------------------------------------


async def ask_approval(visit: Visit) -> Response:
    """Ask that a card be ended without being there."""
    counter = visit.counter
    card_id = parse_card_id(visit.path("card_id"))
    approval = Approval(
        approval_id=counter.desk.new_id(),
        municipality=counter.municipality,
        action="abolish_without_card",
        card_id=card_id,
        reason=_known(visit.value("reason"), rules.REASONS),
        state="asked",
        asked_by=visit.staff.login,
        asked_ms=counter.clock.now_ms(),
    )
    trace = counter.trail.trace(visit.staff, counter.name, "approval.ask", card_id, purpose=approval.action)
    await counter.store.commit(trace.with_writes(Insert(approval)))
    return visit.see("/approvals")


async def approvals(visit: Visit) -> Response:
    """What waits for a second person."""
    counter = visit.counter
    reads = [Find(Approval, {"municipality": counter.municipality, "state": state}) for state in ("asked", "granted")]
    snapshot = await counter.store.read(*reads)
    found = (*snapshot.all(0, Approval), *snapshot.all(1, Approval))
    return visit.page("approvals.html", approvals=found)


async def approve(visit: Visit) -> Response:
    """The second person agrees (or refuses): what was asked is done under the approval's own identity."""
    counter = visit.counter
    approval = await _approval(visit)
    granted = rules.granted(approval, visit.staff, counter.clock.now_ms())
    if visit.value("decision") != "grant":
        granted = msgspec.structs.replace(granted, state="refused")
    trace = counter.trail.trace(visit.staff, counter.name, "approval.grant", approval.card_id, purpose=approval.action)
    await counter.store.commit(trace.with_writes(Update(granted)))
    if granted.state == "granted":
        ask = AbolishCard(card_id=approval.card_id)
        await counter.desk.ask(ask, CardView, visit.staff, approval.approval_id)
        done = msgspec.structs.replace(granted, state="done", version=granted.version + 1)
        await counter.store.commit(Change(now_ms=counter.clock.now_ms(), writes=(Update(done),)))
    return visit.see("/approvals")


async def _approval(visit: Visit) -> Approval:
    approval_id = parse_operation_id(visit.path("approval_id"))
    found = (await visit.counter.store.read(Get(Approval, (approval_id,)))).one(0, Approval)
    if found is None or found.municipality != visit.counter.municipality:
        raise NotFound("approval")
    return found


# ---- the auditor -------------------------------------------------------------------------------------------------


async def audit(visit: Visit) -> Response:
    """Who looked at what on a day."""
    counter = visit.counter
    day = parse_date(visit.request.query_params.get("day") or counter.today().isoformat())
    after = visit.request.query_params.get("after", "")
    if after:
        parse_operation_id(after)
    looks = await counter.trail.of_day(counter.municipality, day.isoformat(), after)
    trace = counter.trail.trace(visit.staff, counter.name, "audit.look", day.isoformat(), purpose="audit")
    await counter.trail.record(trace)
    return visit.page("audit.html", looks=looks, day=day, last=looks[-1].look_id if looks else "")
