"""The resident's own screen: a second window that asks for PINs. The clerk's pages never show what is typed here.

What is typed goes in the body of a form to this process and from it to the chip; it is in no address, no record, no
log, and no page is rendered with it.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from starlette.responses import Response, StreamingResponse

from warifu.adapters.screens import secrets
from warifu.adapters.screens.pages_work import STREAM_S, first_words
from warifu.adapters.screens.seats import MAX_LISTENERS
from warifu.adapters.screens.visit import COOKIE_AGE_S, ForgedForm, Visit
from warifu.contract.values import PinName
from warifu.domain.counter import rules
from warifu.domain.counter.errors import SignInNeeded
from warifu.kernel.errors import TryAgain

FOUR_DIGITS: Final[tuple[PinName, ...]] = ("authentication", "text", "juki")


async def open_screen(visit: Visit) -> Response:
    """Make this browser's second window the resident's screen of this seat."""
    response = visit.see("/resident")
    digest = visit.login.login_digest
    value = f"{digest.hex()}.{secrets.mark(visit.login.form_key, 'resident')}"
    secure = visit.request.url.scheme == "https"
    response.set_cookie(
        visit.counter.resident_cookie, value, COOKIE_AGE_S, "/resident", secure=secure, httponly=True, samesite="strict"
    )
    return response


async def _paired(visit: Visit) -> None:
    """The seat this screen belongs to. ``SignInNeeded`` when it belongs to none."""
    counter = visit.counter
    text, _, mark = visit.request.cookies.get(counter.resident_cookie, "").partition(".")
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        raise SignInNeeded("the screen belongs to no counter") from None
    login, staff = await counter.accounts.login_by_digest(digest, counter.municipality, counter.name)
    if not secrets.same(mark, secrets.mark(login.form_key, "resident")):
        raise SignInNeeded("the screen belongs to no counter")
    visit.enter(login, staff)


async def screen(visit: Visit) -> Response:
    """What the resident is asked for now."""
    try:
        await _paired(visit)
    except SignInNeeded:
        return visit.page("resident_closed.html")
    return await _show(visit, {})


async def _show(visit: Visit, problems: dict[str, str], status: int = 200) -> Response:
    ask = visit.seat.ask
    left: dict[str, int] = {}
    if ask is not None:
        try:
            left = (await visit.counter.terminal.look(ask.card_id)).tries_left
        except TryAgain:
            left = {}
    return visit.page(
        "resident.html",
        status,
        ask=ask,
        told=visit.seat.told,
        problems=problems,
        left=left,
        same_allowed=ask is not None and ask.purpose == "set" and sum(pin in FOUR_DIGITS for pin in ask.pins) > 1,
    )


async def enter(visit: Visit) -> Response:
    """The resident has typed."""
    await _paired(visit)
    if not secrets.same(visit.value("form_token"), visit.form_token()):
        raise ForgedForm("the form was not made for this screen")
    ask = visit.seat.ask
    if ask is None or ask.operation_id != visit.value("operation_id"):
        return visit.see("/resident")
    if ask.purpose == "change":
        return await _change(visit, ask.pins[0])
    if ask.purpose == "prove":
        return await _prove(visit, ask.pins[0])
    return await _set(visit, ask.pins)


async def _set(visit: Visit, pins: tuple[PinName, ...]) -> Response:
    values, problems = read_pins(visit, pins)
    if problems:
        return await _show(visit, problems, 400)
    await visit.counter.desk.entered(visit.seat, visit.staff, values)
    return visit.see("/resident")


def read_pins(visit: Visit, pins: tuple[PinName, ...]) -> tuple[dict[PinName, str], dict[str, str]]:
    """The PINs entered, and what is wrong with them, by PIN."""
    values: dict[PinName, str] = {}
    problems: dict[str, str] = {}
    one_for_all = visit.value("same") == "yes"
    first = next((pin for pin in pins if pin in FOUR_DIGITS), None)
    for pin in pins:
        source = first if one_for_all and pin in FOUR_DIGITS and first else pin
        value, again = visit.value(f"pin_{source}"), visit.value(f"again_{source}")
        problem = rules.pin_problem(pin, value, again)
        if problem and source == pin:
            problems[pin] = problem
        values[pin] = value.upper()
    return values, problems


async def _prove(visit: Visit, pin: PinName) -> Response:
    value = visit.value(f"pin_{pin}")
    problem = rules.pin_problem(pin, value, value)
    if problem:
        return await _show(visit, {pin: problem}, 400)
    await visit.counter.desk.entered(visit.seat, visit.staff, {pin: value.upper()})
    return visit.see("/resident")


async def _change(visit: Visit, pin: PinName) -> Response:
    old, new = visit.value("old"), visit.value(f"pin_{pin}")
    problem = rules.pin_problem(pin, old, old) or rules.pin_problem(pin, new, visit.value(f"again_{pin}"))
    if problem:
        return await _show(visit, {pin: problem}, 400)
    changed = await visit.counter.desk.change(visit.seat, visit.staff, old.upper(), new.upper())
    return visit.see("/resident") if changed else await _show(visit, {pin: "card.wrong_pin"}, 400)


async def events(visit: Visit) -> Response:
    """That something is asked, or not any more: nothing else reaches this screen."""
    await _paired(visit)
    if len(visit.seat.listeners) >= MAX_LISTENERS:
        return Response(status_code=204)
    return StreamingResponse(_stream(visit), media_type="text/event-stream")


async def _stream(visit: Visit) -> AsyncIterator[str]:
    with visit.seat.listening() as queue:
        yield first_words(visit)
        try:
            async with asyncio.timeout(STREAM_S):
                while True:
                    event = await queue.get()
                    if event["kind"] in {"resident", "work"}:
                        yield 'data: {"kind": "resident"}\n\n'
        except TimeoutError:
            return
