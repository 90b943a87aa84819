"""Commissioned issuance (委託発行): the card factory and its shipments.

A run makes what is ordered and ships what is made. It may be broken anywhere and run again: what a card needs next
follows from the chip itself and from the records, and every step of another node is asked under a key of its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, Final, Literal, TypeVar

import msgspec

from warifu.chip import client
from warifu.chip.errors import BadCardAnswer, CardRefused
from warifu.chip.issuer import ISD, JPKI, initialize_update
from warifu.chip.personalise import manufacture, new_card_key
from warifu.contract.authority import (
    AskJpkiCardKeys,
    BatchIssued,
    BatchOrder,
    Certificates,
    IssueBatch,
    IssueCertificates,
    JpkiCardKeys,
    JpkiScript,
    OpenApplet,
)
from warifu.contract.center import (
    AskCardData,
    AskCardKeys,
    AskOrders,
    CardData,
    CardKeys,
    CardMade,
    OrderedCard,
    Orders,
    Personalisation,
    Personalise,
    ScriptPart,
)
from warifu.contract.intake import ApplicationPhoto, AskPhoto
from warifu.contract.issuance import AskShipments, Produced, RunProduction, Shipment, Shipments
from warifu.contract.message import Done, Request
from warifu.contract.values import CertificateKind
from warifu.domain.cards.chip_names import chip_status, own_keys
from warifu.domain.production import rules
from warifu.domain.production.records import Batch, ProducedCard
from warifu.kernel.errors import DeadlinePassed, TryAgain, Unavailable, WarifuError
from warifu.kernel.ids import ULID_RANDOM_BYTES, new_ulid
from warifu.kernel.together import together
from warifu.nodes.base import A, Call, KeepingNode, World, expect
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.powered import powered
from warifu.nodes.sealed_keys import FACTORY_KEY, opened_keys
from warifu.nodes.with_hsm import WithHsm
from warifu.ports.artwork import Artwork
from warifu.ports.hsm import PublicKey
from warifu.ports.reader import ChipFactory, Connection, Reader
from warifu.ports.store import Change, Find, Get, Insert, JournalEntry, Store, Update

RECORDS = (ProducedCard, Batch)
LINES: Final = 4
"""Cards made at the same time."""
PART: Final = 32
"""Cards whose certificates are asked for together: two blocks of the stock of key pairs."""
End = Literal["made", "failed", "away"]
"""How an order ended in a run; ``away``: not for its own sake, a part that all need did not answer."""


T = TypeVar("T")
_TROUBLE: Final = (WarifuError, CardRefused, BadCardAnswer)


class PersonalisationFailed(TryAgain):
    """The chip refused a command of its personalisation; the card is tried again in the next run."""

    code = "issuance.chip_refused"


class Issuance(WithHsm, KeepingNode):
    """The factory."""

    KIND: ClassVar[str] = "issuance"

    def __init__(
        self, world: World, store: Store, hsm: HsmPool, *, artwork: Artwork, chips: ChipFactory, reader: Reader
    ) -> None:
        super().__init__(world, store)
        self.hsm = hsm
        self.artwork = artwork
        self.chips = chips
        self.reader = reader
        self._running = asyncio.Lock()
        self._untold: dict[str, Exception] = {}
        """What the centre could not be told of at the beginning of the run that holds the lock, and why."""
        self.handlers |= {RunProduction.NAME: self.produce, AskShipments.NAME: self.shipments}

    async def produce(self, call: Call) -> Produced:
        """Make and ship; one run at a time."""
        request = expect(call.request, RunProduction)
        async with self._running:
            await self._tell_all(call)
            made, failed = await self._make_ordered(call, request.limit)
            shipped = await self._ship(call)
        return Produced(made=made, failed=failed, shipments=shipped)

    async def shipments(self, call: Call) -> Shipments:
        """The packing lists of a municipality."""
        request = expect(call.request, AskShipments)
        after = (request.after,) if request.after else None
        found = await self.store.read(Find(Batch, {"municipality": request.municipality}, request.limit, after))
        return Shipments(shipments=tuple(rules.shipment(batch) for batch in found.all(0, Batch)))

    async def _make_ordered(self, call: Call, limit: int) -> tuple[int, int]:
        """Make what is ordered, past the orders that cannot be made; how many were made, how many failed."""
        made = failed = 0
        after = ""
        while made < limit:
            ask = AskOrders(limit=limit - made, after=after)
            orders = (await self.ask(call, "center", ask, Orders, self._part("orders"))).cards
            ends = await self._make_all(call, orders)
            made, failed = made + ends.count("made"), failed + len(ends) - ends.count("made")
            if len(orders) < ask.limit or set(ends) == {"away"}:
                break
            after = orders[-1].card_id
        return made, failed

    async def _make_all(self, call: Call, orders: tuple[OrderedCard, ...]) -> list[End]:
        """A part at a time: first the certificates of all its cards, then card by card what is still missing."""
        ends: list[End] = []
        for start in range(0, len(orders), PART):
            cards = [Production(self, call, order) for order in orders[start : start + PART]]
            for card in cards:
                card.trouble = self._untold.get(card.card_id)
            await self._certify(call, cards)
            ends += await self._in_lines(cards, lambda card: self._make_or_report(call, card))
        return ends

    async def _certify(self, call: Call, cards: Sequence["Production"]) -> None:
        """Ask JPKI for the certificates of cards not yet begun; what it issued whole is not asked for again.

        When JPKI is away the cards wait for the next run. Whatever else is wrong with the part is one card's doing:
        each then asks for itself, as those do that JPKI refused, and is told why.
        """
        orders = [order for order in await self._in_lines(cards, Production.ahead) if order is not None]
        by_resident = {order.resident_id: order for order in orders}  # at most once in a part
        if not by_resident:
            return
        batch_id = new_ulid(self.world.clock.now_ms(), self.world.entropy.random_bytes(ULID_RANDOM_BYTES))
        request = IssueBatch(batch_id=batch_id, position=0, orders=tuple(by_resident.values()))
        asked = {order.card_id for order in request.orders}
        try:
            issued = await self.ask(call, "authority", request, BatchIssued, f"issue.{batch_id.lower()}")
        except TryAgain as error:
            for card in cards:
                card.trouble = error if card.card_id in asked else card.trouble
        except WarifuError as error:
            self.world.log.trouble("issuance.part_refused", operation_id=call.operation_id, code=error.code)
        else:
            for card in cards:
                card.certified = card.card_id in issued.finished

    @staticmethod
    async def _in_lines(cards: Sequence["Production"], work: Callable[["Production"], Awaitable[T]]) -> list[T]:
        lines = asyncio.Semaphore(LINES)

        async def one(card: "Production") -> T:
            async with lines:
                return await work(card)

        return await together(one(card) for card in cards)

    async def _make_or_report(self, call: Call, card: "Production") -> End:
        """One card's trouble does not stop the others: the next run takes it up where it stands."""
        try:
            await card.work()
        except _TROUBLE as error:
            code = getattr(error, "code", "chip.error")
            self.world.log.trouble("issuance.failed", operation_id=call.operation_id, card=card.card_id, code=code)
            return "away" if isinstance(error, Unavailable | DeadlinePassed) else "failed"
        return "made"

    async def tell(self, call: Call, record: ProducedCard) -> None:
        """Tell the centre what the chip says; only then is the card one that may be shipped."""
        if record.state != "untold":
            return
        async with powered(self.reader, record.card_id) as connection:
            status = await client.read_card_status(connection.transmit)
            chip_keys = own_keys(await client.read_own_keys(connection.transmit))
        told = CardMade(card_id=record.card_id, chip=chip_status(status), face_modulus=chip_keys.face)
        await self.ask(call, "center", told, Done, self._part(f"made.{record.card_id.lower()}"))
        made = msgspec.structs.replace(record, state="made", changed_ms=call.now_ms)
        await self.store.commit(Change(now_ms=call.now_ms, writes=(Update(made),)))

    async def _tell_all(self, call: Call) -> None:
        """What an earlier run made and could not tell. What cannot be told now either waits for the next run."""
        self._untold.clear()
        untold = (await self.store.read(Find(ProducedCard, {"state": "untold"}, 1000))).all(0, ProducedCard)
        for record in untold:
            try:
                await self.tell(call, record)
            except _TROUBLE as error:
                self._untold[record.card_id] = error
                code = getattr(error, "code", "chip.error")
                self.world.log.trouble(
                    "issuance.untold", operation_id=call.operation_id, card=record.card_id, code=code
                )

    async def _ship(self, call: Call) -> tuple[Shipment, ...]:
        waiting = (await self.store.read(Find(ProducedCard, {"state": "made"}, 1000))).all(0, ProducedCard)
        shipped = []
        for group in rules.batches(waiting):
            batch_id = new_ulid(self.world.clock.now_ms(), self.world.entropy.random_bytes(10))
            decision = rules.ship(group, batch_id, self.asked(call))
            change = Change(
                now_ms=call.now_ms, writes=decision.writes, journal=decision.journal, outbox=decision.outbox
            )
            await self.store.commit(change)
            shipped.append(
                Shipment(
                    batch_id=batch_id,
                    municipality=group[0].municipality,
                    card_ids=tuple(card.card_id for card in group),
                )
            )
        self.kick_outbox()
        return tuple(shipped)

    def _part(self, name: str) -> str:
        """A key part that no earlier run used: what the chip answers differs from run to run."""
        return f"{name}.{self.world.entropy.random_bytes(6).hex()}"


class Production:
    """The making of one card."""

    def __init__(self, factory: Issuance, call: Call, order: OrderedCard) -> None:
        self.factory = factory
        self.call = call
        self.order = order
        self.card_id = order.card_id
        self.run = factory.world.entropy.random_bytes(6).hex()
        self.certified = False
        """All its certificates were issued in this run."""
        self.trouble: Exception | None = None
        """What it met before its turn came: it is not tried again in this run."""
        self._data: CardData | None = None

    async def ahead(self) -> BatchOrder | None:
        """What is to be certified, if nothing was done for this card in an earlier run and all is known of it now."""
        try:
            if await self.factory.chips.has(self.card_id):
                return None
            data = await self._known()
        except _TROUBLE as error:
            self.trouble = error
            return None
        return self._wanted(data)

    async def work(self) -> None:
        """Chip, certificates, contents, report: whatever is still missing."""
        if self.trouble is not None:
            raise self.trouble
        await self._chip()
        data = await self._known()
        if not self.certified:
            await self._certificates(data)
        async with powered(self.factory.reader, self.card_id) as connection:
            status = await client.read_card_status(connection.transmit)
            if status.last_write is None:
                await self._personalise(connection, data)
                status = await client.read_card_status(connection.transmit)
            if status.last_write is None:
                raise PersonalisationFailed(self.card_id)
        await self.factory.tell(self.call, await self._record(data))

    async def ask(self, node: str, request: Request, answer: type[A], part: str) -> A:
        """Ask another node under a key of this run and card."""
        key = f"{part}.{self.card_id.lower()}.{self.run}"
        return await self.factory.ask(self.call, node, request, answer, key)

    async def _known(self) -> CardData:
        """The card's data, asked for once."""
        if self._data is None:
            self._data = await self.ask("center", AskCardData(card_id=self.card_id), CardData, "data")
        return self._data

    async def _chip(self) -> None:
        """A blank chip with its keys, unless there is one."""
        factory = self.factory
        if await factory.chips.has(self.card_id):
            return
        public = await factory.hsm_bytes(self.call, PublicKey(FACTORY_KEY))
        card_key = new_card_key(factory.world.entropy)
        ask = AskCardKeys(card_id=self.card_id, factory_key=public, card_point=card_key.point)
        isd = await self.ask("center", ask, CardKeys, "keys")
        jpki = await self.ask(
            "authority", AskJpkiCardKeys(card_id=self.card_id, factory_key=public), JpkiCardKeys, "jpki_keys"
        )
        left = factory.remaining_ms(self.call)
        image = manufacture(
            self.card_id,
            isd_keys=await opened_keys(factory.hsm, isd.keys, self.card_id, left),
            jpki_keys=await opened_keys(factory.hsm, jpki.keys, self.card_id, left),
            card_key=card_key,
            card_key_signature=isd.card_key_signature,
        )
        await factory.chips.make(self.card_id, image)

    def _wanted(self, data: CardData) -> BatchOrder:
        wishes: dict[CertificateKind, bool] = {
            "authentication": self.order.wants_authentication,
            "signature": self.order.wants_signature,
        }
        return BatchOrder(
            card_id=self.card_id,
            resident_id=self.order.resident_id,
            person=data.person,
            municipality=data.person.municipality,
            card_expires_on=data.expires_on,
            kinds=tuple(kind for kind, wanted in wishes.items() if wanted),
            resident_version=data.resident_version,
        )

    async def _certificates(self, data: CardData) -> None:
        request = IssueCertificates(**msgspec.structs.asdict(self._wanted(data)))
        await self.ask("authority", request, Certificates, "issue")

    async def _personalise(self, connection: Connection, data: CardData) -> None:
        """Both owners' scripts, JPKI's first, one card write."""
        world = self.factory.world
        write_id = new_ulid(world.clock.now_ms(), world.entropy.random_bytes(10))
        challenge = world.entropy.random_bytes(8)
        chip_keys = own_keys(await client.read_own_keys(connection.transmit))
        jpki = await self.ask(
            "authority",
            OpenApplet(
                card_id=self.card_id,
                write_id=write_id,
                purpose="personalise",
                host_challenge=challenge,
                initialize_update=await self._update(connection, JPKI, challenge),
            ),
            JpkiScript,
            "applet",
        )
        request = await self._contents(data)
        request = msgspec.structs.replace(
            request,
            chip_keys=chip_keys,
            write_id=write_id,
            host_challenge=challenge,
            initialize_update=await self._update(connection, ISD, challenge),
            running_digest=jpki.running_digest,
        )
        own = await self.ask("center", request, Personalisation, "personalise")
        parts = (ScriptPart(aid=jpki.aid, commands=jpki.commands), *own.parts)
        for part in parts:
            await client.select_applet(connection.transmit, part.aid)
            result = await client.run_script(connection.transmit, part.commands)
            if not result.ok:
                raise PersonalisationFailed(f"{self.card_id}: command {result.failed_at}, status {result.status:04X}")

    async def _contents(self, data: CardData) -> Personalise:
        artwork = self.factory.artwork
        ask = AskPhoto(application_id=self.order.application_id, purpose="card.make")
        photo = await self.ask("intake", ask, ApplicationPhoto, "photo")
        return Personalise(
            card_id=self.card_id,
            write_id=_NOT_YET,
            host_challenge=bytes(8),
            initialize_update=b"",
            running_digest=bytes(32),
            name_image=artwork.name_image(data.person.name).png,
            address_image=artwork.address_image(data.person.address).png,
            number_image=artwork.number_image(data.individual_number),
            code_image=artwork.code_image(data.security_code),
            photo=artwork.portrait_jpeg2000(photo.photo),
        )

    @staticmethod
    async def _update(connection: Connection, aid: bytes, challenge: bytes) -> bytes:
        await client.select_applet(connection.transmit, aid)
        return await connection.transmit(initialize_update(challenge))

    async def _record(self, data: CardData) -> ProducedCard:
        """The factory's own record, once: from now on the factory sees to it that the centre is told."""
        factory = self.factory
        found = (await factory.store.read(Get(ProducedCard, (self.card_id,)))).one(0, ProducedCard)
        if found is not None:
            return found
        record = ProducedCard(
            card_id=self.card_id,
            municipality=data.municipality or self.order.municipality,
            state="untold",
            changed_ms=self.call.now_ms,
        )
        entry = JournalEntry(f"card:{self.card_id}", "made", self.call.operation_id, {})
        await factory.store.commit(Change(now_ms=self.call.now_ms, writes=(Insert(record),), journal=(entry,)))
        return msgspec.structs.replace(record, version=1)


_NOT_YET: Final = "0" * 26
