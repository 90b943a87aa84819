"""Drives residents through the whole chain: registration to delivery, use of the card, and what happens in a life.

Everything goes through the nodes' real interfaces, as municipal systems, residents with a reader and relying parties
use them. PINs are made here, per resident, and stay in this process's memory.
"""

import asyncio
import datetime
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, get_args

from warifu.contract.authority import AskAuthorities, Authorities
from warifu.contract.center import AskCard, CardView
from warifu.contract.issuance import AskShipments, Produced, RunProduction, Shipment, Shipments
from warifu.contract.terminal import ReceiveShipment, TerminalReceived
from warifu.contract.values import CardId, CertificateKind
from warifu.demo.asking import Asker
from warifu.demo.enrolment import Enrolment
from warifu.demo.errors import Unexpected
from warifu.demo.life import Life
from warifu.demo.people import PLACES, Holder
from warifu.demo.relying import RelyingParty
from warifu.demo.tally import StepFailed, Tally
from warifu.demo.web import Web
from warifu.kernel.errors import WarifuError
from warifu.ports.reader import Reader

AT_ONCE: Final = 4
"""Residents on their way at the same time."""
BATCH: Final = 8
"""Cards that one run of the factory makes."""
RUN_MS: Final = 120_000
SHIPPED: Final = frozenset({"shipped", "received"})


async def trusted_roots(asker: Asker) -> dict[CertificateKind, tuple[bytes, ...]]:
    """The CA certificates, every generation, as a relying party installs them."""
    roots: dict[CertificateKind, tuple[bytes, ...]] = {}
    for kind in get_args(CertificateKind):
        roots[kind] = (await asker.ask("authority", AskAuthorities(ca=kind), Authorities)).certificates
    return roots


class Driver:
    """One run.

    Args:
        asker: reaches the nodes.
        reader: the residents' and relying parties' card reader.
        web: the responder's HTTP face.
        tally: counts steps.
        today: for ages.
    """

    def __init__(self, asker: Asker, reader: Reader, web: Web, tally: Tally, today: datetime.date) -> None:
        self._asker = asker
        self._reader = reader
        self._web = web
        self._tally = tally
        self._today = today

    async def run(self, holders: Sequence[Holder]) -> None:
        """Take every resident through; who fails goes no further. Problems are in the tally."""
        await self.make_cards(holders)
        await self._receive([holder for holder in holders if not holder.failed])
        relying = RelyingParty(self._web, await trusted_roots(self._asker), self._asker.clock, self._asker.entropy)
        life = Life(self._asker, self._reader, relying, self._tally, self._today)
        await self._each(holders, life.live)

    async def make_cards(self, holders: Sequence[Holder]) -> None:
        """From the register of residents to cards on their way to the counters."""
        enrolment = Enrolment(self._asker, self._tally, self._today)
        await self._each(holders, enrolment.enrol)
        await self._issue([holder for holder in holders if not holder.failed])

    async def _each(self, holders: Iterable[Holder], work: Callable[[Holder], Awaitable[None]]) -> None:
        room = asyncio.Semaphore(AT_ONCE)

        async def one(holder: Holder) -> None:
            async with room:
                try:
                    await work(holder)
                except StepFailed:
                    holder.failed = True

        async with asyncio.TaskGroup() as group:
            for holder in holders:
                if not holder.failed:
                    group.create_task(one(holder))

    # ---- the factory -------------------------------------------------------------------------------------------

    async def _issue(self, holders: Sequence[Holder]) -> None:
        """Run the factory until every card is made and shipped."""
        waiting = {holder.card_id: holder for holder in holders}
        began = last = time.perf_counter()
        try:
            while waiting:
                await self._asker.ask("issuance", RunProduction(limit=BATCH), Produced, step="run", attempt_ms=RUN_MS)
                shipped = {card for shipment in await self._shipments() for card in shipment.card_ids} & set(waiting)
                for card_id in sorted(shipped):
                    await self._until_shipped(card_id)
                    waiting.pop(card_id)
                    last = time.perf_counter()
                    self._tally.done("issue", last - began)
                if waiting and time.perf_counter() - last > RUN_MS / 1000:
                    raise Unexpected("the factory makes no progress")
        except WarifuError as error:
            for holder in waiting.values():
                holder.failed = True
                self._tally.failed("issue", holder.resident_id, error, time.perf_counter() - began)

    async def _shipments(self) -> list[Shipment]:
        found: list[Shipment] = []
        for place in PLACES:
            answer = await self._asker.ask("issuance", AskShipments(municipality=place), Shipments)
            found.extend(answer.shipments)
        return found

    async def _until_shipped(self, card_id: CardId) -> None:
        """The centre hears of a shipment a moment after it left."""

        async def look() -> CardView | None:
            view = await self._asker.ask("center", AskCard(card_id=card_id), CardView)
            return view if view.state in SHIPPED else None

        await self._asker.patience.until(f"card {card_id} shipped", look)

    async def _receive(self, holders: Sequence[Holder]) -> None:
        """The municipalities count their boxes in."""
        mine = {holder.card_id: holder for holder in holders}
        for shipment in await self._shipments():
            inside = [mine[card] for card in shipment.card_ids if card in mine]
            if inside:
                await self._receive_one(shipment, inside)

    async def _receive_one(self, shipment: Shipment, inside: Sequence[Holder]) -> None:
        request = ReceiveShipment(batch_id=shipment.batch_id, card_ids=shipment.card_ids)
        began = time.perf_counter()
        try:
            await self._asker.ask(f"terminal-{shipment.municipality}", request, TerminalReceived, step="receive")
        except WarifuError as error:
            for holder in inside:
                holder.failed = True
                self._tally.failed("receive", holder.resident_id, error, time.perf_counter() - began)
        else:
            for _ in inside:
                self._tally.done("receive", time.perf_counter() - began)
