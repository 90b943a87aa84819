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
from warifu.ports.store import Change, Find, Insert, JournalEntry, Snapshot


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
            return Decision(answer=Done(), writes=(Insert(fresh),), journal=(entry,))

        return await self.node.step(call, (Find(KeyHolder, {}),), rule, Done)

    async def make(self, call: Call) -> GenerationMade:
        """Make the next generation.

        Raises:
            DualControl: two holders have not approved just this.
            NotNextGeneration: it is not the next one's number.
        """
        request = expect(call.request, MakeGeneration)
        earlier = await self.node.answered(call, GenerationMade)
        if earlier is not None:
            return earlier
        found = await self.node.store.read(Find(KeyHolder, {}), Find(CaGeneration, {"ca": request.ca}))
        statement = generation_statement(request.ca, request.generation, request.active_from_ms)
        require_two(request.approvals, found.all(0, KeyHolder), statement)
        known = found.all(1, CaGeneration) or await self.signer.generations(request.ca)
        if request.generation != known[-1].generation + 1:
            raise NotNextGeneration(f"generation {request.generation} of the {request.ca} authority")
        fresh = await self.signer.make(request.ca, request.generation, request.active_from_ms)
        text = minutes(statement, request.approvals, fresh.der, call.now_ms)
        signature = await self.signer.hsm.bytes_of(Sign(fresh.key_label, text), self.node.remaining_ms(call))
        record = KeyCeremony(
            ca=request.ca, generation=request.generation, minutes=text, signature=signature, made_ms=call.now_ms
        )
        detail = {"generation": request.generation, "holders": sorted(each.holder for each in request.approvals)}
        entry = JournalEntry(f"ca:{request.ca}", "generation_made", call.operation_id, detail)
        change = Change(now_ms=call.now_ms, writes=(Insert(fresh), Insert(record)), journal=(entry,))
        await self.node.store.commit(change)
        self.signer.forget(request.ca)
        made = GenerationMade(generation=request.generation, der=fresh.der, minutes=text, signature=signature)
        return await self.node.remember(call, made, GenerationMade)
