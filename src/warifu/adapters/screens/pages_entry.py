"""Coming and going: sign in, lock, unlock, sign out, language."""

from typing import Final

from starlette.responses import Response

from warifu.adapters.screens import secrets
from warifu.adapters.screens.visit import COOKIE_AGE_S, ForgedForm, Visit
from warifu.domain.counter.errors import SignInRefused, SignInThrottled
from warifu.domain.counter.records import Login

YEAR_S: Final = 365 * 24 * 3600


async def sign_in_page(visit: Visit) -> Response:
    """The form."""
    cookie = visit.request.cookies.get(visit.counter.before_cookie, "")
    fresh = cookie or secrets.token_of(visit.counter.entropy.random_bytes(18))
    visit.request.cookies[visit.counter.before_cookie] = fresh
    response = visit.page("sign_in.html", code="", login="")
    _keep(visit, response, visit.counter.before_cookie, fresh)
    return response


async def sign_in(visit: Visit) -> Response:
    """Login, password and code."""
    if not secrets.same(visit.value("form_token"), visit.form_token()):
        raise ForgedForm("the form is of another browser")
    counter = visit.counter
    login, password, code = visit.value("login"), visit.value("password"), visit.value("code")
    try:
        fresh = await counter.accounts.sign_in(counter.municipality, counter.name, login, password, code)
    except (SignInRefused, SignInThrottled) as error:
        counter.log.info("screens.sign_in_refused", code=error.code)
        return visit.page("sign_in.html", 403, code=error.code, login=login[:30])
    response = visit.see("/")
    _keep(visit, response, counter.cookie, fresh.token)
    return response


async def unlock_page(visit: Visit) -> Response:
    """The form of a locked screen."""
    await _locked(visit)
    return visit.page("unlock.html", code="")


async def unlock(visit: Visit) -> Response:
    """The password again."""
    login = await _locked(visit)
    if not secrets.same(visit.value("form_token"), visit.form_token()):
        raise ForgedForm("the form was not made for this login")
    try:
        await visit.counter.accounts.unlock(login, visit.staff, visit.value("password"))
    except (SignInRefused, SignInThrottled) as error:
        return visit.page("unlock.html", 403, code=error.code)
    return visit.see("/")


async def _locked(visit: Visit) -> Login:
    counter = visit.counter
    token = visit.request.cookies.get(counter.cookie, "")
    login, staff = await counter.accounts.login_of(token, counter.municipality, counter.name)
    visit.enter(login, staff)
    return login


async def lock(visit: Visit) -> Response:
    """Lock the screen now."""
    await visit.counter.accounts.lock(visit.login)
    return visit.see("/unlock")


async def sign_out(visit: Visit) -> Response:
    """End the login."""
    await visit.counter.accounts.sign_out(visit.login)
    visit.counter.seats.leave(visit.login.login_digest)
    response = visit.see("/sign-in")
    for cookie in (visit.counter.cookie, visit.counter.resident_cookie):
        response.delete_cookie(cookie, httponly=True, samesite="strict")
    return response


async def language(visit: Visit) -> Response:
    """Choose a language; back to where one was."""
    response = visit.see(_local(visit.value("back")))
    wanted = "en" if visit.value("to") == "en" else "ja"
    response.set_cookie(visit.counter.language_cookie, wanted, YEAR_S, httponly=True, samesite="lax")
    return response


def _local(path: str) -> str:
    """A path of ours: nobody is sent elsewhere."""
    known = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if known and all(32 < ord(character) < 127 for character in path) else "/"  # noqa: PLR2004 - printable


def _keep(visit: Visit, response: Response, name: str, value: str) -> None:
    secure = visit.request.url.scheme == "https"
    response.set_cookie(name, value, COOKIE_AGE_S, httponly=True, samesite="strict", secure=secure)
