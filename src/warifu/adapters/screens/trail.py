"""Who looked at what: each look is committed, in the sealed audit trail and for the auditor's page, before it shows."""

import msgspec

from warifu.domain.counter.records import Look, Staff
from warifu.kernel.calendar import jst_date
from warifu.kernel.ids import ULID_RANDOM_BYTES, new_ulid
from warifu.ports.clock import Clock
from warifu.ports.entropy import Entropy
from warifu.ports.store import AuditEntry, Change, Find, Insert, Store, Write

PAGE = 100


class Trace(msgspec.Struct, frozen=True):
    """A look that waits to be committed, alone or with what it is about."""

    look: Look
    audit: AuditEntry

    def with_writes(self, *writes: Write) -> Change:
        """The change that records it together with these."""
        return Change(now_ms=self.look.at_ms, writes=(Insert(self.look), *writes), audit=(self.audit,))


class Trail:
    """The trail of a municipality's counters."""

    def __init__(self, store: Store, clock: Clock, entropy: Entropy) -> None:
        self._store = store
        self._clock = clock
        self._entropy = entropy

    def trace(
        self, staff: Staff, terminal: str, action: str, subject: str, *, purpose: str, operation_id: str = ""
    ) -> Trace:
        """A look or deed of a staff member.

        Args:
            staff: who.
            terminal: where.
            action: what, e.g. ``resident.look``.
            subject: whom it concerns: a resident id, a card id or a login.
            purpose: why.
            operation_id: under which operation, if any.
        """
        now_ms = self._clock.now_ms()
        look = Look(
            municipality=staff.municipality,
            day=jst_date(now_ms).isoformat(),
            look_id=new_ulid(now_ms, self._entropy.random_bytes(ULID_RANDOM_BYTES)),
            at_ms=now_ms,
            staff=staff.login,
            terminal=terminal,
            action=action,
            subject=subject,
            purpose=purpose,
            operation_id=operation_id,
        )
        actor = f"{terminal}/{staff.login}"
        return Trace(look, AuditEntry(actor, action, subject, operation_id or look.look_id, purpose))

    async def record(self, *traces: Trace) -> None:
        """Commit looks, all in one change."""
        if traces:
            looks = tuple(Insert(trace.look) for trace in traces)
            audit = tuple(trace.audit for trace in traces)
            await self._store.commit(Change(now_ms=traces[0].look.at_ms, writes=looks, audit=audit))

    async def of_day(self, municipality: str, day: str, after: str = "") -> tuple[Look, ...]:
        """A page of a day's looks, oldest first, after the one named."""
        start = (municipality, day, after) if after else None
        where = {"municipality": municipality, "day": day}
        return (await self._store.read(Find(Look, where, PAGE, start))).all(0, Look)
