"""The ``factory`` scenario: from the register to a card that lies at the counter, and changes of residents' records.

Residents are entered, numbered, notified; they apply; their cards are ordered, made, shipped, counted in. Meanwhile
records change: addresses, names, municipalities, deaths. Everything that does it is real; everything breaks.
"""

import asyncio
import datetime
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Literal, TypeVar

from msgspec import structs

from warifu.contract.center import CardMade, SuspendCard
from warifu.contract.intake import (
    AcceptApplication,
    Apply,
    AskNotification,
    CheckApplication,
    Followed,
    LossReported,
    Notification,
    ReportLoss,
)
from warifu.contract.issuance import AskShipments, Produced, RunProduction, Shipments
from warifu.contract.message import Answer, Request
from warifu.contract.registry import Changed, ChangeResident, Register, Registered
from warifu.contract.terminal import ReceiveShipment, TerminalReceived
from warifu.contract.values import Person, ResidentEvent
from warifu.domain.applications.loss import HolderUnknown, TooManyTries
from warifu.domain.applications.records import Application
from warifu.domain.residents.records import Resident
from warifu.kernel.errors import NotFound, Refused
from warifu.kernel.ids import ULID_RANDOM_BYTES, new_ulid
from warifu.lab.history import Event
from warifu.lab.properties import OF_NOBODY, Property, common
from warifu.lab.scenarios.chain import watch
from warifu.lab.scenarios.chain_properties import of_the_way
from warifu.lab.scenarios.counter_evening import Evening
from warifu.lab.scenarios.factory_evening import FactoryEvening, Told
from warifu.lab.scenarios.nation import HERE, LIMITS, THERE, Holder, Nation, morning
from warifu.lab.scenarios.scenario import Safeguard, Scenario
from warifu.lab.simulation.driver import Driver
from warifu.lab.simulation.inside import inside
from warifu.lab.simulation.keys import EPOCH_MS, Deal, SeededEntropy
from warifu.lab.simulation.world import WELL_MS, World
from warifu.nodes.portal import Portal

A = TypeVar("A", bound=Answer)

DEFAULT_SIZE: Final = 2
"""Residents who apply."""
HARSH: Final = (1.0, 0.3, 0.1)
"""How hard the storm is: a card takes two hundred messages."""
AT_THE_CARD: Final = frozenset({"pull", "chip_error"})
STORMS_MS: Final = (2_000, 5_000, 10_000)
PATIENCE_MS: Final = (2_500, 6_000, 20_000)
CALM_MS: Final = 60_000
LOSSES: Final = 2
"""In one run of so many somebody loses a card."""
GUESSES: Final = 6
LOSING_SHARE: Final = 3
"""In one run of so many a card is made without the factory's hearing that the centre knows, and a loss comes twice."""
LATE_SHARE: Final = 2
"""In one run of so many everything breaks from the start on; in the others once cards are being made."""
LATE_HARSH: Final = 0.3
"""So much gentler: else no card comes to its last steps before all is healed."""
LATE_LOOK_MS: Final = 20
LATE_MS: Final = 600
A_FEW: Final = 1
"""Cards of a hurried manager's run."""
MOST_TRIES: Final = 5
AGAIN_MS: Final = (50, 1_500)
SEALED_MS: Final = 2_500
DONE: Final = frozenset({"received", "abolished"})
OF_NEW: Final[tuple[ResidentEvent | Literal[""], ...]] = ("", "address", "name", "move")
OF_HOLDERS: Final[tuple[ResidentEvent | Literal[""], ...]] = ("", "address", "name", "move", "death")


class FactoryTrial:
    """Residents who apply for a card, a factory that is run until they have it, and changes meanwhile."""

    def __init__(self, world: World) -> None:
        self._world = world
        begin = morning()
        world.deal = Deal(begin.dealt)
        world.storms_ms, world.snap_within_ms, world.snapped_share = STORMS_MS, 3_000, 0.03
        world.dice.soften(HARSH[world.pick(len(HARSH))], AT_THE_CARD)
        self.nation = Nation(world, begin, with_factory=True)
        self._evening = FactoryEvening(world, self.nation, Evening(world, self.nation))
        self._entropy = SeededEntropy(world.plan.seed, "newcomers")
        self._ids = [self._fresh() for _ in range(world.plan.size or DEFAULT_SIZE)]
        self._holders = begin.holders
        if world.plan.seed % LATE_SHARE and not world.plan.tight:
            world.hold()
            world.dice.soften(LATE_HARSH, AT_THE_CARD)
            world.spawn(self._break_late(), "late storm")
        if world.plan.seed % LOSING_SHARE == 0 and not world.plan.tight:
            world.network.breaks_first |= {CardMade.NAME: True, SuspendCard.NAME: bool(world.pick(2))}
        self._watch = watch(world, self.nation.relays, self.nation.cs)
        world.look = self._look

    async def _break_late(self) -> None:
        """The storm begins when the factory has something to make."""
        while not any(card.resident_id in self._ids for card in self._evening.cards()):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(LATE_LOOK_MS / 1000)
        await asyncio.sleep(self._world.delay_ms(0, LATE_MS) / 1000)
        self._world.let_go()

    def _fresh(self) -> str:
        return new_ulid(EPOCH_MS, self._entropy.random_bytes(ULID_RANDOM_BYTES))

    # -- who comes

    async def drive(self) -> None:
        """Everybody at once; the factory is run again and again until every card lies at its counter."""
        world = self._world
        async with asyncio.TaskGroup() as group:
            for number, resident in enumerate(self._ids):
                group.create_task(self._applies(number, resident), name=f"resident {number + 1}")
            first = world.pick(len(self._holders))
            for number in range(2):
                holder = self._holders[(first + number) % len(self._holders)]
                event = OF_HOLDERS[world.pick(len(OF_HOLDERS))]
                group.create_task(self._changed(f"holder-{number + 1}", holder.resident_id, event))
            group.create_task(self._produced(), name="factory")
            if not world.pick(LOSSES):
                group.create_task(self._lost(), name="losses")
            if world.pick(2):
                group.create_task(self._hurried(), name="second manager")

    async def _applies(self, number: int, resident: str) -> None:
        clerk = self._clerk(f"driver-{number + 1}")
        await asyncio.sleep(self._world.delay_ms(0, 500) / 1000)
        await self._told(clerk, "registry", Register(resident_id=resident, person=_person(number)), Registered)
        async with asyncio.TaskGroup() as group:
            event = OF_NEW[self._world.pick(len(OF_NEW))]
            group.create_task(self._changed(f"new-{number + 1}", resident, event))
            group.create_task(self._application(clerk, number, resident))

    async def _application(self, clerk: Driver, number: int, resident: str) -> None:
        application = (await self._notified(clerk, resident)).application_id
        apply = Apply(application_id=application, photo=b"photo %d" % number)
        if number % 2:
            operation_id = clerk.operation_id()  # the page carries it, however often it is sent
            followed = await self._by_portal(lambda node: node.apply(operation_id, apply), Followed)
            if isinstance(followed, Refused) or followed.state != "accepted":
                self._world.violated("an application that is right is accepted", f"{followed}")
            return
        await self._told(clerk, "intake", apply, Followed)
        checked = await self._told(clerk, "intake", CheckApplication(application_id=application), Followed)
        if checked is not None and checked.state != "checked":
            self._world.violated("an application that is right is accepted", f"{checked.state} {checked.findings}")
        await self._told(clerk, "intake", AcceptApplication(application_id=application), Followed)

    async def _by_portal(self, work: Callable[[Portal], Awaitable[A]], answer: type[A]) -> A | Refused:
        """A resident at the portal, who sends the page again until it is answered."""
        while True:
            patience_ms = CALM_MS if self._world.dice.calm else PATIENCE_MS[self._world.pick(len(PATIENCE_MS))]
            found = await inside(self._world, self._world.machines["portal-1"], Portal, work, patience_ms)
            if isinstance(found, (answer, Refused)):
                return found
            await self._later()

    async def _lost(self) -> None:
        """One holder reports a loss; somebody tries birth dates on another's application, two at a time."""
        mine, others = [holder for holder in self._holders if holder.state in {"in_use", "moved"}]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._reported(mine))
            for guesser in range(2):
                group.create_task(self._guessed(others, guesser))

    def _form_of(self, holder: Holder) -> str:
        rows = self.nation.stores["intake"].records(Application)
        return next(
            row.application_id for row in rows if isinstance(row, Application) and row.resident_id == holder.resident_id
        )

    async def _reported(self, holder: Holder) -> None:
        clerk = self._clerk("driver-loss")
        await self._world.storming()
        await asyncio.sleep(self._world.delay_ms(0, 3_000) / 1000)
        born = self._person(holder.resident_id).birth_date
        report, operation_id = ReportLoss(application_id=self._form_of(holder), birth_date=born), clerk.operation_id()
        found = await self._by_portal(lambda node: node.report_loss(operation_id, report), LossReported)
        card = next(card for card in self._evening.cards() if card.card_id == holder.card_id)
        if isinstance(found, LossReported) and card.state not in {"suspended", "abolished"}:
            self._world.violated("a loss that was reported is a loss", f"{card.card_id} is {card.state}")
        if isinstance(found, Refused) and card.state != "abolished":
            self._world.violated("no request is refused", f"loss: {found.code}")

    async def _guessed(self, holder: Holder, guesser: int) -> None:
        clerk, form, code = self._clerk(f"driver-guess-{guesser}"), self._form_of(holder), ""
        for number in range(GUESSES):
            guess = ReportLoss(application_id=form, birth_date=datetime.date(1950 + guesser, 1, 1 + number))
            operation_id = clerk.operation_id()
            found = await self._by_portal(partial(_reports, operation_id, guess), LossReported)
            code = found.code if isinstance(found, Refused) else "ok"
        if code != TooManyTries.code:
            self._world.violated("a birth date is not guessed at", f"the {GUESSES}. guess: {code}")

    async def _notified(self, clerk: Driver, resident: str) -> Notification:
        """The notification card, which comes by itself."""
        for turn in range(1_000_000):
            found = await clerk.ask(
                "intake",
                AskNotification(resident_id=resident),
                Notification,
                operation_id=clerk.operation_id(),
                step=f"notified.{turn}",
            )
            if isinstance(found, Notification):
                return found
            if not isinstance(found, NotFound):
                self._world.violated("no request is refused", f"notification: {found.code}")
            await self._later()
        raise NotFound("notification")

    async def _changed(self, name: str, resident: str, event: ResidentEvent | Literal[""]) -> None:
        """The resident's record changes, some time."""
        if not event:
            return
        await asyncio.sleep(self._world.delay_ms(0, 8_000) / 1000)
        person = _after(self._person(resident), event)
        request = ChangeResident(resident_id=resident, event=event, person=person, occurred_on=_TODAY)
        changed = await self._told(self._clerk(f"driver-{name}"), "registry", request, Changed, twice=True)
        if changed is not None:
            self._evening.told.append(Told(resident, event, changed.resident_version))

    def _person(self, resident: str) -> Person:
        rows = self.nation.stores["registry"].records(Resident)
        return next(row for row in rows if isinstance(row, Resident) and row.resident_id == resident).person()

    async def _produced(self) -> None:
        """Runs of the factory; what it shipped is counted in where it was sent."""
        manager = self._clerk("driver-factory")
        counted: set[str] = set()
        while not self._all_there():
            await self._told(manager, "issuance", RunProduction(), Produced)
            for place in (HERE, THERE):
                found = await self._told(manager, "issuance", AskShipments(municipality=place), Shipments)
                for shipment in found.shipments if found else ():
                    known = set(self.nation.cards.images) - self._earlier()
                    if shipment.batch_id in counted or not set(shipment.card_ids) <= known:
                        continue
                    await self._counted_in(manager, place, shipment.batch_id, shipment.card_ids)
                    counted.add(shipment.batch_id)
            await self._later()

    async def _hurried(self) -> None:
        """Somebody else runs the factory too, as long as there is something to make."""
        manager = self._clerk("driver-manager")
        while not self._all_there():
            run = RunProduction(limit=A_FEW)
            produced = await self._told(manager, "issuance", run, Produced)
            if produced is not None and produced.made > run.limit:
                self._world.violated("a run makes as many as it is told", f"{produced.made}, not {run.limit}")
            await self._later()

    async def _counted_in(self, manager: Driver, place: str, batch_id: str, card_ids: tuple[str, ...]) -> None:
        """Again until the centre knows of the shipment too: word of it comes by itself."""
        request = ReceiveShipment(batch_id=batch_id, card_ids=card_ids)
        for turn in range(1_000_000):
            found = await manager.ask(
                f"terminal-{place}",
                request,
                TerminalReceived,
                operation_id=manager.operation_id(),
                step=f"count.{turn}",
            )
            if isinstance(found, TerminalReceived):
                return
            if not isinstance(found, NotFound) and found.code != "card.wrong_state":
                self._world.violated("no request is refused", f"shipment: {found.code} {found}")
            await self._later()

    def _earlier(self) -> set[str]:
        return {holder.card_id for holder in self._holders}

    def _all_there(self) -> bool:
        cards = self._evening.cards()
        states = {card.resident_id: card.state for card in cards}
        return all(states.get(resident) in DONE for resident in self._ids)

    # -- asking

    def _clerk(self, name: str) -> Driver:
        return Driver(self._world, name, PATIENCE_MS[self._world.pick(len(PATIENCE_MS))], CALM_MS)

    async def _told(
        self, clerk: Driver, destination: str, request: Request, answer: type[A], *, twice: bool = False
    ) -> A | None:
        """A request under an id of its own, answered; ``twice``: and once more under the same id, answered alike."""
        operation_id = clerk.operation_id()
        found = await clerk.ask(destination, request, answer, operation_id=operation_id, step="1")
        if twice and not isinstance(found, Refused):
            again = await clerk.ask(destination, request, answer, operation_id=operation_id, step="1")
            if again != found:
                self._world.violated("same answer for the same key", f"{request.NAME}: {again}")
        if not isinstance(found, Refused):
            return found
        self._world.violated("no request is refused", f"{request.NAME}: {found.code} {found}")
        return None

    async def _later(self) -> None:
        await asyncio.sleep(self._world.delay_ms(*AGAIN_MS) / 1000)

    # -- looking

    def _look(self) -> None:
        self._watch()
        self._evening.check_known()

    def settled(self) -> bool:
        """The outboxes are empty."""
        return self._world.stores.waiting() == 0

    async def conclude(self) -> None:
        """Register, numbers, applications, cards, chips and certificates fit; every node says that it is well."""
        await self._world.all_well(WELL_MS)
        await asyncio.sleep(SEALED_MS / 1000)
        self._evening.check(self._ids)

    def state(self) -> object:
        """Records, chips, and who is up."""
        return self._evening.state(), tuple(machine.up for machine in self._world.machines.values())


async def _reports(operation_id: str, report: ReportLoss, node: Portal) -> LossReported:
    return await node.report_loss(operation_id, report)


_TODAY: Final = datetime.date(2026, 4, 1)


def _person(number: int) -> Person:
    return Person(
        name=f"割符　{'五六七八'[number % 4]}郎",
        kana="ワリフ　イチロウ",
        birth_date=datetime.date(1990, 3, 1 + number),
        sex="male",
        address=f"東京都千代田区霞が関{number + 1}－１",
        municipality=HERE,
    )


def _after(person: Person, event: ResidentEvent) -> Person:
    """The record after the change."""
    match event:
        case "address":
            return structs.replace(person, address=f"{person.address}－９")
        case "name":
            return structs.replace(person, name=f"{person.name}改")
        case "move":
            return structs.replace(
                person, address="東京都清瀬市竹丘１－１", municipality=THERE if person.municipality == HERE else HERE
            )
    return person


class NotGuessed:
    """So many wrong birth dates are answered for an application, however many are tried at once (one form in a run)."""

    name = "a birth date is not guessed at"

    def __init__(self) -> None:
        self._wrong = 0

    def see(self, event: Event) -> str | None:
        """Intake's answers that a date is wrong."""
        if event.kind != "reply" or event.outcome != HolderUnknown.code or not event.node.startswith("intake"):
            return None
        self._wrong += 1
        return f"{self._wrong} dates were tried" if self._wrong > MOST_TRIES else None

    def end(self) -> str | None:
        """Nothing more."""
        return None


class OneRun:
    """The factory does one run at a time."""

    name = "one run of the factory at a time"

    def __init__(self) -> None:
        self._under_way: dict[tuple[str, str], None] = {}

    def see(self, event: Event) -> str | None:
        """Whoever sends on a run's behalf while another's run sends."""
        if not event.node.startswith("issuance"):
            return None
        if event.kind == "fault":
            self._under_way.clear()
        elif event.kind == "reply" and event.name == RunProduction.NAME:
            self._under_way.pop((event.node, event.operation_id), None)
        elif event.kind == "send" and event.name not in OF_NOBODY and event.step != "health":
            self._under_way[event.node, event.operation_id] = None
            if len(self._under_way) > 1:
                return f"{event.node} sent {event.name} for {event.operation_id} beside another run"
        return None

    def end(self) -> str | None:
        """Nothing more."""
        return None


def _properties() -> tuple[Property, ...]:
    """The common ones, and those of CS and relay."""
    return (*common(), *of_the_way(LIMITS), OneRun(), NotGuessed())


FACTORY: Final = Scenario(
    "factory",
    FactoryTrial,
    _properties,
    prepare=morning,
    safeguards=(
        Safeguard("idempotency", "the answer is remembered under the request's key, and given again"),
        Safeguard("version-guard", "a commit fails when the record moved since it was read"),
    ),
)
