"""``warifu lab prove screens``: a clerk's work in a real browser, a picture of every screen in both languages.

Counts languages (at most two). Pictures go into ``docs/screens`` of the project, when it is run from there, else into a
folder of the working directory. A screen that cannot be reached, or a script error on a page, is a violation.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from warifu.adapters.clock import SystemClock
from warifu.demo.rehearsal import Rehearsal, rehearsal
from warifu.kernel.errors import Unavailable
from warifu.lab.proofs.catalog import Part, Violation

LANGUAGES: Final = ("ja", "en")
RESIDENTS: Final = 8
WAIT_MS: Final = 30_000
CHROMIUM: Final = "/usr/bin/chromium"
SIZE: Final = {"width": 1024, "height": 768}
PHONE: Final = {"width": 390, "height": 844}
COLOURS: Final = 128


def run(count: int, first: int) -> Iterator[Part]:
    """Take the pictures, one language after the other.

    Args:
        count: how many languages: 1 is Japanese alone.
        first: the first of them.
    """
    try:
        from playwright.sync_api import Error, sync_playwright  # noqa: PLC0415 - a tool of development
    except ImportError as error:
        raise Unavailable("playwright is missing: python3 tools/bootstrap.py --dev") from error
    with rehearsal(RESIDENTS) as stage:
        account = {"ja": stage.account("clerk"), "en": stage.account("manager")}
        for number, language in enumerate(LANGUAGES[first : first + count], first):
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
                tour = Tour(browser, stage, language)
                try:
                    tour.go(account[language].login, account[language].password, account[language])
                except Error as error:
                    tour.troubles.append(str(error).splitlines()[0])
                finally:
                    browser.close()
            violations = tuple(Violation(number, trouble) for trouble in tour.troubles)
            yield Part(1, violations, {"pictures": tour.pictures})


class Tour:
    """One language's way through the screens.

    Args:
        browser: Playwright's.
        stage: the running stack.
        language: ``ja`` or ``en``.
    """

    def __init__(self, browser: Any, stage: Rehearsal, language: str) -> None:  # noqa: ANN401 - a tool of development
        self.stage = stage
        self.language = language
        self.context = browser.new_context(viewport=SIZE)
        self.context.set_default_timeout(WAIT_MS)
        self.phone = browser.new_context(viewport=PHONE, device_scale_factor=1)
        self.phone.set_default_timeout(WAIT_MS)
        self.page = self.context.new_page()
        self.troubles: list[str] = []
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.pictures = 0
        self.folder = Path("docs/screens") if Path("docs").is_dir() else Path("screens")
        self.folder.mkdir(parents=True, exist_ok=True)

    def picture(self, name: str, page: Any = None) -> None:  # noqa: ANN401 - likewise
        """One picture, in few colours: small enough to be kept."""
        from PIL import Image  # noqa: PLC0415 - only here

        path = self.folder / f"{name}.{self.language}.png"
        (page or self.page).screenshot(path=path, full_page=True)
        with Image.open(path) as image:
            image.convert("RGB").quantize(COLOURS).save(path, optimize=True)
        self.pictures += 1

    def go(self, login: str, password: str, account: Any) -> None:  # noqa: ANN401 - likewise
        """The whole way."""
        self.sign_in(login, password, account)
        self.receive_and_set_up()
        card = self.stage.cards[LANGUAGES.index(self.language)]
        self.deliver(card)
        self.look_around(card)
        self.page.goto(self.stage.url + "/")
        self.page.click("form[action='/sign-out'] button")
        self.at_home()

    def sign_in(self, login: str, password: str, account: Any) -> None:  # noqa: ANN401 - likewise
        """Sign in."""
        self.page.goto(self.stage.url)
        if self.language == "en":
            self.page.click("button[value=en]")
        self.picture("sign-in")
        self.page.fill("#login", login)
        self.page.fill("#password", password)
        self.page.fill("#code", account.code(SystemClock().now_ms()))
        self.page.click("main button.primary")
        self.page.wait_for_selector("#asked")
        self.picture("home")

    def receive_and_set_up(self) -> None:
        """The boxes, then half of the tray: the other language's tour takes the rest."""
        self.page.goto(self.stage.url + "/shipments")
        self.picture("shipments")
        while self.page.locator("button[name=batch_id]").count():
            self.page.locator("button[name=batch_id]").first.click()
            self.page.goto(self.stage.url + "/shipments")
        self.page.goto(self.stage.url + "/setup")
        if self.language == "ja":
            self.page.locator("[name=card_id]").last.uncheck()
        self.picture("setup")
        self.page.click("main button.primary")
        self.page.wait_for_selector("#batch.ended")
        self.picture("setup-tray")

    def deliver(self, card: str) -> None:
        """A delivery, with both windows."""
        with self.context.expect_page() as opened:
            self.page.click("nav form button")
        screen = opened.value
        screen.wait_for_load_state()
        self.picture("resident-waits", screen)
        self.page.goto(self.stage.url + "/tray")
        self.picture("tray")
        self.page.click(f"button[value={card}]")
        self.picture("card-before-delivery")
        self.page.click(".actions a.button.primary")
        self.page.wait_for_load_state("networkidle")
        self.picture("delivery-checks")
        for check in ("notice", "licence", "face"):
            self.page.check(f"[value={check}]")
        self.page.click("main form button.primary")
        self.page.wait_for_selector("main .tag.pins")
        self.picture("delivery-waits")
        screen.wait_for_selector("#pin_juki")
        self.picture("resident-pins", screen)
        self.type_pins(screen, "9999")
        screen.wait_for_selector(".error")
        self.picture("resident-again", screen)
        self.type_pins(screen, "1234")
        self.page.wait_for_selector("main .tag.done")
        self.picture("delivery-done")
        self.picture("resident-done", screen)
        screen.close()

    @staticmethod
    def type_pins(screen: Any, again: str) -> None:  # noqa: ANN401 - likewise
        """What a resident types."""
        if screen.locator("#pin_signature").count():
            screen.fill("#pin_signature", "ABC123")
            screen.fill("#again_signature", "ABC123")
        for pin in ("authentication", "text", "juki"):
            screen.fill(f"#pin_{pin}", "1234")
            screen.fill(f"#again_{pin}", again)
        screen.click("main button.primary")

    def look_around(self, card: str) -> None:
        """Every other page."""
        self.page.goto(f"{self.stage.url}/card/{card}")
        self.picture("card-in-use")
        self.page.goto(f"{self.stage.url}/card/{card}/checks/pin_reset")
        self.page.wait_for_load_state("networkidle")
        self.picture("pin-reset-checks")
        for name in ("deliveries", "work", "approvals"):
            self.page.goto(f"{self.stage.url}/{name}")
            self.picture(name)
        self.page.goto(f"{self.stage.url}/card/WRF00000000ZZZZ")
        self.picture("not-found")

    def at_home(self) -> None:
        """The residents' portal, on a telephone: every page, and an application that is followed."""
        page, url = self.phone.new_page(), self.stage.portal
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.goto(url)
        if self.language == "en":
            page.click("button[value=en]")
        self.picture("portal", page)
        for name in ("apply", "follow", "loss"):
            page.goto(f"{url}/{name}")
            self.picture(f"portal-{name}", page)
        page.goto(f"{url}/follow")
        page.fill("#application_id", self.stage.holders[0].application_id)
        page.click("main button")
        page.wait_for_load_state()
        self.picture("portal-state", page)
        if page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"):
            self.troubles.append("the portal is wider than a telephone")
