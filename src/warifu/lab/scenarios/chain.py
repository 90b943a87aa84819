"""The ``relay`` scenario: counters, the real CSs and relays with their HSM pools, and a small centre (F2, F4, F5, F14).

The centre in the middle's place only counts visits, takes its time and does little at once; everything before it is
the real thing. A balancer routes to relays by what they say of themselves.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Final

from warifu.adapters.backlog import MemoryBacklog
from warifu.contract.center import (
    AbandonOperation,
    AskCard,
    CardsReceived,
    CardView,
    Confirmed,
    ConfirmWrite,
    Received,
)
from warifu.contract.codec import decode
from warifu.contract.envelope import Envelope, Reply, ServiceClass
from warifu.contract.health import AskHealth
from warifu.contract.message import Answer, Request
from warifu.contract.relay import Forward
from warifu.domain.admission.rules import OPENING, Limits
from warifu.domain.decision import Asked, Decision
from warifu.kernel.errors import Refused
from warifu.kernel.ids import card_id, new_ulid
from warifu.lab.properties import Property, common
from warifu.lab.scenarios.chain_properties import FULL, ROUNDING, of_the_way
from warifu.lab.scenarios.door import Door
from warifu.lab.scenarios.scenario import Safeguard, Scenario
from warifu.lab.scenarios.taken import Taken
from warifu.lab.simulation.asked_once import asked_once
from warifu.lab.simulation.balancer import HealthBalancer
from warifu.lab.simulation.devices import SimulatedDevice, SimulatedFactory, device
from warifu.lab.simulation.driver import Driver
from warifu.lab.simulation.keys import EPOCH_MS, Deal
from warifu.lab.simulation.sabotage_nodes import cs_class, pool_class, relay_class, without_health
from warifu.lab.simulation.world import WELL_MS, Machine, Ports, World
from warifu.nodes import base, cs
from warifu.nodes.cs import CommunicationServer
from warifu.nodes.hsm_pool import PoolLimits
from warifu.nodes.relay import MESSAGE_KEY, Relay
from warifu.ports.store import Get, Insert, Record, Snapshot, Update

PLACES: Final = ("131016", "132217")
RELAYS: Final = ("relay-1", "relay-2")
CARDS: Final = 4
COUNTERS: Final = 4
DEFAULT_SIZE: Final = 10
"""Operations, beside those of a burst."""
BURSTS: Final = 4
BURST: Final = (8, 20)
"""How often a burst may come, and how large it is."""
LIMITS: Final = Limits(total=5, setup_and_bulk=3, change_reserve=2, lease_ms=2_000)
AT_ONCE: Final = 3
"""What the centre does at once."""
SERVICE_MS: Final[tuple[tuple[int, int], ...]] = ((1, 3), (5, 40), (50, 200))
CLASSES: Final[tuple[ServiceClass, ...]] = ("delivery", "delivery", "setup", "bulk", "change")
POOL: Final = PoolLimits(queue=50, sessions=16, history=8, dumps=4)
STORMS_MS: Final[tuple[int, ...]] = (400, 1500, 4000, 14_000)
PATIENCE_MS: Final = (4_000, 10_000, 30_000)
SICK_MS: Final = (1_000, 14_000)
SICK_STORM_MS: Final = 14_000
"""With half-sick relays the storm lasts long enough for the balancer to find each out, or to be found wanting."""


class Visit(Record, frozen=True, kw_only=True):
    """How many messages of a card had their effect."""

    TABLE: ClassVar[str] = "lab_visit"
    KEY: ClassVar[tuple[str, ...]] = ("card_id",)

    card_id: str
    count: int


class SmallCenter(base.KeepingNode):
    """Counts visits: slowly, and few at once."""

    KIND: ClassVar[str] = "center"

    def __init__(self, ports: Ports, lab: World) -> None:
        super().__init__(ports.world, ports.store)
        self._lab = lab
        self._room = asyncio.Semaphore(AT_ONCE)
        self._service_ms = SERVICE_MS[lab.plan.seed % len(SERVICE_MS)]
        self.handlers |= {
            CardsReceived.NAME: self.receive,
            ConfirmWrite.NAME: self.confirm,
            AbandonOperation.NAME: self.abandon,
            AskCard.NAME: self.card,
        }

    async def receive(self, call: base.Call) -> Received:
        """The opening."""
        request = base.expect(call.request, CardsReceived)
        return await self._visit(call, request.card_ids[0], Received(card_ids=request.card_ids), Received)

    async def confirm(self, call: base.Call) -> Confirmed:
        """A step."""
        request = base.expect(call.request, ConfirmWrite)
        answer = Confirmed(result="unknown", card_state="made", next_step=0, host_challenge=bytes(8))
        return await self._visit(call, request.card_id, answer, Confirmed)

    async def abandon(self, call: base.Call) -> CardView:
        """The last step."""
        request = base.expect(call.request, AbandonOperation)
        return await self._visit(call, request.card_id, _view(request.card_id), CardView)

    async def card(self, call: base.Call) -> CardView:
        """A look, which changes nothing."""
        return _view(base.expect(call.request, AskCard).card_id)

    async def _visit(self, call: base.Call, card: str, answer: base.A, kind: type[base.A]) -> base.A:
        async with self._room:
            await asyncio.sleep(self._lab.delay_ms(*self._service_ms) / 1000)
            rule = partial(_visited, self.asked(call), card, answer)
            return await self.step(call, (Get(Visit, (card,)),), rule, kind)


def _visited(asked: Asked, card: str, answer: Answer, snapshot: Snapshot) -> Decision:
    found = snapshot.one(0, Visit)
    visit = Visit(card_id=card, count=found.count + 1 if found else 1, version=found.version if found else 0)
    return Decision(
        answer=answer,
        writes=(Update(visit) if found else Insert(visit),),
        journal=(asked.journal(f"card:{card}", "visit", count=visit.count),),
    )


def _view(card: str) -> CardView:
    return CardView(
        card_id=card,
        resident_id=new_ulid(0, bytes(10)),
        municipality=PLACES[0],
        state="made",
        expires_on=None,
        continuation_due=None,
    )


class RelayPart:
    """Builds relays with their HSMs, and knows what goes on in them. Devices outlive their relays' crashes.

    Args:
        limits: the relays' door.
        watched: whether their doors are told.
    """

    def __init__(self, world: World, hsm: SimulatedDevice, limits: Limits) -> None:
        self._world = world
        self._limits = limits
        self.factories = {name: SimulatedFactory(world, hsm) for name in RELAYS}
        self.doors: dict[str, Door] = {}

    def build(self, ports: Ports) -> Relay:
        """One relay."""
        name, without = ports.machine.name, self._world.plan.without
        pool = pool_class(without)(self.factories[name], f"{name}/hsm", 2, limits=POOL)
        asked_once(self._world, pool, name)
        relay = without_health(relay_class(without)(ports.world, pool, self._limits), without)
        self.doors[name] = Door(self._world, relay, strict=not without)
        return relay

    def check(self, machine: Machine) -> None:
        """What was taken is given back, and nothing else is."""
        relay = machine.node
        if not machine.up or not isinstance(relay, Relay):
            return
        if relay.under_way and min(relay.under_way.values()) < 0:
            self._world.violated("nothing is released that is not held", f"{machine.name}: {relay.under_way}")
        taken, inside = sum(relay.under_way.values()), self.doors[machine.name].inside
        if taken < inside:
            text = f"{machine.name} counts {taken} under way, {inside} are"
            self._world.violated("nothing is released that is not held", text)
        if taken > inside:
            self._world.violated("what is held is given back", f"{machine.name} counts {taken} under way, {inside} are")
        leases = relay.leases._leases.values()  # noqa: SLF001 - a leak shows nowhere else
        if sum(lease.busy for lease in leases) > inside:
            self._world.violated("what is held is given back", f"{machine.name}: leases are busy with nobody inside")
        if relay.leases.held != Counter(lease.kind for lease in leases):
            self._world.violated("what is held is given back", f"{machine.name} counts {dict(relay.leases.held)}")


class CsPart:
    """Builds CSs; what each has recorded outlives its crashes."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._backlogs: dict[str, MemoryBacklog] = {}
        self._taken: dict[str, Taken] = {}

    def build(self, place: str, ports: Ports) -> CommunicationServer:
        """The CS of a place."""
        name, without = ports.machine.name, self._world.plan.without
        backlog = self._backlogs.setdefault(name, MemoryBacklog())
        slow = _SlowBacklog(self._world, backlog)
        server = cs_class(without)(ports.world, ports.crypto, place, slow)
        if not without:
            slow.taken = self._taken[name] = Taken(self._world, server, backlog)
        _Opened(self._world, server)
        return server

    def check(self, machine: Machine) -> None:
        """A CS counts whom it serves, keeps no lane that nobody waits in, and has recorded what it has taken on."""
        check_cs(self._world, machine)
        if machine.up and machine.name in self._taken:
            self._taken[machine.name].check()

    @property
    def empty(self) -> bool:
        """Whether every CS has brought to an end what it took on."""
        return not any(backlog.unsettled() for backlog in self._backlogs.values())


class _Opened:
    """Watches that a CS says of an operation it has had opened that it needs no new place."""

    def __init__(self, world: World, server: CommunicationServer) -> None:
        self._world = world
        self._handle, self._exchange = server.handle, server.exchange
        self._opened: dict[str, None] = {}
        self._name = server.world.name
        server.handle = self.handle  # type: ignore[method-assign]  # no history shows what is sealed
        server.exchange = self.exchange  # type: ignore[method-assign]

    async def handle(self, envelope: Envelope) -> Reply:
        """As the CS's own; an operation whose opening was answered is known."""
        reply = await self._handle(envelope)
        if reply.error is None and envelope.name in OPENING:
            self._opened[envelope.operation_id] = None
        elif reply.error is None and envelope.name in cs.ENDING:
            self._opened.pop(envelope.operation_id, None)
        return reply

    async def exchange(self, destination: str, envelope: Envelope, answer: type[base.A]) -> base.A:
        """As the CS's own."""
        opened = envelope.name == Forward.NAME and envelope.operation_id in self._opened
        if opened and not decode(Forward, envelope.body).admitted:
            text = f"{self._name} asks for one for {envelope.operation_id} {envelope.step}"
            self._world.violated("an operation taken up again needs no new place", text)
        return await self._exchange(destination, envelope, answer)


class _SlowBacklog:
    """Takes its time to record: the CS may die before or after."""

    def __init__(self, world: World, inner: MemoryBacklog) -> None:
        self._world = world
        self._inner = inner
        self.taken: Taken | None = None

    async def keep(self, entry: bytes) -> int:
        """See ``ports.backlog``."""
        await asyncio.sleep(self._world.delay_ms(0, 1) / 1000)
        number = await self._inner.keep(entry)
        try:
            await asyncio.sleep(self._world.delay_ms(0, 1) / 1000)
        except asyncio.CancelledError:
            self._inner.settle(number)  # as the file does: who is not told its number cannot settle it
            raise
        return number

    def settle(self, number: int) -> None:
        """See ``ports.backlog``."""
        if self.taken is not None:
            kept = dict(self._inner.unsettled())
            if number in kept:
                self.taken.settled(number, decode(Envelope, kept[number]))
        self._inner.settle(number)

    def unsettled(self) -> tuple[tuple[int, bytes], ...]:
        """See ``ports.backlog``."""
        return self._inner.unsettled()


def check_cs(world: World, machine: Machine) -> None:
    """A CS counts whom it serves, and keeps no lane that nobody waits in."""
    server = machine.node
    if not machine.up or not isinstance(server, CommunicationServer):
        return
    serving = machine.serving.total() - machine.serving[AskHealth.NAME]
    if server.waiting != serving:
        world.violated("what is held is given back", f"{machine.name} counts {server.waiting}, serves {serving}")
    if server.waiting > cs.MAX_WAITING:
        world.violated("bounded queues", f"{machine.name} holds {server.waiting} messages")
    if server.budget.tokens > FULL + ROUNDING:
        world.violated("retries stay within their budget", f"{machine.name} may retry {server.budget.tokens:.1f} times")
    if len(server._lanes) > serving:  # noqa: SLF001 - a leak shows nowhere else
        world.violated("bounded queues", f"{machine.name} keeps {len(server._lanes)} lanes")  # noqa: SLF001


def watch(world: World, relays: RelayPart, communication: CsPart) -> Callable[[], None]:
    """Looks into every relay and CS."""
    machines = world.machines.items()
    doors = [machine for name, machine in machines if name.startswith("relay-")]
    servers = [machine for name, machine in machines if name.startswith("cs-")]

    def look() -> None:
        for machine in doors:
            relays.check(machine)
        for machine in servers:
            communication.check(machine)

    return look


class ChainTrial:
    """Counters at two places, two relays, one centre."""

    def __init__(self, world: World) -> None:
        self._world = world
        sick = "half_sick" in world.dice.chances
        world.storms_ms, world.snap_within_ms = (SICK_STORM_MS,) if sick else STORMS_MS, 4_000
        self._store = world.stores.add("center", (Visit,))
        world.add("center-1", "center", lambda ports: SmallCenter(ports, world))
        self._hsm = device(Deal(), ((MESSAGE_KEY, "agree"),))
        self._relays = RelayPart(world, self._hsm, LIMITS)
        for name in RELAYS:
            world.add(name, "relay", self._relays.build)
        self._cs = CsPart(world)
        for place in PLACES:
            world.add(f"cs-{place}", f"cs-{place}", partial(self._cs.build, place))
        self._balancer = HealthBalancer(world, "relay")
        self._drivers = [
            (place, Driver(world, f"terminal-{place}-{number + 1}", PATIENCE_MS[world.pick(len(PATIENCE_MS))]))
            for number in range(COUNTERS // len(PLACES))
            for place in PLACES
        ]
        self._cards = [card_id(number + 1) for number in range(CARDS)]
        world.look = self._look
        self._watch = watch(world, self._relays, self._cs)
        if not world.plan.tight:
            world.spawn(self._sicken(), "sickness")

    # -- what befalls

    async def _sicken(self) -> None:
        """Now and then a relay's device, or its path to the centre, is gone, and nothing else."""
        world = self._world
        while not world.dice.calm:
            await asyncio.sleep(world.delay_ms(50, 500) / 1000)
            if world.strikes("hsm_rekey", RELAYS[0]):
                self._hsm.rekey(MESSAGE_KEY, "agree")
            name = RELAYS[world.pick(len(RELAYS))]
            if name not in self._balancer.sick and world.strikes("half_sick", name):
                await self._half_sick(name)

    async def _half_sick(self, name: str) -> None:
        world, factory = self._world, self._relays.factories[name]
        self._balancer.sick[name] = world.loop.now_ms
        duration_ms = world.delay_ms(*SICK_MS)
        if world.pick(2):
            factory.sick = True
        else:
            world.network.part(name, "center-1", duration_ms)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(duration_ms / 1000):
                await world.healed.wait()
        factory.sick = False
        self._balancer.sick.pop(name, None)
        world.record("fault", name, outcome="cured")

    # -- who asks

    async def drive(self) -> None:
        """Operations of every class, some for the same card; bursts of set-ups."""
        world = self._world
        async with asyncio.TaskGroup() as group:
            for number in range(world.plan.size or DEFAULT_SIZE):
                kind = CLASSES[world.pick(len(CLASSES))]
                group.create_task(self._operation(number + 1, kind, world.delay_ms(0, 2_000)), name=f"op {number + 1}")
            for burst in range(BURSTS):
                if world.strikes("overload", "world"):
                    start_ms = world.delay_ms(0, 2_000)
                    for number in range(BURST[world.pick(len(BURST))]):
                        of_burst = self._operation(100 * (burst + 1) + number, "setup", start_ms)
                        group.create_task(of_burst, name=f"burst {burst}.{number}")

    async def _operation(self, number: int, kind: ServiceClass, start_ms: int) -> None:
        await asyncio.sleep(start_ms / 1000)
        place, driver = self._drivers[number % len(self._drivers)]
        card = self._cards[self._world.pick(CARDS)]
        operation_id = driver.operation_id()
        opening = CardsReceived(batch_id=new_ulid(EPOCH_MS, bytes(10)), card_ids=(card,))
        steps: list[tuple[Request, type[Answer]]] = [
            (opening, Received),
            (ConfirmWrite(card_id=card, write_id=operation_id, chip=None), Confirmed),
            (AskCard(card_id=card), CardView),
            (AbandonOperation(card_id=card), CardView),
        ]
        for step, (request, answer) in enumerate(steps):
            found = await driver.ask(
                f"cs-{place}",
                request,
                answer,
                operation_id=operation_id,
                step=f"{number}.{step}",
                order=card,
                service_class=kind,
            )
            if isinstance(found, Refused):
                self._world.violated("no request is refused", f"{request.NAME}: {found.code}")

    # -- looking

    def _look(self) -> None:
        late = self._balancer.overdue()
        if late:
            self._world.violated("a half-sick relay is out of rotation in time", late)
        self._watch()

    def settled(self) -> bool:
        """Everything is well: every relay is back in rotation, and the CSs have nothing left over."""
        return self._cs.empty and all(name in self._balancer.rotation for name in RELAYS)

    async def conclude(self) -> None:
        """Every node says that it is well."""
        await self._world.all_well(WELL_MS)

    def state(self) -> object:
        """Counts, who is up and in rotation, who waits."""
        counts = tuple(row.count for row in self._store.records(Visit) if isinstance(row, Visit))
        machines = self._world.machines.values()
        return (
            counts,
            tuple(machine.up for machine in machines),
            tuple(self._balancer.rotation),
            tuple(tuple(machine.serving.values()) for machine in machines),
        )


def _properties() -> tuple[Property, ...]:
    """The common ones, and those of CS and relay."""
    return (*common(), *of_the_way(LIMITS))


RELAY: Final = Scenario(
    "relay",
    ChainTrial,
    _properties,
    safeguards=(
        Safeguard("cancel-safe-expiry", "what is taken is given back by the block that took it", ("F2",)),
        Safeguard("lanes-not-block", "order is kept in lanes; nothing stops the others", ("F4",)),
        Safeguard("operation-admission", "classes of operations, each with its room", ("F5",)),
        Safeguard("health-by-work", "a node is well when its parts do their work", ("F14",)),
        Safeguard("idempotency", "the answer is remembered under the request's key, and given again"),
        Safeguard("version-guard", "a commit fails when the record moved since it was read"),
    ),
)
