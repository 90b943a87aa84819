"""The ``counter`` scenario: clerks, terminals, CSs, relays, centres, JPKI, registry, and cards in readers -- all real.

Clerks do what counters do, each operation under one id until it is done, whatever breaks meanwhile: set-ups,
deliveries, PIN resets, renewals, continued use, loss and abolition. Cards are pulled at any command, messages and
commits are lost, nodes die. Afterwards chip, record and register must be the same (F6), and nothing may be open.
"""

import asyncio
from typing import Final

from msgspec import Struct, structs

from warifu.contract.center import (
    AbandonOperation,
    AskCard,
    AskFace,
    AskHolder,
    CardView,
    Confirmed,
    ConfirmWrite,
    Face,
    Holders,
    RevokeOnRequest,
    SearchHolders,
    SuspendCard,
)
from warifu.contract.center import Holder as HolderView
from warifu.contract.message import Answer, Request
from warifu.contract.registry import Changed, ChangeResident
from warifu.contract.terminal import GiveUpOperation, Performed, Pin
from warifu.contract.values import CertificateKind, OperationKind, PinName
from warifu.domain.residents.records import Resident
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import NotFound, Refused
from warifu.lab.properties import Property, common
from warifu.lab.scenarios.chain import PLACES, watch
from warifu.lab.scenarios.chain_properties import of_the_way
from warifu.lab.scenarios.counter_edges import Edges
from warifu.lab.scenarios.counter_evening import Evening
from warifu.lab.scenarios.counter_lost import LostForGood
from warifu.lab.scenarios.counter_pins import PinChanges
from warifu.lab.scenarios.nation import HERE, LIMITS, PINS, THERE, Holder, Nation, morning, perform
from warifu.lab.scenarios.scenario import Safeguard, Scenario
from warifu.lab.simulation.driver import Driver
from warifu.lab.simulation.keys import EPOCH_MS, Deal
from warifu.lab.simulation.world import WELL_MS, World
from warifu.nodes.center import completing

Errand = OperationKind | str
LOSS: Final = "loss"
LOST_FOR_GOOD: Final = (LOSS,)
"""Nobody comes with that card any more: half of them are over."""
GOOD_SHARE: Final = 2
LOST_AGAIN: Final = "lost again"
"""A resumption, and while it is under way another report of loss."""
ERRANDS: Final[dict[str, tuple[tuple[Errand, ...], ...]]] = {
    "received": (("setup",), ("setup", "delivery"), ("abolition",)),
    "set_up": (("delivery",), ("delivery", "pin_reset"), ("abolition",)),
    "in_use": (
        ("update",),
        ("pin_reset",),
        ("certificate_renewal",),
        (LOSS, "resumption"),
        (LOSS, LOST_AGAIN),
        ("abolition",),
        (LOSS,),
        (LOSS, "abolition"),
    ),
    "moved": (("continuation",), ("continuation", "abolition")),
}
"""What the holder of a card in this state may come for, in turn."""
DEFAULT_SIZE: Final = 2
"""Holders who come."""
HARSH: Final = (1.0, 0.3, 0.1)
"""How hard the storm is: an operation takes a hundred messages, and in the hardest none comes to the card."""
AT_THE_CARD: Final = frozenset({"pull", "chip_error"})
ENDED_SHARE: Final = 5
"""In one run of so many a terminal is told to end as its chip works."""
SCRIPTS: Final = 60
"""Commands of a day's scripts, about."""
LOOKS: Final = 3
NAMES: Final = "ワリフ　カズコ"
"""As all holders are read (see ``nation``)."""
SEALED_MS: Final = 2_500
"""Within this time after the last look, the audit trail is sealed."""
OVERTAKEN: Final = frozenset(
    {
        "operation.write_not_settled",
        "operation.taken_up_again",
        "operation.wrong_step",
        "card.chip_differs",
        "authority.write_ended",
        "operation.ended",
    }
)
"""What a run may be told that another run of the same operation overtook; who is told so again and again is stuck."""
ENDED: Final = "operation.ended"
"""The centre abandoned what was left for long. Told so twice (not that it is done), a clerk begins anew."""
PATIENT: Final = 6
PATIENCE_MS: Final = (800, 2_500, 6_000, 20_000)
"""A clerk's in the storm: who is impatient has two runs of one operation under way."""
CALM_MS: Final = 60_000
STORMS_MS: Final = (2_000, 5_000, 10_000, 20_000)
BACK_MS: Final = (1, 1_500)
"""How long a clerk takes to begin again."""
LEFT_SHORT_MS: Final = 30_000
LEFT_LASTS_MS: Final = 180_000
LEAVING_SHARE: Final = 2
"""One run in so many of those in which the completer is not patient: there clerks leave what breaks."""
GIVING_UP_SHARE: Final = 8
"""One errand in so many is given up by its clerk when something breaks, and begun anew."""
MEDDLING_SHARE: Final = 4
"""In one run of so many somebody at another terminal gives up what clerks are at, without the card."""
MEDDLED: Final = 3
OVER: Final = frozenset({"card.wrong_state", "card.wrong_municipality"})
"""What was given up after it was done is not done again."""
MAY_BE_TOLD: Final = frozenset({"operation.write_not_settled", ENDED, "record.not_found"})
"""Whoever gives an operation up without its card."""
CHANGING_SHARE: Final = 3
"""In one run of so many the first holder's address changes meanwhile."""
PROVING: Final[dict[str, tuple[OperationKind, str]]] = {
    "in_use": ("certificate_renewal", HERE),
    "moved": ("continuation", THERE),
}
"""What the holder of a card in this state must prove a PIN for."""
ENDING_SHARE: Final = 3
"""In one run of so many a holder wants no certificates any more."""
ENDING_TRIES: Final = 5
ENDINGS: Final[tuple[tuple[CertificateKind, ...], ...]] = (("signature",), ("signature", "authentication"))
MAY_BE_OPEN: Final = frozenset({"operation.other_open", "card.wrong_state"})
"""To whom wants no certificates while the card is at a counter, or was reported lost."""
PINS_SHARE: Final = 3
"""In one run of so many somebody else comes for another PIN."""
CHANGED_MS: Final = 12_000
CERTIFIED: Final = frozenset({"in_use", "moved"})
"""Whose next card write may replace certificates."""
STUCK_MS: Final = 20
CHANGED_LOOK_MS: Final = 5
CHANGED_AFTER_MS: Final = 60
FEWER_PINS: Final = 3
"""One first try in so many lacks a PIN the resident has yet to think of."""


class _Left(Struct, frozen=True):
    """An operation that its clerk left."""

    clerk: Driver
    holder: Holder
    kind: OperationKind
    place: str
    operation_id: str


class CounterTrial:
    """Some holders come to the counters of two places."""

    def __init__(self, world: World) -> None:
        self._world = world
        begin = morning()
        world.deal = Deal(begin.dealt)
        world.storms_ms, world.snap_within_ms, world.snapped_share = STORMS_MS, 3_000, 0.03
        world.dice.soften(HARSH[world.pick(len(HARSH))], AT_THE_CARD)
        self.nation = Nation(world, begin)
        if not (world.plan.tight or world.plan.seed % ENDED_SHARE):
            self.nation.cards.until_end = 1 + world.pick(SCRIPTS)
        self.holders = self._coming(begin.holders)
        is_short = max(completing.LEFT_AFTER_MS, completing.UNKNOWN_AFTER_MS) <= LEFT_SHORT_MS
        self._leaving = is_short and not world.plan.tight and not world.pick(LEAVING_SHARE)
        self._left: list[_Left] = []
        self._begun: list[tuple[str, str, str]] = []
        """Operations, with their cards and places."""
        if self._leaving:
            world.lasts_ms = LEFT_LASTS_MS
        self._evening = Evening(world, self.nation)
        self._lost_for_good = LostForGood(world, self.nation)
        self._edges = Edges(world, self.nation, self.holders)
        self._pins = PinChanges(world, self.nation, [each for each in begin.holders if each not in self.holders])
        world.look = watch(world, self.nation.relays, self.nation.cs)

    def _coming(self, holders: tuple[Holder, ...]) -> tuple[Holder, ...]:
        first = self._world.pick(len(holders))
        size = min(self._world.plan.size or DEFAULT_SIZE, len(holders))
        return tuple(holders[(first + number) % len(holders)] for number in range(size))

    # -- who comes

    async def drive(self) -> None:
        """Each holder with a clerk; beside them somebody looks at the same cards."""
        await self._edges.begin()
        async with asyncio.TaskGroup() as group:
            for number, holder in enumerate(self.holders):
                group.create_task(self._visit(number, holder), name=f"holder {number + 1}")
            for number in range(LOOKS if not self._world.plan.tight else 0):
                group.create_task(self._look_at(number), name=f"look {number + 1}")
            if not self._world.plan.tight and not self._leaving and not self._world.pick(MEDDLING_SHARE):
                group.create_task(self._meddled(), name="meddler")
            if not self._world.plan.tight and self._world.plan.seed % CHANGING_SHARE == 0:
                group.create_task(self._changed(), name="change")
            if not self._world.plan.tight and self._world.plan.seed % PINS_SHARE == PINS_SHARE - 1:
                group.create_task(self._another_pin(), name="another PIN")
            if not self._world.plan.tight and self._world.plan.seed % ENDING_SHARE == 1:
                group.create_task(self._ended_on_request(), name="no certificates")
        await self._found_again()

    async def _changed(self) -> None:
        """A holder's address changes as a script is being made, and takes longer than it should; or else some time."""
        holder = next((each for each in self.holders if each.state in CERTIFIED), self.holders[0])
        registry = Driver(self._world, "driver-70", CALM_MS)
        until_ms = self._world.loop.now_ms + self._world.delay_ms(0, CHANGED_MS)
        while self._world.loop.now_ms < until_ms:
            if self._evening.is_stuck(holder.card_id, STUCK_MS):
                break
            await asyncio.sleep(CHANGED_LOOK_MS / 1000)
        await asyncio.sleep(self._world.delay_ms(0, CHANGED_AFTER_MS) / 1000)
        rows = self.nation.stores["registry"].records(Resident)
        person = next(
            row for row in rows if isinstance(row, Resident) and row.resident_id == holder.resident_id
        ).person()
        request = ChangeResident(
            resident_id=holder.resident_id,
            event="address",
            person=structs.replace(person, address=f"{person.address}０"),
            occurred_on=jst_date(EPOCH_MS),
        )
        found = await registry.ask("registry", request, Changed, operation_id=registry.operation_id(), step="changed")
        if isinstance(found, Refused):
            self._world.violated("no request is refused", f"a change: {found.code} {found}")
            return
        self._evening.changed(holder.resident_id, found.resident_version)

    async def _another_pin(self) -> None:
        """Changed some times; then, when all is well, another is proved than the one that stands."""
        came = await self._pins.come()
        if came is None or self._leaving:
            return
        holder, juki = came
        await self._world.healed.wait()
        kind, place = PROVING[holder.state]
        clerk = Driver(self._world, "driver-61", CALM_MS)
        operation_id = clerk.operation_id()
        await self._pins.mistaken(clerk, place, perform(kind, holder.card_id, dict(PINS)), operation_id)
        await self._perform(clerk, holder, kind, place, operation_id=operation_id, juki=juki)

    async def _ended_on_request(self) -> None:
        """A holder wants no certificates any more, again and again until nothing else is done to the card."""
        holder = next((each for each in self.holders if each.state == "in_use"), None)
        if holder is None:
            return
        clerk, kinds = Driver(self._world, "driver-50", CALM_MS), ENDINGS[self._world.pick(len(ENDINGS))]
        for turn in range(ENDING_TRIES):
            await asyncio.sleep(self._world.delay_ms(0, 2_000) / 1000)
            before = self._evening.open_on(holder.card_id)
            request = RevokeOnRequest(card_id=holder.card_id, kinds=kinds)
            found = await clerk.ask(
                "center", request, CardView, operation_id=clerk.operation_id(), step=f"no_certificates.{turn}"
            )
            if not isinstance(found, Refused):
                self._evening.revoked |= {(holder.resident_id, kind) for kind in kinds}
                if meanwhile := before & self._evening.open_on(holder.card_id):
                    self._world.violated("an open operation has the card", f"ended beside {meanwhile.pop()}")
                return
            if found.code not in MAY_BE_OPEN:
                self._world.violated("no request is refused", f"no certificates: {found.code} {found}")

    async def _visit(self, number: int, holder: Holder) -> None:
        world = self._world
        clerk = Driver(world, f"driver-{number + 1}", PATIENCE_MS[world.pick(len(PATIENCE_MS))], CALM_MS)
        choice = ERRANDS[holder.state]
        place = THERE if holder.state == "moved" else HERE
        errands = choice[world.pick(len(choice))]
        for turn, errand in enumerate(errands):
            await asyncio.sleep(world.delay_ms(0, 500) / 1000)
            if errand == LOSS:
                await self._lost(clerk, holder, f"loss.{turn}")
                if errands == LOST_FOR_GOOD and self._world.plan.seed % GOOD_SHARE == 0:
                    await self._lost_for_good.over(clerk, holder)
            elif errand == LOST_AGAIN:
                await self._lost_again(clerk, holder, place)
            elif not await self._perform(clerk, holder, errand, place, leaves=self._leaving):  # type: ignore[arg-type]  # all others are kinds
                return

    async def _lost(self, clerk: Driver, holder: Holder, step: str) -> None:
        found = await clerk.ask(
            "center", SuspendCard(card_id=holder.card_id), CardView, operation_id=clerk.operation_id(), step=step
        )
        if isinstance(found, Refused):
            self._world.violated("no request is refused", f"loss: {found.code}")

    async def _lost_again(self, clerk: Driver, holder: Holder, place: str) -> None:
        """Whichever comes first: a card reported after its resumption began stays suspended."""
        hotline = Driver(self._world, f"driver-9{clerk.operation_id()[-3:]}", CALM_MS)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._perform(clerk, holder, "resumption", place))
            await asyncio.sleep(self._world.delay_ms(0, 2_000) / 1000)
            await self._lost(hotline, holder, "loss.again")

    async def _found_again(self) -> None:
        """What clerks left is ended where that is provable, and people are told of the rest; then it is done."""
        if not self._left:
            return
        await self._world.healed.wait()
        await self._evening.left_alone()
        async with asyncio.TaskGroup() as group:
            for left in self._left:
                back = self._perform(left.clerk, left.holder, left.kind, left.place, operation_id=left.operation_id)
                group.create_task(back)

    async def _perform(
        self,
        clerk: Driver,
        holder: Holder,
        kind: OperationKind,
        place: str,
        *,
        leaves: bool = False,
        operation_id: str = "",
        juki: Pin = PINS["juki"],
    ) -> bool:
        """The same operation again and again, until it is done: with the PINs that are asked for.

        A clerk who ``leaves`` goes at the first answer that is another: then this says False.
        """
        world, refused, ended, back = self._world, 0, False, ".back" if operation_id else ""
        operation_id = operation_id or clerk.operation_id()
        gives_up, gave_up = not (leaves or back or world.pick(GIVING_UP_SHARE)), False
        self._begun.append((operation_id, holder.card_id, place))
        pins = dict(PINS) if world.pick(FEWER_PINS) else _without_one()
        for turn in range(1_000):
            found = await clerk.ask(
                f"terminal-{place}",
                perform(kind, holder.card_id, pins, juki),
                Performed,
                operation_id=operation_id,
                step=f"perform.{turn}{back}",
            )
            if self._edges.over(holder.card_id, kind, found):
                return False
            if leaves and not (isinstance(found, Performed) and found.outcome == "done"):
                self._left.append(_Left(clerk, holder, kind, place, operation_id))
                return False
            if gives_up and not (isinstance(found, Performed) and found.outcome == "done"):
                gives_up, gave_up = False, True
                await self._give_up(clerk, holder, kind, place, operation_id)
                continue
            if isinstance(found, Refused):
                if gave_up and found.code in OVER and self._evening.was_written(holder.card_id):
                    return False
                if found.code == ENDED and ended:
                    operation_id = clerk.operation_id()
                    self._begun.append((operation_id, holder.card_id, place))
                ended = found.code == ENDED and not ended
                refused = refused + 1 if found.code in OVERTAKEN else PATIENT
                if refused >= PATIENT:
                    world.violated("no card ever needs reissue", f"{kind} of {holder.card_id}: {found.code} {found}")
                    return False
                await asyncio.sleep(world.delay_ms(*BACK_MS) / 1000)
                continue
            refused, ended = 0, False
            if found.outcome == "done":
                self._evening.done(holder, kind, operation_id, place)
                return True
            pins = dict(PINS)
            await asyncio.sleep(world.delay_ms(*BACK_MS) / 1000)
        return False

    async def _give_up(self, clerk: Driver, holder: Holder, kind: OperationKind, place: str, operation_id: str) -> None:
        """What is pending is settled, and the operation over: unless it was done, or over, before."""
        reset = perform(kind, holder.card_id, {}).reset_pins
        found = await clerk.ask(
            f"terminal-{place}",
            GiveUpOperation(kind=kind, card_id=holder.card_id, reset_pins=reset),
            Performed,
            operation_id=operation_id,
            step="give_up",
        )
        if isinstance(found, Performed):
            self._evening.given_up(operation_id)
        elif found.code == ENDED:
            self._evening.perhaps_given_up(operation_id)
        elif found.code not in OVERTAKEN | OVER:
            self._world.violated("no request is refused", f"giving up {kind}: {found.code} {found}")

    async def _meddled(self) -> None:
        """Another terminal of the place gives up what a clerk is at, or says late that a chip could not be asked."""
        meddlers = {place: Driver(self._world, f"terminal-{place}-80", CALM_MS) for place in PLACES}
        for turn in range(MEDDLED):
            await asyncio.sleep(self._world.delay_ms(0, 2_000) / 1000)
            if not self._begun:
                continue
            begun = self._begun[self._world.pick(len(self._begun))]
            writes = self._evening.writes_of(begun[0])
            if writes and self._world.pick(2):
                await self._told_late(meddlers[begun[2]], turn, begun, writes[self._world.pick(len(writes))])
            else:
                await self._given_up(meddlers[begun[2]], turn, begun)

    async def _given_up(self, meddler: Driver, turn: int, begun: tuple[str, str, str]) -> None:
        operation_id, card, place = begun
        request = AbandonOperation(card_id=card)
        found = await meddler.ask(
            f"cs-{place}", request, CardView, operation_id=operation_id, step=f"meddle.{turn}", order=card
        )
        if not isinstance(found, Refused):
            self._evening.given_up(operation_id)
        elif found.code not in MAY_BE_TOLD:
            self._world.violated("no request is refused", f"giving up: {found.code} {found}")

    async def _told_late(self, meddler: Driver, turn: int, begun: tuple[str, str, str], write_id: str) -> None:
        operation_id, card, place = begun
        request = ConfirmWrite(card_id=card, write_id=write_id, chip=None)
        found = await meddler.ask(
            f"cs-{place}", request, Confirmed, operation_id=operation_id, step=f"late.{turn}", order=card
        )
        if isinstance(found, Refused) and found.code not in MAY_BE_TOLD:
            self._world.violated("no request is refused", f"without a chip: {found.code} {found}")

    async def _look_at(self, number: int) -> None:
        """Somebody else of the same municipality looks at a card or its holder, through the same CS."""
        world = self._world
        looker = Driver(world, f"terminal-{HERE}-9{number}", CALM_MS)
        await asyncio.sleep(world.delay_ms(0, 2_000) / 1000)
        holder = self.holders[number % len(self.holders)]
        card, moves = holder.card_id, holder.state == "moved"  # from continued use on it is another place's
        look, answer = self._looks(card)[(number + world.plan.seed) % 4]
        found = await looker.ask(
            f"cs-{HERE}", look, answer, operation_id=looker.operation_id(), step=f"look.{number}", order=card
        )
        if isinstance(found, Refused) and not (moves and isinstance(found, NotFound)):
            world.violated("no request is refused", f"look: {found.code}")

    @staticmethod
    def _looks(card: str) -> tuple[tuple[Request, type[Answer]], ...]:
        return (
            (AskCard(card_id=card), CardView),
            (SearchHolders(name=NAMES, purpose="lab.look"), Holders),
            (AskFace(card_id=card, purpose="lab.look"), Face),
            (AskHolder(card_id=card, purpose="lab.look"), HolderView),
        )

    # -- looking

    def settled(self) -> bool:
        """The outboxes are empty, those of the CSs too."""
        return self._world.stores.waiting() == 0 and self.nation.cs.empty

    async def conclude(self) -> None:
        """Chip, record, register and audit are whole; every node says that it is well."""
        await self._world.all_well(WELL_MS)
        await asyncio.sleep(SEALED_MS / 1000)
        self._evening.check()

    def state(self) -> object:
        """Records, chips and who is up."""
        return self._evening.state(), tuple(machine.up for machine in self._world.machines.values())


def _without_one() -> dict[PinName, Pin]:
    return {pin: value for pin, value in PINS.items() if pin != "text"}


def _properties() -> tuple[Property, ...]:
    """The common ones, and those of CS and relay."""
    return (*common(), *of_the_way(LIMITS))


COUNTER: Final = Scenario(
    "counter",
    CounterTrial,
    _properties,
    prepare=morning,
    safeguards=(
        Safeguard("tally-settling", "a write whose end is unknown is settled by asking the chip", ("F6",)),
        Safeguard("idempotency", "the answer is remembered under the request's key, and given again"),
        Safeguard("version-guard", "a commit fails when the record moved since it was read"),
    ),
)
