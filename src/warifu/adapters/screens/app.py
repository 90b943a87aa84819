"""The application: which address is which page, and who may."""

import pylopdf_fonts_jp
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from warifu.adapters.screens import pages_cards as cards
from warifu.adapters.screens import pages_entry as entry
from warifu.adapters.screens import pages_papers as papers
from warifu.adapters.screens import pages_resident as resident
from warifu.adapters.screens import pages_work as work
from warifu.adapters.screens.counter import FOLDER, Counter
from warifu.adapters.screens.visit import Guard

HOSTS = ("127.0.0.1", "localhost")
YEAR_S = 365 * 24 * 3600


def make_app(counter: Counter, hosts: tuple[str, ...] = HOSTS) -> Starlette:
    """The counter's web application.

    Args:
        counter: what all pages share.
        hosts: names under which it may be asked: another name means that somebody else's name leads here.
    """
    guard = Guard(counter)
    routes = [*_entry(guard), *_cards(guard), *_work(guard), *_resident(guard), *_papers(guard)]
    routes.append(Route("/font/sans.otf", _font))
    routes.append(Mount("/static", StaticFiles(directory=FOLDER / "static")))  # type: ignore[arg-type]  # a route too
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))])


async def _font(_: Request) -> Response:
    """Noto Sans JP, for machines without a Japanese font (``local()`` comes first)."""
    path = str(pylopdf_fonts_jp.sans_path())
    return FileResponse(path, media_type="font/otf", headers={"cache-control": f"max-age={YEAR_S}, immutable"})


def _entry(guard: Guard) -> list[Route]:
    return [
        Route("/sign-in", guard.open(entry.sign_in_page), methods=["GET"]),
        Route("/sign-in", guard.open(entry.sign_in), methods=["POST"]),
        Route("/unlock", guard.open(entry.unlock_page), methods=["GET"]),
        Route("/unlock", guard.open(entry.unlock), methods=["POST"]),
        Route("/language", guard.open(entry.language), methods=["POST"]),
        Route("/lock", guard.staff(entry.lock), methods=["POST"]),
        Route("/sign-out", guard.staff(entry.sign_out), methods=["POST"]),
    ]


def _cards(guard: Guard) -> list[Route]:
    return [
        Route("/", guard.staff(cards.home), methods=["GET"]),
        Route("/search", guard.staff(cards.search, "counter", "manager"), methods=["POST"]),
        Route("/tray", guard.staff(cards.tray, "counter", "manager"), methods=["GET"]),
        Route("/reader/lay", guard.staff(cards.lay, "counter", "manager"), methods=["POST"]),
        Route("/reader/lift", guard.staff(cards.lift, "counter", "manager"), methods=["POST"]),
        Route("/card/{card_id}", guard.staff(cards.card, "counter", "manager"), methods=["GET"]),
        Route("/card/{card_id}/face", guard.staff(cards.face, "counter", "manager"), methods=["GET"]),
        Route("/card/{card_id}/checks/{kind}", guard.staff(cards.before, "counter", "manager"), methods=["GET"]),
        Route("/card/{card_id}/suspend", guard.staff(cards.suspend, "counter", "manager"), methods=["POST"]),
        Route("/card/{card_id}/revoke", guard.staff(cards.revoke, "counter", "manager"), methods=["POST"]),
        Route("/card/{card_id}/change-pin", guard.staff(work.change_pin, "counter", "manager"), methods=["POST"]),
        Route("/card/{card_id}/abolish", guard.staff(work.ask_approval, "counter", "manager"), methods=["POST"]),
        Route("/shipments", guard.staff(cards.shipments, "counter", "manager"), methods=["GET"]),
        Route("/shipments", guard.staff(cards.receive, "counter", "manager"), methods=["POST"]),
        Route("/setup", guard.staff(cards.setup, "counter", "manager"), methods=["GET"]),
        Route("/setup", guard.staff(cards.set_up, "counter", "manager"), methods=["POST"]),
        Route("/deliveries", guard.staff(cards.deliveries, "counter", "manager"), methods=["GET"]),
    ]


def _work(guard: Guard) -> list[Route]:
    return [
        Route("/work", guard.staff(work.works, "counter", "manager"), methods=["GET"]),
        Route("/work", guard.staff(work.begin, "counter", "manager"), methods=["POST"]),
        Route("/work/{operation_id}", guard.staff(work.work, "counter", "manager"), methods=["GET"]),
        Route("/work/{operation_id}/resume", guard.staff(work.resume, "counter", "manager"), methods=["POST"]),
        Route("/work/{operation_id}/give-up", guard.staff(work.give_up, "counter", "manager"), methods=["POST"]),
        Route("/events", guard.staff(work.events, active=False), methods=["GET"]),
        Route("/approvals", guard.staff(work.approvals, "counter", "manager"), methods=["GET"]),
        Route("/approvals/{approval_id}", guard.staff(work.approve, "manager"), methods=["POST"]),
        Route("/audit", guard.staff(work.audit, "auditor"), methods=["GET"]),
    ]


def _resident(guard: Guard) -> list[Route]:
    return [
        Route("/resident-screen", guard.staff(resident.open_screen, "counter", "manager"), methods=["POST"]),
        Route("/resident", guard.open(resident.screen), methods=["GET"]),
        Route("/resident", guard.open(resident.enter), methods=["POST"]),
        Route("/resident/events", guard.open(resident.events), methods=["GET"]),
    ]


def _papers(guard: Guard) -> list[Route]:
    return [
        Route("/papers/notices", guard.staff(papers.notices, "counter", "manager"), methods=["POST"]),
        Route("/papers/receipt", guard.staff(papers.receipt, "counter", "manager"), methods=["POST"]),
        Route("/papers/particulars", guard.staff(papers.particulars, "counter", "manager"), methods=["POST"]),
        Route("/papers/application-form", guard.staff(papers.application_form, "counter", "manager"), methods=["POST"]),
    ]
