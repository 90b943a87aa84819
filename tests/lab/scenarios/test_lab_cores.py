"""The cores: no order within one deviation fails here (two: ``warifu lab search --systematic``); broken ones do."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from warifu.cli import main
from warifu.contract.envelope import Envelope
from warifu.domain.cards import operations
from warifu.domain.cards.settling import settle
from warifu.lab.scenarios.cores import CORES
from warifu.lab.search.run import run
from warifu.lab.search.systematic import Explored, explore
from warifu.lab.simulation.plan import Plan, parse_plan
from warifu.nodes import base
from warifu.nodes.cs import CommunicationServer
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.hsm_queue import Job, Queue
from warifu.nodes.relay import Passage, Relay
from warifu.ports.store import Pending


def every_order(name: str, deviations: int = 1) -> list[Explored]:
    """Of each variant, up to the first that fails."""
    found = []
    for seed in range(CORES[name].variants):
        plan = Plan(scenario=name, seed=seed, faults=(), tight=True)
        found.append(explore(CORES[name], plan, deviations))
        if found[-1].failure:
            break
    return found


def failed(name: str, deviations: int = 1) -> str:
    explored = every_order(name, deviations)[-1]
    return explored.failure.property if explored.failure else ""


@pytest.mark.parametrize("name", CORES)
def test_no_order_within_one_deviation_fails(name: str) -> None:
    explored = every_order(name)
    assert [each.failure for each in explored if each.failure] == []
    assert all(each.complete for each in explored)
    assert sum(each.runs for each in explored) > 90


def test_a_wake_that_is_lost_with_its_worker_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def take(self: Queue) -> Job:
        while not self._jobs:
            turn = asyncio.get_running_loop().create_future()
            self._takers.append(turn)
            try:
                await turn
            finally:
                if turn in self._takers:
                    self._takers.remove(turn)
        return self._jobs.popleft()

    monkeypatch.setattr(Queue, "take", take)
    assert failed("idle") == "no job waits beside a free worker"


def test_a_lane_that_is_left_early_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def lane(self: CommunicationServer, key: str) -> AsyncIterator[None]:
        async with self._agreeing if key else asyncio.Lock():
            pass
        yield

    monkeypatch.setattr(CommunicationServer, "lane", lane)
    assert failed("lanes") == "order per card in the CS"


def test_a_count_given_back_only_in_good_days_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def admitted(self: Relay, inner: Envelope, *, known: bool) -> AsyncIterator[Passage]:
        del known
        self.under_way[inner.service_class] = self.under_way.get(inner.service_class, 0) + 1
        yield Passage()
        self.under_way[inner.service_class] -= 1

    monkeypatch.setattr(Relay, "_admitted", admitted)
    assert failed("timers") == "nothing is released that is not held"


def test_a_message_taken_for_sent_before_it_is_answered_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    send = base.KeepingNode._send

    async def early(self: base.KeepingNode, pending: Pending) -> None:
        await self.store.sent(pending.sequence)
        await send(self, pending)

    monkeypatch.setattr(base.KeepingNode, "_send", early)
    assert failed("outbox") != ""


def test_a_command_lost_with_its_worker_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(self: HsmPool, job: Job) -> None:
        del self, job

    monkeypatch.setattr(HsmPool, "_repeat", lost)
    assert failed("fencing") in {"its work is done elsewhere", "every wait ends by its deadline"}


def test_an_opening_that_ends_a_write_as_undone_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """``counter:156`` again, from five requests and every order of them."""
    monkeypatch.setattr(operations, "_taken_up", settle)
    assert failed("card") == "no card ever needs reissue"


def test_a_failing_order_is_a_plan_that_replays() -> None:
    plan = Plan(scenario="lanes", seed=1, faults=(), tight=True, order=((3, 1), (7, 2)))
    assert plan.text() == "lanes:1/faults=/tight=1/order=3.1+7.2"
    assert parse_plan(plan.text()) == plan
    again = [run(plan, CORES["lanes"]).trace_hash for _ in range(2)]
    assert again[0] == again[1] != run(parse_plan("lanes:1/faults=/tight=1/order="), CORES["lanes"]).trace_hash


def test_the_command_says_how_much_it_covered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "out.json"
    assert main(["lab", "search", "--systematic", "timers", "--json", str(file)]) == 0
    assert "no schedule within two deviations fails" in capsys.readouterr().out
    result = json.loads(file.read_text("utf-8"))
    assert result["failures"] == []
    assert result["schedules"] == result["cores"][0]["schedules"] > 1000
    assert main(["lab", "search", "--systematic", "nothing"]) != 0
