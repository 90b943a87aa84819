"""One simulated world: its machines, what happens to them, and what has happened.

A *machine* is one instance of a node: it can be killed and started again, and several may answer to one name. Machines
share nothing but the network and the stores.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from functools import partial
from hashlib import blake2b
from random import Random
from typing import Any, ClassVar, TypeVar

from msgspec import Struct

from warifu.kernel.errors import Fault, WarifuError
from warifu.lab.history import Event, EventKind, to_line
from warifu.lab.properties import Property
from warifu.lab.simulation import waits
from warifu.lab.simulation.duties import Duties
from warifu.lab.simulation.keys import Deal, FixtureCrypto, SeededEntropy, SimulatedClock
from warifu.lab.simulation.looks import Looks
from warifu.lab.simulation.loop import Process, SimulatedLoop, SimulatedTask
from warifu.lab.simulation.network import Link, Network
from warifu.lab.simulation.plan import Dice, Plan
from warifu.lab.simulation.rest import held
from warifu.lab.simulation.storage import Stores, StoreView
from warifu.nodes import base
from warifu.ports.crypto import Crypto
from warifu.ports.store import Store

T = TypeVar("T")
LOOK_MS = 500
SNAPPED_SHARE = 0.05
"""One drawn delay in twenty ends at a pending timer's instant, or a millisecond beside it."""
SNAP_WITHIN_MS = 60_000
LATENCIES_MS = ((1, 1), (1, 5), (1, 40), (0, 2))
TIGHT_MS = (1, 1)
STORM_MS = (400, 1500, 4000)
WELL_MS = 70_000
"""Virtual time in which every node must say that it is well: slow HSM commands count for a minute."""
ENDS_MS = 8_000
"""Time for a node to end once it is told to: a fenced HSM worker may take five seconds to die."""
GRACES_MS = (None, 0, 30, 300)
"""How long a node that is told to end waits for what it serves, before it cancels it; None: until its process ends."""
LAST_MS = 10
"""How long before its end a node may get its last requests."""
RESTS_MS = 80_000
"""Time for a node at rest to give back what it holds: a message that was refused is looked at again after a minute."""
STORM_KINDS = ("crash", "partition", "skew", "stop")


class PropertyFailed(WarifuError):  # noqa: N818 - as all of the tree: it reads as a sentence
    """What must hold does not. ``name`` is the property's."""

    code: ClassVar[str] = "lab.property_failed"

    def __init__(self, name: str, text: str) -> None:
        super().__init__(f"{name}: {text}")
        self.name = name


class Ports(Struct, frozen=True):
    """What a machine's node is made from."""

    world: base.World
    store: Store
    """The database of the machine's destination."""
    crypto: Crypto
    machine: "Machine"


Build = Callable[[Ports], base.Node]
"""Makes a node from what is injected."""


class Machine:
    """One instance of a node.

    Args:
        name: unique, e.g. ``tally-1``.
        destination: the name in the topology that it answers to.
        build: called at each start; what it made is lost at each crash.
    """

    def __init__(self, world: "World", name: str, destination: str, build: Build) -> None:
        self.name = name
        self.destination = destination
        self.clock = SimulatedClock(world.loop)
        self.process = Process(name)
        self.node: base.Node | None = None
        self.running: asyncio.Task[None] | None = None
        """Its timers."""
        self.serving: Counter[str] = Counter()
        """Requests being answered, by name."""
        self.handling: dict[asyncio.Task[Any] | None, None] = {}
        """The tasks that answer them."""
        self._world = world
        self._build = build
        self._starts = 0

    @property
    def up(self) -> bool:
        """Whether it runs."""
        return self.node is not None and self.process.alive

    def start(self) -> None:
        """Start it, with nothing in memory."""
        self._starts += 1
        self.process = Process(self.name)
        self.serving, self.handling = Counter(), {}
        entropy = SeededEntropy(self._world.plan.seed, f"{self.name}/{self._starts}")
        view = StoreView(self._world, self, self._world.stores.of(self.destination))
        link = Link(self._world.network, self.name)
        log = _Log(self._world, self.name)
        injected = base.World(self.name, link, self.clock, entropy, log)
        self.node = self._build(Ports(injected, view, FixtureCrypto(entropy, self._world.deal), self))
        self.running = self._world.spawn(self._run(self.node), f"{self.name} timers", self.process.context.copy())

    async def _run(self, node: base.Node) -> None:
        await node.run()
        self._world.violated("timers run", f"{self.name}'s timers ended")


class World:
    """One run's world.

    Args:
        loop: the simulated loop; nothing in the world happens anywhere else.
        plan: the run's plan.
        properties: what is checked at every event.
        state: what the nodes' states are, for counting distinct ones at quiet points.
    """

    def __init__(self, loop: SimulatedLoop, plan: Plan, properties: tuple[Property, ...]) -> None:
        self.loop = loop
        self.plan = plan
        self.dice = Dice(plan)
        self.history: list[Event] = []
        self.deal = Deal()
        self.network = Network(self)
        self.stores = Stores(self)
        self.looks = Looks()
        self.duties = Duties(self)
        self.machines: dict[str, Machine] = {}
        self.faults: Counter[str] = Counter()
        self.workers: Counter[Process] = Counter()
        """HSM workers that were made and not killed, by the process that asked for them."""
        self.states: set[bytes] = set()
        self.state: Callable[[], object] = tuple
        self.look: Callable[[], None] | None = None
        """Called at each quiet instant: looks into the nodes for what no history shows."""
        self.last: Callable[[], list[asyncio.Task[object]]] = list
        """Called as every node is told to end: requests that are under way then."""
        self.healed = asyncio.Event()
        self._begins = asyncio.Event()
        self._begins.set()
        self.lasts_ms = 0
        """How long whoever asks may take after the storm, beside what healing takes."""
        self.storms_ms: tuple[int, ...] = STORM_MS
        self.snapped_share = SNAPPED_SHARE
        self.snap_within_ms = SNAP_WITHIN_MS
        self._properties = properties
        self._random = Random(f"{plan.seed}/world")  # noqa: S311 - repeatable on purpose
        self._graces = Random(f"{plan.seed}/graces")  # noqa: S311 - as above
        self._latency = TIGHT_MS if plan.tight else self._random.choice(LATENCIES_MS)
        self._context = copy_context()
        self._busy = 0
        self._changed = True
        loop.idle = self._note_state
        loop.given_up = partial(waits.given_up, self)

    # -- making

    def add(self, name: str, destination: str, build: Build) -> Machine:
        """A machine, started."""
        if name in self.machines:
            raise Fault(f"two machines named {name}")
        machine = self.machines[name] = Machine(self, name, destination, build)
        machine.start()
        return machine

    # -- chance

    def pick(self, count: int) -> int:
        """A number from 0 to ``count - 1``, by the seed."""
        return int(self._random.random() * count)

    def latency_ms(self) -> int:
        """How long a message or a store's answer takes in this run."""
        return self.delay_ms(*self._latency)

    def delay_ms(self, low: int, high: int) -> int:
        """A drawn delay; one in twenty ends where a pending timer does, or a millisecond beside."""
        if self.plan.tight:
            return low
        delay = low + self.pick(high - low + 1)
        if self._random.random() >= self.snapped_share:
            return delay
        return self._snapped(delay)

    def _snapped(self, delay: int) -> int:
        now = self.loop.now_ms
        instants = [instant for instant in self.loop.pending_instants() if instant <= now + self.snap_within_ms]
        if not instants:
            return delay
        return max(0, instants[self.pick(len(instants))] - 1 + self.pick(3) - now)

    def strikes(self, kind: str, node: str, peer: str = "") -> bool:
        """Whether this fault happens here; then it is in the history."""
        if not self.dice.strikes(kind):
            return False
        self.fault(kind, node, peer)
        return True

    # -- time

    def later(self, delay_ms: int, act: Callable[..., object], *args: object) -> None:
        """Let the world do something after a delay; it survives the death of whoever asked."""
        self.loop.call_later(delay_ms / 1000, act, *args, context=self._context)

    def spawn(self, coro: Coroutine[Any, Any, T], name: str, context: Context | None = None) -> asyncio.Task[T]:
        """Start a task of the world's, or of the process whose context is given."""
        return self.loop.create_task(coro, name=name, context=context or self._context.copy())

    # -- seeing

    def record(self, kind: EventKind, node: str, **fields: str) -> None:
        """Something happened: into the history, the trace hash and before every property."""
        event = Event(at_ms=self.loop.now_ms, kind=kind, node=node, **fields)
        self.history.append(event)
        self.loop.note(to_line(event))
        for each in self._properties:
            trouble = each.see(event)
            if trouble is not None:
                self.violated(each.name, trouble)

    def fault(self, kind: str, node: str, peer: str = "", detail: str = "") -> None:
        """The world did something to someone."""
        self.faults[kind] += 1
        self.record("fault", node, peer=peer, outcome=kind, detail=detail)

    def violated(self, name: str, text: str) -> None:
        """A property failed: the run ends, whatever the running code catches."""
        self.loop.abort(PropertyFailed(name, text))

    def check_end(self) -> None:
        """Ask each property for its last word."""
        for each in self._properties:
            trouble = each.end()
            if trouble is not None:
                raise PropertyFailed(each.name, trouble)

    def busy(self, change: int) -> None:
        """A call, a message or a store's work is under way (+1) or over (-1)."""
        self._busy += change

    def _note_state(self) -> None:
        """Nothing more happens at this instant: a quiet point, whose state counts as covered."""
        if self.look is not None:
            self.look()
        if self._changed:
            self._changed = False
            self.states.add(blake2b(repr(self.state()).encode(), digest_size=8).digest())

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way."""
        return self._busy == 0

    def changed(self) -> None:
        """A store's content changed."""
        self._changed = True

    # -- storm and healing

    def crash(self, machine: Machine, kind: str = "crash") -> None:
        """Kill a machine; it is started again after a while, at the latest when the storm is over."""
        if not machine.up:
            return
        if kind != "stop":
            self._check_timers()
        self.fault(kind, machine.name)
        self.loop.kill(machine.process)
        machine.node = None
        self.network.lost(machine)
        self.later(self.delay_ms(1, 1000), self._restart, machine)

    def _restart(self, machine: Machine) -> None:
        if not machine.up:
            self.record("fault", machine.name, outcome="restart")
            machine.start()

    def hold(self) -> None:
        """No faults yet: a trial of many stages lets them begin at a late one, to which no storm would let it come."""
        self.dice.calm = True
        self._begins.clear()

    def let_go(self) -> None:
        """The storm begins, unless it did."""
        if not self._begins.is_set():
            self.dice.calm = False
            self._begins.set()

    async def storming(self) -> None:
        """Until the storm has begun."""
        await self._begins.wait()

    async def storm(self) -> None:
        """Some seconds in which everything may happen; from when a trial that holds it back lets it begin."""
        if not self.dice.chances:
            return
        await self._begins.wait()
        end_ms = self.loop.now_ms + self.storms_ms[self.pick(len(self.storms_ms))]
        while self.loop.now_ms < end_ms:
            await asyncio.sleep(self.delay_ms(5, 200) / 1000)
            for kind in STORM_KINDS:
                self._storm(kind)

    def _storm(self, kind: str) -> None:
        if not self.dice.strikes(kind):
            return
        machines = [machine for machine in self.machines.values() if machine.up]
        if not machines:
            return
        machine = machines[self.pick(len(machines))]
        match kind:
            case "crash":
                self.crash(machine)
            case "stop":
                grace_ms = self._graces.choice(GRACES_MS)
                self.spawn(self._stopped(machine, grace_ms), f"stop of {machine.name}")
            case "partition":
                others = [name for name in self.network.names() if name != machine.name]
                self.network.part(machine.name, others[self.pick(len(others))], self.delay_ms(10, 2000))
            case "skew":
                machine.clock.skew_ms = self.delay_ms(0, 120_000) - 60_000
                self.fault("skew", machine.name, detail=f"{machine.clock.skew_ms} ms")

    def heal(self) -> None:
        """No more faults; who is down comes up, who is apart comes together, clocks are right."""
        self.dice.calm = True
        self.healed.set()
        self.record("fault", "world", outcome="heal")
        self.network.rejoin_all()
        for machine in self.machines.values():
            machine.clock.skew_ms = 0
            self._restart(machine)

    async def all_well(self, within_ms: int) -> None:
        """Every node's own health, asked again and again; ``all is well after healing`` when one stays ailing."""
        end_ms = self.loop.now_ms + within_ms
        ailing: dict[str, str] = dict.fromkeys(self.machines, "")
        while ailing:
            for name in list(ailing):
                node = self.machines[name].node
                health = None if node is None else await node.health()
                if health is not None and health.ok:
                    del ailing[name]
                elif health is not None:
                    ailing[name] = "; ".join(
                        f"{part}: {said.detail}" for part, said in health.parts.items() if not said.ok
                    )
            if ailing and self.loop.now_ms > end_ms:
                self.violated("all is well after healing", str(ailing))
            await asyncio.sleep(LOOK_MS / 1000)

    async def end_all(self) -> None:
        """Every node is told to end, as by SIGTERM: its timers end soon, and none of its HSM workers outlives it."""
        self._check_timers()
        await self._check_rest()
        last, told_ms = self.last(), self.loop.now_ms + self.delay_ms(0, LAST_MS)
        await asyncio.sleep((told_ms - self.loop.now_ms) / 1000)
        begun = {machine.name: self.loop.tasks_of(machine.process) for machine in self.machines.values()}
        timers = {machine.name: machine.running for machine in self.machines.values() if machine.running is not None}
        for task in timers.values():
            task.cancel()
        if timers:
            await asyncio.wait(set(timers.values()), timeout=ENDS_MS / 1000)
        for machine in self.machines.values():
            self._check_ended(machine)
        if last:
            _, waiting = await asyncio.wait(last, timeout=max(0, told_ms + ENDS_MS - self.loop.now_ms) / 1000)
            if waiting:
                self.violated("who waits for a part that ends is told", f"{len(waiting)} wait {ENDS_MS} ms later")
        await self._check_nothing_goes_on(begun, told_ms + ENDS_MS)

    async def _check_nothing_goes_on(self, begun: dict[str, list[SimulatedTask[Any]]], until_ms: int) -> None:
        """What was under way in a node when it was told to end, is over."""
        for name, tasks in begun.items():
            left = [task for task in tasks if not task.done()]
            if left and self.loop.now_ms < until_ms:
                await asyncio.wait(left, timeout=(until_ms - self.loop.now_ms) / 1000)
            going_on = [task.get_name() for task in left if not task.done()]
            if going_on:
                text = f"{name} has not ended {going_on[0]} {ENDS_MS} ms later"
                self.violated("a node ends when it is told to", text)

    def end_at_work(self, process: Process | None) -> None:
        """Whose process this is, is told to end, and does not wait for what it is at."""
        machine = next((each for each in self.machines.values() if each.process is process and each.up), None)
        if machine is not None:
            self.spawn(self._stopped(machine, grace_ms=0), f"stop of {machine.name}")

    async def _stopped(self, machine: Machine, grace_ms: int | None = None) -> None:
        """As at an orderly restart: its timers end, then its process is gone.

        With a grace, what it serves is cancelled before, as every server does with what has not ended by then.
        """
        process, running = machine.process, machine.running
        if running is None:
            return
        if grace_ms is not None:
            await asyncio.sleep(grace_ms / 1000)
            await self._cut_short(machine, process)
        self._check_timers()
        running.cancel()
        await asyncio.wait({running}, timeout=ENDS_MS / 1000)
        if process.alive:
            self._check_ended(machine)
            self.crash(machine, "stop")

    async def _cut_short(self, machine: Machine, process: Process) -> None:
        served = [task for task in machine.handling if task is not None] if process.alive else []
        for task in served:
            task.cancel()
        if served:
            await asyncio.wait(served, timeout=ENDS_MS / 1000)
        if process.alive and any(not task.done() for task in served):
            text = f"{machine.name} goes on with what it served {ENDS_MS} ms after that was cancelled"
            self.violated("a node ends when it is told to", text)

    def _check_ended(self, machine: Machine) -> None:
        waits.check(self, machine)
        if machine.running is not None and not machine.running.done():
            text = f"{machine.name} still runs {ENDS_MS} ms later"
            self.violated("a node ends when it is told to", text)
        left = self.workers.get(machine.process, 0)
        if left:
            self.violated("what is held is given back", f"{machine.name} left {left} HSM workers behind")

    async def _check_rest(self) -> None:
        """Nobody asks any more: whatever a node takes for a while it has given back within a while."""
        end_ms, left = self.loop.now_ms + RESTS_MS, dict.fromkeys(self.machines, "")
        while left:
            for name in list(left):
                machine = self.machines[name]
                left[name] = "" if machine.node is None else held(machine.node, outbox_empty=self._sent(machine))
                if not left[name]:
                    del left[name]
            if left and self.loop.now_ms > end_ms:
                name, text = next(iter(left.items()))
                self.violated("what is held is given back", f"{name} at rest: {text}")
            if left:
                await asyncio.sleep(LOOK_MS / 1000)

    def _sent(self, machine: Machine) -> bool:
        return self.stores.empty(machine.destination)

    def _check_timers(self) -> None:
        """What a node does now and then it does to its end: no error ends one of its timers."""
        processes = [machine.process for machine in self.machines.values() if machine.up]
        self.duties.check(task for task in self.loop.endless if task.process in processes)
        for task in self.loop.endless:
            if task.process in processes and task.done() and not task.cancelled():
                self.violated(
                    "timers run", f"{task.process}: {getattr(task.get_coro(), '__qualname__', 'a timer')} ended"
                )


class _Log:
    """A node's log goes into the history."""

    def __init__(self, world: World, node: str) -> None:
        self._world = world
        self._node = node

    def info(self, event: str, **fields: str | float) -> None:
        """See ``ports.log.Log``."""
        self._world.record("log", self._node, outcome=event, detail=_text(fields))

    def trouble(self, event: str, **fields: str | float) -> None:
        """See ``ports.log.Log``."""
        self._world.record("log", self._node, outcome=f"trouble {event}", detail=_text(fields))


def _text(fields: dict[str, str | float]) -> str:
    return " ".join(f"{name}={value}" for name, value in fields.items())
