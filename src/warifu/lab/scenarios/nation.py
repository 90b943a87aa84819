"""Every node of a small nation in a simulated world, and the state in which a counter's day begins.

Two municipalities with their CSs and terminals, two relays, two centres, one of each other kind. The cards are made
once for each process by the real nodes in a world without faults; each run then begins from copies of what came of it.
"""

import asyncio
import datetime
import pickle
from collections.abc import Awaitable, Callable
from functools import cache, partial
from random import Random
from typing import Final, TypeVar

from msgspec import Struct

from warifu.adapters.hsm.software import StoredKey
from warifu.adapters.shelf import MemoryShelf
from warifu.contract.center import CardData, Confirmed, ConfirmWrite
from warifu.contract.intake import AcceptApplication, Apply, AskNotification, CheckApplication, Followed, Notification
from warifu.contract.issuance import Produced, RunProduction
from warifu.contract.message import Answer, Request
from warifu.contract.registry import Changed, ChangeResident, Register, Registered
from warifu.contract.terminal import Performed, PerformOperation, Pin, ReceiveShipment, TerminalReceived
from warifu.contract.values import OperationKind, Person, PinName
from warifu.domain.admission.rules import Limits
from warifu.domain.cards.records import Card, CardWrite
from warifu.domain.certificates.records import CaGeneration
from warifu.domain.pki.profile import Profile
from warifu.kernel.errors import Fault, Refused
from warifu.kernel.ids import ULID_RANDOM_BYTES, new_ulid
from warifu.lab.scenarios.chain import PLACES, RELAYS, CsPart, RelayPart
from warifu.lab.scenarios.factory_watched import WatchedIssuance
from warifu.lab.scenarios.intents import Intents
from warifu.lab.scenarios.signed_book import SignedBook
from warifu.lab.simulation.asked_once import asked_once
from warifu.lab.simulation.balancer import HealthBalancer
from warifu.lab.simulation.cards import CardBox, Drawings
from warifu.lab.simulation.devices import SimulatedDevice, SimulatedFactory, device
from warifu.lab.simulation.driver import Driver
from warifu.lab.simulation.keys import EPOCH_MS, SeededEntropy
from warifu.lab.simulation.loop import SimulatedLoop
from warifu.lab.simulation.order import drawn
from warifu.lab.simulation.plan import Plan
from warifu.lab.simulation.sabotage_nodes import center_class, pool_class
from warifu.lab.simulation.seal import sealed
from warifu.lab.simulation.world import Ports, World
from warifu.nodes import center, intake, issuance, numbering, registry
from warifu.nodes.authority import applet, key_pool, searching
from warifu.nodes.authority import node as authority
from warifu.nodes.base import Call, Node, expect
from warifu.nodes.card_trust import CardTrust
from warifu.nodes.center.scripts import CARD_MASTER, CODE_KEY, ROOT_KEY, SIGNING_KEY
from warifu.nodes.hsm_pool import HsmPool, PoolLimits
from warifu.nodes.portal import Portal, PortalRules
from warifu.nodes.relay import MESSAGE_KEY
from warifu.nodes.sealed_keys import FACTORY_KEY
from warifu.nodes.terminal import Terminal
from warifu.ports.hsm import Purpose
from warifu.ports.store import Record

A = TypeVar("A", bound=Answer)

HERE, THERE = PLACES
TERMINALS: Final = {f"terminal-{HERE}-1": HERE, f"terminal-{HERE}-2": HERE, f"terminal-{THERE}-1": THERE}
CENTERS: Final = ("center-1", "center-2")
KEY_PAIRS: Final = 2
POOL: Final = PoolLimits(queue=100, sessions=64, history=8, dumps=4)
LIMITS: Final = Limits(total=8, setup_and_bulk=5, change_reserve=2, lease_ms=2_000)
PINS: Final[dict[PinName, Pin]] = {
    "signature": "ABC123",
    "authentication": "1234",
    "text": "5678",
    "juki": "9012",
}
IN_VAIN: Final = 2
HEALTH_MS: Final = 2_000
"""Less often than the stack: here other things are searched."""
NIGHT_STEPS: Final = 100_000
"""Many more than a night takes in which nothing goes wrong."""
PATIENCE_MS: Final = 600_000
RECORDS: Final[dict[str, tuple[type[Record], ...]]] = {
    "registry": registry.RECORDS,
    "numbering": numbering.RECORDS,
    "intake": intake.RECORDS,
    "center": center.RECORDS,
    "authority": authority.RECORDS,
    "issuance": issuance.RECORDS,
}
KEYS: Final[dict[str, tuple[tuple[str, Purpose], ...]]] = {
    "numbering": ((numbering.WRAP_KEY, "wrap"), (numbering.INDEX_KEY, "mac")),
    "center": ((CARD_MASTER, "card-master"), (SIGNING_KEY, "sign"), (ROOT_KEY, "sign"), (CODE_KEY, "mac")),
    "authority": ((applet.CARD_MASTER, "card-master"), (key_pool.WRAP_KEY, "wrap"), (searching.NAMES_KEY, "mac")),
    "issuance": ((FACTORY_KEY, "agree"),),
    "relay": ((MESSAGE_KEY, "agree"),),
}
"""What the stack makes in each device before the node starts."""


class Holder(Struct, frozen=True):
    """Somebody with a card."""

    resident_id: str
    card_id: str
    state: str
    """received, set_up, in_use or moved (in use, and waiting for continued use at ``THERE``)."""


class Morning(Struct, frozen=True):
    """What a run begins with: everything durable."""

    holders: tuple[Holder, ...]
    stores: dict[str, bytes]
    images: dict[str, bytes]
    keys: dict[str, dict[str, StoredKey]]
    dealt: int


class Nation:
    """The machines in a world.

    Args:
        world: the simulated world.
        morning: what it begins with; None for a world in which nothing happened yet (then with the factory).
        with_factory: whether cards can be made.
    """

    def __init__(self, world: World, morning: Morning | None, *, with_factory: bool = False) -> None:
        self.world = world
        world.looks.real = True
        self.cards = CardBox(world, morning.images if morning else {})
        self.shelf = MemoryShelf()
        self._intents = Intents(world)
        self._undone: dict[str, int] = {}
        self._fixed: dict[str, CardData] = {}
        self._confirmed_steps: dict[str, None] = {}
        self.devices = {kind: self._device(kind, morning) for kind in KEYS}
        self.stores = {kind: world.stores.add(kind, records) for kind, records in RECORDS.items()}
        if morning is not None:
            for kind, state in morning.stores.items():
                self.stores[kind]._state = pickle.loads(state)  # noqa: S301, SLF001 - our own, of this process
        self._factories = {kind: SimulatedFactory(world, made) for kind, made in self.devices.items()}
        self.signed = SignedBook(world, self._factories["authority"], self.stores["authority"])
        self.cs = CsPart(world)
        self.relays = RelayPart(world, self.devices["relay"], LIMITS)
        self._build(with_factory=with_factory or morning is None)
        self.balancer = HealthBalancer(world, "relay", HEALTH_MS)

    def _device(self, kind: str, morning: Morning | None) -> SimulatedDevice:
        if morning is None:
            made = device(self.world.deal, KEYS[kind])
        else:
            made = SimulatedDevice(self.world.deal, morning.keys[kind])
        made.entropy = SeededEntropy(self.world.plan.seed, f"{kind} device")
        return made

    def _build(self, *, with_factory: bool) -> None:
        world, drawings = self.world, Drawings()
        world.add("registry-1", "registry", lambda ports: registry.Registry(ports.world, ports.store))
        world.add("intake-1", "intake", lambda ports: intake.Intake(ports.world, ports.store, drawings))
        world.add(
            "numbering-1",
            "numbering",
            lambda ports: numbering.Numbering(ports.world, ports.store, self.pool("numbering", ports)),
        )
        world.add("authority-1", "authority", self._authority)
        for name in CENTERS:
            world.add(name, "center", self._center)
        for name in RELAYS:
            world.add(name, "relay", self.relays.build)
        for place in PLACES:
            world.add(f"cs-{place}", f"cs-{place}", partial(self.cs.build, place))
        for name, place in TERMINALS.items():
            world.add(name, f"terminal-{place}", partial(self._terminal, place))
        if with_factory:
            world.add("issuance-1", "issuance", self._issuance)
            world.add("portal-1", "portal", lambda ports: Portal(ports.world, PortalRules(accepts=True)))

    def pool(self, kind: str, ports: Ports) -> HsmPool:
        """A node's pool of two workers on its kind's device."""
        pool = pool_class(self.world.plan.without)(self._factories[kind], f"{ports.machine.name}/hsm", 2, limits=POOL)
        return asked_once(self.world, pool, ports.machine.name)

    def _center(self, ports: Ports) -> Node:
        kind = center_class(self.world.plan.without)
        node = kind(ports.world, ports.store, self.pool("center", ports), Drawings())
        self._intents.watch(node)
        node.handlers[ConfirmWrite.NAME] = partial(self._confirmed, node.confirm)
        return node

    async def _confirmed(self, confirm: Callable[[Call], Awaitable[Confirmed]], call: Call) -> Confirmed:
        """As the centre's own; what it says of a card write is what its journal holds, or honestly unknown."""
        answer = await confirm(call)
        request = expect(call.request, ConfirmWrite)
        rows = self.stores["center"].records(CardWrite)
        found = next((row for row in rows if isinstance(row, CardWrite) and row.write_id == request.write_id), None)
        state = found.state if found else "nothing"
        if answer.result not in {"unknown", state}:
            text = f"{request.write_id} was called {answer.result} and is {state}"
            self.world.violated("what the centre says of a card write is so", text)
        self._count(call, answer)
        return answer

    def _count(self, call: Call, answer: Confirmed) -> None:
        """Card writes in a row that a chip did not take, in one run of a terminal: it stops after two."""
        run, _, part = call.envelope.step.rpartition(":")[2].partition(".")
        if not part.startswith("confirm.") or part == "confirm.pending" or call.envelope.step in self._confirmed_steps:
            return
        self._confirmed_steps[call.envelope.step] = None
        self._undone[run] = self._undone.get(run, 0) + 1 if answer.result == "undone" else 0
        if self._undone[run] > IN_VAIN:
            self.world.violated("a run stops after two writes in vain", f"{call.envelope.step}: {self._undone[run]}")

    def _authority(self, ports: Ports) -> Node:
        return authority.Authority(
            ports.world,
            ports.store,
            self.pool("authority", ports),
            ports.crypto,
            profile=Profile(),
            key_pairs=KEY_PAIRS,
            shelf=self.shelf,
        )

    def _terminal(self, place: str, ports: Ports) -> Node:
        key = self.devices["center"].public_key(SIGNING_KEY)
        trust = CardTrust(self._roots, Profile().naming)
        return Terminal(ports.world, self.cards, f"cs-{place}", key, trust)

    def _roots(self) -> tuple[bytes, ...]:
        """The CA certificates as they are installed at terminals."""
        rows = self.stores["authority"].records(CaGeneration)
        return tuple(row.der for row in rows if isinstance(row, CaGeneration))

    def _issuance(self, ports: Ports) -> Node:
        hsm = self.pool("issuance", ports)
        parts = {"hsm": hsm, "artwork": Drawings(), "chips": self.cards, "reader": self.cards}
        return WatchedIssuance(self.world, ports, self._fixed, **parts)

    def evening(self, holders: tuple[Holder, ...]) -> Morning:
        """Everything durable, for another world to begin with."""
        return Morning(
            holders=holders,
            stores={kind: pickle.dumps(store._state) for kind, store in self.stores.items()},  # noqa: SLF001
            images=dict(self.cards.images),
            keys={kind: made.keys for kind, made in self.devices.items()},
            dealt=self.world.deal.dealt,
        )


def perform(kind: OperationKind, card_id: str, pins: dict[PinName, Pin], juki: Pin = PINS["juki"]) -> PerformOperation:
    """A clerk's request; a reset is of the signature's PIN. ``juki``: what is proved where that is asked for."""
    reset: tuple[PinName, ...] = ("signature",) if kind == "pin_reset" else ()
    return PerformOperation(kind=kind, card_id=card_id, new_pins=pins, reset_pins=reset, proof_pins={"juki": juki})


# ---- the morning -----------------------------------------------------------------------------------------------------

STATES: Final = ("received", "set_up", "in_use", "moved")
BEFORE: Final[dict[str, tuple[OperationKind, ...]]] = {
    "received": (),
    "set_up": ("setup",),
    "in_use": ("setup", "delivery"),
    "moved": ("setup", "delivery"),
}


@cache
def morning() -> Morning:
    """Cards in every state, made by the real nodes; the same in each process."""
    loop = SimulatedLoop(drawn(Random("morning")), NIGHT_STEPS)  # noqa: S311 - repeatable on purpose
    with sealed():
        world = World(loop, Plan(scenario="counter", seed=0, faults=(), tight=True), ())
        try:
            return loop.run_until_complete(_night(world))
        finally:
            loop.close()


async def _night(world: World) -> Morning:
    world.heal()
    nation = Nation(world, None)
    night = _Night(nation)
    residents = [await night.applied(number) for number in range(len(STATES))]
    produced = await night.ask("issuance", RunProduction(), Produced)
    for shipment in produced.shipments:
        counted = ReceiveShipment(batch_id=shipment.batch_id, card_ids=shipment.card_ids)
        await night.ask(f"terminal-{HERE}", counted, TerminalReceived)
    await night.settled()
    holders = [await night.brought(resident, state) for resident, state in zip(residents, STATES, strict=True)]
    await night.settled()
    return nation.evening(tuple(holders))


class _Night:
    """What happens before the run begins."""

    def __init__(self, nation: Nation) -> None:
        self._nation = nation
        self._driver = Driver(nation.world, "driver-night", PATIENCE_MS)
        self._entropy = SeededEntropy(0, "residents")
        self._people: dict[str, Person] = {}

    async def ask(self, destination: str, request: Request, answer: type[A]) -> A:
        found = await self._driver.ask(
            destination, request, answer, operation_id=self._driver.operation_id(), step="night"
        )
        if isinstance(found, Refused):
            raise Fault(f"{request.NAME}: {found.code} {found}")
        return found

    async def settled(self) -> None:
        while self._nation.world.stores.waiting():  # noqa: ASYNC110 - the world tells nobody
            await asyncio.sleep(0.1)

    async def applied(self, number: int) -> str:
        resident = new_ulid(EPOCH_MS, self._entropy.random_bytes(ULID_RANDOM_BYTES))
        person = self._people[resident] = _person(number)
        await self.ask("registry", Register(resident_id=resident, person=person), Registered)
        await self.settled()
        notification = await self.ask("intake", AskNotification(resident_id=resident), Notification)
        application = notification.application_id
        steps: tuple[Request, ...] = (
            Apply(application_id=application, photo=b"photo %d" % number),
            CheckApplication(application_id=application),
            AcceptApplication(application_id=application),
        )
        for step in steps:
            await self.ask("intake", step, Followed)
        await self.settled()
        return resident

    async def brought(self, resident: str, state: str) -> Holder:
        """The resident's card, brought into a state."""
        cards = self._nation.stores["center"].records(Card)
        card = next(each.card_id for each in cards if isinstance(each, Card) and each.resident_id == resident)
        for kind in BEFORE[state]:
            await self.ask(f"terminal-{HERE}", perform(kind, card, PINS), Performed)
        if state == "moved":
            moved = _moved(self._people[resident])
            change = ChangeResident(resident_id=resident, event="move", person=moved, occurred_on=_TODAY)
            await self.ask("registry", change, Changed)
        return Holder(resident, card, state)


_TODAY: Final = datetime.date(2026, 4, 1)


def _person(number: int) -> Person:
    return Person(
        name=f"割符　{'一二三四'[number]}子",
        kana="ワリフ　カズコ",
        birth_date=datetime.date(1980, 2, 17 + number),
        sex="female",
        address=f"東京都千代田区丸の内{number + 1}－２",
        municipality=HERE,
    )


def _moved(person: Person) -> Person:
    return Person(
        name=person.name,
        kana=person.kana,
        birth_date=person.birth_date,
        sex=person.sex,
        address="東京都清瀬市中里５－８４２",
        municipality=THERE,
    )
