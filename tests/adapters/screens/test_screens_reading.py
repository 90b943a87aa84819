"""Every page can be read and used by everybody: axe-core finds nothing, in both languages."""

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # it has no stubs
from playwright.sync_api import Browser
from screens_kit import Clerk, Stack, sign_in

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


def violations(clerk: Clerk) -> list[str]:
    found = Axe().run(clerk.page, options=RULES).response["violations"]
    return [f"{clerk.page.url} {one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]


@pytest.mark.parametrize("language", ["ja", "en"])
def test_axe_finds_nothing(stack: Stack, browser: Browser, language: str) -> None:
    card = stack.cards()[0]
    clerk = sign_in(browser, stack.url(), stack.new_staff("manager"))
    if language == "en":
        clerk.press("English")
    found = []
    for path in ("/", "/tray", "/shipments", "/setup", "/deliveries", "/work", "/approvals", f"/card/{card}"):
        clerk.go(path)
        found += violations(clerk)
    for path in (f"/card/{card}/checks/delivery", "/card/WRF00000000ZZZZ", "/sign-in", "/resident"):
        clerk.go(path)
        found += violations(clerk)
    assert not found
    clerk.context.close()
