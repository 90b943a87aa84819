"""One request from a browser: who it is, in which language, with which form, and the guards that every page has."""

import datetime
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from warifu.adapters.screens import secrets, words
from warifu.adapters.screens.counter import Counter
from warifu.adapters.screens.seats import Seat
from warifu.domain.counter import rules
from warifu.domain.counter.errors import SignInNeeded
from warifu.domain.counter.records import Login, Staff
from warifu.domain.counter.rules import Role
from warifu.kernel.errors import Malformed, NotAllowed, NotFound, Refused, TryAgain, WarifuError

MAX_FORM_BYTES: Final = 65_536
MAX_FIELDS: Final = 400
COOKIE_AGE_S: Final = rules.LOGIN_MS // 1000
HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "font-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
"""Of every page: nothing from elsewhere runs, nothing frames it, nothing is kept by the browser."""


class ForgedForm(Refused):
    """A form that did not come from a page of this login."""

    code = "screens.forged_form"


class FormTooLarge(Malformed):
    """More fields or bytes than any page sends."""

    code = "screens.form_too_large"


Form = Mapping[str, tuple[str, ...]]


@dataclass
class Visit:
    """One request.

    Attributes:
        login: who is signed in; None on the pages that need nobody.
        form: what was posted.
        turn: of the seat, when the request came: what happens later is not on the page.
    """

    request: Request
    counter: Counter
    language: str
    form: Form = field(default_factory=dict)
    turn: int = 0
    _login: Login | None = None
    _staff: Staff | None = None

    def __repr__(self) -> str:
        """Without the form, which may hold PINs."""
        return f"Visit({self.request.method} {self.request.url.path})"

    @property
    def login(self) -> Login:
        """Who is signed in. ``SignInNeeded`` when nobody is."""
        if self._login is None:
            raise SignInNeeded("nobody is signed in")
        return self._login

    @property
    def staff(self) -> Staff:
        """Their account."""
        if self._staff is None:
            raise SignInNeeded("nobody is signed in")
        return self._staff

    @property
    def seat(self) -> Seat:
        """What lies before them."""
        return self.counter.seats.of(self.login.login_digest)

    def enter(self, login: Login, staff: Staff) -> None:
        """From now on in this person's name."""
        if self._login is None:
            self.turn = self.counter.seats.of(login.login_digest).turn
        self._login, self._staff = login, staff

    def value(self, name: str) -> str:
        """A field of the form, trimmed; "" when it is not there."""
        values = self.form.get(name, ())
        return values[0].strip() if values else ""

    def values(self, name: str) -> tuple[str, ...]:
        """Every value of a field."""
        return self.form.get(name, ())

    def path(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def form_token(self) -> str:
        """What this login's forms carry."""
        if self._login is not None:
            return secrets.mark(self._login.form_key, "form")
        return secrets.mark(self.counter.key, "form:" + self.request.cookies.get(self.counter.before_cookie, ""))

    def words(self, japanese: str, english: str) -> str:
        """The text in the visitor's language."""
        return english if self.language == "en" else japanese

    def page(self, template: str, status: int = 200, **context: Any) -> Response:  # noqa: ANN401 - template values
        """A page in the visitor's language."""
        counter = self.counter
        text = counter.templates.get_template(template).render(
            visit=self,
            t=self.words,
            w=words.Words(self.language),
            language=self.language,
            staff=self._staff,
            token=self.form_token(),
            notices=counter.notices,
            shown_ms=counter.clock.now_ms(),
            municipality=counter.place,
            idle_ms=rules.IDLE_MS,
            today=counter.today(),
            days_left=lambda day: (day - counter.today()).days if isinstance(day, datetime.date) else None,
            **context,
        )
        return HTMLResponse(text, status)

    @staticmethod
    def see(path: str) -> Response:
        """Go and look there (303): reloading the next page sends nothing again."""
        return RedirectResponse(path, 303)


Handler = Callable[[Visit], Awaitable[Response]]
Endpoint = Callable[[Request], Awaitable[Response]]


class Guard:
    """Makes endpoints out of handlers: form, login, role, forged forms, errors."""

    def __init__(self, counter: Counter) -> None:
        self.counter = counter

    def open(self, handler: Handler) -> Endpoint:
        """A page that needs nobody signed in."""

        async def endpoint(request: Request) -> Response:
            return await self._answered(request, handler)

        return endpoint

    def staff(self, handler: Handler, *roles: Role, active: bool = True) -> Endpoint:
        """A page for staff of these roles (all when none is named).

        Args:
            handler: answers.
            roles: who may.
            active: the request is a person's doing: it keeps the screen from locking.
        """

        async def entered(visit: Visit) -> Response:
            counter = self.counter
            token = visit.request.cookies.get(counter.cookie, "")
            login, staff = await counter.accounts.login_of(token, counter.municipality, counter.name)
            visit.enter(login, staff)
            if rules.is_idle(login, counter.clock.now_ms()):
                return visit.see("/unlock") if active else Response(status_code=204)
            if active:
                visit.enter(await counter.accounts.seen(login), staff)
            if roles:
                rules.require_role(staff, *roles)
            if visit.request.method == "POST":
                require_own_form(visit)
            return await handler(visit)

        async def endpoint(request: Request) -> Response:
            return await self._answered(request, entered)

        return endpoint

    async def _answered(self, request: Request, handler: Handler) -> Response:
        visit = Visit(request, self.counter, language_of(request, self.counter))
        try:
            require_own_origin(request)
            visit.form = await read_form(request)
            response = await handler(visit)
        except SignInNeeded:
            response = visit.see("/sign-in")
        except WarifuError as error:
            response = self._error_page(visit, error)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    def _error_page(self, visit: Visit, error: WarifuError) -> Response:
        """The one place where an error becomes a page: what is certain, and what to do next."""
        if isinstance(error, NotFound):
            status = 404
        elif isinstance(error, NotAllowed | ForgedForm):
            status = 403
        elif isinstance(error, Refused):
            status = 400
        else:
            status = 503 if isinstance(error, TryAgain) else 500
        self.counter.log.info("screens.refused", path_kind=visit.request.url.path.split("/")[1], code=error.code)
        return visit.page("error.html", status, code=error.code, error=error)


def language_of(request: Request, counter: Counter) -> str:
    """Japanese unless English was chosen."""
    return "en" if request.cookies.get(counter.language_cookie) == "en" else "ja"


async def read_form(request: Request) -> Form:
    """A posted form, as browsers send it. ``FormTooLarge``, ``Malformed``."""
    if request.method != "POST":
        return {}
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_FORM_BYTES:
            raise FormTooLarge("the form is too large")
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except (ValueError, UnicodeDecodeError):
        raise FormTooLarge("the form is not one of ours") from None
    form: dict[str, tuple[str, ...]] = {}
    for name, value in pairs:
        if "\0" in value:
            raise Malformed("no field holds this character")  # nor does a text in the store
        form[name] = (*form.get(name, ()), value)
    return form


def require_own_origin(request: Request) -> None:
    """A request that changes something comes from a page of ours, as the browser itself says. ``ForgedForm``."""
    if request.method != "POST":
        return
    origin = request.headers.get("origin")
    fetched = request.headers.get("sec-fetch-site", "same-origin")
    own = f"{request.url.scheme}://{request.headers.get('host', '')}"
    if (origin is not None and origin != own) or fetched not in {"same-origin", "none"}:
        raise ForgedForm("the form came from elsewhere")


def require_own_form(visit: Visit) -> None:
    """The form carries this login's token. ``ForgedForm`` when it does not."""
    if not secrets.same(visit.value("form_token"), visit.form_token()):
        raise ForgedForm("the form was not made for this login")
