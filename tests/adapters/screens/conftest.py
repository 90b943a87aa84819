"""One stack for all of the screens' tests, gone with the last of them; a browser for each module that wants one."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from playwright.sync_api import Browser, sync_playwright
from screens_kit import Stack, running_stack

CHROMIUM = "/usr/bin/chromium"
_open = ExitStack()


@pytest.fixture(scope="session")
def stack() -> Stack:
    return _open.enter_context(running_stack())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not for longer than a module: while it is there, no other event loop can run in this thread."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """After the last test of this folder the stack ends: nothing of it runs beside other tests."""
    if nextitem is None or nextitem.path.parent != item.path.parent:
        _open.close()
