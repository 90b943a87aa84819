"""The limit test (限界試験): where each node slows, what happens beyond the limit, and when a machine dies there.

1. *Ramp*: more and more operations a second, until they are no longer done in time. It tells how much the stack
   carries, what it uses of the processors, and the rate C at which it uses half of them.
2. *At the limit*: a relay and a centre are killed while the stack carries C.
3. *Overload*: admission is set to C. 0.8 C, then for a minute 2 C (deliveries never more than 0.5 C), then 0.8 C again.
4. *The same with policy legacy*: what the machines of 2016 did with it.
"""

import itertools
import math
import os
import signal
from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from warifu.contract.values import OperationKind
from warifu.kernel.errors import Unavailable
from warifu.lab.charts import Mark, line_chart
from warifu.lab.load.counters import Clerk, Shelf
from warifu.lab.load.drive import Drive, Phase, Span
from warifu.lab.load.legacy import REFUSED_OF, Story, in_words, lines, relays_busy
from warifu.lab.load.meter import EXCESS, Meter, Sample, latency, seconds
from warifu.lab.load.page import Section, page
from warifu.lab.load.result import (
    P99_MS,
    Judged,
    Outcome,
    Verdict,
    completed,
    failed,
    judge,
    latency_of,
    of_stack,
    processors,
    raw,
    refused,
    within,
)
from warifu.lab.load.stack import Limited, change_policy, own_stack, prepared, times_logged
from warifu.lab.load.terms import a_day, in_documents_terms
from warifu.lab.load.town import largest_of, set_up_ahead, setups_an_hour
from warifu.stack.topology import load as load_topology

MINUTES: Final = 6.0
CARD_MS: Final = 1_500.0
"""What clerk and card take before each message but the first, in the overload: a set-up takes 3 s, a delivery 6 s."""
PATIENCE_S: Final = 3.0
"""So long after the first attempt a refused clerk still comes back when told; then the work is put aside."""
HOLD_S: Final = (2 + 4) / 2 * CARD_MS / 1000
"""Mean time that an operation of the mix holds its place."""
FIRST_RATE: Final = 8.0
GROWTH: Final = 1.3
STEPS_MAX: Final = 14
RAMP_SHARE, KILL_SHARE, OVERLOAD_SHARE = 0.25, 0.15, 0.3
"""Of the minutes; the overload twice."""
IN_TIME: Final = 0.9
HALF: Final = 0.5
WITHIN_S: Final = 5.0
"""After the overload: so soon everything is as before."""
PROMISED: Final = 0.95
UNLIMITED: Final = 10_000
MIX: Final[dict[OperationKind, float]] = {"setup": 0.5, "delivery": 0.5}
ROOM: Final = 2.0
"""Places of a relay beyond what C needs on average, in standard deviations (arrivals come in bunches). With fewer, work
would be refused below C for no reason, more the smaller C is (Erlang); with many more, 2 C would nearly come in."""
WARM_UP_S: Final = 4.0
"""Before the ramp: connections are made and statements prepared when they are first needed."""
SPARE: Final = 1.2
"""Cards kept for what is still to come, beyond what it needs on average."""
SLOW_STEPS: Final = 2
"""Steps in a row that are not done in time end the ramp: a single one may be somebody else's doing."""


class Step(Struct, frozen=True):
    """One step of the ramp."""

    offered: float
    completed: float
    p50_ms: float
    p99_ms: float
    used: dict[str, float]
    """Processors, by kind of process."""
    messages_at_once: float
    """In the relays, all of them together."""

    @property
    def stack(self) -> float:
        """Processors the stack used, without the generator."""
        return of_stack(self.used)


class Ramp(Struct, frozen=True):
    """What the ramp found."""

    steps: tuple[Step, ...]
    most: float
    """Operations a second, completed in time."""
    half: float
    """C: the rate at which the stack uses half of all processors."""
    messages_at_once: float
    """In the relays, at that rate."""
    largest: float
    """Set-ups an hour at the largest town, alone."""
    short: bool = False
    """Whether it ended because no card was left, not because work was late."""


class NoCards(Unavailable):
    """Cards ended before the ramp's first step did: there is nothing that it could tell."""

    code = "lab.no_cards"

    def __init__(self, first: Span) -> None:
        super().__init__(
            f"{first.short} of the {first.offered + first.short} operations of the ramp's first step lacked a card, "
            "so what the stack carries cannot be told: run it again, with nothing else on the machine"
        )


class Overload(Struct, frozen=True):
    """One policy's run through the overload."""

    policy: str
    drive: Drive
    judged: Judged
    places: int
    blocks: int
    """How often a CS shut itself for a minute."""


def mix(rate: float, *, deliveries: float | None = None) -> dict[OperationKind, float]:
    """Operations a second by kind; ``deliveries`` of them, half by default."""
    first = rate * MIX["delivery"] if deliveries is None else deliveries
    return {"setup": rate - first, "delivery": first}


async def run(topology: str, minutes: float, say: Callable[[str], None]) -> Outcome:
    """Run the test; arguments as for ``load.run``."""
    ramp, kills = await _ramp_and_kills(topology, minutes, say)
    modern = await _overload(topology, minutes, ramp, "modern", say)
    legacy = await _overload(topology, minutes, ramp, "legacy", say)
    verdict = Verdict()
    verdict.require_offered((*kills.spans, *modern.drive.spans))
    _judge_kills(verdict, kills)
    _judge_overload(verdict, modern, ramp.half)
    drive = modern.drive
    operations, messages = drive.meter.operations, drive.meter.messages
    return Outcome(
        test="limit", topology=topology, seconds=drive.spans[-1].ended_s - drive.spans[0].began_s,
        offered=sum(span.offered for span in drive.spans), completed=completed(operations),
        refused=refused(operations), failed=failed(operations), lost=modern.judged.lost + kills.judged.lost,
        duplicated=modern.judged.duplicated + kills.judged.duplicated, latency_ms=latency_of(messages),
        verdict=verdict.word, reasons=tuple(verdict.reasons),
        figures={
            "most_operations_a_second": raw(ramp.most), "admission_limit_C": raw(ramp.half),
            "operations_a_day": raw(round(a_day(ramp.most))), "operations_a_day_at_C": raw(round(a_day(ramp.half))),
            "setups_an_hour_largest": raw(round(ramp.largest)),
            "places_per_relay": raw(modern.places), "ramp": raw(ramp.steps),
            "legacy": raw(_story(legacy, ramp.half)), "modern": raw(_story(modern, ramp.half)),
            "violations": raw((*kills.judged.texts, *modern.judged.texts)),
        },
        page=page(
            "Limit test", "限界試験", passed=verdict.passed, reasons=verdict.reasons,
            sections=_sections(ramp, kills, modern, legacy),
        ),
    )  # fmt: skip


# ---- the ramp --------------------------------------------------------------------------------------------------------


class Kills(Struct, frozen=True):
    """What happened when machines died at the limit."""

    drive: Drive
    marks: tuple[Mark, ...]
    spans: tuple[Span, ...]
    """Since the ramp."""
    judged: Judged


async def _ramp_and_kills(topology: str, minutes: float, say: Callable[[str], None]) -> tuple[Ramp, Kills]:
    meter = Meter()
    step_s = max(4.0, minutes * 60 * RAMP_SHARE / 10)
    kill_s = max(8.0, minutes * 60 * KILL_SHARE / 2)
    limited = Limited(total=UNLIMITED)
    cards = int(FIRST_RATE * sum(GROWTH**n for n in range(STEPS_MAX)) * step_s + 60 * kill_s)
    async with own_stack(topology, say, limited) as stack, prepared(stack, cards, meter, say) as ready:
        ready.counters.clerk = Clerk(patience_s=60.0)
        drive = Drive(ready, meter, look_every_s=0.5)
        say("set-ups made ahead")
        await set_up_ahead(ready.counters, cards // 3)
        say("the largest town alone")
        largest = await setups_an_hour(ready.counters, largest_of(ready.counters))
        ramp = await _ramp(drive, step_s, 2 * kill_s, say, largest)
        marks, ramped = [], len(drive.spans)
        rate = ramp.half
        for kind in ("relay", "center"):
            name, pid = next((name, pid) for name, pid in stack.processes().items() if name.startswith(kind))
            await drive.run([Phase(f"before {name} dies", kill_s / 3, mix(rate))], say)
            marks.append(Mark(meter.now_s(), f"{name} killed"))
            os.kill(pid, signal.SIGKILL)
            await drive.run([Phase(f"{name} is dead", kill_s * 2 / 3, mix(rate))], say)
        ready.counters.clerk = Clerk(patience_s=60.0)
        await ready.counters.finish_left()
        return ramp, Kills(drive, tuple(marks), tuple(drive.spans[ramped:]), await judge(drive, say))


async def _ramp(drive: Drive, step_s: float, then_s: float, say: Callable[[str], None], largest: float) -> Ramp:
    """More and more a second, until two steps are late or cards are wanted.

    Those that so many seconds at C need afterwards are kept. ``NoCards`` when the first step lacks some.
    """
    steps: list[Step] = []
    rate, short = FIRST_RATE, False
    await drive.run([Phase("warming up", WARM_UP_S, mix(rate))], say)
    async with relays_busy(drive.ready.stack) as busy:
        for _ in range(STEPS_MAX):
            if steps and not enough(drive.ready.counters.shelf, rate * step_s + half(steps) * then_s):
                short = True
                break
            before = await busy()
            await drive.run([Phase(f"ramp {rate:.0f}/s", step_s, mix(rate))], say)
            if drive.spans[-1].short and not steps:
                raise NoCards(drive.spans[-1])
            if short := drive.spans[-1].short > 0:
                break
            steps.append(_step(drive, drive.spans[-1], await busy() - before))
            if not any(map(in_time, steps[-SLOW_STEPS:])) and len(steps) >= SLOW_STEPS:
                break
            rate *= GROWTH
    good = [step for step in steps if in_time(step)] or steps[:1]
    c = half(steps)
    return Ramp(tuple(steps), max(step.completed for step in good), c, at_once(good, c), largest, short)


def enough(shelf: Shelf, operations: float) -> bool:
    """Whether there are cards for so many operations of the mix."""
    return all(shelf.left(kind) >= operations * share * SPARE for kind, share in MIX.items())


def at_once(steps: Sequence[Step], rate: float) -> float:
    """Messages in the relays at a rate, from the step next to it: as many more as operations are more."""
    near = min(steps, key=lambda step: abs(step.completed - rate))
    return near.messages_at_once * rate / max(near.completed, 0.1)


def in_time(step: Step) -> bool:
    """Whether a step's work was done, and its messages answered, in time."""
    return step.p99_ms <= P99_MS and step.completed >= IN_TIME * step.offered


def _step(drive: Drive, span: Span, busy_s: float) -> Step:
    lasted = span.ended_s - span.began_s
    mine = [sample for sample in drive.meter.operations if span.began_s <= sample.began_s < span.ended_s]
    messages = [sample for sample in drive.meter.messages if span.began_s <= sample.began_s < span.ended_s]
    took = latency(messages)
    return Step(
        offered=span.offered / lasted,
        completed=completed(mine) / lasted,
        p50_ms=took.p50,
        p99_ms=took.p99,
        used=processors(drive.moments, (span.began_s, span.ended_s)),
        messages_at_once=busy_s / lasted,
    )


def half(steps: Sequence[Step]) -> float:
    """C: the rate at which the stack uses half of all processors, between two steps; the last when it never did."""
    wanted = (os.cpu_count() or 1) * HALF
    for before, after in itertools.pairwise(steps):
        if before.stack < wanted <= after.stack:
            part = (wanted - before.stack) / (after.stack - before.stack)
            return before.completed + part * (after.completed - before.completed)
    first = steps[0]
    return first.completed * wanted / first.stack if first.stack >= wanted else steps[-1].completed


def _judge_kills(verdict: Verdict, kills: Kills) -> None:
    lost, left = kills.judged, len(kills.drive.ready.counters.left)
    verdict.require(
        f"relay and centre killed at the limit: {lost.lost} effects lost, {lost.duplicated} twice", holds=not lost.texts
    )
    verdict.require(f"what they broke off was finished afterwards ({left} operations were not)", holds=not left)


# ---- the overload ----------------------------------------------------------------------------------------------------


async def _overload(topology: str, minutes: float, ramp: Ramp, policy: str, say: Callable[[str], None]) -> Overload:
    """Through the overload with one policy, its limit set so that it carries C."""
    relays = sum(node.kind == "relay" for node in load_topology(topology).node)
    places = with_room(ramp.half * HOLD_S / relays, ROOM)
    connections = lines(ramp.messages_at_once / relays)
    meter = Meter()
    over_s = max(20.0, minutes * 60 * OVERLOAD_SHARE * 0.6)
    quiet_s = max(12.0, minutes * 60 * OVERLOAD_SHARE * 0.2)
    c = ramp.half
    plan = [
        Phase("0.8 C", quiet_s, mix(0.8 * c)),
        Phase("2 C", over_s, mix(2 * c, deliveries=HALF * c)),
        Phase("0.8 C again", quiet_s + WITHIN_S, mix(0.8 * c)),
    ]
    cards = int(c * (2 * over_s + 1.6 * quiet_s + 20) * 1.1) + 100
    limited = Limited(total=places)
    async with own_stack(topology, say, limited) as stack, prepared(stack, cards, meter, say) as ready:
        drive = Drive(ready, meter, look_every_s=0.5)
        stock = min(cards // 3, int(HALF * c * (over_s + 2 * quiet_s)))
        say(f"{policy}: set-ups made ahead")
        ready.counters.clerk = Clerk(patience_s=60.0)
        await set_up_ahead(ready.counters, stock)
        if policy == "legacy":
            say("legacy: relays and CSs are started anew with the rules of 2016")
            await change_policy(stack, "legacy", connections)
        meter.operations.clear()
        meter.messages.clear()
        ready.counters.clerk = Clerk(card_ms=CARD_MS, tries=1, patience_s=PATIENCE_S)
        await drive.run(plan, lambda text: say(f"{policy}: {text}"))
        blocks = times_logged(stack.home, "cs.blocked")
        return Overload(policy, drive, await judge(drive, say), places if policy == "modern" else connections, blocks)


def with_room(average: float, deviations: float) -> int:
    """Places for so many at once on average, and so many standard deviations more: they come as they like (Poisson)."""
    return max(2, math.ceil(average + deviations * math.sqrt(average)))


def _judge_overload(verdict: Verdict, run: Overload, c: float) -> None:
    story = _story(run, c)
    require = verdict.require
    require(
        f"offered 2 C: {story.completed_per_c:.2f} C completed, at least {PROMISED}",
        holds=story.completed_per_c >= PROMISED,
    )
    require(f"deliveries refused: {story.deliveries_refused}", holds=not story.deliveries_refused)
    require(f"municipalities served: {story.served} of {story.places}", holds=story.served == story.places)
    require(
        f"{WITHIN_S:.0f} s after the overload: p99 {story.p99_after_ms:.0f} ms, {story.refused_after} refused",
        holds=story.p99_after_ms <= P99_MS and not story.refused_after,
    )
    lost = run.judged
    require(f"no effect lost ({lost.lost}), none twice ({lost.duplicated})", holds=not lost.texts)


def _story(run: Overload, c: float) -> Story:
    _, over, after = run.drive.spans
    operations, messages = run.drive.meter.operations, run.drive.meter.messages
    calm = (after.began_s + WITHIN_S, after.ended_s)
    during, later = within(operations, over), within(operations, calm)
    deliveries = [sample for sample in during if sample.what == "delivery"]
    rate = completed(during) / (over.ended_s - over.began_s)
    return Story(
        policy=run.policy,
        completed_per_c=round(rate / c, 3),
        deliveries_refused=_refusals(deliveries),
        deliveries_failed=sum(sample.outcome not in {"ok", EXCESS} for sample in deliveries),
        setups_refused=_refusals(during) - _refusals(deliveries),
        served=len({sample.place for sample in during if sample.outcome == "ok"}),
        places=len(run.drive.ready.counters.places),
        p99_over_ms=latency(within(messages, over)).p99,
        p99_after_ms=latency(within(messages, calm)).p99,
        refused_after=_refusals(later),
        completed_after_per_c=round(completed(later) / max(calm[1] - calm[0], 0.1) / c, 3),
        left_open=sum(one.opened for one in run.drive.ready.counters.left.values()),
        turned_away=sum(not one.opened for one in run.drive.ready.counters.left.values()),
        blocks=run.blocks,
    )


def _refusals(samples: Sequence[Sample]) -> int:
    return sum(sample.outcome == EXCESS for sample in samples)


# ---- the report ------------------------------------------------------------------------------------------------------


def _sections(ramp: Ramp, kills: Kills, modern: Overload, legacy: Overload) -> list[Section]:
    return [
        in_documents_terms({"at C": ramp.half, "at most": ramp.most}, ramp.largest),
        _ramp_section(ramp),
        _kill_section(kills),
        Section(
            "Overload", "過負荷",
            f"{in_words(_story(modern, ramp.half), _story(legacy, ramp.half), legacy.places)} "
            f"C is {ramp.half:.1f} operations a second. A relay admits {modern.places} operations (policy modern) "
            f"or has {legacy.places} connections (policy legacy): at C they refuse as little as those of 2016 on a day "
            f"on which they sufficed ({REFUSED_OF[0]} of {REFUSED_OF[1]:,} messages, 18 April). A clerk who is refused "
            f"comes back when told, if that is within {PATIENCE_S:.0f} s of the first attempt; else the work is put "
            "aside for the quiet hours. Cards for the deliveries were set up before, under policy modern.",
            _comparison(_story(modern, ramp.half), _story(legacy, ramp.half)),
            _overload_charts(modern, legacy, ramp.half),
        ),
        *[
            Section(f"What the checker found ({name})", table=(("violation",), *((text,) for text in found.texts)))
            for name, found in (("kills", kills.judged), ("modern", modern.judged), ("legacy", legacy.judged))
            if found.texts
        ],
    ]  # fmt: skip


def _ramp_section(ramp: Ramp) -> Section:
    kinds = list(dict.fromkeys(kind for step in ramp.steps for kind in step.used))[:9]
    used = {kind: [(step.offered, step.used.get(kind, 0.0)) for step in ramp.steps] for kind in kinds}
    flow = {
        "completed": [(step.offered, step.completed) for step in ramp.steps],
        "offered": [(step.offered, step.offered) for step in ramp.steps],
    }
    times = {
        "p50": [(step.offered, step.p50_ms) for step in ramp.steps],
        "p99": [(step.offered, step.p99_ms) for step in ramp.steps],
    }
    rate = "operations offered a second"
    return Section(
        "Where each node slows", "各ノードの限界",
        f"At most {ramp.most:.1f} operations a second were done in time. At C = {ramp.half:.1f} half the CPU was used."
        + (" The ramp ended for want of cards, before work was late." if ramp.short else ""),
        (
            ("offered/s", "completed/s", "p50 ms", "p99 ms", "processors", "first", "second"),
            *(_ramp_row(step) for step in ramp.steps),
        ),
        (
            line_chart("Completed 完了", flow, rate, "per second"),
            line_chart("Time of a message 電文の応答時間", times, rate, "ms", limit=P99_MS),
            line_chart("Processors by node ノード別CPU", used, rate, "processors"),
        ),
    )  # fmt: skip


def _ramp_row(step: Step) -> tuple[str, ...]:
    top = [f"{kind} {share:.2f}" for kind, share in step.used.items()][:2]
    return (
        f"{step.offered:.1f}", f"{step.completed:.1f}", f"{step.p50_ms:.0f}", f"{step.p99_ms:.0f}", f"{step.stack:.2f}",
        *top, *[""] * (2 - len(top)),
    )  # fmt: skip


def _kill_section(kills: Kills) -> Section:
    start = kills.marks[0].at - WITHIN_S
    operations = seconds(kills.drive.meter.operations, since_s=start)
    messages = seconds(kills.drive.meter.messages, since_s=start)
    marks = [Mark(mark.at - start, mark.text) for mark in kills.marks]
    return Section(
        "A machine dies at the limit", "限界時の装置停止",
        "The other relay and the other centre go on; what was under way is taken up again under its own identifier.",
        charts=(
            line_chart("Operations completed 完了", {"completed": [(one.at_s, one.done) for one in operations]},
                       "seconds", "per second", marks=marks),
            line_chart("p99 of messages 応答時間", {"p99": [(one.at_s, one.p99_ms) for one in messages]},
                       "seconds", "ms", marks=marks),
        ),
    )  # fmt: skip


def _comparison(modern: Story, legacy: Story) -> tuple[tuple[str, ...], ...]:
    words = {
        "completed_per_c": "completed under overload (C)", "deliveries_refused": "deliveries refused",
        "deliveries_failed": "deliveries broken off", "setups_refused": "set-ups refused",
        "served": "municipalities served", "p99_over_ms": "p99 under overload (ms)",
        "p99_after_ms": "p99 afterwards (ms)", "refused_after": "refused afterwards",
        "completed_after_per_c": "completed afterwards (C)", "left_open": "operations left half-done",
        "turned_away": "operations that never began",
        "blocks": "times a CS shut itself for 60 s",
    }  # fmt: skip
    rows = [(text, f"{getattr(modern, name):,}", f"{getattr(legacy, name):,}") for name, text in words.items()]
    return (("", "modern", "legacy"), *rows)


def _overload_charts(modern: Overload, legacy: Overload, c: float) -> tuple[str, ...]:
    done, refusals, times = {}, {}, {}
    marks: tuple[Mark, ...] = ()
    for run in (modern, legacy):
        start = run.drive.spans[0].began_s
        operations = seconds(run.drive.meter.operations, since_s=start)
        done[run.policy] = [(one.at_s, one.done) for one in operations]
        refusals[run.policy] = [(one.at_s, one.refused + one.failed) for one in operations]
        times[run.policy] = [(one.at_s, one.p99_ms) for one in seconds(run.drive.meter.messages, since_s=start)]
        marks = marks or tuple(Mark(span.began_s - start, span.phase.name) for span in run.drive.spans)
    spans = modern.drive.spans
    start = spans[0].began_s
    rates = [
        (at - start, sum(span.phase.rates.values())) for span in spans for at in (span.began_s, span.ended_s - 0.01)
    ]
    return (
        line_chart(
            "Operations completed 完了", {"offered": rates, **done}, "seconds", "per second", marks=marks, limit=c
        ),
        line_chart("Refused or broken off 拒否・中断", refusals, "seconds", "per second", marks=marks),
        line_chart("p99 of messages 応答時間", times, "seconds", "ms", marks=marks, limit=P99_MS),
    )
