"""The portal's application: which address is which page, the guards that all have, and errors made into pages."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pylopdf_fonts_jp
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from warifu.adapters.portal import pages
from warifu.adapters.portal.form import Form, read_form
from warifu.adapters.portal.words import Words
from warifu.kernel.errors import Refused, TryAgain, WarifuError
from warifu.nodes.portal import Portal

FOLDER: Final = Path(__file__).parent
HOSTS: Final = ("127.0.0.1", "localhost")
LANGUAGE: Final = "warifu-language"
YEAR_S: Final = 365 * 24 * 3600
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "microphone=(), geolocation=()",
    "cache-control": "no-store",
}
"""Of every page: nothing from elsewhere, nothing kept by the browser."""


class Site:
    """What all pages share."""

    def __init__(self, portal: Portal) -> None:
        self.portal = portal
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER / "templates"),
            autoescape=select_autoescape(default=True, default_for_string=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def page(self, request: Request, template: str, status: int = 200, **context: Any) -> Response:  # noqa: ANN401
        """A page in the visitor's language."""
        words = Words("en" if request.cookies.get(LANGUAGE) == "en" else "ja")
        here = request.url.path if request.method == "GET" else "/"
        text = self._templates.get_template(template).render(
            t=words.choose, w=words, language=words.language, here=here, **context
        )
        return HTMLResponse(text, status)


Shown = Callable[[Site, Request], Awaitable[Response]]
Posted = Callable[[Site, Request, Form], Awaitable[Response]]


def make_app(portal: Portal, hosts: tuple[str, ...] = HOSTS) -> Starlette:
    """The portal's web application.

    Args:
        portal: the node.
        hosts: names under which it may be asked.
    """
    site = Site(portal)
    routes = [
        Route("/", _shown(site, pages.start), methods=["GET"]),
        Route("/apply", _shown(site, pages.apply_start), methods=["GET"]),
        Route("/apply", _posted(site, pages.apply_photo), methods=["POST"]),
        Route("/apply/photo", _posted(site, pages.apply_preview), methods=["POST"]),
        Route("/apply/send", _posted(site, pages.apply_send), methods=["POST"]),
        Route("/follow", _shown(site, pages.follow_start), methods=["GET"]),
        Route("/follow", _posted(site, pages.follow), methods=["POST"]),
        Route("/loss", _shown(site, pages.loss_start), methods=["GET"]),
        Route("/loss", _posted(site, pages.loss), methods=["POST"]),
        Route("/language", _posted(site, _language), methods=["POST"]),
        Route("/font/sans.otf", _font),
        Mount("/static", StaticFiles(directory=FOLDER / "static")),
    ]
    return Starlette(routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))])


def _shown(site: Site, handler: Shown) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        return _guarded(await handler(site, request))

    return endpoint


def _posted(site: Site, handler: Posted) -> Callable[[Request], Awaitable[Response]]:
    """Reads the form; the one place where an error becomes a page: what is certain, and what to do."""

    async def endpoint(request: Request) -> Response:
        try:
            async with read_form(request) as form:
                response = await handler(site, request, form)
        except WarifuError as error:
            site.portal.world.log.info("portal.refused", code=error.code)
            response = site.page(request, "error.html", _status(error), code=error.code)
        return _guarded(response)

    return endpoint


def _status(error: WarifuError) -> int:
    if isinstance(error, Refused):
        return 400
    return 503 if isinstance(error, TryAgain) else 500


def _guarded(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


async def _language(_site: Site, _request: Request, form: Form) -> Response:
    """The other language from now on; back to where one was."""
    back = form.text("back")
    response = RedirectResponse(back if back in {"/", "/apply", "/follow", "/loss"} else "/", 303)
    to = "en" if form.text("to") == "en" else "ja"
    response.set_cookie(LANGUAGE, to, max_age=YEAR_S, httponly=True, samesite="lax")
    return response


async def _font(_: Request) -> Response:
    """Noto Sans JP, for machines without a Japanese font (``local()`` comes first)."""
    path = str(pylopdf_fonts_jp.sans_path())
    return FileResponse(path, media_type="font/otf", headers={"cache-control": f"max-age={YEAR_S}, immutable"})
