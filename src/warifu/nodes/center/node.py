"""The centre's messages. Each handler reads, asks whom it must, lets a pure rule decide, and commits once."""

import asyncio
import hashlib
from collections.abc import Callable
from typing import ClassVar, TypeVar

import msgspec

from warifu.chip.contents import card_key_body
from warifu.contract.authority import AskCertificates, Certificates
from warifu.contract.center import (
    AbandonOperation,
    AbolishCard,
    AskCard,
    AskCardData,
    AskCardKeys,
    AskCards,
    AskFace,
    AskHolder,
    AskLiveCard,
    AskOrders,
    AskSigningKey,
    CardData,
    CardKeys,
    CardMade,
    CardsReceived,
    CardsShipped,
    CardView,
    CloseOperation,
    Confirmed,
    ConfirmWrite,
    GiveForm,
    LiveCard,
    Opened,
    OpenOperation,
    OrderCard,
    Ordered,
    OrderedCard,
    Orders,
    Personalisation,
    Personalise,
    PrepareWrite,
    Received,
    RevokeOnRequest,
    Script,
    SearchHolders,
    SigningKey,
    SuspendCard,
)
from warifu.contract.message import Answer, Done
from warifu.contract.registry import AskIdentity, Identity, ResidentChanged
from warifu.contract.unsettled import AskUnsettled
from warifu.domain.cards import operations, production
from warifu.domain.cards.errors import WrongCardState
from warifu.domain.cards.operations import State, steps_of
from warifu.domain.cards.records import CalendarMark, Card, CardWrite, Operation
from warifu.domain.cards.views import card_view
from warifu.domain.decision import Decision
from warifu.domain.production.rules import BATCH_MAX
from warifu.kernel.calendar import card_valid_until, jst_date
from warifu.kernel.errors import Malformed, NotFound, Stale, WarifuError
from warifu.kernel.ids import card_id, ulid_text
from warifu.nodes.base import MAX_DECISIONS, Call, KeepingNode, Probe, World, expect, unguarded
from warifu.nodes.center.completing import Completer
from warifu.nodes.center.lapsing import Lapser
from warifu.nodes.center.looks import Looks
from warifu.nodes.center.recent import Recent, written
from warifu.nodes.center.scripts import CARD_MASTER, ROOT_KEY, SIGNING_KEY, Job, MadeScript, ScriptMaker
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.sealed_keys import sealed_keys
from warifu.nodes.with_hsm import WithHsm
from warifu.ports.artwork import Artwork
from warifu.ports.hsm import PublicKey, Sign
from warifu.ports.store import Change, Find, Get, Snapshot, Store, Update

RECORDS = (Card, Operation, CardWrite, CalendarMark)


A = TypeVar("A", bound=Answer)


class Center(WithHsm, KeepingNode):
    """The card management business server."""

    KIND: ClassVar[str] = "center"
    WARNINGS = KeepingNode.WARNINGS | {"unsettled"}
    """A card that must be asked is work for a counter; the centre does its own."""

    def __init__(self, world: World, store: Store, hsm: HsmPool, artwork: Artwork) -> None:
        super().__init__(world, store)
        self.hsm = hsm
        self.scripts = ScriptMaker(self, hsm, artwork)
        self.completer = Completer(self)
        self.recent = Recent()
        looks = Looks(self)
        self.handlers |= {
            AskCards.NAME: looks.cards,
            AskHolder.NAME: looks.holder,
            AskFace.NAME: looks.face,
            SearchHolders.NAME: looks.search,
            GiveForm.NAME: looks.new_form,
            AskUnsettled.NAME: self.completer.listed,
            OrderCard.NAME: self.order,
            AskOrders.NAME: self.orders,
            AskCardKeys.NAME: self.card_keys,
            AskSigningKey.NAME: self.signing_key,
            AskCardData.NAME: self.card_data,
            Personalise.NAME: self.personalise,
            CardMade.NAME: self.made,
            CardsShipped.NAME: self.shipped,
            CardsReceived.NAME: self.receive,
            OpenOperation.NAME: self.open,
            PrepareWrite.NAME: self.write,
            ConfirmWrite.NAME: self.confirm,
            CloseOperation.NAME: self.close,
            AbandonOperation.NAME: self.abandon,
            AskCard.NAME: self.card,
            AskLiveCard.NAME: self.live_card,
            SuspendCard.NAME: self.suspend,
            AbolishCard.NAME: self.abolish,
            RevokeOnRequest.NAME: self.revoke_on_request,
            ResidentChanged.NAME: self.resident_changed,
        }

    async def run(self) -> None:
        """The calendar and the completer beside the other timers."""
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run())
            group.create_task(Lapser(self).run())
            group.create_task(self.completer.run())

    def parts(self) -> dict[str, Probe]:
        """And whether cards wait to be asked."""
        return super().parts() | {"unsettled": self.completer.probe}

    # ---- making cards ------------------------------------------------------------------------------------------

    async def order(self, call: Call) -> Ordered:
        """Order a card under a fresh card id."""
        request = expect(call.request, OrderCard)
        ask = AskIdentity(resident_id=request.resident_id, purpose="card.order")
        identity = await self.ask(call, "registry", ask, Identity, "identity")
        fresh = card_id(await self.store.reserve("card", 1))

        def rule(snapshot: Snapshot) -> Decision:
            return production.order(
                snapshot.one(0, Card),
                snapshot.one(1, Card),
                request,
                card_id=fresh,
                municipality=identity.person.municipality if identity.registered else None,
                asked=self.asked(call),
            )

        reads = (
            Find(Card, {"application_id": request.application_id}),
            Find(Card, {"live_resident_id": request.resident_id}),
        )
        return await self.step(call, reads, rule, Ordered)

    async def orders(self, call: Call) -> Orders:
        """Cards to be made."""
        request = expect(call.request, AskOrders)
        after = (request.after,) if request.after else None
        snapshot = await self.store.read(Find(Card, {"state": "ordered"}, request.limit, after))
        return Orders(
            cards=tuple(
                OrderedCard(
                    card_id=card.card_id,
                    application_id=card.application_id,
                    resident_id=card.resident_id,
                    municipality=card.municipality,
                    wants_signature=card.wants_signature,
                    wants_authentication=card.wants_authentication,
                )
                for card in snapshot.all(0, Card)
            )
        )

    async def card_keys(self, call: Call) -> CardKeys:
        """The card's static keys of card management's domain, for the factory's HSM alone; its own key certified."""
        request = expect(call.request, AskCardKeys)
        _require_ordered(await self.known(request.card_id))
        left = self.remaining_ms(call)
        keys = await sealed_keys(self.hsm, CARD_MASTER, request.card_id, request.factory_key, left)
        body = card_key_body(request.card_id, request.card_point)
        return CardKeys(keys=keys, card_key_signature=await self.hsm_bytes(call, Sign(SIGNING_KEY, body)))

    async def signing_key(self, call: Call) -> SigningKey:
        """The key that certifies cards' own keys, and the one above it."""
        own, root = [await self.hsm_bytes(call, PublicKey(label)) for label in (SIGNING_KEY, ROOT_KEY)]
        return SigningKey(public_key=own, root_key=root)

    async def card_data(self, call: Call) -> CardData:
        """What the factory prints; fixes issue date and validity the first time."""
        request = expect(call.request, AskCardData)
        card = await self.known(request.card_id)
        job = self._job(call, card)
        identity = await self.scripts.identity(job, "card.data")
        number = await self.scripts.number(job, "card.data")
        today = jst_date(call.now_ms)
        expires = card_valid_until(identity.person.birth_date, today, identity.person.stay_until)
        dated = production.fix_data(card, identity.person.municipality, today, expires)
        if dated is not card:
            await self.store.commit(Change(now_ms=call.now_ms, writes=(Update(dated),)))
        return CardData(
            card_id=card.card_id,
            person=identity.person,
            individual_number=number,
            issued_on=dated.issued_on or today,
            expires_on=dated.expires_on or expires,
            security_code=await self.scripts.security_code(job),
            municipality=dated.municipality,
            resident_version=identity.resident_version,
        )

    async def personalise(self, call: Call) -> Personalisation:
        """The factory's script for card management's applets."""
        request = expect(call.request, Personalise)
        card = await self.known(request.card_id)
        _require_ordered(card)
        job = Job(call, card, request.write_id, "personalise", request.host_challenge, request.initialize_update)
        made = await self.scripts.at_factory(job, request)
        return Personalisation(write_id=request.write_id, parts=made.parts, digest=made.digest)

    async def made(self, call: Call) -> Done:
        """A card was made."""
        request = expect(call.request, CardMade)
        certificates = await self._certificates(call, request.card_id)
        kinds = [view.kind for view in certificates.certificates]

        def rule(snapshot: Snapshot) -> Decision:
            return production.made(snapshot.one(0, Card), request, kinds, self.asked(call))

        return await self.step(call, (Get(Card, (request.card_id,)),), rule, Done)

    async def shipped(self, call: Call) -> Done:
        """A batch left the factory."""
        request = expect(call.request, CardsShipped)
        if len(request.card_ids) > BATCH_MAX:
            raise Malformed(f"{len(request.card_ids)} cards in one box, at most {BATCH_MAX}")

        def rule(snapshot: Snapshot) -> Decision:
            cards = [card for n in range(len(request.card_ids)) for card in snapshot.all(n, Card)]
            return production.shipped(cards, request, self.asked(call))

        return await self.step(call, [Get(Card, (each,)) for each in request.card_ids], rule, Done)

    async def receive(self, call: Call) -> Received:
        """A batch arrived at the municipality whose counter asks."""
        request = expect(call.request, CardsReceived)

        def rule(snapshot: Snapshot) -> Decision:
            listed = [card for card in snapshot.all(0, Card) if card.card_id in request.card_ids]
            return production.received(listed, request, self.asked(call))

        return await self.step(call, (Find(Card, {"batch_id": request.batch_id}, 1000),), rule, Received)

    # ---- the counter -------------------------------------------------------------------------------------------

    async def open(self, call: Call) -> Opened:
        """Open an operation or take it up again."""
        request = expect(call.request, OpenOperation)
        begun, earlier = await self.begin(call, _reads(call, request.card_id), Opened)
        if earlier is not None:
            return earlier
        card = begun.one(0, Card)
        if card is None:
            raise NotFound(f"card {request.card_id}")
        identity = await self.scripts.identity(self._job(call, card), f"operation.{request.kind}")
        challenge = self.world.entropy.random_bytes(8)

        def rule(state: State) -> Decision:
            return operations.open_operation(state, request, identity.person, challenge, self.asked(call))

        return await self._counter_step(call, request.card_id, rule, Opened, begun)

    async def write(self, call: Call) -> Script:
        """Record the intent, make the script, record its digest, and only then let it out."""
        request = expect(call.request, PrepareWrite)
        write_id = _write_id(call)
        guess = self.recent.take(call.operation_id)
        if guess is not None and _alone(guess, request):
            done, guess = await self._write_from(guess, call, request, write_id), None
            if done is not None:
                return done
        state = await self._intend_from(guess, call, request, write_id)
        if state is None:
            begun, earlier = await self.begin(call, _reads(call, request.card_id), Script)
            if earlier is not None:
                return earlier
            state = await self._intend(call, request, write_id, _state(begun))
        made = await self._script(call, request, state, write_id)

        def rule(state: State) -> Decision:
            return operations.script_made(state, write_id, made.digest, made.parts, self.asked(call))

        return await self._counter_step(call, request.card_id, rule, Script, _snapshot(state))

    async def _write_from(self, guess: State, call: Call, request: PrepareWrite, write_id: str) -> Script | None:
        """Intent and digest in one commit, if the records are as they were left here; else nothing is done.

        For a script that the centre's own HSM makes: until the commit, nobody outside has heard of the write.
        """
        try:
            intent = operations.intend(guess, request, write_id, self.asked(call))
        except WarifuError:
            return None
        made = await self._script(call, request, written(guess, intent), write_id)
        script = Script(write_id=write_id, parts=made.parts, digest=made.digest)

        def rule(state: State) -> Decision:
            return operations.intend_with_script(state, request, script, self.asked(call))

        return await self._step_from(call, guess, rule, Script)

    async def _intend_from(self, guess: State | None, call: Call, request: PrepareWrite, write_id: str) -> State | None:
        """The intent written without reading before, if the records are as they were left here; else nothing is done.

        A write id follows from its request, so one that came before finds its intent there already.
        """
        if guess is None:
            return None
        try:
            writes = operations.intend(guess, request, write_id, self.asked(call))
        except WarifuError:
            return None
        if not writes:
            return None
        guarded = (*writes, *unguarded(_snapshot(guess), writes))
        try:
            await self.store.commit(Change(now_ms=call.now_ms, writes=guarded))
        except Stale:
            return None
        return written(guess, writes)

    async def _intend(self, call: Call, request: PrepareWrite, write_id: str, begun: State | None) -> State:
        """The state with the intent in it: as it was read, or as it has just been written."""
        for _ in range(MAX_DECISIONS):
            state, begun = begun or await self.state(call, request.card_id), None
            writes = operations.intend(state, request, write_id, self.asked(call))
            if not writes:
                return state
            try:
                await self.store.commit(Change(now_ms=call.now_ms, writes=writes))
            except Stale:
                continue
            return written(state, writes)
        raise Stale("the operation kept changing")

    async def _script(self, call: Call, request: PrepareWrite, state: State, write_id: str) -> MadeScript:
        card, operation = state.both(self.asked(call))
        step = next(step for step in steps_of(operation) if step.name == request.step_name)
        job = Job(
            call=call,
            card=card,
            write_id=write_id,
            step_name=step.name,
            host_challenge=operation.host_challenge,
            issuer_update=request.issuer_update,
            pins=operation.pins,
            jpki_update=request.jpki_update if step.with_jpki else None,
            opened_ms=operation.opened_ms,
        )
        return await self.scripts.at_counter(job)

    async def confirm(self, call: Call) -> Confirmed:
        """Settle a card write by what the chip says."""
        request = expect(call.request, ConfirmWrite)
        challenge = self.world.entropy.random_bytes(8)

        def rule(state: State) -> Decision:
            return operations.confirm(state, request, challenge, self.asked(call))

        return await self._counter_step(call, request.card_id, rule, Confirmed)

    async def close(self, call: Call) -> CardView:
        """Close an operation whose plan is done."""
        request = expect(call.request, CloseOperation)

        def rule(state: State) -> Decision:
            return operations.close(state, request.chip, self.asked(call))

        return await self._counter_step(call, request.card_id, rule, CardView)

    async def abandon(self, call: Call) -> CardView:
        """Give up an operation that has not touched the chip."""
        request = expect(call.request, AbandonOperation)

        def rule(state: State) -> Decision:
            return operations.abandon(state, request, self.asked(call))

        return await self._counter_step(call, request.card_id, rule, CardView)

    async def _counter_step(
        self, call: Call, card: str, rule: Callable[[State], Decision], answer: type[A], begun: Snapshot | None = None
    ) -> A:
        guess = self.recent.take(call.operation_id) if begun is None else None
        if guess is not None and guess.card is not None and guess.card.card_id == card:
            done = await self._step_from(call, guess, rule, answer)
            if done is not None:
                return done
        keep = self._keeping(call)
        return await self.step(call, _reads(call, card), _of_snapshot(rule), answer, begun=begun, committed=keep)

    async def _step_from(
        self, call: Call, guess: State, rule: Callable[[State], Decision], answer: type[A]
    ) -> A | None:
        return await self.step_from(call, _snapshot(guess), _of_snapshot(rule), answer, self._keeping(call))

    def _keeping(self, call: Call) -> Callable[[Snapshot, Decision], None]:
        def keep(snapshot: Snapshot, decision: Decision) -> None:
            self.recent.keep(call.operation_id, written(_state(snapshot), decision.writes))

        return keep

    async def state(self, call: Call, card: str) -> State:
        """Card, operation and its pending write, as rules see them."""
        return _state(await self.store.read(*_reads(call, card)))

    # ---- beside the counter ------------------------------------------------------------------------------------

    async def card(self, call: Call) -> CardView:
        """A card's record with its certificates."""
        request = expect(call.request, AskCard)
        card = await self.known(request.card_id)
        await self.look(call, self.asked(call).audit("card.look", card.resident_id, "card.view"))
        certificates = await self._certificates(call, request.card_id)
        return msgspec.structs.replace(card_view(card), certificates=certificates.certificates)

    async def live_card(self, call: Call) -> LiveCard:
        """The resident's card, if there is one."""
        request = expect(call.request, AskLiveCard)
        snapshot = await self.store.read(Find(Card, {"live_resident_id": request.resident_id}))
        found = snapshot.one(0, Card)
        if found is None:
            return LiveCard(card_id="")
        return LiveCard(card_id=found.card_id, application_id=found.application_id, state=found.state)

    async def suspend(self, call: Call) -> CardView:
        """A loss is reported."""
        request = expect(call.request, SuspendCard)

        def rule(snapshot: Snapshot) -> Decision:
            return production.suspend(snapshot.one(0, Card), request.card_id, self.asked(call))

        return await self.step(call, (Get(Card, (request.card_id,)),), rule, CardView)

    async def abolish(self, call: Call) -> CardView:
        """A card is lost for good."""
        request = expect(call.request, AbolishCard)

        def rule(snapshot: Snapshot) -> Decision:
            return production.abolish(snapshot.one(0, Card), request.card_id, self.asked(call))

        return await self.step(call, (Get(Card, (request.card_id,)),), rule, CardView)

    async def revoke_on_request(self, call: Call) -> CardView:
        """The holder wants certificates no more."""
        request = expect(call.request, RevokeOnRequest)

        def rule(snapshot: Snapshot) -> Decision:
            return production.revoke_on_request(snapshot.one(0, Card), request, self.asked(call))

        return await self.step(call, (Get(Card, (request.card_id,)),), rule, CardView)

    async def resident_changed(self, call: Call) -> Done:
        """The registry tells of a change."""
        request = expect(call.request, ResidentChanged)

        def rule(snapshot: Snapshot) -> Decision:
            return production.resident_changed(snapshot.one(0, Card), request, self.asked(call))

        return await self.step(call, (Find(Card, {"live_resident_id": request.resident_id}),), rule, Done)

    # ---- parts -------------------------------------------------------------------------------------------------

    async def known(self, card: str) -> Card:
        """The record of a card. ``NotFound`` when there is none."""
        found = (await self.store.read(Get(Card, (card,)))).one(0, Card)
        if found is None:
            raise NotFound(f"card {card}")
        return found

    async def _certificates(self, call: Call, card: str) -> Certificates:
        return await self.ask(call, "authority", AskCertificates(card_id=card), Certificates, "certificates")

    @staticmethod
    def _job(call: Call, card: Card) -> Job:
        return Job(call, card, "", "", b"", b"")


def _require_ordered(card: Card) -> None:
    """The factory makes cards that are ordered; of any other it learns nothing."""
    if card.state != "ordered":
        raise WrongCardState(f"making a card that is {card.state}")


def _write_id(call: Call) -> str:
    """A write id that follows from the request: the same request repeated finds its own intent again."""
    digest = hashlib.sha256(f"{call.operation_id}|{call.envelope.step}".encode()).digest()
    return ulid_text(bytes((digest[0] & 0x7F,)) + digest[1:16])


def _reads(call: Call, card: str) -> tuple[Get | Find, ...]:
    return (
        Get(Card, (card,)),
        Get(Operation, (call.operation_id,)),
        Find(CardWrite, {"operation_id": call.operation_id, "state": "intent"}),
    )


def _alone(state: State, request: PrepareWrite) -> bool:
    """Whether the centre makes this script without anybody else's doing; "no" also when it cannot be told."""
    steps = () if state.operation is None else steps_of(state.operation)
    return any(step.name == request.step_name and not step.with_jpki for step in steps)


def _of_snapshot(rule: Callable[[State], Decision]) -> Callable[[Snapshot], Decision]:
    return lambda snapshot: rule(_state(snapshot))


def _state(snapshot: Snapshot) -> State:
    return State(snapshot.one(0, Card), snapshot.one(1, Operation), snapshot.one(2, CardWrite))


def _snapshot(state: State) -> Snapshot:
    """What reading this state would give; the request is not answered yet."""
    return Snapshot(None, tuple((record,) if record else () for record in (state.card, state.operation, state.write)))
