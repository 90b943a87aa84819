"""The ``door`` scenario: a relay's leases alone, with crowds of every class, and time that stops where leases end.

A whole relay meets some dozen askers in a run, and seldom two municipalities, bulk and set-ups at once where it matters
who yields. Here hundreds come and go in a run, under limits drawn small, and after each the door's own book must be the
one that is kept after the rules of admission said again (``door.Book``).
"""

from typing import Final

from msgspec import Struct

from warifu.contract.envelope import ServiceClass
from warifu.domain.admission.leases import FIRST_BACK_MS, LAST_BACK_MS, LEASED, Asking, Lease, Leases
from warifu.domain.admission.line import PATIENCE_MS
from warifu.domain.admission.rules import OPENING, Limits
from warifu.kernel.errors import ConnectionExcess
from warifu.kernel.ids import new_ulid
from warifu.lab.scenarios.door import Book, difference
from warifu.lab.scenarios.scenario import Scenario
from warifu.lab.simulation.keys import EPOCH_MS
from warifu.lab.simulation.world import World

DEFAULT_SIZE: Final = 300
"""Comings and goings."""
OPERATIONS: Final = (4, 12, 30)
TOTALS: Final = (1, 2, 4, 5, 8, 9)
LEASES_MS: Final = (1, 100, 2_000, 8_000)
"""Shorter than the rest of who may have moved, and longer."""
MOVING: Final = 40
"""Before one coming or going of so many, callers are told to move."""
STILL: Final = 3
"""Two events of so many happen in the instant of the one before."""
INSIDE: Final = 12
PLACES: Final = ("131016", "132217", "271004")
CLASSES: Final[tuple[ServiceClass, ...]] = ("setup", "setup", "setup", "bulk", "bulk", "delivery", "change")
NAMES: Final = ("center.open", "center.open", "center.open", "center.receive", *sorted(LEASED - OPENING), "center.card")
LATEST_MS: Final = LAST_BACK_MS * 3 // 2


class Operation(Struct, frozen=True):
    """Somebody's at the door."""

    operation_id: str
    kind: ServiceClass
    municipality: str


class DoorTrial:
    """One door; nobody waits in it, so that a run is one task."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._made = 0
        limits = self._limits()
        self._leases, self._book = Leases(limits), Book(limits)
        self._people = [self._somebody() for _ in range(OPERATIONS[world.pick(len(OPERATIONS))])]
        self._inside: list[tuple[Operation, Lease | None]] = []
        self._refused = 0
        self._now_ms = 0

    def _limits(self) -> Limits:
        pick, total = self._world.pick, TOTALS[self._world.pick(len(TOTALS))]
        lease_ms = LEASES_MS[pick(len(LEASES_MS))]
        later = max(1 + pick(total), 1 + pick(total))  # often all, so that bulk's quarter of it is a whole number
        return Limits(total=total, setup_and_bulk=later, change_reserve=1 + pick(3), lease_ms=lease_ms)

    def _somebody(self) -> Operation:
        self._made += 1
        operation_id = new_ulid(EPOCH_MS, self._made.to_bytes(10, "big"))
        kind, place = CLASSES[self._world.pick(len(CLASSES))], PLACES[self._world.pick(len(PLACES))]
        return Operation(operation_id, kind, place)

    async def drive(self) -> None:
        """One after another comes, or goes."""
        for _ in range(self._world.plan.size or DEFAULT_SIZE):
            if not self._world.pick(STILL):
                self._now_ms = self._later()
            if not self._world.pick(MOVING):
                self._leases.moving(self._now_ms)
                self._book.moving(self._now_ms)
            if self._inside and (self._world.pick(2) or len(self._inside) >= INSIDE):
                self._goes()
            else:
                self._comes()
        while self._inside:
            self._goes()

    def _later(self) -> int:
        """An instant at which something ends, or a millisecond beside it; or soon."""
        ends = [held.until_ms for held in self._book.held.values()]
        ends += [turn.until_ms for waiting in self._book.line.values() for turn in waiting.values()]
        ends += [end - PATIENCE_MS for end in ends]
        ends.append(self._book.kept_free_until_ms + 1)
        pick = self._world.pick
        if not ends or not pick(4):
            return self._now_ms + pick(50)
        return max(self._now_ms, ends[pick(len(ends))] - 1 + pick(3))

    def _comes(self) -> None:
        pick, book = self._world.pick, self._book
        who = self._people[pick(len(self._people))]
        asking = Asking(NAMES[pick(len(NAMES))], who.operation_id, who.kind, who.municipality, known=not pick(8))
        book.sweep(self._now_ms)
        manner, place, has_room = book.manner(asking, self._now_ms), book.place(asking), book.has_room(who.kind)
        try:
            lease = self._leases.enter(asking, self._now_ms, pick(256))
        except ConnectionExcess as error:
            self._turned_away(asking, error, place)
            if manner == "step" or (manner == "opening" and has_room):
                self._bad("who has room is let in", f"{asking.name} of {who.kind} was refused as {manner}")
        else:
            if manner == "yields" or (manner == "opening" and not has_room):
                self._bad("who has no room is refused", f"{asking.name} of {who.kind} was let in as {manner}")
            book.enter(asking, self._now_ms)
            self._inside.append((who, lease))
        self._compare(f"after {asking.name} of {who.kind} came")

    def _turned_away(self, asking: Asking, error: ConnectionExcess, place: int) -> None:
        self._refused += 1
        back_ms = error.retry_after_ms
        if error.place_in_line != place:
            self._bad("a place in line is told", f"{error.place_in_line}, it is {place}")
        if not FIRST_BACK_MS <= back_ms <= LATEST_MS:
            self._bad("who is refused is told when to come back", f"{back_ms} ms")
        self._book.refuse(asking, self._now_ms, self._now_ms + back_ms)

    def _goes(self) -> None:
        who, lease = self._inside.pop(self._world.pick(len(self._inside)))
        over = not self._world.pick(3)
        self._leases.leave(who.operation_id, lease, self._now_ms, over=over)
        if lease is not None:
            self._book.leave(who.operation_id, self._now_ms, over=over)
        if over and who in self._people:
            self._people[self._people.index(who)] = self._somebody()
        self._compare(f"after one of {who.kind} left")

    def _compare(self, when: str) -> None:
        found = difference(self._leases, self._book)
        if found is not None:
            self._bad(found[0], f"{when}: {found[1]}")
        if self._leases.refused != self._refused:
            self._bad("refusals are counted", f"{self._leases.refused} of {self._refused}")

    def _bad(self, name: str, text: str) -> None:
        self._world.violated(name, f"at {self._now_ms} ms, {text}")

    def settled(self) -> bool:
        """When ``drive`` is over."""
        return True

    async def conclude(self) -> None:
        """Nothing: ``drive`` looked at everything."""

    def state(self) -> object:
        """The book."""
        return self._book.counts(), {kind: len(waiting) for kind, waiting in self._book.line.items()}


DOOR: Final = Scenario("door", DoorTrial)
