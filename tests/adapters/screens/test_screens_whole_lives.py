"""Operations from their first click to their end, at the other municipality's counter: how many clicks, and what stays.

Chip and record are looked at from outside: by the centre, and by a reader at home.
"""

import contextlib
import re
from urllib.parse import unquote

import msgspec
import pytest
from playwright.sync_api import Browser, Error, Page, expect
from screens_kit import DIGITS, HERE, OTHER, PASSWORD, THERE, WAIT_MS, Clerk, Stack, enter_pins, sign_in
from screens_life import Beside

from warifu.adapters.reader.files import read_image

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

SURNAME = "割符"
NOTHING_MORE = 204
"""What ends a stream of events for good (HTML Living Standard, 9.2: server-sent events)."""
COUNT = """
const more = (name) => (e) => { if (e.isTrusted) sessionStorage[name] = Number(sessionStorage[name] || 0) + 1; };
addEventListener("click", more("clicks"), true);
addEventListener("keydown", more("typed"), true);
addEventListener("pageshow", (e) => { if (e.persisted) sessionStorage.kept = "yes"; });
"""
"""What a person does in a tab, and whether the browser brought a page back out of its memory."""


class Counted:
    """A clerk whose clicks and keys are counted."""

    def __init__(self, clerk: Clerk) -> None:
        self.clerk = clerk
        self.page = clerk.page

    def begin(self) -> None:
        self.page.evaluate("sessionStorage.clicks = 0; sessionStorage.typed = 0")

    def did(self) -> tuple[int, int]:
        """Clicks and keys since the beginning."""
        clicks, typed = self.page.evaluate("[sessionStorage.clicks, sessionStorage.typed]")
        return int(clicks), int(typed)


@pytest.fixture(scope="module")
def counted(stack: Stack, browser: Browser) -> Counted:
    clerk = sign_in(browser, stack.url(OTHER), stack.new_staff(place=THERE))
    clerk.context.add_init_script(COUNT)
    clerk.go("/")
    return Counted(clerk)


@pytest.fixture(scope="module")
def clerk(counted: Counted) -> Clerk:
    return counted.clerk


@pytest.fixture(scope="module")
def screen(clerk: Clerk) -> Page:
    """The resident's own, open all day."""
    return clerk.resident()


@pytest.fixture(scope="module")
def beside(stack: Stack) -> Beside:
    return Beside(stack)


def mine(stack: Stack, number: int) -> str:
    return stack.cards(THERE)[number]


def prove(screen: Page) -> None:
    screen.wait_for_selector("#pin_juki")
    screen.fill("#pin_juki", DIGITS)
    screen.get_by_role("button", name="決定").click()


def valid(beside: Beside, card: str) -> set[str]:
    return {one.kind for one in beside.view(card).certificates if one.state == "valid"}


# ---- how many clicks ---------------------------------------------------------------------------------------------


def test_a_tray_is_set_up_with_three_clicks_and_no_key(counted: Counted, clerk: Clerk, stack: Stack) -> None:
    clerk.go("/shipments")
    while clerk.page.locator("button[name=batch_id]").count() > 1:
        clerk.page.locator("button[name=batch_id]").first.click()
        clerk.go("/shipments")
    clerk.go("/")
    counted.begin()
    clerk.page.get_by_role("link", name="納品").click()
    clerk.page.locator("button[name=batch_id]").click()
    clerk.press("選んだカードをまとめて設定する")
    expect(clerk.page.get_by_role("heading", name="トレイの処理が終わりました")).to_be_visible(timeout=WAIT_MS)
    assert counted.did() == (3, 0)
    assert {read_image(stack.home.cards, card).life for card in stack.cards(THERE)} == {"set_up"}


def test_a_delivery_asks_for_the_checks_of_the_rules_and_for_nothing_else(
    counted: Counted, clerk: Clerk, screen: Page, stack: Stack, beside: Beside
) -> None:
    """The card on the reader, the notice, one document with a photo, the face, and that all was checked."""
    card = mine(stack, 1)
    clerk.go("/deliveries")
    counted.begin()
    clerk.page.locator(f"button[value={card}]").click()
    for check in ("notice", "licence", "face"):
        clerk.page.check(f"[value={check}]")
    clerk.press("確認を終えて進む")
    clerk.until("pins")
    enter_pins(screen)
    clerk.until("done")
    assert counted.did() == (5, 0)
    assert beside.state(card) == "in_use"


@pytest.mark.parametrize(("waiting", "opened"), [("/", ""), ("/deliveries", "/checks/delivery")])
def test_a_card_on_the_reader_opens_its_resident_where_one_is_waited_for(
    clerk: Clerk, stack: Stack, waiting: str, opened: str
) -> None:
    """As the page hears it when a real reader tells of a card (``test_reader_events``): no click at all."""
    card = mine(stack, 3)
    event = f'data: {{"kind": "laid", "card": "{card}"}}\n\n'
    clerk.page.route("**/events?*", lambda route: route.fulfill(status=NOTHING_MORE))
    clerk.page.route(  # once, as a card is laid once: the page it opens would be loaded again at each further one
        "**/events?*", lambda route: route.fulfill(content_type="text/event-stream", body=event), times=1
    )
    clerk.go(waiting)
    clerk.page.wait_for_url(f"**/card/{card}{opened}")
    clerk.page.unroute_all()


# ---- operations to their end -------------------------------------------------------------------------------------


def test_a_former_surname_is_written_onto_the_card(clerk: Clerk, screen: Page, stack: Stack, beside: Beside) -> None:
    card = mine(stack, 1)
    holder = stack.holder(card)
    street = f"{holder.person.address}　割符荘"
    beside.change(holder, "name", msgspec.structs.replace(holder.person, former_surname=SURNAME))
    beside.change(holder, "address", msgspec.structs.replace(holder.person, address=street))
    clerk.lay(card)
    expect(clerk.page.get_by_text(f"旧氏 {SURNAME}")).to_be_visible()
    clerk.press("券面事項更新")
    prove(screen)
    clerk.until("done")
    assert beside.text(card).address == street
    assert "signature" in valid(beside, card) or not holder.may_sign(holder.person.birth_date)


def test_certificates_are_revoked_and_issued_again_while_the_card_stays_in_use(
    clerk: Clerk, screen: Page, stack: Stack, beside: Beside
) -> None:
    card = mine(stack, 1)
    before = valid(beside, card)
    clerk.lay(card)
    clerk.page.get_by_text("電子証明書の失効").click()
    for box in clerk.page.locator("[name=certificate]").all():
        box.check()
    clerk.page.check("[name=documents]")
    clerk.press("失効させる")
    clerk.page.wait_for_load_state()

    def gone() -> bool:
        clerk.go(f"/card/{card}")
        return clerk.page.get_by_role("button", name="電子証明書の発行", exact=True).count() == 1

    assert any(gone() for _ in range(40))
    assert (valid(beside, card), beside.state(card)) == (set(), "in_use")
    clerk.press("電子証明書の発行")
    prove(screen)
    clerk.until("done")
    assert valid(beside, card) == before


def test_a_card_that_ends_undelivered_is_a_cancelled_delivery(clerk: Clerk, stack: Stack, beside: Beside) -> None:
    card = mine(stack, 2)
    clerk.lay(card)
    clerk.page.get_by_text("交付の取消し").click()
    clerk.press("交付を取り消す")
    clerk.until("done")
    view = beside.view(card)
    assert (view.state, read_image(stack.home.cards, card).life) == ("abolished", "terminated")
    assert {one.reason for one in view.certificates} <= {"unspecified", ""}


def test_who_has_moved_continues_the_card_where_they_live_now(
    browser: Browser, stack: Stack, clerk: Clerk, beside: Beside
) -> None:
    card = mine(stack, 1)
    holder = stack.holder(card)
    beside.change(holder, "move", msgspec.structs.replace(holder.person, municipality=HERE, address=holder.new_address))
    here = sign_in(browser, stack.url(), stack.new_staff())
    screen = here.resident()
    here.go(f"/card/{card}")
    here.press("リーダーに置く")
    expect(here.page.get_by_text("あと90日")).to_be_visible()
    here.press("継続利用")
    prove(screen)
    here.until("done")
    assert beside.view(card).municipality == HERE
    assert beside.text(card).address == holder.person.address
    clerk.go(f"/card/{card}")
    expect(clerk.page.get_by_text("該当する記録がありません。").first).to_be_visible()
    here.context.close()


def test_two_people_end_a_card_that_is_not_there(browser: Browser, stack: Stack, beside: Beside) -> None:
    """It was continued here; now it is lost. The clerk asks, a manager approves."""
    card = mine(stack, 1)
    asking = sign_in(browser, stack.url(), stack.new_staff())
    asking.go(f"/card/{card}")
    asking.page.get_by_text("カードなしでの廃止（承認が必要）").click()
    asking.press("管理者に承認を依頼する")
    expect(asking.page.get_by_text("別の管理者が決定します").first).to_be_visible()
    assert beside.state(card) == "in_use"
    deciding = sign_in(browser, stack.url(), stack.new_staff("manager"))
    deciding.go("/approvals")
    row = deciding.page.locator("tr", has=deciding.page.get_by_text(card))
    row.get_by_role("button", name="承認して廃止する").click()
    expect(row).to_have_count(0)
    assert beside.state(card) == "abolished"
    asking.context.close()
    deciding.context.close()


# ---- what stays in the browser -----------------------------------------------------------------------------------


def test_neither_pins_nor_people_stay_in_addresses_history_or_the_browsers_memory(
    browser: Browser, stack: Stack
) -> None:
    card = mine(stack, 3)
    person = stack.holder(card).person
    clerk = sign_in(browser, stack.url(OTHER), stack.new_staff(place=THERE))
    clerk.context.add_init_script(COUNT)
    addresses: list[str] = []
    clerk.context.on("request", lambda request: addresses.append(unquote(request.url)))
    clerk.go("/")
    screen = clerk.resident()
    clerk.page.fill("#asked", person.name)
    clerk.page.fill("#birth_date", person.birth_date.isoformat())
    clerk.press("探す")
    expect(clerk.page.get_by_text(person.name)).to_be_visible()
    clerk.deliver(card)
    enter_pins(screen)
    clerk.until("done")

    personal = (*re.split(r"\s", person.name), person.address, person.birth_date.isoformat(), PASSWORD, f"={DIGITS}")
    for address in addresses:
        assert not [one for one in personal if one in address], address

    for _ in range(screen.evaluate("history.length")):
        step_back(screen)
        assert not any(
            box.input_value() for box in screen.locator("input:not([type=hidden]):not([type=checkbox])").all()
        )
    screen.close()
    clerk.go("/")
    clerk.press("サインアウト")
    expect(clerk.page.get_by_role("heading", level=1)).to_have_text("サインイン")
    for _ in range(clerk.page.evaluate("history.length")):
        step_back(clerk.page)
        shown = content(clerk.page)
        assert person.name not in shown
        assert person.address not in shown
    assert clerk.page.goto(clerk.url + "/sign-in")
    assert clerk.page.evaluate("sessionStorage.kept || ''") == ""
    clerk.context.close()


def content(page: Page) -> str:
    """What is shown once the page has come to rest."""
    for _ in range(10):
        page.wait_for_load_state()
        with contextlib.suppress(Error):  # it is being led on to where one signs in
            return page.content()
    raise AssertionError("the page does not come to rest")


def step_back(page: Page) -> None:
    """The browser's own button; what it cannot show without sending a form again it does not show."""
    with contextlib.suppress(Error):
        page.go_back(wait_until="domcontentloaded")
