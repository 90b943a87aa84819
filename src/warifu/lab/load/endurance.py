"""The endurance test (耐久試験): the same load for long, and nothing may grow with it (F1, F3).

Two legs: the first as the machine is, the second with 512 MB of address space for each of our programs, which is what
the business server of 2016 had. Of every process: memory and open connections; of the logs: the length of their
records; of the stack: the length of its processes' names; of the counters: the time of a message. Each is compared
between the second and the last quarter of a leg, when caches and pools are filled.
"""

import resource
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from warifu.adapters.store.postgres import PostgresLimits
from warifu.lab.charts import Mark, line_chart
from warifu.lab.load.counters import Clerk
from warifu.lab.load.drive import Drive, Phase
from warifu.lab.load.meter import Meter, Moment, kind_of, latency, seconds
from warifu.lab.load.page import Section, page
from warifu.lab.load.result import P99_MS, Outcome, Verdict, completed, failed, judge, latency_of, raw, refused, within
from warifu.lab.load.stack import GENERATOR, Stack, own_stack, prepared
from warifu.lab.load.terms import a_day, in_documents_terms
from warifu.lab.load.town import cards_for, largest_of, setups_an_hour, stock_ahead
from warifu.stack import status

MINUTES: Final = 5.0
RATE: Final = 15.0
"""Operations a second: about three times the nation's peak."""
SETUPS: Final = 0.25
"""Of all operations; as many are deliveries."""
CHANGES: Final = 2.0
LEG_MB: Final = 512
GROWTH_MB: Final = 12.0
"""That a process may gain between two quarters, beside a twentieth: allocators' noise."""
GROWTH_PART: Final = 0.05
POOL: Final = PostgresLimits().connections
"""Connections of one store to the database. They are made when first needed and then kept."""
STORED: Final = frozenset(
    {"registry", "numbering", "intake", "center", "authority", "issuance", "responder", "front", "terminal"}
)
"""Kinds of nodes that have a store."""
OTHERS: Final = 4
"""Connections to the database that are not of a store: its listener's, the supervisor's look at it, a look of ours."""
CHANGING: Final = 2
"""Connections of one process that are just being made or ended: probes come with one of their own."""
SLOWER: Final = 1.75
"""p99 of the last quarter, in multiples of the second's (other work on the machine is in it too)."""
RECORD_BYTES: Final = 4_096
UNLIMITED: Final = frozenset({"supervisor", "postgres", "haproxy", GENERATOR})
"""Programs that are not ours, or start those that are not."""
_TAIL_BYTES: Final = 1 << 20


class Quarter(Struct, frozen=True):
    """What was measured in a quarter of a leg."""

    memory_mb: dict[str, float]
    """Median, by process."""
    connections: dict[str, float]
    p99_ms: float
    record_bytes: int
    """The longest log record written in it."""
    name_length: int


class Leg(Struct, frozen=True):
    """One leg."""

    name: str
    began_s: float
    ended_s: float
    quarters: tuple[Quarter, ...]


async def run(topology: str, minutes: float, say: Callable[[str], None]) -> Outcome:
    """Run the test; arguments as for ``load.run``."""
    meter, verdict = Meter(), Verdict()
    leg_s = minutes * 60 / 2
    expected = RATE * 2 * leg_s
    async with (
        own_stack(topology, say) as stack,
        prepared(stack, cards_for(expected, SETUPS), meter, say) as ready,
    ):
        ready.counters.clerk = Clerk(patience_s=30.0)
        drive = Drive(ready, meter, look_every_s=max(1.0, leg_s / 120))
        await stock_ahead(ready.counters, expected)
        legs = [await _leg(drive, "as it is", leg_s, say)]
        _limit_memory(stack)
        legs.append(await _leg(drive, f"{LEG_MB} MB a process", leg_s, say))
        operations, messages = list(meter.operations), list(meter.messages)
        say("the largest town alone")
        largest = await setups_an_hour(ready.counters, largest_of(ready.counters))
        judged = await judge(drive, say)
        restarts = _restarts(stack)
    for leg in legs:
        _judge_leg(verdict, leg)
    verdict.require_offered(drive.spans)
    verdict.require(f"no process was started anew ({', '.join(restarts) or 'none'})", holds=not restarts)
    verdict.require(f"no operation failed ({failed(operations) or 'none'})", holds=not failed(operations))
    verdict.require(f"no effect lost ({judged.lost}), none twice ({judged.duplicated})", holds=not judged.texts)
    rate = completed(operations) / max(legs[-1].ended_s - legs[0].began_s, 0.1)
    return Outcome(
        test="endurance", topology=topology, seconds=legs[-1].ended_s - legs[0].began_s,
        offered=sum(span.offered for span in drive.spans), completed=completed(operations),
        refused=refused(operations), failed=failed(operations), lost=judged.lost,
        duplicated=judged.duplicated, latency_ms=latency_of(messages), verdict=verdict.word,
        reasons=tuple(verdict.reasons),
        figures={
            "operations_a_day": raw(round(a_day(rate))), "setups_an_hour_largest": raw(round(largest)),
            "legs": raw(legs), "slopes": raw(_slopes(drive, legs)), "violations": raw(judged.texts),
        },
        page=page(
            "Endurance test", "耐久試験", passed=verdict.passed, reasons=verdict.reasons,
            sections=[in_documents_terms({"all the time": rate}, largest), *_sections(drive, legs)],
        ),
    )  # fmt: skip


async def _leg(drive: Drive, name: str, leg_s: float, say: Callable[[str], None]) -> Leg:
    stack, meter = drive.ready.stack, drive.meter
    ends: list[tuple[float, int]] = []
    began = meter.now_s()
    rates = {"setup": RATE * SETUPS, "delivery": RATE * SETUPS, "pin_reset": RATE * (1 - 2 * SETUPS)}
    for number in range(4):
        marks = _log_ends(stack.home.logs)
        await drive.run([Phase(f"{name}, quarter {number + 1}", leg_s / 4, rates, CHANGES)], say)  # type: ignore[arg-type]
        ends.append((meter.now_s(), _longest_record(stack.home.logs, marks)))
    starts = [began, *(at for at, _ in ends[:-1])]
    quarters = tuple(_quarter(drive, (start, end), longest) for start, (end, longest) in zip(starts, ends, strict=True))
    return Leg(name, began, ends[-1][0], quarters)


def _quarter(drive: Drive, span: tuple[float, float], longest: int) -> Quarter:
    inside = [moment for moment in drive.moments if span[0] <= moment.at_s < span[1]]
    memory: defaultdict[str, list[float]] = defaultdict(list)
    sockets: defaultdict[str, list[float]] = defaultdict(list)
    for moment in inside:
        for name, usage in moment.by_name.items():
            memory[name].append(usage.rss_mb)
            sockets[name].append(usage.connections)
    return Quarter(
        memory_mb={name: round(statistics.median(values), 1) for name, values in memory.items()},
        connections={name: statistics.median(values) for name, values in sockets.items()},
        p99_ms=latency(within(drive.meter.messages, span)).p99,
        record_bytes=longest,
        name_length=max((len(name) for moment in inside for name in moment.by_name), default=0),
    )


def _judge_leg(verdict: Verdict, leg: Leg) -> None:
    _, second, _, last = leg.quarters
    grown = [
        f"{name} {before:.0f} to {last.memory_mb[name]:.0f} MB"
        for name, before in second.memory_mb.items()
        if name != GENERATOR and last.memory_mb.get(name, 0) > before * (1 + GROWTH_PART) + GROWTH_MB
    ]
    wider = [
        f"{name} {before:.0f} to {last.connections[name]:.0f}"
        for name, before in second.connections.items()
        if name != GENERATOR and last.connections.get(name, 0) > max(before + CHANGING, most(name, leg.quarters))
    ]
    verdict.require(f"{leg.name}: no process grows ({', '.join(grown) or 'none did'})", holds=not grown)
    verdict.require(f"{leg.name}: connections stay ({', '.join(wider) or 'they did'})", holds=not wider)
    verdict.require(
        f"{leg.name}: p99 of messages {second.p99_ms:.0f} ms, then {last.p99_ms:.0f} ms",
        holds=last.p99_ms <= max(P99_MS, SLOWER * second.p99_ms),
    )
    verdict.require(
        f"{leg.name}: the longest log record had {second.record_bytes} bytes, then {last.record_bytes}",
        holds=last.record_bytes <= RECORD_BYTES,
    )
    verdict.require(
        f"{leg.name}: the longest name of a process had {second.name_length} characters, then {last.name_length}",
        holds=last.name_length <= second.name_length,
    )


def most(name: str, quarters: Sequence[Quarter]) -> float:
    """Connections a process may come to hold: its pool fills in busy moments, to its bound, and nothing else grows."""
    names = quarters[0].connections
    if name == "postgres":
        return OTHERS + POOL * sum(kind_of(each) in STORED for each in names)
    pool = POOL if kind_of(name) in STORED else 0
    return names.get(name, 0) + pool + CHANGING


# ---- memory, logs, restarts ------------------------------------------------------------------------------------------


def _limit_memory(stack: Stack) -> None:
    """From now on each of our programs fails that asks for more address space."""
    size = LEG_MB << 20
    for name, pid in stack.processes().items():
        if name not in UNLIMITED:
            resource.prlimit(pid, resource.RLIMIT_AS, (size, size))


def _restarts(stack: Stack) -> list[str]:
    return [f"{node.name} {node.restarts}" for node in status.read(stack.home).nodes if node.restarts]


def _log_ends(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in folder.glob("*.jsonl")}


def _longest_record(folder: Path, before: dict[str, int]) -> int:
    """Of the records written since, or of the last of them where there are very many."""
    longest = 0
    for name, size in _log_ends(folder).items():
        with (folder / name).open("rb") as file:
            file.seek(max(before.get(name, 0) if size >= before.get(name, 0) else 0, size - _TAIL_BYTES))
            longest = max([longest, *(len(line) for line in file.read().split(b"\n"))])
    return longest


# ---- the report ------------------------------------------------------------------------------------------------------


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Of a line through points, the median of all pairs' (Theil and Sen): single peaks do not move it."""
    step = max(1, len(points) // 60)
    some = points[::step]
    rises = [(y2 - y1) / (x2 - x1) for n, (x1, y1) in enumerate(some) for x2, y2 in some[n + 1 :] if x2 > x1]
    return statistics.median(rises) if rises else 0.0


def _memory(moments: Sequence[Moment]) -> dict[str, list[tuple[float, float]]]:
    """The largest process of each kind."""
    lines: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for moment in moments:
        largest: defaultdict[str, float] = defaultdict(float)
        for name, usage in moment.by_name.items():
            largest[kind_of(name)] = max(largest[kind_of(name)], usage.rss_mb)
        for kind, value in largest.items():
            lines[kind].append((moment.at_s, value))
    return dict(lines)


def _slopes(drive: Drive, legs: Sequence[Leg]) -> dict[str, dict[str, float]]:
    """An hour's growth at the pace of each leg's second half: MB by kind of process, connections of all together."""
    found = {}
    for leg in legs:
        half = (leg.began_s + leg.ended_s) / 2
        moments = [moment for moment in drive.moments if half <= moment.at_s < leg.ended_s]
        found[leg.name] = {kind: round(slope(line) * 3600, 1) for kind, line in _memory(moments).items()}
        sockets = [(one.at_s, float(sum(usage.connections for usage in one.by_name.values()))) for one in moments]
        found[leg.name]["connections"] = round(slope(sockets) * 3600, 1)
    return found


def _sections(drive: Drive, legs: Sequence[Leg]) -> list[Section]:
    start, end = legs[0].began_s, legs[-1].ended_s
    marks = [Mark(leg.began_s - start, leg.name) for leg in legs]
    messages = seconds(drive.meter.messages, max(1.0, (end - start) / 120), since_s=start, until_s=end)
    sockets = [
        (moment.at_s - start, float(sum(u.connections for u in moment.by_name.values()))) for moment in drive.moments
    ]
    rows = [
        (leg.name, str(number), f"{quarter.p99_ms:.0f}", f"{sum(quarter.memory_mb.values()):.0f}",
         f"{sum(quarter.connections.values()):.0f}", f"{quarter.record_bytes}", f"{quarter.name_length}")
        for leg in legs for number, quarter in enumerate(leg.quarters, 1)
    ]  # fmt: skip
    memory = {kind: [(at - start, mb) for at, mb in line] for kind, line in _memory(drive.moments).items()}
    slopes = _slopes(drive, legs)
    kinds = sorted(set().union(*slopes.values()))
    growth = [(kind, *(f"{slopes[leg.name].get(kind, 0.0):+.1f}" for leg in legs)) for kind in kinds]
    head = ("leg", "quarter", "p99 ms", "memory MB", "connections", "longest record", "longest name")
    return [
        Section("Quarter by quarter", "四分の一ごと", table=(head, *rows)),
        Section(
            "Memory", "メモリ",
            "The largest process of each kind; growth in MB (connections: in number) an hour at the pace of each leg's "
            "second half. A short run tells little here: warm-up is in it.",
            (("process", *(leg.name for leg in legs)), *growth),
            (line_chart("Memory メモリ", memory, "seconds", "MB", marks=marks),),
        ),
        Section(
            "Time and connections", "応答時間と接続数",
            charts=(
                line_chart("p99 of messages 応答時間", {"p99": [(one.at_s, one.p99_ms) for one in messages]},
                           "seconds", "ms", marks=marks, limit=P99_MS),
                line_chart("Open connections 接続数", {"all processes": sockets}, "seconds", "number", marks=marks),
            ),
        ),
    ]  # fmt: skip
