"""A clerk's day in a real browser, through the real stack: nothing is lost, whatever breaks."""

import os
import signal

import pytest
from playwright.sync_api import Browser, Page, expect
from screens_kit import DIGITS, FIRST, HERE, SECOND, WAIT_MS, Clerk, Stack, enter_pins, sign_in

from warifu.adapters.reader.files import read_image

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def clerk(stack: Stack, browser: Browser) -> Clerk:
    """Signed in, the box counted in, and the whole tray set up: four clicks."""
    clerk = sign_in(browser, stack.url(), stack.new_staff())
    clerk.go("/shipments")
    while clerk.page.locator("button[name=batch_id]").count():
        clerk.page.locator("button[name=batch_id]").first.click()
        clerk.go("/shipments")
    clerk.go("/setup")
    clerk.press("選んだカードをまとめて設定する")
    expect(clerk.page.get_by_role("heading", name="トレイの処理が終わりました")).to_be_visible(timeout=WAIT_MS)
    return clerk


def life(stack: Stack, card_id: str) -> str:
    return read_image(stack.home.cards, card_id).life


def test_a_tray_of_cards_is_set_up_in_a_row(stack: Stack, clerk: Clerk) -> None:
    clerk.go("/setup")
    assert clerk.page.locator(".tag.done").count() == len(stack.cards())
    assert {life(stack, card) for card in stack.cards()} == {"set_up"}


def test_a_delivery_ends_by_itself_once_the_resident_has_entered_the_pins(stack: Stack, clerk: Clerk) -> None:
    card = stack.cards()[0]
    screen = clerk.resident()
    clerk.deliver(card)
    assert stack.holder(card).person.name not in screen.content()
    enter_pins(screen)
    clerk.until("done")
    expect(screen.get_by_role("heading", level=1)).to_have_text("入力ありがとうございました")
    assert life(stack, card) == "in_use"
    expect(clerk.page.get_by_text("5回")).to_be_visible()
    screen.close()


def test_a_delivery_broken_at_one_terminal_is_finished_at_another(stack: Stack, clerk: Clerk, browser: Browser) -> None:
    """The terminal is killed while the resident thinks about PINs."""
    card = stack.cards()[1]
    clerk.deliver(card)
    killed = stack.pid(FIRST)
    os.kill(killed, signal.SIGKILL)
    other = sign_in(browser, stack.url(SECOND), stack.new_staff())
    other.lay(card)
    other.page.get_by_role("link", name="交付を続ける").click()
    screen = other.resident()
    other.press("住民用画面に表示する")
    enter_pins(screen)
    other.until("done")
    assert life(stack, card) == "in_use"
    other.context.close()
    stack.until_back(FIRST, killed)


def test_a_card_pulled_in_the_middle_is_laid_back_and_the_work_goes_on(stack: Stack, clerk: Clerk) -> None:
    card = stack.cards()[2]
    screen = clerk.resident()
    clerk.deliver(card)
    clerk.press("外す")
    enter_pins(screen)
    clerk.until("broken")
    expect(clerk.page.get_by_text("カードがリーダーから外れました。")).to_be_visible()
    clerk.press("リーダーに置く")
    clerk.press("続きから再開")
    clerk.until("pins")
    enter_pins(screen)
    clerk.until("done")
    assert life(stack, card) == "in_use"
    screen.close()


def test_two_different_entries_of_a_pin_never_reach_the_chip(stack: Stack, clerk: Clerk) -> None:
    card = stack.cards()[3]
    screen = clerk.resident()
    clerk.deliver(card)
    screen.wait_for_selector("#pin_juki")
    screen.fill("#pin_juki", DIGITS)
    screen.fill("#again_juki", "9999")
    screen.get_by_role("button", name="決定").click()
    expect(screen.get_by_text("2回の入力が一致しません。")).to_be_visible()
    assert screen.input_value("#pin_juki") == ""
    enter_pins(screen)
    clerk.until("done")
    screen.close()


def test_pins_are_in_no_address_no_history_and_no_log(stack: Stack, clerk: Clerk) -> None:
    del clerk
    written = stack.logs()
    assert f"terminal-{HERE}" in written
    assert "ABC123" not in written
    assert "pin_juki" not in written


# ---- a card in use -----------------------------------------------------------------------------------------------


def open_card(clerk: Clerk, stack: Stack) -> str:
    card = stack.cards()[0]
    clerk.lay(card)
    return card


def prove(screen: Page, pin: str) -> None:
    screen.wait_for_selector("#pin_juki")
    screen.fill("#pin_juki", pin)
    screen.get_by_role("button", name="決定").click()


def test_a_wrong_pin_is_told_with_the_tries_left_and_entered_again(stack: Stack, clerk: Clerk) -> None:
    open_card(clerk, stack)
    screen = clerk.resident()
    clerk.press("電子証明書の更新")
    prove(screen, "9999")
    expect(screen.get_by_text("残り 2回")).to_be_visible(timeout=WAIT_MS)
    prove(screen, DIGITS)
    clerk.until("done")
    screen.close()


def test_a_resident_changes_a_pin_that_the_clerk_never_sees(stack: Stack, clerk: Clerk) -> None:
    open_card(clerk, stack)
    screen = clerk.resident()
    clerk.page.get_by_text("暗証番号の変更").click()
    clerk.page.select_option("#pin", "text")
    clerk.press("住民用画面で入力してもらう")
    screen.wait_for_selector("#old")
    screen.fill("#old", DIGITS)
    screen.fill("#pin_text", "4321")
    screen.fill("#again_text", "4321")
    screen.get_by_role("button", name="決定").click()
    expect(screen.get_by_role("heading", level=1)).to_have_text("暗証番号を変更しました")
    assert "4321" not in clerk.page.content()
    screen.close()


def test_a_loss_suspends_at_once_and_a_found_card_is_resumed(stack: Stack, clerk: Clerk) -> None:
    open_card(clerk, stack)
    screen = clerk.resident()
    clerk.page.get_by_text("紛失の届出（一時停止）").click()
    clerk.press("一時停止する")
    expect(clerk.page.get_by_text("一時停止中").first).to_be_visible()
    clerk.press("一時停止の解除")
    prove(screen, DIGITS)
    clerk.until("done")
    screen.close()


def test_forgotten_pins_are_set_anew(stack: Stack, clerk: Clerk) -> None:
    open_card(clerk, stack)
    screen = clerk.resident()
    clerk.page.get_by_role("link", name="暗証番号の初期化・再設定").click()
    for check in ("licence", "face", "juki"):
        clerk.page.check(f"[value={check}]")
    clerk.press("確認を終えて進む")
    screen.wait_for_selector("#again_juki")
    screen.fill("#pin_juki", "8888")
    screen.fill("#again_juki", "8888")
    screen.get_by_role("button", name="決定").click()
    clerk.until("done")
    screen.close()


def test_work_that_waits_for_the_resident_can_be_given_up(stack: Stack, clerk: Clerk) -> None:
    open_card(clerk, stack)
    clerk.press("券面事項更新")
    clerk.until("proof")
    clerk.press("取りやめる")
    clerk.until("abandoned")


def test_a_card_is_ended(stack: Stack, clerk: Clerk) -> None:
    card = open_card(clerk, stack)
    clerk.page.get_by_text("廃止・返納").click()
    clerk.press("カードを廃止する")
    clerk.until("done")
    assert life(stack, card) == "terminated"


def test_a_resident_is_found_by_name_and_birth_date(stack: Stack, clerk: Clerk) -> None:
    person = stack.holder(stack.cards()[1]).person
    clerk.go("/")
    clerk.page.fill("#asked", person.name)
    clerk.page.fill("#birth_date", person.birth_date.isoformat())
    clerk.press("探す")
    expect(clerk.page.get_by_role("link", name=person.name)).to_be_visible()
    assert person.birth_date.isoformat() not in clerk.page.url
