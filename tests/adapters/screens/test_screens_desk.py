"""The desk without a stack: a busy centre, runs of dead terminals, operations nobody came back for, two people."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

import msgspec
import pytest
from screens_kit import HERE
from starlette.testclient import TestClient

from warifu.adapters.reader.files import FileReader
from warifu.adapters.reader.tray import TrayReader
from warifu.adapters.screens import secrets
from warifu.adapters.screens.accounts import NewAccount
from warifu.adapters.screens.app import make_app
from warifu.adapters.screens.desk import BEAT_S, TAKE_OVER_MS, Live
from warifu.adapters.screens.seats import Seat
from warifu.adapters.screens.terminal import CounterTerminal
from warifu.adapters.store.memory import MemoryStore
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope, Reply
from warifu.contract.terminal import Performed
from warifu.contract.unsettled import Unsettled, UnsettledCards
from warifu.domain.counter.records import RECORDS, Work
from warifu.kernel.errors import ConnectionExcess, Unavailable
from warifu.lab.simulation.keys import SeededEntropy
from warifu.nodes.base import Call, World
from warifu.nodes.card_trust import CardTrust
from warifu.ports.store import Change, Get, Insert

T = TypeVar("T")
CARD = "WRF000000000001"
OPERATION = "01KN3FQJZ44G9WM4NKF40TFVNT"
PASSWORD = "a long password"
NOON_MS = 1_775_012_400_000
ELSEWHERE = "terminal-elsewhere"


@dataclass
class Clock:
    at_ms: int = NOON_MS

    def now_ms(self) -> int:
        return self.at_ms


class Quiet:
    def info(self, event: str, **fields: str | float) -> None:
        """Nobody listens."""

    trouble = info


@dataclass
class Centre:
    """Answers one question."""

    left: tuple[Unsettled, ...] = ()
    down: bool = False
    asked: list[str] = field(default_factory=list)

    async def call(self, destination: str, envelope: Envelope) -> Reply:
        del destination
        self.asked.append(envelope.name)
        if self.down or envelope.name != "center.unsettled":
            raise Unavailable("the centre")
        return Reply(body=encode(UnsettledCards(unsettled=self.left)))


@dataclass
class Desk:
    """A counter's application with a person signed in."""

    browser: TestClient
    terminal: CounterTerminal
    clock: Clock
    centre: Centre

    def page(self, path: str) -> str:
        answer = self.browser.get(path)
        assert answer.status_code == 200, answer.text
        return answer.text

    def send(self, path: str, **form: str) -> int:
        token = self.page("/").partition('name="form_token" value="')[2].partition('"')[0]
        return self.browser.post(path, data=form | {"form_token": token}).status_code

    def keep(self, work: Work) -> None:
        self._do(self.terminal.counter.store.commit(Change(now_ms=NOON_MS, writes=(Insert(work),))))

    def work(self) -> Work:
        found = self._do(self.terminal.counter.store.read(Get(Work, (OPERATION,)))).one(0, Work)
        assert found is not None
        return found

    def beat(self, live: Live) -> None:
        self._do(self.terminal.counter.desk._beat(live))

    def until_rested(self) -> None:
        """Until no run is under way."""

        async def rested() -> None:
            async with asyncio.timeout(20):
                while self.terminal.counter.desk.live:  # noqa: ASYNC110 - nothing tells of a run's end but this
                    await asyncio.sleep(0)

        self._do(rested())

    def _do(self, work: Coroutine[None, None, T]) -> T:
        """In the application's loop."""
        assert self.browser.portal is not None

        async def done() -> T:
            return await work

        return self.browser.portal.call(done)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    clock, centre, entropy = Clock(), Centre(), SeededEntropy(1, "desk")
    world = World(name="terminal-here", transport=centre, clock=clock, entropy=entropy, log=Quiet())
    terminal = CounterTerminal(
        world,
        TrayReader(FileReader(tmp_path)),
        "cs",
        b"",
        cast("CardTrust", None),
        municipality=HERE,
        store=MemoryStore(RECORDS),
        key=bytes(32),
    )
    account = NewAccount(
        municipality=HERE, login="clerk", name="窓口", role="manager", password=PASSWORD, totp=bytes(20)
    )
    with TestClient(make_app(terminal.counter), base_url="http://127.0.0.1", follow_redirects=False) as browser:
        assert browser.portal is not None
        browser.portal.call(terminal.counter.accounts.add, account)
        runs = browser.portal.start_task_soon(terminal.counter.desk.run)
        token = browser.get("/sign-in").text.partition('name="form_token" value="')[2].partition('"')[0]
        code = secrets.code_of(bytes(20), secrets.step_of(NOON_MS))
        form = {"login": "clerk", "password": PASSWORD, "code": code, "form_token": token}
        assert browser.post("/sign-in", data=form).status_code == 303
        yield Desk(browser, terminal, clock, centre)
        runs.cancel()


def begun(**fields: object) -> Work:
    work = Work(
        operation_id=OPERATION,
        municipality=HERE,
        kind="setup",
        card_id=CARD,
        state="running",
        staff="clerk",
        terminal=ELSEWHERE,
        began_ms=NOON_MS,
        changed_ms=NOON_MS,
    )
    return msgspec.structs.replace(work, **fields)


def test_a_busy_centre_tells_the_place_in_line_and_the_wait_and_the_page_goes_on_by_itself(desk: Desk) -> None:
    async def busy(call: Call) -> Performed:
        del call
        raise ConnectionExcess(retry_after_ms=40_000, place_in_line=7)

    desk.terminal.perform = busy  # type: ignore[method-assign]
    desk.keep(begun(state="broken"))
    desk.send("/reader/lay", card_id=CARD)
    desk.send(f"/work/{OPERATION}/resume")
    desk.until_rested()
    page = desk.page(f"/work/{OPERATION}")
    assert desk.work().state == "busy"
    assert "センターが混雑しています。" in page
    assert "順番: 7" in page
    assert "見込み: 41 秒" in page
    assert 'data-submit-after-ms="40000"' in page
    desk.send("/language", to="en", back="/")
    assert "Place in line: 7" in desk.page(f"/work/{OPERATION}")


def test_a_run_that_another_terminal_still_tells_of_is_left_alone_and_a_silent_one_is_taken_over(desk: Desk) -> None:
    desk.keep(begun())
    desk.send("/reader/lay", card_id=CARD)
    desk.clock.at_ms += TAKE_OVER_MS - 1
    desk.send(f"/work/{OPERATION}/resume")
    assert desk.work().terminal == ELSEWHERE
    assert "処理中" in desk.page(f"/work/{OPERATION}")
    desk.clock.at_ms += 1
    assert "続きから再開" in desk.page(f"/work/{OPERATION}")
    desk.send(f"/work/{OPERATION}/resume")
    assert desk.work().terminal == "terminal-here"


def test_a_run_says_that_it_goes_on_well_before_it_could_be_taken_over(desk: Desk) -> None:
    desk.keep(begun(terminal="terminal-here"))
    live = Live(Seat(), desk.work())
    desk.terminal.counter.desk.live[OPERATION] = live
    desk.clock.at_ms += 5_000
    desk.beat(live)
    assert desk.work().changed_ms == NOON_MS + 5_000
    assert live.work.version == desk.work().version
    assert BEAT_S * 1000 * 3 < TAKE_OVER_MS


def test_home_tells_of_operations_that_only_their_card_can_settle(desk: Desk) -> None:
    left = Unsettled(
        card_id=CARD, operation_id=OPERATION, kind="delivery", municipality=HERE, why="unknown_write", since_ms=NOON_MS
    )
    desk.centre.left = (left,)
    desk.clock.at_ms += 60_000
    page = desk.page("/")
    assert "カードに確かめる必要がある手続き" in page
    assert f'href="/card/{CARD}"' in page
    asked = len(desk.centre.asked)
    assert CARD in desk.page("/")
    assert len(desk.centre.asked) == asked  # what was said a moment ago
    desk.clock.at_ms += 60_000
    desk.centre.down = True
    assert CARD in desk.page("/")


def test_work_that_this_counter_knows_stands_among_the_open_work_alone(desk: Desk) -> None:
    desk.centre.left = (
        Unsettled(
            card_id=CARD, operation_id=OPERATION, kind="setup", municipality=HERE, why="half_done", since_ms=NOON_MS
        ),
    )
    desk.keep(begun(state="broken"))
    desk.clock.at_ms += 60_000
    page = desk.page("/")
    assert "カードに確かめる必要がある手続き" not in page
    assert f"/work/{OPERATION}" in page


def test_certificates_are_not_ended_before_the_documents_were_seen(desk: Desk) -> None:
    for form in ({"certificate": "signature"}, {"documents": "seen"}, {"documents": "seen", "certificate": "x"}):
        assert desk.send(f"/card/{CARD}/revoke", **form) == 400
    assert "center.revoke_certificates" not in desk.centre.asked


def test_a_card_laid_on_the_reader_is_told_to_every_open_page(desk: Desk) -> None:
    class Once:
        async def laid(self) -> AsyncIterator[str]:
            yield CARD
            told.set()
            await asyncio.Event().wait()

    told = asyncio.Event()
    desk.page("/")
    assert desk.browser.portal is not None
    following = desk.browser.portal.start_task_soon(desk.terminal.counter.follow, Once())
    desk.browser.portal.call(told.wait)
    assert f'<a href="/card/{CARD}">{CARD}</a>' in desk.page("/")
    following.cancel()
