"""A person at a terminal's screens, with a browser of the simplest kind: cookies, forms, and nothing else."""

import http.client
import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlencode, urlsplit

from msgspec import Struct

from warifu.adapters.clock import SystemClock
from warifu.kernel.errors import Unavailable
from warifu.stack.staff import DemoAccount

TIMEOUT_S: Final = 100.0
"""More than the longest run of a terminal."""
MOVES_MAX: Final = 5
_SEE_OTHER: Final = 303
_TOKEN: Final = re.compile(r'name="form_token" value="([^"]+)"')

Fields = Mapping[str, str | Sequence[str]]


class TerminalGone(Unavailable):
    """The terminal ended while it was asked."""


class Page(Struct, frozen=True):
    """What the browser shows. ``path``: where it was led to in the end."""

    status: int
    path: str
    text: str

    @property
    def ok(self) -> bool:
        """Not a page of an error."""
        return self.status < 400  # noqa: PLR2004 - client and server errors begin here

    def find(self, pattern: str) -> str:
        """The pattern's first group where it first stands; "" when it does not."""
        found = re.search(pattern, self.text, re.DOTALL)
        return found[1] if found else ""

    def all(self, pattern: str) -> tuple[str, ...]:
        """The pattern's first group wherever it stands."""
        return tuple(re.findall(pattern, self.text, re.DOTALL))


class Clerk:
    """A browser at one terminal.

    Args:
        url: of the terminal's screens.
    """

    def __init__(self, url: str) -> None:
        self._host = urlsplit(url).netloc
        self._cookies: dict[str, str] = {}
        self._connection = http.client.HTTPConnection(self._host, timeout=TIMEOUT_S)
        self._token = ""

    def other_tab(self) -> "Clerk":
        """Another tab of the same browser: it may be used while this one waits for a page."""
        tab = Clerk(f"http://{self._host}")
        tab._cookies, tab._token = dict(self._cookies), self._token
        return tab

    def close(self) -> None:
        """The browser is closed. Used again, it opens again."""
        self._connection.close()

    def sign_in(self, account: DemoAccount) -> Page:
        """Sign in; a code works once."""
        self.get("/sign-in")
        code = account.code(SystemClock().now_ms())
        return self.post("/sign-in", {"login": account.login, "password": account.password, "code": code})

    def get(self, path: str) -> Page:
        """A page. ``TerminalGone``."""
        return self._followed(self._send("GET", path, ""))

    def post(self, path: str, fields: Fields | None = None) -> Page:
        """Send a form with the token of the last page, and see where it leads. ``TerminalGone``."""
        form = {**(fields or {}), "form_token": self._token}
        return self._followed(self._send("POST", path, urlencode(form, doseq=True)))

    def _followed(self, page: Page) -> Page:
        for _ in range(MOVES_MAX):
            if page.status != _SEE_OTHER:
                return page
            page = self._send("GET", page.path, "")
        return page

    def _send(self, method: str, path: str, body: str) -> Page:
        headers = {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}
        if body:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            self._connection.request(method, path, body or None, headers)
            response = self._connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()  # the next request opens another
            raise TerminalGone(type(error).__name__) from None
        for line in response.headers.get_all("set-cookie") or []:
            name, _, value = line.partition(";")[0].partition("=")
            self._cookies[name] = value
        found = _TOKEN.search(text)
        self._token = found[1] if found else self._token
        return Page(response.status, response.headers.get("location") or path, text)
