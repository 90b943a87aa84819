"""A relay's leases: which operations it has admitted, and who may come in beside them.

A lease is a count, not a permission: what proves that an operation was admitted is that the centre knows it as open.
So a step is never refused, wherever it arrives; a relay that meets the step of an operation it holds no lease for
(another relay admitted it and died, or the connection moved) takes one, unasked. A lease ends when its operation ends,
or when the operation rests for so long.
"""

from collections import Counter, OrderedDict
from typing import Final

from msgspec import Struct

from warifu.contract.envelope import ServiceClass
from warifu.domain.admission.line import Line
from warifu.domain.admission.rules import LATER, OPENING, Limits, bulk_must_yield, has_room, later, must_yield
from warifu.kernel.errors import ConnectionExcess

LEASED: Final = OPENING | {"center.write", "center.confirm", "center.close", "center.abandon"}
"""Messages of an operation; a look belongs to none."""
FIRST_BACK_MS: Final = 1_000
LAST_BACK_MS: Final = 10_000
KEPT_FREE_MS: Final = 2_000
"""So long after an opening found no room a free place may be left to others; whoever was told to come back in ten
seconds may have gone home, and nobody is turned away for long for the sake of those."""
MOVING_MS: Final = 2_000
"""Callers that are asked to move are elsewhere after so long."""
MOVED_REST_MS: Final = 5_000
"""An operation that rests so long while callers move is taken to have moved with them."""
_ADOPTED: Final = 8
"""Times the total: so many leases at most, those taken unasked included; beyond, steps pass uncounted."""
_SMOOTHING: Final = 16
_LOOKED_AT: Final = 8
"""Leases looked at for each message: work of constant size, and twice what can come in meanwhile."""


class Asking(Struct, frozen=True):
    """Who asks to come in."""

    name: str
    """Of the message."""
    operation_id: str
    kind: ServiceClass
    municipality: str
    known: bool = False
    """Its CS has had this operation admitted before: an opening that takes it up again is one of its steps."""


class Lease(Struct):
    """One admitted operation."""

    kind: ServiceClass
    municipality: str
    since_ms: int
    until_ms: int
    busy: int = 0
    """Its messages under way."""
    over: bool = False


class Leases:
    """Which operations one relay has admitted. Times are any clock's that only rises, in milliseconds."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.held: Counter[ServiceClass] = Counter()
        self.refused = 0
        """Openings refused, ever."""
        self.refused_ms = -LAST_BACK_MS * 1000
        """When the last one was."""
        self.line = Line()
        self._full_ms = -LAST_BACK_MS * 1000
        """When an opening last found no room."""
        self._leases: OrderedDict[str, Lease] = OrderedDict()
        self._later: Counter[str] = Counter()
        self._usual_ms = float(FIRST_BACK_MS)
        self._moving_until_ms = 0

    def __len__(self) -> int:
        return len(self._leases)

    @property
    def full(self) -> bool:
        """Nine tenths of the total are taken."""
        return len(self._leases) * 10 >= self.limits.total * 9

    def enter(self, asking: Asking, now_ms: int, jitter: int) -> Lease | None:
        """Let a message in; whoever is let in must ``leave`` with what is returned.

        Args:
            asking: who.
            now_ms: now.
            jitter: a random byte; spreads the time to come back.

        Raises:
            ConnectionExcess: an opening came when its class has no room; says when to come back.
        """
        self._sweep(now_ms)
        if asking.name not in LEASED:
            return None
        lease = self._leases.get(asking.operation_id)
        if lease is None:
            if asking.name in OPENING and not asking.known:
                self._require_room(asking, now_ms, jitter)
            if len(self._leases) >= _ADOPTED * self.limits.total:
                return None
            lease = self._grant(asking, now_ms)
        lease.busy += 1
        self._leases.move_to_end(asking.operation_id)
        return lease

    def leave(self, operation_id: str, lease: Lease | None, now_ms: int, *, over: bool) -> None:
        """A message that was let in is answered or given up; ``over``: its operation ended with it."""
        if lease is None:
            return
        lease.busy -= 1
        lease.over = lease.over or over
        lease.until_ms = now_ms + self._rest_ms(now_ms)
        self._leases.move_to_end(operation_id)
        if lease.over and not lease.busy:
            self._usual_ms += (now_ms - lease.since_ms - self._usual_ms) / _SMOOTHING
            self._drop(operation_id)

    def moving(self, now_ms: int) -> None:
        """Callers move to another relay: what they take along must not hold places here for as long as a clerk thinks.

        Of the operations that stay, one that rests longer takes a place again with its next step, unasked as ever.
        """
        self._moving_until_ms = now_ms + MOVING_MS
        for lease in self._leases.values():
            lease.until_ms = min(lease.until_ms, now_ms + MOVED_REST_MS)

    def _rest_ms(self, now_ms: int) -> int:
        return min(self.limits.lease_ms, MOVED_REST_MS) if now_ms < self._moving_until_ms else self.limits.lease_ms

    def yields(self, asking: Asking, now_ms: int) -> bool:
        """Whether it leaves a free place to others who wait and have less, as long as places are few."""
        if asking.kind not in LATER or now_ms - self._full_ms > KEPT_FREE_MS:
            return False
        if asking.kind == "bulk" and bulk_must_yield(self.held, self.limits, setups_wait=self.line.waits("setup")):
            return True
        waiting = self.line.waiting()
        others = len(waiting) - (asking.municipality in waiting)
        mine, room = self._later[asking.municipality], self.limits.room_for_later(self.held)
        # Its own count never is less than itself, so it need not be left out.
        claims = sum(count for name, count in waiting.items() if self._later[name] < mine)
        return must_yield(mine, others, claims, room, free=room - later(self.held))

    def has_room(self, asking: Asking) -> bool:
        """Whether the relay has room for it, whoever waits."""
        return has_room(asking.kind, self.held, self.limits)

    def _require_room(self, asking: Asking, now_ms: int, jitter: int) -> None:
        room = self.has_room(asking)
        if room and not self.yields(asking, now_ms):
            self.line.leave(asking.operation_id, asking.kind)
            return
        if not room:
            self._full_ms = now_ms
        place = self.line.place(asking.operation_id, asking.kind)
        after_ms = self._back_after(asking.kind, place, jitter)
        self.line.join(asking.operation_id, asking.kind, asking.municipality, now_ms + after_ms)
        self.refused += 1
        self.refused_ms = now_ms
        raise ConnectionExcess(f"no room for {asking.kind}", retry_after_ms=after_ms, place_in_line=place)

    def _back_after(self, kind: ServiceClass, place: int, jitter: int) -> int:
        """When those before it are likely to be in, spread by half, so that nobody comes back as one.

        Each of the places that its class may use becomes free once in the usual length of an operation.
        """
        places = self.limits.room_for_later(self.held) if kind in LATER else self.limits.total
        usual = min(LAST_BACK_MS, max(FIRST_BACK_MS, self._usual_ms * place / max(1, places)))
        return int(usual * (1 + jitter / 510))

    def _grant(self, asking: Asking, now_ms: int) -> Lease:
        lease = Lease(asking.kind, asking.municipality, now_ms, now_ms + self.limits.lease_ms)
        self._leases[asking.operation_id] = lease
        self.held[lease.kind] += 1
        if lease.kind in LATER:
            self._later[lease.municipality] += 1
        return lease

    def _drop(self, operation_id: str) -> None:
        lease = self._leases.pop(operation_id)
        self.held[lease.kind] -= 1
        if lease.kind in LATER:
            self._later[lease.municipality] -= 1
            if not self._later[lease.municipality]:
                del self._later[lease.municipality]

    def _sweep(self, now_ms: int) -> None:
        """Those that rest stand at the head, oldest first; one with a message under way goes to the end."""
        self.line.sweep(now_ms)
        for _ in range(min(_LOOKED_AT, len(self._leases))):
            operation_id, lease = next(iter(self._leases.items()))
            if lease.busy:
                self._leases.move_to_end(operation_id)
            elif lease.until_ms <= now_ms:
                self._drop(operation_id)
            else:
                return
