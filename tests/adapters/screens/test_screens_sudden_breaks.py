"""A card pulled in the middle of chip commands, through the screens: the work is taken up again and ends right."""

import contextlib
import re

import pytest
from playwright.sync_api import Browser, Error, Page
from screens_kit import HERE, WAIT_MS, Clerk, Quiet, Stack, enter_pins, in_its_own_loop, set_up_tray, sign_in
from screens_life import Beside

from warifu.adapters.reader.files import read_image
from warifu.demo.waiting import cards_on_their_way
from warifu.stack import status

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

MORE = 8
"""Residents of both places: one card here."""
RUNS = 8
"""Times that work may be taken up again."""
UNDER_WAY = "Number(document.querySelector('#progress-commands')?.textContent ?? 99) > 0"


@pytest.fixture(scope="module")
def fresh(stack: Stack, browser: Browser) -> list[str]:
    """Cards in this place that nothing was done to."""
    clerk = sign_in(browser, stack.url(), stack.new_staff())
    set_up_tray(clerk)
    more = in_its_own_loop(cards_on_their_way(stack.home, status.read(stack.home), MORE, Quiet()))
    clerk.go("/shipments")
    while clerk.page.locator("button[name=batch_id]").count():
        clerk.page.locator("button[name=batch_id]").first.click()
        clerk.go("/shipments")
    clerk.context.close()
    return [holder.card_id for holder in more if holder.municipality == HERE]


def pull_the_card(clerk: Clerk) -> None:
    token = clerk.page.locator("[name=form_token]").first.input_value()
    clerk.context.request.post(clerk.url + "/reader/lift", form={"form_token": token})


def finish(clerk: Clerk, screen: Page) -> None:
    """What a person does until the work that is shown is done."""
    work = clerk.page.url
    for _ in range(RUNS):
        with contextlib.suppress(Error):  # the page was just following what happens, by itself
            clerk.page.goto(work)
        clerk.page.wait_for_selector("#state .tag:not(.running)", timeout=WAIT_MS * 2)
        state = clerk.page.locator("#state .tag").get_attribute("class") or ""
        if "done" in state:
            return
        if clerk.page.get_by_role("button", name="リーダーに置く").count():
            clerk.press("リーダーに置く")
        if "pins" in state:
            clerk.press("住民用画面に表示する")
            enter_pins(screen)
        else:
            clerk.press("続きから再開")
        screen.wait_for_load_state()
    raise AssertionError(f"not done after {RUNS} runs")


def test_a_set_up_and_a_delivery_end_right(stack: Stack, browser: Browser, fresh: list[str]) -> None:
    card, beside = fresh[0], Beside(stack)
    clerk = sign_in(browser, stack.url(), stack.new_staff())
    screen = clerk.resident()

    clerk.lay(card)
    clerk.press("交付前設定")
    clerk.page.wait_for_url(re.compile("/work/"))
    clerk.page.wait_for_function(UNDER_WAY)
    pull_the_card(clerk)
    finish(clerk, screen)
    assert (read_image(stack.home.cards, card).life, beside.state(card)) == ("set_up", "set_up")

    clerk.deliver(card)
    enter_pins(screen)
    pull_the_card(clerk)
    finish(clerk, screen)
    assert (read_image(stack.home.cards, card).life, beside.state(card)) == ("in_use", "in_use")
    clerk.context.close()
