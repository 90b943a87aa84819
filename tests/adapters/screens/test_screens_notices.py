"""When the way to the centre is broken every open page says so and what wait to expect, and takes it back by itself."""

import os
import signal

import pytest
from playwright.sync_api import Browser, expect
from screens_kit import HERE, Stack, sign_in

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]
NOTICED_MS = 60_000
WORDS = "センターへの経路に障害が起きています。始めた手続きは保存されており、復旧後に続きから再開できます。"


def test_counters_are_told_that_the_centre_cannot_be_reached_and_that_it_can_again(
    stack: Stack, browser: Browser
) -> None:
    """The municipality's CS stops answering; nobody touches the page. The supervisor starts the CS anew."""
    clerk = sign_in(browser, stack.url(), stack.new_staff())
    notice = clerk.page.locator("#notices .notice")
    expect(notice).to_have_count(0)
    cs = stack.pid(f"cs-{HERE}")
    os.kill(cs, signal.SIGSTOP)
    expect(notice).to_have_text(WORDS, timeout=NOTICED_MS)
    expect(clerk.page.locator("#notices .notice-wait")).to_contain_text("現在の見込み：あと約30秒")
    os.kill(cs, signal.SIGKILL)
    expect(notice).to_have_count(0, timeout=NOTICED_MS)
    clerk.context.close()
