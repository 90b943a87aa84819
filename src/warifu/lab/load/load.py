"""The load test (負荷試験): a day's shape, usual and at its peak, at several times the whole nation's rate of 2016."""

from collections.abc import Callable
from typing import Final

from warifu.contract.values import OperationKind
from warifu.lab.charts import Mark, line_chart
from warifu.lab.load.counters import Clerk
from warifu.lab.load.drive import Drive, Phase, Span
from warifu.lab.load.meter import Meter, latency, seconds
from warifu.lab.load.page import Section, page, rows_of
from warifu.lab.load.result import (
    MESSAGES_EACH,
    NATION_PEAK,
    NATION_PEAK_RATE,
    NATION_USUAL,
    OPERATIONS_A_DAY,
    P99_MS,
    REFUSED_A_DAY,
    SETUPS_AN_HOUR,
    Outcome,
    Verdict,
    completed,
    excess_among,
    failed,
    judge,
    latency_of,
    of_stack,
    processors,
    raw,
    refused,
    within,
)
from warifu.lab.load.stack import own_stack, prepared
from warifu.lab.load.terms import a_day, in_documents_terms
from warifu.lab.load.town import cards_for, largest_of, setups_an_hour, stock_ahead

TIMES: Final = 4.0
"""How many times the nation's rate of 29 March 2016 is offered."""
SHAPE: Final[tuple[tuple[str, float, float], ...]] = (
    ("07:30", 1.0, 0.1),
    ("08:30", 1.0, 0.9),
    ("09:30", 2.5, 1.0),
    ("12:00", 2.0, 0.9),
    ("14:00", 1.0, 1.0),
    ("15:00", 2.25, 0.9),
    ("17:15", 4.25, 0.1),
)
"""A day: from when, how many hours, with what weight."""
CHANGES: Final = 0.15
"""Changes of residents' records beside each operation."""
SETUPS: Final = 0.45
"""Of all operations; as many are deliveries."""
TARGET: Final = max(SETUPS_AN_HOUR.values())
PATIENCE_S: Final = 30.0
_USUAL: Final = NATION_USUAL / NATION_PEAK


def phases(minutes: float, times: float) -> list[Phase]:
    """Two days, a usual one and the peak one, each in half of the minutes but the last ten seconds."""
    day_s = sum(hours for _, hours, _ in SHAPE)
    scale = minutes * 60 / 2 / day_s
    found = []
    for name, factor in (("18 April (usual)", _USUAL), ("29 March (peak)", 1.0)):
        for begin, hours, weight in SHAPE:
            rate = times * factor * weight * NATION_PEAK_RATE / MESSAGES_EACH
            found.append(Phase(f"{name} {begin}", hours * scale, shares(rate), rate * CHANGES))
    return found


def shares(rate: float) -> dict[OperationKind, float]:
    """Operations a second by kind: as many set-ups as deliveries, and every tenth a new PIN."""
    return {"setup": rate * SETUPS, "delivery": rate * SETUPS, "pin_reset": rate * (1 - 2 * SETUPS)}


async def run(topology: str, minutes: float, say: Callable[[str], None], *, times: float = TIMES) -> Outcome:
    """Run the test.

    Args:
        topology: by name or path.
        minutes: of offered load; starting and checking come on top.
        say: told how far it is.
        times: times the nation's rate.

    Raises:
        WarifuError: the stack does not start.
    """
    meter = Meter()
    plan = phases(minutes, times)
    expected = sum(sum(phase.rates.values()) * phase.seconds for phase in plan)
    cards = cards_for(expected, SETUPS)
    async with own_stack(topology, say) as stack, prepared(stack, cards, meter, say) as ready:
        ready.counters.clerk = Clerk(patience_s=PATIENCE_S)
        await stock_ahead(ready.counters, expected)
        drive = Drive(ready, meter)
        await drive.run(plan, say)
        operations, messages = list(meter.operations), list(meter.messages)
        say("the largest town alone")
        largest = await setups_an_hour(ready.counters, largest_of(ready.counters))
        judged = await judge(drive, say)
    day = [span for span in drive.spans if span.phase.name.startswith("29")]
    peak = _busiest(day)
    used = processors(drive.moments, (day[0].began_s, day[-1].ended_s))
    rate = completed(within(operations, peak)) / max(peak.ended_s - peak.began_s, 0.1)
    in_a_day = a_day(rate)
    verdict = Verdict()
    took = latency(messages)
    no = refused(operations)
    verdict.require_offered(drive.spans)
    verdict.require(f"no effect lost ({judged.lost}), none twice ({judged.duplicated})", holds=not judged.texts)
    verdict.require(f"no operation failed ({failed(operations) or 'none'})", holds=not failed(operations))
    verdict.require(f"no delivery refused ({no.get('delivery', 0)})", holds=not no.get("delivery"))
    verdict.require(f"p99 of messages {took.p99:.0f} ms, at most {P99_MS:.0f}", holds=took.p99 <= P99_MS)
    verdict.require(
        f"{in_a_day:,.0f} operations in a day of this shape, at least {max(OPERATIONS_A_DAY.values()):,}",
        holds=in_a_day >= max(OPERATIONS_A_DAY.values()),
    )
    verdict.require(f"{largest:,.0f} set-ups an hour at the largest town, at least {TARGET}", holds=largest >= TARGET)
    sections = _sections(drive, used, largest, rate)
    if judged.texts:
        sections.append(Section("What the checker found", table=(("violation",), *((text,) for text in judged.texts))))
    return Outcome(
        test="load", topology=topology, seconds=drive.spans[-1].ended_s - drive.spans[0].began_s,
        offered=sum(span.offered for span in drive.spans), completed=completed(operations), refused=no,
        failed=failed(operations), lost=judged.lost, duplicated=judged.duplicated, latency_ms=latency_of(messages),
        verdict=verdict.word, reasons=tuple(verdict.reasons),
        figures={
            "times_the_nation": raw(times), "operations_a_day": raw(round(in_a_day)),
            "setups_an_hour_largest": raw(round(largest)), "processors_at_peak": raw(used),
            "violations": raw(judged.texts),
        },
        page=page("Load test", "負荷試験", passed=verdict.passed, reasons=verdict.reasons, sections=sections),
    )  # fmt: skip


def _busiest(spans: list[Span]) -> Span:
    return max(spans, key=lambda span: span.offered / max(span.ended_s - span.began_s, 0.1))


def _sections(drive: Drive, used: dict[str, float], largest: float, rate: float) -> list[Section]:
    meter = drive.meter
    start, end = drive.spans[0].began_s, drive.spans[-1].ended_s
    interval = max(1.0, (end - start) / 120)
    operations = seconds(meter.operations, interval, since_s=start, until_s=end)
    messages = seconds(meter.messages, interval, since_s=start, until_s=end)
    marks = [Mark(span.began_s - start, span.phase.name) for span in drive.spans if span.phase.name.endswith("07:30")]
    offered = [
        (at - start, span.offered / (span.ended_s - span.began_s))
        for span in drive.spans
        for at in (span.began_s, span.ended_s)
    ]
    done = [(one.at_s, one.done / interval) for one in operations]
    day = [span for span in drive.spans if span.phase.name.startswith("29")]
    peak_day = within(meter.messages, (day[0].began_s, day[-1].ended_s))
    excess = {
        f"this run, peak day (connection excess in {NATION_PEAK:,} messages)": excess_among(peak_day, NATION_PEAK)
    }
    excess |= {f"{name} (connection excess that day)": float(value) for name, value in REFUSED_A_DAY.items()}
    latency_line = [(one.at_s, one.p99_ms) for one in messages]
    return [
        in_documents_terms({"at its peak": rate}, largest, excess),
        Section(
            "Two days",
            "二日間",
            "Each day passes in half of the run, hour by hour in its shape.",
            charts=(
                line_chart(
                    "Operations a second 業務/秒",
                    {"offered": offered, "completed": done},
                    "seconds",
                    "per second",
                    marks=marks,
                ),
                line_chart(
                    "p99 of business messages 電文の応答時間",
                    {"p99": latency_line},
                    "seconds",
                    "ms",
                    marks=marks,
                    limit=P99_MS,
                ),
            ),
        ),
        Section(
            "Processors on the peak day",
            "ピーク日のCPU使用",
            f"The stack used {of_stack(used):.2f} processors, the generator the rest.",
            rows_of(("process", "processors"), {name: round(share, 3) for name, share in used.items()}, 2),
        ),
    ]
