"""Load tests: what they put into a topology, which shape they offer, and how slopes and shares are found."""

import asyncio
import math
import tomllib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from warifu.adapters.reader.memory import CardBox
from warifu.contract.values import OperationKind
from warifu.domain.admission.retry import QUEUE_MS
from warifu.lab import checking
from warifu.lab.load import endurance, legacy, limit, load
from warifu.lab.load import result as load_result
from warifu.lab.load.counters import Counters, Shelf
from warifu.lab.load.drive import Phase, Span
from warifu.lab.load.meter import EXCESS, Meter, Moment, Sample
from warifu.lab.load.result import MESSAGES_EACH, OPERATIONS_A_DAY, REFUSED_A_DAY, SETUPS_AN_HOUR, Verdict, excess_among
from warifu.lab.load.stack import Limited, WrongTopology, _all_of_it, source_of, times_logged
from warifu.lab.load.terms import in_documents_terms
from warifu.stack.addresses import Address
from warifu.stack.config import NodeConfig
from warifu.stack.home import Home
from warifu.stack.topology import parse


def step(rate: float, processors: float, p99: float = 100.0) -> limit.Step:
    return limit.Step(rate, rate, 20.0, p99, {"center": processors, "generator": 9.0}, 4.0)


def test_limits_are_put_into_the_topology_and_are_valid_there() -> None:
    text = Limited(policy="legacy", total=7, connections=3).topology(source_of("quarter"))
    topology = parse(text, "limited.toml")
    assert (topology.admission.policy, topology.admission.connections) == ("legacy", 3)
    relays = [node for node in topology.node if node.kind == "relay"]
    assert [node.policies.total for node in relays] == [7, 7]
    assert all(node.policies.total != 7 for node in topology.node if node.kind != "relay")
    assert len(topology.node) == sum(node.get("count", 1) for node in tomllib.loads(source_of("quarter"))["node"])


def test_a_topology_with_limits_of_its_own_is_refused() -> None:
    with pytest.raises(WrongTopology):
        Limited().topology(source_of("quarter") + '\n[admission]\npolicy = "legacy"\n')


@pytest.mark.parametrize(("day", "messages"), [("29 March", 715_000), ("18 April", 549_000)])
def test_a_day_has_the_messages_of_that_day(day: str, messages: int) -> None:
    """Upstream business messages of both days: annex volume of June 2016, material 4, reference."""
    phases = [phase for phase in load.phases(60.0, 1.0) if phase.name.startswith(day)]
    stretched = sum(hours for _, hours, _ in load.SHAPE) * 3600 / sum(phase.seconds for phase in phases)
    offered = sum(sum(phase.rates.values()) * phase.seconds for phase in phases) * MESSAGES_EACH * stretched
    assert offered == pytest.approx(messages, rel=1e-6)


def test_a_day_is_busiest_when_the_documents_say_so() -> None:
    """Weekdays at about 9:30-12:00 and in the hour from 14:00, in opening hours of 7:30-21:30 (reference paper, 3)."""
    busiest = [begin for begin, _, weight in load.SHAPE if weight == max(weight for _, _, weight in load.SHAPE)]
    assert busiest == ["09:30", "14:00"]
    assert (load.SHAPE[0][0], sum(hours for _, hours, _ in load.SHAPE)) == ("07:30", 14.0)
    ends = [_minutes(begin) + hours * 60 for begin, hours, _ in load.SHAPE]
    assert ends == [*(_minutes(begin) for begin, _, _ in load.SHAPE[1:]), _minutes("21:30")]


def _minutes(clock: str) -> float:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


def test_what_a_run_is_held_against_is_what_the_documents_print() -> None:
    assert list(OPERATIONS_A_DAY.values()) == [149_000, 198_000, 216_000]
    assert list(SETUPS_AN_HOUR.values()) == [360, 720]
    assert list(REFUSED_A_DAY.values()) == [12_650, 79]
    most_connections = OPERATIONS_A_DAY["with 94 connections (estimate)"]
    assert most_connections == pytest.approx(149_000 * 16_000 / 12_000, rel=0.01)


def test_a_run_that_lacked_cards_has_not_passed() -> None:
    phase = Phase("2 C", 1.0, {"setup": 9.0})
    enough, lacking = Span(phase, 0.0, 1.0, 9), Span(phase, 1.0, 2.0, 7, 2)
    whole, cut = Verdict(), Verdict()
    whole.require_offered([enough, enough])
    cut.require_offered([enough, lacking])
    assert (whole.word, cut.word) == ("passed", "failed")
    assert cut.reasons == ["NO: all that was planned was offered (2 operations lacked a card)"]


def test_excess_is_told_as_of_that_days_messages() -> None:
    samples = [Sample(0, 1, "center.open", outcome) for outcome in (EXCESS, *["ok"] * 99)]
    assert excess_among(samples, 715_000) == pytest.approx(7_150)
    assert excess_among([], 715_000) == 0


def test_c_lies_between_the_steps_where_the_stack_passes_half_of_the_processors(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert limit.half([step(10, 0.5), step(20, 0.9), step(30, 1.4)]) == pytest.approx(22.0)


class Offering:
    """A drive whose steps lack so many cards; the first of them is the warm-up."""

    moments: tuple[Moment, ...] = ()

    def __init__(self, *short: int, cards: int = 100_000) -> None:
        self.cards = cards
        self.ready = SimpleNamespace(stack=None, counters=SimpleNamespace(shelf=self))
        self.meter = Meter()
        self.spans: list[Span] = []
        self._short = iter(short)

    async def run(self, phases: list[Phase], _say: object) -> None:
        (phase,) = phases
        self.cards -= round(sum(phase.rates.values()) * phase.seconds / 2)
        self.spans.append(Span(phase, 0.0, phase.seconds, 30, next(self._short)))

    def left(self, _kind: OperationKind) -> int:
        """Of each kind of operation half of the cards."""
        return self.cards


@pytest.fixture
def ramp(monkeypatch: pytest.MonkeyPatch) -> Callable[[Offering], limit.Ramp]:
    """The ramp over such a drive."""

    @asynccontextmanager
    async def at_rest(_stack: object) -> AsyncIterator[Callable[[], Awaitable[float]]]:
        async def busy() -> float:
            return 0.0

        yield busy

    monkeypatch.setattr(limit, "relays_busy", at_rest)
    return lambda drive: asyncio.run(limit._ramp(drive, 4.0, 20.0, lambda _text: None, 100.0))  # type: ignore[arg-type]


def test_a_ramp_whose_first_step_lacks_cards_says_so(ramp: Callable[[Offering], limit.Ramp]) -> None:
    with pytest.raises(limit.NoCards, match=r"^2 of the 32 operations of the ramp's first step lacked a card") as found:
        ramp(Offering(0, 2))
    assert found.value.code == "lab.no_cards"


def test_a_ramp_whose_later_step_lacks_cards_tells_what_it_knows(ramp: Callable[[Offering], limit.Ramp]) -> None:
    told = ramp(Offering(0, 0, 1))
    assert (len(told.steps), told.short) == (1, True)


@pytest.mark.parametrize(("cards", "steps", "short"), [(50, 1, True), (60, 2, False)])
def test_a_ramp_begins_no_step_that_would_lack_cards(
    cards: int, steps: int, *, short: bool, ramp: Callable[[Offering], limit.Ramp]
) -> None:
    """Of each kind the warm-up and the first step take 16 each; the second takes 21, and a fifth more is kept."""
    told = ramp(Offering(0, 0, 0, cards=cards))
    assert (len(told.steps), told.short) == (steps, short)


def test_cards_are_kept_for_what_comes_after_the_ramp() -> None:
    shelf = Offering(cards=60)
    assert limit.enough(shelf, 100)  # type: ignore[arg-type]
    assert not limit.enough(shelf, 101)  # type: ignore[arg-type]


def test_the_generators_share_is_not_the_stacks() -> None:
    assert step(10, 0.5).stack == 0.5


def test_deliveries_take_their_part_of_the_overload() -> None:
    assert limit.mix(40, deliveries=10) == {"setup": 30, "delivery": 10}


def test_a_slope_is_not_moved_by_single_peaks() -> None:
    line = [(float(n), 100.0 + n) for n in range(50)]
    assert endurance.slope([*line[:20], (20.0, 9_000.0), *line[21:]]) == pytest.approx(1.0)


def test_what_the_programs_logged_is_counted_over_all_of_them(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.logs.mkdir(parents=True)
    (home.logs / "cs-131016.jsonl").write_text('{"event":"cs.blocked"}\n{"event":"cs.carried"}\n', "utf-8")
    (home.logs / "cs-141003.jsonl").write_text('{"event":"cs.blocked"}\n', "utf-8")
    assert times_logged(home, "cs.blocked") == 2


def test_a_refused_clerk_has_come_back_or_gone_within_the_time_the_promise_leaves() -> None:
    """Patience and the last attempt's wait in the CS end before the stack is held to be calm again."""
    assert limit.PATIENCE_S + QUEUE_MS["setup"] / 1000 < limit.WITHIN_S


def test_one_condition_that_fails_fails_the_verdict_and_is_said() -> None:
    verdict = Verdict()
    verdict.require("a", holds=True)
    verdict.require("b", holds=False)
    assert verdict.word == "failed"
    assert verdict.reasons == ["yes: a", "NO: b"]


def test_only_what_a_clerk_gave_up_is_left_aside() -> None:
    card, operation = "WRFG00000000001", "01BX5ZZKBKACTAV9WEVGEMMVS0"
    mine = checking.Violation(checking.SETTLED, f"operation {operation} (delivery) is left open")
    torn = checking.Violation(checking.CHIP_EQUALS_RECORD, f"{card}: the record is set_up, the chip in_use")
    assert load_result._is_left(mine, {operation})
    assert not load_result._is_left(mine, {card})
    assert not load_result._is_left(torn, {card})


def test_pools_may_fill_to_their_bound_and_nothing_else_may_grow() -> None:
    names = {"postgres": 30.0, "center-1": 10.0, "authority": 9.0, "relay-1": 12.0}
    quarter = endurance.Quarter(memory_mb={}, connections=names, p99_ms=1.0, record_bytes=1, name_length=1)
    most = {name: endurance.most(name, [quarter]) for name in names}
    assert most == {"postgres": 4 + 2 * 8, "center-1": 10 + 8 + 2, "authority": 9 + 8 + 2, "relay-1": 12 + 2}


def test_places_leave_room_for_bunches_and_more_of_it_in_part_where_few_come() -> None:
    assert [limit.with_room(average, 2.0) for average in (0.0, 9.0, 100.0)] == [2, 15, 120]


def test_a_relay_of_2016_has_connections_for_c_and_not_for_twice_as_much() -> None:
    """At C as few find none free as on 18 April 2016; at 2 C one comes too many within seconds."""
    for load_at_c in (2.5, 8.0, 30.0):
        connections = legacy.lines(load_at_c)
        assert erlang(load_at_c, connections) <= 79 / 549_000 < erlang(load_at_c, connections - 1)
        assert erlang(2 * load_at_c, connections) > 0.004  # of some hundred messages a second
    assert legacy.lines(0.0) == 2


def erlang(load: float, lines: int) -> float:
    """The part of arrivals that finds all lines busy, by its definition."""
    terms = [load**n / math.factorial(n) for n in range(lines + 1)]
    return terms[-1] / sum(terms)


def test_connections_are_counted_at_the_step_next_to_c_that_was_in_time() -> None:
    steps = [step(10, 0.5), msgspec.structs.replace(step(20, 1.0), messages_at_once=9.0)]
    assert limit.at_once(steps, 22.0) == pytest.approx(9.9)
    assert limit.at_once(steps, 9.0) == pytest.approx(3.6)


def story(policy: str, **fields: float) -> legacy.Story:
    nothing = dict.fromkeys(legacy.Story.__struct_fields__[1:], 0)
    return msgspec.convert({**nothing, "policy": policy, "places": 4, **fields}, legacy.Story)


def test_what_happened_is_said_in_plain_words_whatever_it_was() -> None:
    modern = story("modern", completed_per_c=1.18, setups_refused=612)
    shut = story("legacy", completed_per_c=0.23, blocks=5, deliveries_failed=437, left_open=178, turned_away=1939)
    words = legacy.in_words(modern, shut, 11)
    for part in ("1.18 C", "612 set-ups", "0.23 C", "11 connections", "5 times", "437 deliveries", "178 operations"):
        assert part in words
    assert "not put to the test" in legacy.in_words(modern, story("legacy", completed_per_c=1.95), 11)


def test_a_step_is_in_time_when_its_work_was_done_and_answered_in_time() -> None:
    good = step(10, 0.5)
    slow, undone = step(10, 0.5, p99=251.0), msgspec.structs.replace(good, completed=8.9)
    assert [limit.in_time(each) for each in (good, slow, undone)] == [True, False, False]


def test_a_municipality_is_one_however_many_workers_its_cs_has(tmp_path: Path) -> None:
    """Else the limit test would look for a town more than there is, and call it unserved."""
    topology = parse(source_of("quarter"), "quarter.toml")
    assert [node.name for node in topology.serving("cs-141003")] == ["cs-141003-1", "cs-141003-2"]
    own = NodeConfig(name="registry", topology=topology, listen=Address("", 0), book={}, database_url="")
    counters = Counters(Home(tmp_path), own, CardBox(), Shelf([]), Meter())
    assert counters.places == ("131016", "141003", "271004", "401307")


@pytest.mark.parametrize("figure", ["149,000", "198,000", "216,000", "360", "720", "472,500", "1,440"])
def test_each_report_tells_its_run_beside_the_documents_figures(figure: str) -> None:
    section = in_documents_terms({"at its peak": 15.0}, 1_440.0)
    assert figure in {cell for row in section.table for cell in row}


def test_a_run_leaves_nothing_of_its_stack_not_even_outside_of_its_folder(tmp_path: Path) -> None:
    """Started by root, PostgreSQL runs as another user, who must reach the folder or keeps its data elsewhere."""
    folder, outside = tmp_path / "run", tmp_path / "outside"
    for each in (folder, outside):
        each.mkdir(mode=0o700)
    (outside / "base").write_text("rows")
    home = Home(folder / "home")
    with _all_of_it(home):
        assert folder.stat().st_mode & 0o777 == 0o711
        home.root.mkdir()
        (home.root / "postgres").symlink_to(outside)
    assert not outside.exists()
