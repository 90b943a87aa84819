"""What a counter may look at: cards in a state, the holder of a card, the photo, a search; and another form.

Only cards that are the asking municipality's, or are to be continued there, and only its residents: for any other the
answer is that there is none.
"""

from warifu.contract.center import (
    AskCards,
    AskFace,
    AskHolder,
    Cards,
    Face,
    FormGiven,
    GiveForm,
    Holder,
    Holders,
    SearchHolders,
)
from warifu.contract.intake import ApplicationPhoto, AskNewForm, AskPhoto, NewForm
from warifu.contract.numbering import FindNumber, FoundResident
from warifu.contract.registry import AskIdentity, FoundResidents, Identity, SearchResidents
from warifu.domain.cards.records import Card
from warifu.domain.cards.views import card_view
from warifu.kernel.errors import NotFound
from warifu.nodes.base import Call, KeepingNode, expect
from warifu.ports.store import Find, Get


class Looks:
    """The centre's answers to looks from counters.

    Args:
        node: the centre.
    """

    def __init__(self, node: KeepingNode) -> None:
        self.node = node

    async def cards(self, call: Call) -> Cards:
        """The municipality's cards in one state."""
        request = expect(call.request, AskCards)
        where = {"municipality": call.envelope.municipality, "state": request.state}
        after = (request.after,) if request.after else None
        snapshot = await self.node.store.read(Find(Card, where, request.limit, after))
        return Cards(cards=tuple(map(card_view, snapshot.all(0, Card))))

    async def holder(self, call: Call) -> Holder:
        """Whose card it is."""
        request = expect(call.request, AskHolder)
        card = await self.card_here(call, request.card_id)
        identity = await self._identity(call, card.resident_id, request.purpose)
        return _holder(identity, card)

    async def face(self, call: Call) -> Face:
        """The holder's photo; intake audits the look too."""
        request = expect(call.request, AskFace)
        card = await self.card_here(call, request.card_id)
        asked = self.node.asked(call)
        await self.node.look(call, asked.audit("photo.look", card.resident_id, request.purpose))
        ask = AskPhoto(application_id=card.application_id, purpose=request.purpose)
        return Face(photo=(await self.node.ask(call, "intake", ask, ApplicationPhoto, "photo")).photo)

    async def search(self, call: Call) -> Holders:
        """Search the municipality's residents, each with the live card."""
        request = expect(call.request, SearchHolders)
        found, more = await self._found(call, request)
        holders = [_holder(one, await self._live_card(one.resident_id)) for one in found]
        return Holders(holders=tuple(holders), more=more)

    async def new_form(self, call: Call) -> FormGiven:
        """Another form by intake, whose remembered answer makes this one repeatable. ``NotFound``, ``CardHeld``."""
        request = expect(call.request, GiveForm)
        identity = await self._identity(call, request.resident_id, "form.give")
        if identity.person.municipality != call.envelope.municipality or not identity.registered:
            raise NotFound(f"resident {request.resident_id}")
        await self.node.look(call, self.node.asked(call).audit("form.give", request.resident_id, request.reason))
        ask = AskNewForm(resident_id=request.resident_id, reason=request.reason)
        given = await self.node.ask(call, "intake", ask, NewForm, "new_form")
        return FormGiven(application_id=given.application_id, person=identity.person)

    async def _found(self, call: Call, request: SearchHolders) -> tuple[tuple[Identity, ...], bool]:
        if request.individual_number or request.application_id:
            resident_id = await self._by_number(call, request)
            return await self._one_resident(call, resident_id, request.purpose), False
        ask = SearchResidents(
            municipality=call.envelope.municipality,
            name=request.name,
            birth_date=request.birth_date,
            resident_code=request.resident_code,
            purpose=request.purpose,
        )
        answer = await self.node.ask(call, "registry", ask, FoundResidents, "search")
        return answer.residents, answer.more

    async def _by_number(self, call: Call, request: SearchHolders) -> str:
        if request.individual_number:
            ask = FindNumber(individual_number=request.individual_number, purpose=request.purpose)
            return (await self.node.ask(call, "numbering", ask, FoundResident, "find")).resident_id
        found = (await self.node.store.read(Find(Card, {"application_id": request.application_id}))).one(0, Card)
        return found.resident_id if found else ""

    async def _one_resident(self, call: Call, resident_id: str, purpose: str) -> tuple[Identity, ...]:
        if not resident_id:
            return ()
        identity = await self._identity(call, resident_id, purpose)
        return (identity,) if identity.person.municipality == call.envelope.municipality else ()

    async def _identity(self, call: Call, resident_id: str, purpose: str) -> Identity:
        ask = AskIdentity(resident_id=resident_id, purpose=purpose)
        return await self.node.ask(call, "registry", ask, Identity, "identity")

    async def _live_card(self, resident_id: str) -> Card | None:
        return (await self.node.store.read(Find(Card, {"live_resident_id": resident_id}))).one(0, Card)

    async def card_here(self, call: Call, card_id: str) -> Card:
        """A card that is the asking municipality's business. ``NotFound`` for any other."""
        card = (await self.node.store.read(Get(Card, (card_id,)))).one(0, Card)
        if card is None or call.envelope.municipality not in {card.municipality, card.continuation_municipality}:
            raise NotFound(f"card {card_id}")
        return card


def _holder(identity: Identity, card: Card | None) -> Holder:
    return Holder(
        resident_id=identity.resident_id,
        person=identity.person,
        registered=identity.registered,
        card=card_view(card) if card else None,
        application_id=card.application_id if card else "",
    )
