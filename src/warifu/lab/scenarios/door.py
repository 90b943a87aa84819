"""A relay's door, watched: a second book of who holds a place and who waits, kept after the rules of admission.

The rules are said here again, in the words of docs/limits and architecture rather than in the relay's code, so that a
change of either is seen. The relay's own book must be the same after every message that came in or went out.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from warifu.contract.center import AbandonOperation, CardsReceived, CloseOperation, Confirmed, ConfirmWrite
from warifu.contract.codec import decode
from warifu.contract.envelope import Envelope, Reply, ServiceClass
from warifu.contract.health import Health
from warifu.domain.admission import leases as leases_module
from warifu.domain.admission import line as line_module
from warifu.domain.admission.leases import KEPT_FREE_MS, Asking, Lease, Leases
from warifu.domain.admission.line import PATIENCE_MS
from warifu.domain.admission.rules import OPENING, Limits
from warifu.domain.cards.errors import OperationEnded
from warifu.kernel.errors import ConnectionExcess
from warifu.lab.simulation import asked_again
from warifu.lab.simulation.asked_once import FAILED
from warifu.nodes.base import Call
from warifu.nodes.relay import ALARM_EVERY_MS, Passage, Relay

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

STEPS: Final = frozenset({"center.write", "center.confirm", "center.close", "center.abandon"})
WAITERS: Final[tuple[ServiceClass, ...]] = ("setup", "bulk")
BEFORE: Final[tuple[ServiceClass, ...]] = ("change", "delivery", "setup", "bulk")
"""Each class waits behind those named before it; changes behind changes alone."""
LOOKED_AT: Final = 8
PLACE: Final = "place"


class Held(Struct):
    """A place, as the book has it."""

    kind: ServiceClass
    municipality: str
    until_ms: int
    busy: int = 0
    over: bool = False


class Turn(Struct):
    """Somebody in line."""

    number: int
    municipality: str
    until_ms: int


class Book:
    """Who holds a place at one relay, and who was refused and may come back."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held: OrderedDict[str, Held] = OrderedDict()
        self.line: dict[ServiceClass, OrderedDict[str, Turn]] = {kind: OrderedDict() for kind in BEFORE}
        self._numbers = 0
        self.kept_free_until_ms = -1
        self._moving_until_ms = -1

    def moving(self, now_ms: int) -> None:
        """Callers move away: for a while a place rests no longer than whoever moved would leave it."""
        self._moving_until_ms = now_ms + leases_module.MOVING_MS
        for held in self.held.values():
            held.until_ms = min(held.until_ms, now_ms + leases_module.MOVED_REST_MS)

    def _rests_until_ms(self, now_ms: int) -> int:
        most_ms = leases_module.MOVED_REST_MS if now_ms < self._moving_until_ms else self.limits.lease_ms
        return now_ms + min(most_ms, self.limits.lease_ms)

    def sweep(self, now_ms: int) -> None:
        """Places that rest too long end; whoever did not come back leaves the line."""
        for waiting in self.line.values():
            while waiting and next(iter(waiting.values())).until_ms < now_ms:
                waiting.popitem(last=False)
        for _ in range(min(LOOKED_AT, len(self.held))):
            first = next(iter(self.held))
            if self.held[first].busy:
                self.held.move_to_end(first)
            elif now_ms >= self.held[first].until_ms:
                del self.held[first]
            else:
                return

    def manner(self, asking: Asking, now_ms: int) -> str:
        """``step``, ``opening``, or ``yields``: an opening that leaves its place to others."""
        if asking.name not in OPENING or asking.known or asking.operation_id in self.held:
            return "step"
        return "yields" if now_ms <= self.kept_free_until_ms and self._yields(asking) else "opening"

    def enter(self, asking: Asking, now_ms: int) -> None:
        """It was let in."""
        if asking.name not in OPENING | STEPS:
            return
        if asking.operation_id not in self.held:
            if self.manner(asking, now_ms) == "opening":
                self.line[asking.kind].pop(asking.operation_id, None)
            if len(self.held) >= leases_module._ADOPTED * self.limits.total:  # noqa: SLF001 - drawn small in some runs
                return
            until_ms = now_ms + self.limits.lease_ms
            self.held[asking.operation_id] = Held(asking.kind, asking.municipality, until_ms)
        self.held[asking.operation_id].busy += 1
        self.held.move_to_end(asking.operation_id)

    def leave(self, operation_id: str, now_ms: int, *, over: bool) -> None:
        """It was answered or given up."""
        held = self.held[operation_id]
        held.busy -= 1
        held.over = held.over or over
        held.until_ms = self._rests_until_ms(now_ms)
        self.held.move_to_end(operation_id)
        if held.over and not held.busy:
            del self.held[operation_id]

    def place(self, asking: Asking) -> int:
        """In line, if it is refused now: behind all who came before it and not behind itself."""
        ahead = BEFORE[: BEFORE.index(asking.kind)] if asking.kind != "change" else ()
        mine = self.line[asking.kind]
        own = mine.get(asking.operation_id)
        if own is None:
            return sum(len(self.line[kind]) for kind in ahead) + len(mine) + 1
        since = own.number - next(iter(mine.values())).number + 1
        return sum(len(self.line[kind]) for kind in ahead) + min(len(mine), since)

    def refuse(self, asking: Asking, now_ms: int, back_ms: int) -> None:
        """It was refused, and is to come back at this instant. Where there was no room, places are few for a while."""
        if not self.has_room(asking.kind):
            self.kept_free_until_ms = now_ms + KEPT_FREE_MS
        mine = self.line[asking.kind]
        earlier = mine.get(asking.operation_id)
        if earlier is None and sum(map(len, self.line.values())) >= line_module.LONGEST:
            return
        if earlier is None:
            self._numbers += 1
        number = earlier.number if earlier else self._numbers
        mine[asking.operation_id] = Turn(number, asking.municipality, back_ms + PATIENCE_MS)

    def counts(self) -> dict[ServiceClass, int]:
        """Places by class."""
        return {kind: sum(held.kind == kind for held in self.held.values()) for kind in BEFORE}

    def has_room(self, kind: ServiceClass) -> bool:
        """Whether one more of its class may come in, whoever waits."""
        counts, limits = self.counts(), self.limits
        served = counts["delivery"] + counts["change"]
        later = counts["setup"] + counts["bulk"]
        match kind:
            case "change":
                return served + later < limits.total or counts["change"] < limits.change_reserve
            case "delivery":
                return served < limits.total
            case _:
                return served + later < limits.total and later < limits.setup_and_bulk

    def waiting(self) -> dict[str, int]:
        """Set-ups and bulk operations in line, by municipality."""
        found: dict[str, int] = {}
        for turn in (turn for kind in WAITERS for turn in self.line[kind].values()):
            found[turn.municipality] = found.get(turn.municipality, 0) + 1
        return found

    def _later_of(self, municipality: str) -> int:
        return sum(held.kind in WAITERS and held.municipality == municipality for held in self.held.values())

    def _yields(self, asking: Asking) -> bool:
        """A municipality with its equal part leaves what is free to those with less; bulk to set-ups, but a quarter."""
        if asking.kind not in WAITERS:
            return False
        counts = self.counts()
        left = self.limits.total - counts["delivery"] - counts["change"]
        room = max(0, min(self.limits.setup_and_bulk, left))
        if asking.kind == "bulk" and self.line["setup"] and counts["bulk"] >= max(1, room) / 4:
            return True
        waiting = self.waiting()
        mine = self._later_of(asking.municipality)
        others = sum(name != asking.municipality for name in waiting)
        less = sum(count for name, count in waiting.items() if self._later_of(name) < mine)
        free = room - counts["setup"] - counts["bulk"]
        return others > 0 and mine >= max(1, room // (others + 1)) and less >= max(1, free)


class Door:
    """Watches a relay's door: who was let in beside whom, and who was not.

    Args:
        strict: whether the relay's book must be the same as this one (not where a safeguard of it was removed).
    """

    def __init__(self, world: "World", relay: Relay, *, strict: bool) -> None:
        self._world = world
        self._relay = relay
        self._strict = strict
        self._book = Book(relay.leases.limits)
        self._lease = relay._lease  # noqa: SLF001 - what a door is for
        self._inner = relay._admitted  # noqa: SLF001
        self._passed_on = relay._passed_on  # noqa: SLF001
        relay._lease = self.lease  # type: ignore[method-assign]  # noqa: SLF001
        relay._passed_on = self.passed_on  # type: ignore[method-assign]  # noqa: SLF001
        relay._admitted = self.admitted  # type: ignore[method-assign]  # noqa: SLF001
        self._health = relay.health
        relay.health = self.health  # type: ignore[method-assign]
        self._refused_ms = -ALARM_EVERY_MS
        self.inside = 0
        """How many messages were let in and have not left."""
        self._overs: dict[int, bool] = {}
        """Of each message on its way: whether the relay took its operation for over."""
        self._last: Lease | None = None

    @asynccontextmanager
    async def admitted(self, inner: Envelope, *, known: bool) -> AsyncIterator[Passage]:
        """As the relay's own, and counted."""
        over, lease = False, None
        try:
            async with self._inner(inner, known=known) as passage:
                lease = self._last
                self.inside += 1
                try:
                    yield passage
                finally:
                    self.inside -= 1
                    over = passage.over
        finally:
            self._overs[id(inner)] = over
            if self._strict and lease is not None:
                self._book.leave(inner.operation_id, now_ms(self._world), over=over)
                self._compare(f"after {inner.name} {inner.step}")

    async def passed_on(self, call: Call, inner: Envelope, *, known: bool) -> Reply:
        """As the relay's own, judged: the operation's place ends with the operation, and not before.

        An operation that ended with it holds no place any more, once nobody of it is inside.
        """
        ended = False
        try:
            reply = await self._passed_on(call, inner, known=known)
            ended = has_ended(inner, reply)
        finally:
            if self._overs.pop(id(inner), False) and not ended:
                text = f"{self._relay.world.name} takes {inner.operation_id} for over at {inner.name} {inner.step}"
                self._world.violated("a place is not given back before its operation ends", text)
        lease = self._relay.leases._leases.get(inner.operation_id)  # noqa: SLF001 - a leak shows nowhere else
        if lease is not None and not lease.busy and ended:
            text = f"{self._relay.world.name} keeps the place of {inner.operation_id}, which ended with {inner.name}"
            self._world.violated("a place ends with its operation", text)
        return reply

    async def health(self) -> Health:
        """As the relay's own, which says so as long as it refuses, and a while afterwards."""
        refused_ms = self._refused_ms
        said = await self._health()
        since_ms, part = now_ms(self._world) - refused_ms, said.parts.get("admission")
        if since_ms < ALARM_EVERY_MS and part is not None and part.ok:
            text = f"{self._relay.world.name} says that all is well {since_ms} ms after it refused"
            self._world.violated("people are told that a relay refuses", text)
        return said

    def _asks_once(self, asking: Asking) -> None:
        if (PLACE, asking.operation_id) in (FAILED.get() or ()):
            self._world.violated(asked_again.NAME, f"{self._relay.world.name} waits for a place itself")

    def lease(self, asking: Asking) -> Lease | None:
        """As the relay's own, and told: an opening that needs a place, one that must yield it, or any other message."""
        now, book, name = now_ms(self._world), self._book, self._relay.world.name
        book.sweep(now)
        counts, manner = self._seen(asking, now)
        place, outcome, lease = book.place(asking), "refused", None
        self._asks_once(asking)
        try:
            lease = self._lease(asking)
            outcome = "admitted"
        except ConnectionExcess as error:
            self._refused_ms = now
            if error.place_in_line != place and self._strict:
                self._world.violated("a place in line is told", f"{name}: {error.place_in_line}, it is {place}")
            book.refuse(asking, now, now + error.retry_after_ms)
            if (failed := FAILED.get()) is not None:
                failed.append((PLACE, asking.operation_id))
            raise
        finally:
            self._last = lease
            self._world.record("log", name, outcome=outcome, detail=f"{manner} {asking.kind} {counts}")
        if self._strict:
            book.enter(asking, now)
            self._compare(f"after {asking.name} came")
        return lease

    def _seen(self, asking: Asking, now: int) -> tuple[str, str]:
        """Places by class, and in what manner it comes: by the book, or by the relay's own where no book is kept."""
        held, manner = self._book.counts(), self._book.manner(asking, now)
        if not self._strict:
            leases = self._relay.leases
            leases._sweep(now)  # noqa: SLF001 - as the relay is about to: what it sees is what is told
            held = dict(leases.held)
            has_one = asking.known or asking.operation_id in leases._leases  # noqa: SLF001
            step = has_one or asking.name not in OPENING
            manner = "step" if step else "yields" if leases.yields(asking, now) else "opening"
        return " ".join(str(held.get(kind, 0)) for kind in ("delivery", "setup", "bulk", "change")), manner

    def _compare(self, when: str) -> None:
        found = difference(self._relay.leases, self._book)
        if found is not None:
            self._world.violated(found[0], f"{self._relay.world.name} {when}: {found[1]}")


def difference(leases: Leases, book: Book) -> tuple[str, str] | None:
    """Where a relay's own book and the other differ: the property that fails, and in what; None: nowhere."""
    theirs = {
        key: (held.kind, held.busy, held.until_ms)
        for key, held in leases._leases.items()  # noqa: SLF001 - the relay's own book
    }
    ours = {key: (held.kind, held.busy, held.until_ms) for key, held in book.held.items()}
    if theirs != ours:
        wrong = next(iter({**theirs, **ours}.items() - (theirs.items() & ours.items())))
        return "a place lasts as long as its operation moves", str(wrong)
    waiting = [len(book.line[kind]) for kind in BEFORE]
    if len(leases.line) != sum(waiting):
        return "who came in waits no more", f"{len(leases.line)} wait, not {waiting}"
    if leases.line.waiting() != book.waiting():
        return "who came in waits no more", f"{dict(leases.line.waiting())} wait, not {book.waiting()}"
    if any(leases.held[kind] != count for kind, count in book.counts().items()):
        return "what is held is given back", f"it counts {dict(leases.held)}, not {book.counts()}"
    return None


def has_ended(inner: Envelope, reply: Reply) -> bool:
    """Whether nothing more comes of an operation: closed, given up, ended before; or it was refused at its opening."""
    if reply.error is not None:
        refused = reply.error.kind == "refused" and inner.name in OPENING
        return refused or reply.error.code == OperationEnded.code
    if inner.name == ConfirmWrite.NAME:
        return decode(Confirmed, reply.body or b"").closed
    return inner.name in {CloseOperation.NAME, AbandonOperation.NAME, CardsReceived.NAME}


def now_ms(world: "World") -> int:
    """The loop's time, in whole milliseconds as relays round it."""
    return int(world.loop.time() * 1000)
