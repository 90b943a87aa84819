"""What a load run comes to: its figures, its verdict, and whether anything was lost."""

import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import msgspec
from msgspec import Struct

from warifu.lab import checking
from warifu.lab.load.drive import Drive, Span
from warifu.lab.load.meter import EXCESS, Moment, Sample, cpu_used, latency
from warifu.lab.load.records import chips, outboxes_empty, records
from warifu.lab.load.stack import GENERATOR
from warifu.nodes.terminal import CLASS_OF

P99_MS: Final = 250.0
NATION_PEAK: Final = 715_000
"""Business messages of 29 March 2016."""
NATION_USUAL: Final = 549_000
"""Of 18 April 2016."""
REFUSED_A_DAY: Final[Mapping[str, int]] = {"29 March 2016": 12_650, "18 April 2016": 79}
"""Of them answered "connection excess" by the relays."""
FULL_HOURS: Final = 8.75
"""A day's hours, each by its weight: 09:30-12:00 and 14:00-15:00 whole, the rest of 08:30-17:15 by 0.9, the evening and
the first hour by 0.1. A shape that fits the documents' figures, not one that they give."""
NATION_PEAK_RATE: Final = NATION_PEAK / FULL_HOURS / 3600
"""Messages a second in a peak hour of that day, by that shape: 22.7."""
OPERATIONS_A_DAY: Final[Mapping[str, int]] = {
    "29 March 2016": 149_000,
    "with 94 connections (estimate)": 198_000,
    "and a second HSM board (estimate)": 216_000,
}
SETUPS_AN_HOUR: Final[Mapping[str, int]] = {"one CS in 2016 (Yokohama)": 360, "target of February 2017": 720}
MESSAGES_EACH: Final = 4.8
"""Messages of an operation, by the documents' own two figures (715,000 and 149,000)."""


class Outcome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A test's result, as in ``--json``; ``page`` is the report for people."""

    test: str
    topology: str
    seconds: float
    offered: int
    completed: int
    refused: dict[str, int]
    """By class of service."""
    failed: dict[str, int] = {}
    """Operations that ended with another code."""
    lost: int
    duplicated: int
    latency_ms: dict[str, float]
    """Of business messages: p50, p99, p999."""
    verdict: Literal["passed", "failed"]
    reasons: tuple[str, ...]
    figures: dict[str, msgspec.Raw] = {}
    page: str = ""

    def for_machines(self) -> bytes:
        """JSON, without the page."""
        return msgspec.json.format(msgspec.json.encode(msgspec.structs.replace(self, page=""))) + b"\n"


class Verdict:
    """Collects what speaks for and against."""

    def __init__(self) -> None:
        self.passed = True
        self.reasons: list[str] = []

    def require(self, text: str, *, holds: bool) -> None:
        """A condition, with the figures that decide it."""
        self.passed = self.passed and holds
        self.reasons.append(f"{'yes' if holds else 'NO'}: {text}")

    def require_offered(self, spans: Sequence[Span]) -> None:
        """A run that lacked cards asked for less than it says."""
        short = sum(span.short for span in spans)
        self.require(f"all that was planned was offered ({short or 'no'} operations lacked a card)", holds=not short)

    @property
    def word(self) -> Literal["passed", "failed"]:
        """For ``Outcome``."""
        return "passed" if self.passed else "failed"


class Judged(Struct, frozen=True):
    """What the checker found."""

    lost: int
    duplicated: int
    texts: tuple[str, ...]
    seconds: float


async def judge(drive: Drive, say: Callable[[str], None] = lambda _: None) -> Judged:
    """Hold terminals' history, the centre's records and the chips against each other.

    Operations that a clerk left unfinished (refused steps under policy ``legacy``, say) are open: not lost, counted by
    the outcome itself.
    """
    say("checking that nothing was lost")
    began = time.perf_counter()
    ready, meter = drive.ready, drive.meter
    url = ready.stack.own.database_url
    waiting = await outboxes_empty(url)
    cards = [card.blank.card_id for card in ready.cards]
    operations = list({event.operation_id for event in meter.history})
    history = [*meter.history, *await records(url, cards, operations), *chips(ready.box, cards)]
    half_done = set(ready.counters.left) | {one.card.blank.card_id for one in ready.counters.left.values()}
    found = [one for one in checking.check(history) if not _is_left(one, half_done)]
    texts = [f"{one.promise}: {one.text}" for one in found]
    if waiting:
        texts.append(f"{checking.NOTHING_LOST}: {waiting} messages still wait in an outbox")
    counts = Counter(one.promise for one in found)
    twice = counts[checking.NONE_TWICE]
    return Judged(len(texts) - twice, twice, tuple(texts[:50]), time.perf_counter() - began)


def _is_left(violation: checking.Violation, half_done: set[str]) -> bool:
    """Whether it is no more than that a clerk gave an operation up: its words name the operation or its card."""
    return violation.promise == checking.SETTLED and not half_done.isdisjoint(
        re.findall(r"[0-9A-Z]{15,26}", violation.text)
    )


def refused(samples: Sequence[Sample]) -> dict[str, int]:
    """Refused for want of room, by class."""
    return dict(Counter(class_of(sample.what) for sample in samples if sample.outcome == EXCESS))


def excess_among(samples: Sequence[Sample], messages: int) -> float:
    """How many of so many messages would be answered "connection excess", at these samples' share."""
    return sum(sample.outcome == EXCESS for sample in samples) / max(1, len(samples)) * messages


def failed(samples: Sequence[Sample]) -> dict[str, int]:
    """Ended otherwise, by code."""
    return dict(Counter(sample.outcome for sample in samples if sample.outcome not in {"ok", EXCESS}))


def class_of(kind: str) -> str:
    """The class of service of an operation."""
    return str(CLASS_OF.get(kind, "delivery"))  # type: ignore[call-overload]  # kinds of operations are text here


def completed(samples: Sequence[Sample]) -> int:
    """How many were done."""
    return sum(sample.outcome == "ok" for sample in samples)


def within(samples: Sequence[Sample], span: Span | tuple[float, float]) -> list[Sample]:
    """Those that ended within a span."""
    first, last = (span.began_s, span.ended_s) if isinstance(span, Span) else span
    return [sample for sample in samples if first <= sample.ended_s < last]


def latency_of(samples: Sequence[Sample]) -> dict[str, float]:
    """As in ``--json``."""
    found = latency(samples)
    return {"p50": found.p50, "p99": found.p99, "p999": found.p999}


def processors(moments: Sequence[Moment], span: tuple[float, float]) -> dict[str, float]:
    """Processors used in a span, by kind of process; the generator among them."""
    inside = [moment for moment in moments if span[0] <= moment.at_s <= span[1]]
    return cpu_used(inside[0], inside[-1]) if len(inside) > 1 else {}


def of_stack(used: Mapping[str, float]) -> float:
    """Of them, what the stack itself used."""
    return sum(share for name, share in used.items() if name != GENERATOR)


def raw(value: object) -> msgspec.Raw:
    """A figure of any shape."""
    return msgspec.Raw(msgspec.json.encode(value))
