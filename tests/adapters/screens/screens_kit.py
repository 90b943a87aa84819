"""A real stack with three terminals, cards on their way, staff who can sign in, and a bare HTTP client for attacks."""

import asyncio
import contextlib
import http.client
import itertools
import re
import shutil
import tempfile
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlencode, urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, expect

from warifu.adapters.clock import SystemClock
from warifu.adapters.entropy import SystemEntropy
from warifu.adapters.screens import secrets
from warifu.demo.people import Holder
from warifu.demo.waiting import cards_on_their_way
from warifu.stack import config, control, staff, status
from warifu.stack.home import Home
from warifu.stack.staff import DemoAccount

T = TypeVar("T")
HERE, THERE = "131016", "141003"
FIRST, SECOND, OTHER = f"terminal-{HERE}", f"terminal-{HERE}-2", f"terminal-{THERE}"
RESIDENTS = 10
WAIT_MS = 20_000
PASSWORD, DIGITS = "ABC123", "1234"

_HSM = {"numbering", "issuance", "authority", "responder", "center", "relay-1"}
_NATIONAL = ("registry", "numbering", "intake", "issuance", "authority", "responder", "center", "relay-1")


def topology_text() -> str:
    """The smallest chain with two municipalities, one of them with two terminals."""
    parts = ['name = "screens"\n[balancer]\nkind = "none"\n']
    for name in _NATIONAL:
        kind, hsm = name.partition("-")[0], "hsm = { workers = 1 }\n" if name in _HSM else ""
        service = 'service = "relay"\n' if kind == "relay" else ""
        parts.append(f'[[node]]\nname = "{name}"\nkind = "{kind}"\n{service}{hsm}')
    parts.append('[[node]]\nname = "portal"\nkind = "portal"\npolicies = { accepts = true }\n')
    for name in (f"cs-{HERE}", f"cs-{THERE}", FIRST, SECOND, OTHER, f"{OTHER}-2"):
        kind, code, *_ = name.split("-")
        parts.append(f'[[node]]\nname = "{name}"\nkind = "{kind}"\nmunicipality = "{code}"\n')
    return "\n".join(parts)


class Quiet:
    """Nobody is told of progress."""

    def expect(self, step: str, count: int) -> None:
        del step, count

    def ended(self, step: str, seconds: float, *, failed: bool) -> None:
        del step, seconds, failed


def in_its_own_loop(work: Coroutine[None, None, T]) -> T:
    """The result; the browser's own loop runs in this thread."""
    with ThreadPoolExecutor(1) as elsewhere:
        return elsewhere.submit(lambda: asyncio.run(work)).result()


@dataclass
class Stack:
    """A running stack."""

    home: Home
    holders: Sequence[Holder]
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def url(self, terminal: str = FIRST) -> str:
        return status.read(self.home).urls[terminal]

    def pid(self, name: str) -> int:
        member = status.read(self.home).find(name)
        assert member is not None
        return member.pid

    def until_back(self, name: str, killed: int) -> None:
        """Until a node that was killed does its work again."""
        for _ in range(600):
            member = status.read(self.home).find(name)
            if member is not None and member.state == "serving" and member.pid != killed:
                return
            threading.Event().wait(0.1)
        raise AssertionError(f"{name} does not come back")

    def cards(self, place: str = HERE) -> list[str]:
        return [holder.card_id for holder in self.holders if holder.municipality == place]

    def holder(self, card_id: str) -> Holder:
        return next(holder for holder in self.holders if holder.card_id == card_id)

    def new_staff(self, role: str = "counter", place: str = HERE) -> DemoAccount:
        """A fresh account: a code works once, so each sign-in has its own."""
        entropy = SystemEntropy()
        account = DemoAccount(
            municipality=place,
            login=f"{role}{next(self._numbers)}",
            name="窓口　花子",
            role=role,
            password=staff.new_password(entropy),
            totp=entropy.random_bytes(secrets.TOTP_BYTES),
        )
        in_its_own_loop(self._add(account))
        return account

    async def _add(self, account: DemoAccount) -> None:
        url = config.read(self.home, FIRST).database_url
        async with staff.accounts(self.home, url) as accounts:
            await staff.add(accounts, account)

    def logs(self) -> str:
        return "".join(path.read_text("utf-8", "replace") for path in self.home.logs.glob("*.jsonl"))


@contextlib.contextmanager
def running_stack() -> Iterator[Stack]:
    """A stack with cards shipped to both municipalities."""
    folder = Path(tempfile.mkdtemp(prefix="warifu-screens-"))  # PostgreSQL's user must reach it
    home, topology = Home(folder / "home"), folder / "screens.toml"
    folder.chmod(0o711)
    topology.write_text(topology_text(), "utf-8")
    process = control.start(home, str(topology), leashed=True)
    try:
        yield Stack(home, asyncio.run(cards_on_their_way(home, status.read(home), RESIDENTS, Quiet())))
    finally:
        control.stop(home)
        process.wait(60)
        shutil.rmtree(folder, ignore_errors=True)


# ---- a browser ---------------------------------------------------------------------------------------------------


def now_code(account: DemoAccount) -> str:
    return account.code(SystemClock().now_ms())


@dataclass
class Clerk:
    """A person at a terminal with a browser of their own."""

    context: BrowserContext
    page: Page
    url: str

    def go(self, path: str) -> None:
        self.page.goto(self.url + path)

    def lay(self, card_id: str) -> None:
        self.go("/tray")
        self.page.locator(f"button[value={card_id}]").click()

    def press(self, text: str) -> None:
        self.page.get_by_role("button", name=text, exact=True).click()

    def until(self, state: str) -> None:
        expect(self.page.locator(f"main .tag.{state}").first).to_be_visible(timeout=WAIT_MS)

    def resident(self) -> Page:
        """The resident's screen, in its own window; opened from the page that is shown."""
        with self.context.expect_page() as opened:
            self.press("住民用画面を開く")
        opened.value.wait_for_load_state()
        return opened.value

    def deliver(self, card_id: str) -> None:
        """Up to where the resident enters PINs."""
        self.lay(card_id)
        self.page.get_by_role("link", name="交付", exact=True).last.click()
        for check in ("notice", "licence", "face"):
            self.page.check(f"[value={check}]")
        self.press("確認を終えて進む")
        self.until("pins")


def sign_in(browser: Browser, url: str, account: DemoAccount) -> Clerk:
    context = browser.new_context(viewport={"width": 1024, "height": 768}, locale="ja-JP")
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.goto(url)
    page.fill("#login", account.login)
    page.fill("#password", account.password)
    page.fill("#code", now_code(account))
    page.get_by_role("button", name="サインインする").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("窓口")
    return Clerk(context, page, url)


def set_up_tray(clerk: Clerk) -> None:
    """Every box counted in, and every card that waits set up."""
    clerk.go("/shipments")
    while clerk.page.locator("button[name=batch_id]").count():
        clerk.page.locator("button[name=batch_id]").first.click()
        clerk.go("/shipments")
    clerk.go("/setup")
    if clerk.page.get_by_role("button", name="選んだカードをまとめて設定する").count():
        clerk.press("選んだカードをまとめて設定する")
        expect(clerk.page.get_by_role("heading", name="トレイの処理が終わりました")).to_be_visible(timeout=WAIT_MS)


def enter_pins(screen: Page) -> None:
    """The resident enters every PIN that is asked for: after a break, those the chip did not take."""
    screen.wait_for_selector("input[id^=pin_]")
    for pin in ("signature", "authentication", "text", "juki"):
        if screen.locator(f"#pin_{pin}").count():
            screen.fill(f"#pin_{pin}", PASSWORD if pin == "signature" else DIGITS)
            screen.fill(f"#again_{pin}", PASSWORD if pin == "signature" else DIGITS)
    screen.get_by_role("button", name="決定").click()


# ---- an attacker -------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str


class Client:
    """HTTP with cookies and nothing else: what an attacker can send."""

    def __init__(self, url: str) -> None:
        self.host = urlsplit(url).netloc
        self.cookies: dict[str, str] = {}
        self.token = ""

    def get(self, path: str, **headers: str) -> Answer:
        return self._send("GET", path, None, headers)

    def post(self, path: str, form: Mapping[str, str | list[str]], *, token: bool = True, **headers: str) -> Answer:
        fields = dict(form) | ({"form_token": self.token} if token else {})
        return self._send("POST", path, urlencode(fields, doseq=True), headers)

    def _send(self, method: str, path: str, body: str | None, headers: Mapping[str, str]) -> Answer:
        connection = http.client.HTTPConnection(self.host, timeout=20)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            text = response.read().decode("utf-8", "replace")
        finally:
            connection.close()
        for line in response.headers.get_all("set-cookie") or []:
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        found = re.search(r'name="form_token" value="([^"]+)"', text)
        self.token = found[1] if found else self.token
        return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, text)

    def sign_in(self, account: DemoAccount) -> Answer:
        self.get("/sign-in")
        code = now_code(account)
        form = {"login": account.login, "password": account.password, "code": code}
        answer = self.post("/sign-in", form)
        self.get("/")
        return answer
