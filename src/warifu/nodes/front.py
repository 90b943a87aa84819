"""The front: registered verifiers ask it whether certificates stand, and fetch revocation lists.

It faces the internet, so it holds no personal data and has no way to any: of certificates it keeps CA, serial number
and final status, everything else it asks JPKI by serial number (report FY2015, table 7: the drill in which the server
on the internet side is broken into). What can still change is asked anew for every request: what was revoked
before it came is answered revoked.
"""

import asyncio
import hashlib
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar, Final

from msgspec import Struct

from warifu.contract.authority import AskListPart, AskStatuses, ListPart, SerialStatus, Statuses
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.contract.front import (
    ApproveVerifier,
    AskVerifiers,
    AskVerifierUse,
    RegisterVerifier,
    SuspendVerifier,
    Verifier,
    Verifiers,
    VerifierUses,
)
from warifu.contract.message import Request
from warifu.contract.values import CertificateKind
from warifu.domain.decision import Decision
from warifu.domain.verifiers import rules
from warifu.domain.verifiers.records import FinalStatus, StoredUse, StoredVerifier
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import ConnectionExcess, Fault, Malformed, Stale
from warifu.kernel.ids import ULID_RANDOM_BYTES, new_ulid
from warifu.nodes.base import MAX_DECISIONS, A, Call, KeepingNode, Probe, World, expect
from warifu.ports.store import AuditEntry, Change, Find, Get, Insert, Snapshot, Store

RECORDS = (StoredVerifier, StoredUse, FinalStatus)
MAX_SERIALS: Final = 5_000
"""Of one request."""
ASKED_AT_ONCE: Final = 1_000
"""Serial numbers in one message to JPKI."""
AT_ONCE: Final = 4
"""Requests of one verifier at work; the next is told when to come back."""
READS: Final = 64
LISTS_KEPT: Final = 4
MAX_LIST_BYTES: Final = 256 << 20
ANSWER_MS: Final = 9_000
PAGE: Final = 100
DAYS: Final = 400


class Credential(Struct, frozen=True):
    """What a verifier shows."""

    verifier_id: str
    secret: bytes

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Credential({self.verifier_id})"


class Checked(Struct, frozen=True, kw_only=True):
    """The answer to a bulk check."""

    as_of_ms: int
    """The check was made at or after this instant."""
    statuses: tuple[SerialStatus, ...]
    """In the order of the serial numbers asked."""


class Front(KeepingNode):
    """Answers verifiers, and the operators who register them."""

    KIND: ClassVar[str] = "front"

    def __init__(self, world: World, store: Store) -> None:
        super().__init__(world, store)
        self._at_work: Counter[str] = Counter()
        self._lists: OrderedDict[bytes, bytes] = OrderedDict()
        self.handlers |= {
            RegisterVerifier.NAME: self.register,
            ApproveVerifier.NAME: self.approve,
            SuspendVerifier.NAME: self.suspend,
            AskVerifiers.NAME: self.verifiers,
            AskVerifierUse.NAME: self.uses,
        }

    # ---- operators ---------------------------------------------------------------------------------------------

    async def register(self, call: Call) -> Verifier:
        """Propose a verifier."""
        request = expect(call.request, RegisterVerifier)

        def rule(snapshot: Snapshot) -> Decision:
            return rules.register(snapshot.one(0, StoredVerifier), request, self.asked(call))

        return await self.step(call, (Get(StoredVerifier, (request.verifier_id,)),), rule, Verifier)

    async def approve(self, call: Call) -> Verifier:
        """Approve what somebody else proposed."""
        request = expect(call.request, ApproveVerifier)

        def rule(snapshot: Snapshot) -> Decision:
            return rules.approve(snapshot.one(0, StoredVerifier), request, self.asked(call))

        return await self.step(call, (Get(StoredVerifier, (request.verifier_id,)),), rule, Verifier)

    async def suspend(self, call: Call) -> Verifier:
        """End a verifier's access."""
        request = expect(call.request, SuspendVerifier)

        def rule(snapshot: Snapshot) -> Decision:
            return rules.suspend(snapshot.one(0, StoredVerifier), request, self.asked(call))

        return await self.step(call, (Get(StoredVerifier, (request.verifier_id,)),), rule, Verifier)

    async def verifiers(self, call: Call) -> Verifiers:
        """Who is registered."""
        request = expect(call.request, AskVerifiers)
        page = Find(StoredVerifier, {}, PAGE, (request.after,) if request.after else None)
        found = (await self.store.read(page)).all(0, StoredVerifier)
        return Verifiers(verifiers=tuple(rules.view(each) for each in found))

    async def uses(self, call: Call) -> VerifierUses:
        """The log of one verifier's use."""
        request = expect(call.request, AskVerifierUse)
        after = (request.verifier_id, request.since, "")
        found = (await self.store.read(Find(StoredUse, {"verifier_id": request.verifier_id}, DAYS, after))).all(
            0, StoredUse
        )
        return VerifierUses(uses=tuple(rules.use_view(each) for each in found))

    # ---- verifiers ---------------------------------------------------------------------------------------------

    async def check(self, credential: Credential, ca: CertificateKind, serials: Sequence[int]) -> Checked:
        """The status of many certificates, each as it is at an instant after the request came.

        Raises:
            NotAdmitted, OutOfRight: the verifier may not ask this.
            Malformed: none or too many serial numbers, or one twice.
            ConnectionExcess: this verifier has too much at work.
            TooMuchForADay: or has asked too much today.
            Unavailable: JPKI does not answer, and without it nothing is good.
        """
        if not 1 <= len(serials) <= MAX_SERIALS or len(set(serials)) != len(serials):
            raise Malformed(f"1 to {MAX_SERIALS} serial numbers, each once")
        async with self._admitted(credential, ca) as verifier:
            now_ms = self.world.clock.now_ms()
            kept = await self._kept(ca, serials)
            asked = await self._asked_jpki(ca, [serial for serial in serials if serial not in kept])
            statuses = tuple(kept.get(serial) or asked[serial] for serial in serials)
            await self._log(verifier, "status", statuses, _digest(ca, serials))
            await self._keep(ca, asked.values())
            return Checked(as_of_ms=now_ms, statuses=statuses)

    async def fetch(self, credential: Credential, ca: CertificateKind, municipality: str = "") -> bytes:
        """The current list (DER), full or of one municipality. Raises as ``check``."""
        async with self._admitted(credential, ca) as verifier:
            whole = await self._list(ca, municipality)
            await self._log(verifier, "list", (), hashlib.sha256(whole).hexdigest()[:16])
            return whole

    @asynccontextmanager
    async def _admitted(self, credential: Credential, ca: CertificateKind) -> AsyncIterator[StoredVerifier]:
        found = (await self.store.read(Get(StoredVerifier, (credential.verifier_id,)))).one(0, StoredVerifier)
        verifier = rules.admit(found, credential.secret, ca)
        if self._at_work[verifier.verifier_id] >= AT_ONCE:
            raise ConnectionExcess(f"{verifier.verifier_id} has {AT_ONCE} requests at work")
        self._at_work[verifier.verifier_id] += 1
        try:
            yield verifier
        finally:
            self._at_work[verifier.verifier_id] -= 1

    async def _kept(self, ca: CertificateKind, serials: Sequence[int]) -> dict[int, SerialStatus]:
        """Those revoked for good: known here, whatever else happens."""
        found: dict[int, SerialStatus] = {}
        for start in range(0, len(serials), READS):
            page = serials[start : start + READS]
            snapshot = await self.store.read(*[Get(FinalStatus, (ca, serial)) for serial in page])
            records = [snapshot.one(position, FinalStatus) for position in range(len(page))]
            found |= {record.serial: rules.of_final(record) for record in records if record is not None}
        return found

    async def _asked_jpki(self, ca: CertificateKind, serials: Sequence[int]) -> dict[int, SerialStatus]:
        pages = [serials[start : start + ASKED_AT_ONCE] for start in range(0, len(serials), ASKED_AT_ONCE)]
        asked: dict[int, SerialStatus] = {}
        for page in pages:
            answer = await self._ask("authority", AskStatuses(ca=ca, serials=tuple(page)), Statuses)
            asked |= {each.serial: each for each in answer.statuses}
        if asked.keys() != set(serials):
            raise Fault("JPKI answered other serial numbers than it was asked")
        return asked

    async def _log(self, verifier: StoredVerifier, what: str, statuses: tuple[SerialStatus, ...], subject: str) -> None:
        """The request in the day's log and in the audit trail, before the answer leaves."""
        for _ in range(MAX_DECISIONS):
            now_ms = self.world.clock.now_ms()
            key = (verifier.verifier_id, jst_date(now_ms), what)
            found = (await self.store.read(Get(StoredUse, key))).one(0, StoredUse)
            write = rules.used(found, verifier, what, statuses, now_ms)
            entry = AuditEntry(
                actor=f"verifier/{verifier.verifier_id}",
                action=f"verifier.{what}",
                subject=f"{len(statuses)}:{subject}",
                operation_id=self._operation_id(),
                purpose="verifier.request",
            )
            try:
                await self.store.commit(Change(now_ms=now_ms, writes=(write,), audit=(entry,)))
            except Stale:
                continue
            return
        raise Stale("the day's log kept changing")

    async def _keep(self, ca: CertificateKind, statuses: Iterable[SerialStatus]) -> None:
        """Keep what is final. Another request may have kept some of it meanwhile: then it is asked once more later."""
        finals = [rules.final(ca, one) for one in statuses]
        writes = tuple(Insert(one) for one in finals if one is not None)
        if not writes:
            return
        try:
            await self.store.commit(Change(now_ms=self.world.clock.now_ms(), writes=writes))
        except Stale:
            self.world.log.info("status.kept_meanwhile")

    async def _list(self, ca: CertificateKind, municipality: str) -> bytes:
        first = await self._part(AskListPart(ca=ca, municipality=municipality))
        if first.total > MAX_LIST_BYTES:
            raise Fault("a list larger than the front hands out")
        whole = self._lists.get(first.digest)
        if whole is None:
            whole = await self._fetched(ca, municipality, first)
            self._lists[first.digest] = whole
        self._lists.move_to_end(first.digest)
        while len(self._lists) > LISTS_KEPT:
            self._lists.popitem(last=False)
        return whole

    async def _fetched(self, ca: CertificateKind, municipality: str, first: ListPart) -> bytes:
        parts, size = [first.data], len(first.data)
        while size < first.total and parts[-1]:
            ask = AskListPart(ca=ca, municipality=municipality, offset=size, digest=first.digest)
            parts.append((await self._part(ask)).data)
            size += len(parts[-1])
        whole = b"".join(parts)
        if hashlib.sha256(whole).digest() != first.digest:
            raise Fault("the parts are not the list")
        return whole

    async def _part(self, ask: AskListPart) -> ListPart:
        return await self._ask("responder", ask, ListPart)

    async def _ask(self, destination: str, request: Request, answer: type[A]) -> A:
        """Ask on the front's own behalf."""
        envelope = Envelope(
            name=request.NAME,
            operation_id=self._operation_id(),
            step="front",
            sender=self.world.name,
            remaining_ms=ANSWER_MS,
            body=encode(request),
        )
        return await self.exchange(destination, envelope, answer)

    def _operation_id(self) -> str:
        return new_ulid(self.world.clock.now_ms(), self.world.entropy.random_bytes(ULID_RANDOM_BYTES))

    def parts(self) -> dict[str, Probe]:
        """The store, and the way to JPKI."""
        return super().parts() | {"authority": self._probe_authority}

    async def _probe_authority(self) -> None:
        async with asyncio.timeout(ANSWER_MS / 1000):
            await self._ask("authority", AskStatuses(ca="authentication", serials=(0,)), Statuses)


def _digest(ca: str, serials: Sequence[int]) -> str:
    """Tells one request's serial numbers from another's in the audit trail, without keeping whom a verifier met."""
    return hashlib.sha256(f"{ca}:{','.join(map(str, serials))}".encode()).hexdigest()[:16]
