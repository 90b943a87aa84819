"""Registry of residents, national server: identity information and its changes (住基ネット全国サーバ)."""

from typing import ClassVar, Final

from warifu.contract.registry import (
    AskIdentity,
    Changed,
    ChangeResident,
    FoundResidents,
    Identity,
    Register,
    Registered,
    SearchResidents,
)
from warifu.domain.decision import Decision
from warifu.domain.residents import rules
from warifu.domain.residents.records import Resident
from warifu.kernel.check_digits import resident_code_from
from warifu.kernel.errors import NotFound
from warifu.nodes.base import Call, KeepingNode, World, expect
from warifu.ports.store import Change, Find, Get, Snapshot, Store

RECORDS = (Resident,)
PAGE: Final = 200
"""Records that a search looks through: of one name, or of one birthday, in one municipality."""


class Registry(KeepingNode):
    """Enters residents, records their changes, provides identity information."""

    KIND: ClassVar[str] = "registry"

    def __init__(self, world: World, store: Store) -> None:
        super().__init__(world, store)
        self.handlers |= {
            Register.NAME: self.register,
            ChangeResident.NAME: self.change,
            AskIdentity.NAME: self.identity,
            SearchResidents.NAME: self.search,
        }

    async def register(self, call: Call) -> Registered:
        """Enter a resident under a fresh resident record code."""
        request = expect(call.request, Register)

        def rule(snapshot: Snapshot) -> Decision:
            # Drawn anew at each decision: a code that is taken makes the commit stale, and the next draw differs.
            code = resident_code_from(self.world.entropy.random_bytes(16))
            return rules.register(snapshot.one(0, Resident), request, code, self.asked(call))

        return await self.step(call, (Get(Resident, (request.resident_id,)),), rule, Registered)

    async def change(self, call: Call) -> Changed:
        """Record a change of a resident's record."""
        request = expect(call.request, ChangeResident)

        def rule(snapshot: Snapshot) -> Decision:
            return rules.change(snapshot.one(0, Resident), request, self.asked(call))

        return await self.step(call, (Get(Resident, (request.resident_id,)),), rule, Changed)

    async def identity(self, call: Call) -> Identity:
        """Provide identity information; the look is audited before it is answered."""
        request = expect(call.request, AskIdentity)
        audit = self.asked(call).audit("resident.look", request.resident_id, request.purpose)
        snapshot = await self.store.look(Get(Resident, (request.resident_id,)), audit, call.now_ms)
        found = snapshot.one(0, Resident)
        if found is None:
            raise NotFound(f"resident {request.resident_id}")
        return _identity(found)

    async def search(self, call: Call) -> FoundResidents:
        """Search one municipality's register; each resident that is shown leaves an audit entry first."""
        request = expect(call.request, SearchResidents)
        snapshot = await self.store.read(*(Find(Resident, where, PAGE) for where in rules.searches(request)))
        several = [snapshot.all(number, Resident) for number in range(len(snapshot.results))]
        found = rules.matching(request, several)
        shown = found[: SearchResidents.LIMIT]
        asked = self.asked(call)
        looks = tuple(asked.audit("resident.search", one.resident_id, request.purpose) for one in shown)
        await self.store.commit(Change(now_ms=call.now_ms, audit=looks))
        more = len(found) > len(shown) or any(len(each) == PAGE for each in several)
        return FoundResidents(residents=tuple(map(_identity, shown)), more=more)


def _identity(found: Resident) -> Identity:
    return Identity(
        resident_id=found.resident_id,
        resident_code=found.resident_code,
        person=found.person(),
        registered=found.registered,
        resident_version=found.version,
    )
