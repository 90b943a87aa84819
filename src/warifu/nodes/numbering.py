"""Individual number assignment (個人番号付番システム). Numbers are encrypted at rest; every look is audited."""

from typing import ClassVar

from warifu.contract.intake import Notify
from warifu.contract.message import Done
from warifu.contract.numbering import AssignNumber, FindNumber, FoundResident, Number, RevealNumber
from warifu.domain.decision import Decision
from warifu.domain.residents.records import AssignedNumber
from warifu.kernel.check_digits import individual_number_from
from warifu.kernel.errors import NotFound, Stale
from warifu.nodes.base import MAX_DECISIONS, Call, KeepingNode, World, expect
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.with_hsm import WithHsm
from warifu.ports.hsm import Mac, Unwrap, Wrap
from warifu.ports.store import Find, Get, Insert, Snapshot, Store

RECORDS = (AssignedNumber,)
WRAP_KEY = "numbering-wrap"
INDEX_KEY = "numbering-index"


class Numbering(WithHsm, KeepingNode):
    """Gives each resident one number, for ever; no two residents the same."""

    KIND: ClassVar[str] = "numbering"

    def __init__(self, world: World, store: Store, hsm: HsmPool) -> None:
        super().__init__(world, store)
        self.hsm = hsm
        self.handlers |= {AssignNumber.NAME: self.assign, RevealNumber.NAME: self.reveal, FindNumber.NAME: self.find}

    async def assign(self, call: Call) -> Done:
        """Assign a number unless the resident has one; tell intake to send the notification card."""
        request = expect(call.request, AssignNumber)
        for _ in range(MAX_DECISIONS):
            earlier = await self.answered(call, Done)
            if earlier is not None:
                return earlier
            candidate = await self._candidate(call, request.resident_id)
            try:
                return await self._assign(call, request, candidate)
            except _NumberTaken:
                continue
        raise Stale("no free number was drawn")

    async def _assign(self, call: Call, request: AssignNumber, candidate: AssignedNumber) -> Done:
        tries = 0

        def rule(snapshot: Snapshot) -> Decision:
            nonlocal tries
            asked = self.asked(call)
            notify = Notify(resident_id=request.resident_id, municipality=request.municipality)
            outbox = (asked.outbox("intake", notify, order_key=request.resident_id),)
            if snapshot.one(0, AssignedNumber) is not None:
                return Decision(answer=Done(), outbox=outbox)
            tries += 1
            if tries > 1:
                raise _NumberTaken  # the guarded write found the blind index taken: draw again
            return Decision(
                answer=Done(),
                writes=(Insert(candidate),),
                journal=(asked.journal(f"resident:{request.resident_id}", "number_assigned"),),
                audit=(asked.audit("number.assign", request.resident_id, "numbering.assign"),),
                outbox=outbox,
            )

        return await self.step(call, (Get(AssignedNumber, (request.resident_id,)),), rule, Done)

    async def _candidate(self, call: Call, resident_id: str) -> AssignedNumber:
        number = individual_number_from(self.world.entropy.random_bytes(16)).encode()
        encrypted = await self.hsm_bytes(call, Wrap(WRAP_KEY, number, resident_id.encode()))
        index = await self.hsm_bytes(call, Mac(INDEX_KEY, number))
        return AssignedNumber(resident_id=resident_id, encrypted=encrypted, blind_index=index, assigned_ms=call.now_ms)

    async def reveal(self, call: Call) -> Number:
        """Look at a number; the audit entry is committed before the number leaves."""
        request = expect(call.request, RevealNumber)
        snapshot = await self.store.read(Get(AssignedNumber, (request.resident_id,)))
        found = snapshot.one(0, AssignedNumber)
        if found is None:
            raise NotFound(f"number of resident {request.resident_id}")
        await self.look(call, self.asked(call).audit("number.look", request.resident_id, request.purpose))
        unwrap = Unwrap(WRAP_KEY, found.encrypted, request.resident_id.encode())
        number = await self.hsm_bytes(call, unwrap)
        return Number(individual_number=number.decode())

    async def find(self, call: Call) -> FoundResident:
        """Whose number it is, by the blind index; found or not, the look is audited where there is somebody."""
        request = expect(call.request, FindNumber)
        index = await self.hsm_bytes(call, Mac(INDEX_KEY, request.individual_number.encode()))
        found = (await self.store.read(Find(AssignedNumber, {"blind_index": index}))).one(0, AssignedNumber)
        if found is None:
            return FoundResident(resident_id="")
        await self.look(call, self.asked(call).audit("number.find", found.resident_id, request.purpose))
        return FoundResident(resident_id=found.resident_id)


class _NumberTaken(Exception):  # noqa: N818 - a signal between two functions of this module
    """The drawn number belongs to somebody else."""
