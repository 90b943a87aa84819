"""Key ceremonies: enrolling holders of the authorities' keys, and making a new generation with the consent of two."""

from warifu.contract.authority import EnrolHolder, GenerationMade, MakeGeneration
from warifu.contract.message import Done
from warifu.domain.certificates.ceremony import (
    HOLDERS,
    enrolment_statement,
    generation_statement,
    minutes,
    require_two,
)
from warifu.domain.certificates.errors import DualControl, NotNextGeneration
from warifu.domain.certificates.records import CaGeneration, KeyCeremony, KeyHolder
from warifu.domain.decision import Decision
from warifu.nodes.authority.signing import Signer
from warifu.nodes.base import Call, KeepingNode, expect
from warifu.ports.hsm import Sign
from warifu.ports.store import Find, Get, Insert, JournalEntry, Snapshot, Update


class Ceremonies:
    """What happens to the authorities' keys."""

    def __init__(self, node: KeepingNode, signer: Signer) -> None:
        self.node = node
        self.signer = signer

    async def enrol(self, call: Call) -> Done:
        """Make a person a key holder; from the third on with the consent of two.

        Raises:
            DualControl: two holders have not approved, or the name or the key is another holder's.
        """
        request = expect(call.request, EnrolHolder)
        asked = self.node.asked(call)
        first = (await self.signer.generations("signature"))[0]

        def rule(snapshot: Snapshot) -> Decision:
            holders = snapshot.all(0, KeyHolder)
            if any((each.holder, each.public_key) == (request.holder, request.public_key) for each in holders):
                return Decision(answer=Done())
            if any(request.holder == each.holder or request.public_key == each.public_key for each in holders):
                raise DualControl(f"{request.holder}: the name or the key is another holder's")
            if len(holders) >= HOLDERS:
                require_two(request.approvals, holders, enrolment_statement(request.holder, request.public_key))
            fresh = KeyHolder(holder=request.holder, public_key=request.public_key, enrolled_ms=asked.now_ms)
            entry = asked.journal(f"key_holder:{request.holder}", "enrolled")
            guard = tuple(Update(each) for each in snapshot.all(1, CaGeneration))
            return Decision(answer=Done(), writes=(Insert(fresh), *guard), journal=(entry,))

        # How many holders there are is in no record of its own: whoever is enrolled moves the first generation's, so
        # that of people who are enrolled at once the second is counted with the first.
        reads = (Find(KeyHolder, {}), Get(CaGeneration, (first.ca, first.generation)))
        return await self.node.step(call, reads, rule, Done)

    async def make(self, call: Call) -> GenerationMade:
        """Make the next generation.

        Raises:
            DualControl: two holders have not approved just this.
            NotNextGeneration: it is not the next one's number.
        """
        request = expect(call.request, MakeGeneration)
        await self.signer.generations(request.ca)  # there is a first one
        reads = (Find(KeyHolder, {}), Find(CaGeneration, {"ca": request.ca}))
        begun, earlier = await self.node.begin(call, reads, GenerationMade)
        if earlier is not None:
            self.signer.forget(request.ca)
            return earlier
        statement = generation_statement(request.ca, request.generation, request.active_from_ms)
        _require_next(request, statement, begun)
        fresh = await self.signer.make(request.ca, request.generation, request.active_from_ms)
        text = minutes(statement, request.approvals, fresh.der, call.now_ms)
        signature = await self.signer.hsm.bytes_of(Sign(fresh.key_label, text), self.node.remaining_ms(call))
        record = KeyCeremony(
            ca=request.ca, generation=request.generation, minutes=text, signature=signature, made_ms=call.now_ms
        )
        detail = {"generation": request.generation, "holders": sorted(each.holder for each in request.approvals)}
        entry = JournalEntry(f"ca:{request.ca}", "generation_made", call.operation_id, detail)
        made = GenerationMade(generation=request.generation, der=fresh.der, minutes=text, signature=signature)

        def rule(snapshot: Snapshot) -> Decision:
            _require_next(request, statement, snapshot)
            return Decision(answer=made, writes=(Insert(fresh), Insert(record)), journal=(entry,))

        try:
            return await self.node.step(call, reads, rule, GenerationMade, begun=begun)
        finally:
            self.signer.forget(request.ca)  # it may stand, whatever was heard of it


def _require_next(request: MakeGeneration, statement: bytes, snapshot: Snapshot) -> None:
    """Two holders approved just this, and it is the next one."""
    require_two(request.approvals, snapshot.all(0, KeyHolder), statement)
    if request.generation != snapshot.all(1, CaGeneration)[-1].generation + 1:
        raise NotNextGeneration(f"generation {request.generation} of the {request.ca} authority")
