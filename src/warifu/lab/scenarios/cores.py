"""The cores: a CS's lanes, a relay's door as time runs out, an outbox, a pool's fencing.

``core_card`` has the card, ``core_idle`` a pool whose workers wait.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Final

from warifu.adapters.backlog import MemoryBacklog
from warifu.adapters.store.memory import MemoryStore
from warifu.contract.center import AskCard
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope, Reply
from warifu.contract.intake import Notify
from warifu.contract.message import Done
from warifu.domain.admission.rules import Limits
from warifu.kernel.errors import DeadlinePassed, Unavailable, WarifuError
from warifu.kernel.ids import card_id, new_ulid
from warifu.lab.scenarios.core import LONG_MS, Core, core, envelope, injected
from warifu.lab.scenarios.core_card import VARIANTS, card_write
from warifu.lab.scenarios.core_idle import idle
from warifu.lab.scenarios.core_meanwhile import MEANWHILE_VARIANTS, meanwhile
from warifu.lab.simulation.keys import EPOCH_MS, Deal, FixtureCrypto, SeededEntropy
from warifu.lab.simulation.world import World
from warifu.nodes import base
from warifu.nodes.cs import CommunicationServer
from warifu.nodes.hsm_pool import HsmPool, PoolLimits
from warifu.nodes.relay import Relay
from warifu.ports import hsm
from warifu.ports.store import Change, OutboxMessage, RequestKey

PLACE: Final = "131016"
TERMINAL: Final = f"terminal-{PLACE}-1"
WORK_MS: Final = 10
"""What one message takes: deadlines are whole multiples, so that they run out as work ends."""


async def _ended(world: World, work: Coroutine[object, object, object], by_ms: int) -> str:
    """How a call ended: ``ok`` or a code. It must have ended by its deadline."""
    outcome = "ok"
    try:
        await work
    except TimeoutError:
        outcome = DeadlinePassed.code
    except WarifuError as error:
        outcome = error.code
    except asyncio.CancelledError:
        outcome = "cancelled"
    if world.loop.now_ms > by_ms:
        world.violated("every wait ends by its deadline", f"{world.loop.now_ms - by_ms} ms late")
    return outcome


# ---- lanes -----------------------------------------------------------------------------------------------------------


class _Carrying(CommunicationServer):
    """A CS whose way to the centre takes its time and nothing else."""

    world_of_lab: World
    under_way: dict[str, str]
    begun: dict[str, list[str]]

    async def _carry(self, envelope: Envelope, deadline: float) -> Reply:
        del deadline
        key, lab = envelope.ordering_key, self.world_of_lab
        if key in self.under_way:
            lab.violated("order per card in the CS", f"{envelope.step} beside {self.under_way[key]}")
        waiting = self.begun[key]
        if waiting[0] != envelope.step:
            lab.violated("order per card in the CS", f"{envelope.step} before {waiting[0]}")
        self.under_way[key] = envelope.step
        try:
            await asyncio.sleep(WORK_MS / 1000)
        finally:
            del self.under_way[key]
        return Reply(body=b"")


async def lanes(world: World, variant: int) -> None:
    """Three messages of one card and one of another; one's time runs out in its turn, one's asker goes away."""
    crypto = FixtureCrypto(SeededEntropy(0, "cs"), Deal())
    server = _Carrying(injected(world, f"cs-{PLACE}"), crypto, PLACE, MemoryBacklog())
    server.world_of_lab, server.under_way, server.begun = world, {}, {}

    async def one(step: str, card: int, remaining_ms: int, start_ms: int) -> str:
        await asyncio.sleep(start_ms / 1000)
        key = card_id(card)
        asked = envelope(
            AskCard.NAME, encode(AskCard(card_id=key)), number=card, step=step, sender=TERMINAL, key=key,
            remaining_ms=remaining_ms,
        )  # fmt: skip
        queue = server.begun.setdefault(key, [])
        queue.append(step)
        try:
            return await _ended(world, server.handle(asked), world.loop.now_ms + remaining_ms)
        finally:
            queue.remove(step)

    async with asyncio.TaskGroup() as group:
        tasks = {
            "first": group.create_task(one("first", 1, LONG_MS, 0)),
            "short": group.create_task(one("short", 1, 2 * WORK_MS - 1 + variant, 0)),
            "gone": group.create_task(one("gone", 1, LONG_MS, WORK_MS)),
            "last": group.create_task(one("last", 1, LONG_MS, WORK_MS)),
            "other": group.create_task(one("other", 2, LONG_MS, WORK_MS)),
        }
        world.later(2 * WORK_MS - 1 + variant, tasks["gone"].cancel)
        await asyncio.wait({tasks["other"]})
        if world.loop.now_ms > 2 * WORK_MS:
            world.violated("others pass", f"another card waited until {world.loop.now_ms} ms")
    ended = {name: "cancelled" if task.cancelled() else task.result() for name, task in tasks.items()}
    if any(ended[name] != "ok" for name in ("first", "last", "other")):
        world.violated("no message is lost", str(ended))
    if server.waiting or server._lanes:  # noqa: SLF001 - a leak shows nowhere else
        world.violated("what is held is given back", f"{server.waiting} waiting, {len(server._lanes)} lanes")  # noqa: SLF001


# ---- timers ----------------------------------------------------------------------------------------------------------


async def timers(world: World, variant: int) -> None:
    """Messages at a relay's door whose time runs out in the instant of their answer, or just before or after it."""

    async def center(destination: str, asked: Envelope) -> Reply:
        del destination
        try:
            async with asyncio.timeout(asked.remaining_ms / 1000):
                await asyncio.sleep(WORK_MS / 1000)
        except TimeoutError:
            raise DeadlinePassed(asked.name) from None
        return Reply(body=b"")

    limits = Limits(total=2, setup_and_bulk=1, change_reserve=1, lease_ms=WORK_MS)
    relay = Relay(injected(world, "relay-1", center), HsmPool(_Factory(world), "relay-1/hsm", 0), limits)

    async def one(number: int, remaining_ms: int) -> str:
        asked = envelope(
            AskCard.NAME, encode(AskCard(card_id=card_id(number))), number=number, step="1", sender=f"cs-{PLACE}",
            municipality=PLACE, remaining_ms=remaining_ms,
        )  # fmt: skip
        now = world.loop.time()
        call = base.Call(asked, AskCard(card_id=card_id(number)), EPOCH_MS, now + remaining_ms / 1000)

        async def passed() -> None:
            async with asyncio.timeout_at(call.deadline):
                reply = await relay._passed_on(call, asked, known=False)  # noqa: SLF001 - behind the encryption
            if reply.error is not None:
                raise DeadlinePassed(reply.error.code)

        return await _ended(world, passed(), world.loop.now_ms + remaining_ms)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number + 1, WORK_MS - 1 + number)) for number in range(3)]
        gone = group.create_task(one(9, LONG_MS))
        world.later(WORK_MS - 1 + variant, gone.cancel)
    if any(relay.under_way.values()):
        world.violated("nothing is released that is not held", f"{relay.under_way}")
    if any(lease.busy for lease in relay.leases._leases.values()):  # noqa: SLF001 - a leak shows nowhere else
        world.violated("what is held is given back", "a lease is busy with nobody inside")
    if tasks[0].result() == "ok" or tasks[2].result() != "ok":
        world.violated("every wait ends by its deadline", str([task.result() for task in tasks]))


# ---- outbox ----------------------------------------------------------------------------------------------------------


async def outbox(world: World, variant: int) -> None:
    """Three messages, two of one key, left as the idle timer runs out; the first is refused once on its way."""
    store = MemoryStore(())
    done: list[str] = []
    tried: dict[str, int] = {}

    async def receiver(destination: str, asked: Envelope) -> Reply:
        del destination
        tried[asked.step] = tried.get(asked.step, 0) + 1
        await asyncio.sleep(WORK_MS / 1000)
        if asked.step == "a1" and tried["a1"] == 1:
            raise Unavailable("the receiver is away")
        if asked.step not in done:
            done.append(asked.step)
        return Reply(body=encode(Done()))

    node = base.KeepingNode(injected(world, "registry-1", receiver), store)
    running = asyncio.create_task(node.run_outbox())

    async def leave(step: str, key: str, at_ms: int) -> None:
        await asyncio.sleep(at_ms / 1000)
        number = new_ulid(EPOCH_MS, step.encode().ljust(10))
        body = encode(Notify(resident_id=new_ulid(EPOCH_MS, bytes(10)), municipality=PLACE))
        message = OutboxMessage(step, "intake", Notify.NAME, body, number, key)
        request = RequestKey("registry", number, step, bytes(32))
        await store.commit(Change(now_ms=EPOCH_MS, outbox=(message,), request=request, answer=b"\x80"))
        node.kick_outbox()

    idle_ms = round(base.OUTBOX_IDLE_S * 1000) - 1 + variant
    async with asyncio.TaskGroup() as group:
        group.create_task(leave("a1", "a", idle_ms))
        group.create_task(leave("b1", "b", idle_ms))
        group.create_task(leave("a2", "a", idle_ms + WORK_MS))
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.wait({running})
    if sorted(done) != ["a1", "a2", "b1"] or store.outbox():
        world.violated("nothing lost after healing", f"{done} done, {len(store.outbox())} left")
    if done.index("a1") > done.index("a2"):
        world.violated("order per ordering key", str(done))
    if {step: count for step, count in tried.items() if count > 1} != {"a1": 2}:
        world.violated("what is answered is not sent again", str(tried))


# ---- HSM fencing -----------------------------------------------------------------------------------------------------

DEADLINE_MS: Final = 50
POOL: Final = PoolLimits(
    queue=4, command_deadline_ms=DEADLINE_MS, self_test_deadline_ms=DEADLINE_MS, self_test_every_ms=3 * DEADLINE_MS,
    first_pause_ms=DEADLINE_MS, kill_deadline_ms=DEADLINE_MS,
)  # fmt: skip


class _Worker:
    """Answers at once, or never from its first command on, or exactly as its deadline runs out."""

    pid = 0

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.killed = False
        self.busy = False

    async def call(self, command: hsm.HsmCommand) -> hsm.HsmReply:
        """See ``HsmWorker``."""
        if self.busy or self.killed:
            raise AssertionError("a worker does one thing at a time, and nothing once it is killed")
        self.busy = True
        if isinstance(command, hsm.SelfTest):
            self.busy = False
            return hsm.Done()
        if self.number == 1:
            await asyncio.Event().wait()
        if self.number == 2:  # noqa: PLR2004 - the second worker is late once
            await asyncio.sleep(DEADLINE_MS / 1000)
        self.busy = False
        return hsm.Bytes(command.data if isinstance(command, hsm.Mac) else b"")

    async def call_all(self, commands: Sequence[hsm.HsmCommand]) -> Sequence[hsm.HsmReply]:
        """See ``HsmWorker``."""
        return [await self.call(command) for command in commands]

    async def kill(self) -> None:
        """See ``HsmWorker``."""
        self.killed = True


class _Factory:
    def __init__(self, world: World) -> None:
        self._world = world
        self.workers: list[_Worker] = []

    async def spawn(self, name: str) -> _Worker:
        """See ``HsmFactory``."""
        self.workers.append(_Worker(name, len(self.workers) + 1))
        return self.workers[-1]


async def fencing(world: World, variant: int) -> None:
    """Two workers, one silent, one that answers as its deadline runs out; four callers, two of whom give up then."""
    factory = _Factory(world)
    pool = HsmPool(factory, "relay-1/hsm", 2, limits=POOL)
    running = asyncio.create_task(pool.run())

    async def one(number: int, deadline_ms: int) -> str:
        data = bytes([number] * 16)

        async def asked() -> None:
            reply = await pool.call(hsm.Mac("key", data), deadline_ms)
            if reply != hsm.Bytes(data):
                world.violated("no answer reaches another caller", f"caller {number}")

        return await _ended(world, asked(), world.loop.now_ms + deadline_ms)

    async with asyncio.TaskGroup() as group:
        callers = [group.create_task(one(number + 1, LONG_MS)) for number in range(2)]
        group.create_task(one(3, DEADLINE_MS - 1 + variant))
        gone = group.create_task(one(4, LONG_MS))
        world.later(DEADLINE_MS - 1 + variant, gone.cancel)
    if any(caller.result() != "ok" for caller in callers):
        world.violated("its work is done elsewhere", str([caller.result() for caller in callers]))
    await asyncio.sleep(4 * DEADLINE_MS / 1000)
    health = pool.health()
    if health.queued or health.ready != 2 or not factory.workers[0].killed:  # noqa: PLR2004 - both places
        world.violated("a stalled HSM is out of rotation in time", f"{health.ready} ready, {health.queued} queued")
    running.cancel()
    await asyncio.wait({running})
    if any(not worker.killed for worker in factory.workers):
        world.violated("what is held is given back", "a worker was left behind")


CORES: Final[dict[str, Core]] = {
    core.name: core
    for core in (
        core("lanes", "messages of one card in a CS: turns, a deadline, a cancellation", lanes, 3),
        core("timers", "a relay's door as the time of those inside runs out", timers, 3),
        core("outbox", "messages left as the outbox's idle timer runs out", outbox, 3),
        core("fencing", "an HSM pool whose workers stall or answer as deadlines pass", fencing, 3),
        core("idle", "a job that comes as the worker it would wake goes to prove itself", idle, 3),
        core("card", "two runs over one card write: intent, script, commit, confirmation", card_write, VARIANTS),
        core("meanwhile", "a card write as its holder dies, or a late word comes", meanwhile, MEANWHILE_VARIANTS),
    )
}
