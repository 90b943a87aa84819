"""Offers work at a given rate, whether or not it is taken (an open loop): people come when they come."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from msgspec import Struct

from warifu.adapters.clock import SystemClock
from warifu.adapters.entropy import SystemEntropy
from warifu.adapters.net.client import NetTransport
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.contract.registry import ChangeResident
from warifu.contract.values import OperationKind
from warifu.domain.residents.records import Resident
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import WarifuError
from warifu.kernel.ids import new_ulid
from warifu.lab.load.counters import Counters
from warifu.lab.load.meter import Meter, Moment, Sample
from warifu.lab.load.stack import Prepared
from warifu.lab.load.town import LARGEST
from warifu.stack.links import DRIVER, destinations, tls_of

WEIGHTS: Final[Mapping[str, float]] = {LARGEST: 0.45, "271004": 0.30, "401307": 0.17, "131016": 0.08}
LOOK_EVERY_S: Final = 1.0
END_S: Final = 40.0
"""What is under way gets to end after the last phase."""
CHANGE_MS: Final = 10_000

Rates = Mapping[OperationKind, float]
"""Operations a second, by kind."""


class Phase(Struct, frozen=True):
    """A stretch of a run."""

    name: str
    seconds: float
    rates: dict[OperationKind, float]
    changes: float = 0.0
    """Of residents' records, a second: the traffic beside ours."""


class Span(Struct, frozen=True):
    """When a phase was, in seconds of the meter, and what came in it."""

    phase: Phase
    began_s: float
    ended_s: float
    offered: int
    short: int = 0
    """Not offered, because no card was left for it."""


class Drive:
    """One run of phases over a prepared stack. ``moments`` are looks at its processes."""

    def __init__(self, ready: Prepared, meter: Meter, *, seed: int = 1, look_every_s: float = LOOK_EVERY_S) -> None:
        self.ready = ready
        self.meter = meter
        self.moments: list[Moment] = []
        self.spans: list[Span] = []
        self.changes: list[Sample] = []
        self.peak_messages = 0
        self._look_every_s = look_every_s
        self._dice = random.Random(seed)  # noqa: S311 - arrivals, no secrets
        self._working: set[asyncio.Task[None]] = set()
        places = [place for place in WEIGHTS if place in ready.counters.places] or list(ready.counters.places)
        self._places, self._weights = places, [WEIGHTS.get(place, 1.0) for place in places]

    async def run(self, phases: Sequence[Phase], say: Callable[[str], None] = lambda _: None) -> None:
        """Go through the phases; then what is under way gets its time to end."""
        async with _juki(self.ready) as juki:
            looking = asyncio.create_task(self._look_for_ever())
            try:
                for phase in phases:
                    say(f"{phase.name}: {sum(phase.rates.values()):.0f} operations/s")
                    self.spans.append(await self._phase(phase, juki))
                say("letting what is under way end")
                await self.drained()
            finally:
                looking.cancel()
                for task in self._working:
                    task.cancel()

    async def drained(self, within_s: float = END_S) -> None:
        """Wait for what was begun."""
        if self._working:
            await asyncio.wait(self._working, timeout=within_s)

    async def _phase(self, phase: Phase, juki: "_Juki") -> Span:
        began, offered, short = self.meter.now_s(), 0, 0
        kinds = [kind for kind, rate in phase.rates.items() if rate > 0]
        rates = [phase.rates[kind] for kind in kinds]
        total, now, end = sum(rates) + phase.changes, time.perf_counter(), time.perf_counter() + phase.seconds
        due = now + self._dice.expovariate(total) if total else end
        while due < end:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            if self._dice.random() * total < phase.changes:
                self._spawn(self._change(juki))
            else:
                kind = self._dice.choices(kinds, rates)[0]
                card = self._card(kind)
                offered += card
                short += not card
            due += self._dice.expovariate(total)
        await asyncio.sleep(max(0.0, end - time.perf_counter()))
        return Span(phase, began, self.meter.now_s(), offered, short)

    def _card(self, kind: OperationKind) -> bool:
        """Begin an operation where the dice say, or in another town when that has no card left."""
        first = self._dice.choices(self._places, self._weights)[0]
        counters: Counters = self.ready.counters
        for place in (first, *self._places):
            card = counters.shelf.take(place, kind)
            if card is not None:
                self._spawn(counters.work_on(card, kind))
                return True
        return False

    def _spawn(self, work) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001 - any coroutine
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _change(self, juki: "_Juki") -> None:
        began, code = self.meter.now_s(), "ok"
        try:
            code = await juki.change(self._dice.choice(self.ready.spare))
        except WarifuError as error:
            code = error.code
        self.changes.append(Sample(began, (self.meter.now_s() - began) * 1000, "change", code))

    async def _look_for_ever(self) -> None:
        while True:
            moment = await asyncio.to_thread(self.ready.stack.look, self.meter.now_s(), count_sockets=True)
            self.moments.append(moment)
            await asyncio.sleep(self._look_every_s)


class _Juki:
    """The resident network's own traffic: municipalities report changes of residents' records."""

    def __init__(self, transport: NetTransport) -> None:
        self._transport = transport
        self._clock, self._entropy = SystemClock(), SystemEntropy()

    async def change(self, resident: Resident) -> str:
        """One change of address; ``ok`` or a code."""
        now_ms = self._clock.now_ms()
        person = msgspec.structs.replace(resident.person(), address=f"{resident.address[:180]}　{now_ms % 1000}号")
        request = ChangeResident(
            resident_id=resident.resident_id, event="address", person=person, occurred_on=jst_date(now_ms)
        )
        envelope = Envelope(
            name=ChangeResident.NAME,
            operation_id=new_ulid(now_ms, self._entropy.random_bytes(10)),
            step="lab",
            sender=DRIVER,
            service_class="change",
            remaining_ms=CHANGE_MS,
            body=encode(request),
        )
        reply = await self._transport.call("registry", envelope)
        return reply.error.code if reply.error else "ok"


@asynccontextmanager
async def _juki(ready: Prepared) -> AsyncIterator[_Juki]:
    own = ready.stack.own
    transport = NetTransport(destinations(own.topology, own.book), tls_of(ready.stack.home, DRIVER))
    try:
        yield _Juki(transport)
    finally:
        await transport.aclose()
