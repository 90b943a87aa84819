"""A resident with a phone, on the real stack: apply with a photo, follow until it is ready, report a loss."""

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has no stubs
from playwright.sync_api import Browser, Page, expect
from screens_kit import WAIT_MS, Stack
from screens_life import Beside

from warifu.demo.people import Holder
from warifu.synthetic.photos import portrait

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
PHONE, DESK = (390, 844), (1024, 768)


def portal(stack: Stack, browser: Browser, size: tuple[int, int] = PHONE, language: str = "ja") -> Page:
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, locale="ja-JP")
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.goto(stack.url("portal"))
    if language == "en":
        page.get_by_role("button", name="English").click()
    return page


def follow(page: Page, stack: Stack, application_id: str) -> None:
    page.goto(stack.url("portal") + "/follow")
    page.fill("#application_id", application_id)
    page.get_by_role("button", name="確かめる").click()


def report_loss(page: Page, stack: Stack, holder: Holder, born_year: int) -> None:
    page.goto(stack.url("portal") + "/loss")
    page.fill("#application_id", holder.application_id)
    born = holder.person.birth_date
    for name, value in (("year", born_year), ("month", born.month), ("day", born.day)):
        page.fill(f"#{name}", str(value))
    page.get_by_role("button", name="今すぐ一時停止する").click()


def flaws(page: Page) -> list[str]:
    """What axe-core finds, and whether the page is wider than its window."""
    found = [f"{page.url} {one['id']}" for one in Axe().run(page, options=RULES).response["violations"]]
    wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    return [*found, f"{page.url} too wide"] if wide else found


def photo_file(holder: Holder) -> dict[str, str | bytes]:
    return {"name": "face.jpg", "mimeType": "image/jpeg", "buffer": portrait(holder.photo_seed, 40, "female")}


def test_from_the_application_to_a_loss(stack: Stack, browser: Browser) -> None:
    beside = Beside(stack)
    holder = beside.registered()
    page = portal(stack, browser)
    page.goto(stack.url("portal") + "/apply")
    page.fill("#application_id", holder.application_id)
    page.get_by_role("button", name="次へ").click()
    found = flaws(page)
    page.set_input_files("#photo", photo_file(holder))  # type: ignore[arg-type]  # a FilePayload
    page.get_by_role("button", name="次へ").click()
    found += flaws(page)
    page.get_by_role("button", name="この内容で申請する").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("申請を受け付けました")
    found += flaws(page)
    assert holder.application_id not in page.url

    card = beside.made(holder)
    follow(page, stack, holder.application_id)
    expect(page.get_by_text("市区町村に届きました")).to_be_visible()
    beside.perform("setup", card)
    follow(page, stack, holder.application_id)
    expect(page.get_by_text("受け取れます。")).to_be_visible()
    found += flaws(page)
    assert holder.person.name not in page.content()

    beside.perform("delivery", card)
    report_loss(page, stack, holder, holder.person.birth_date.year + 1)
    expect(page.get_by_role("alert").first).to_be_visible()
    assert beside.state(card) == "in_use"
    report_loss(page, stack, holder, holder.person.birth_date.year)
    expect(page.get_by_role("heading", name="カードを一時停止しました")).to_be_visible()
    assert beside.state(card) == "suspended"
    assert not found + flaws(page)
    page.context.close()


@pytest.mark.parametrize("language", ["ja", "en"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_every_page_can_be_read_and_fits(stack: Stack, browser: Browser, size: tuple[int, int], language: str) -> None:
    page = portal(stack, browser, size, language)
    found = flaws(page)
    for path in ("/apply", "/follow", "/loss"):
        page.goto(stack.url("portal") + path)
        found += flaws(page)
    assert page.locator("html").get_attribute("lang") == language
    assert not found
    page.context.close()
