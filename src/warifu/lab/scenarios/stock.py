"""The ``stock`` scenario: the stock of key pairs alone, in blocks and single, of two processes over one register.

Parts of bulk issues and counters take from it at once, as the reception's own code does (reserve, then one commit with
the use), while the register and the HSM break, nodes die at their commits, and who asked goes away. A second book
(``stock_book``) counts what stands after every commit; in the end the stock is full again, and is then left alone.
"""

import asyncio
from functools import partial
from typing import ClassVar, Final

import msgspec

from warifu.adapters.hsm.engine import Engine
from warifu.domain.certificates.records import KeyBlock, KeyUse, StoredKeyPair
from warifu.kernel.errors import Stale
from warifu.lab.properties import common
from warifu.lab.scenarios.nation import KEYS
from warifu.lab.scenarios.scenario import Scenario
from warifu.lab.scenarios.stock_book import LOST, TWICE, found_wrong, is_full
from warifu.lab.simulation.asked_once import asked_once
from warifu.lab.simulation.devices import SimulatedFactory, device
from warifu.lab.simulation.inside import inside
from warifu.lab.simulation.keys import Deal, SeededEntropy, fixture_rsa
from warifu.lab.simulation.world import WELL_MS, Ports, World
from warifu.nodes.authority import key_pool
from warifu.nodes.authority.key_pool import WRAP_KEY, KeyPool
from warifu.nodes.base import MAX_DECISIONS, KeepingNode
from warifu.nodes.hsm_pool import HsmPool, PoolLimits
from warifu.nodes.with_hsm import WithHsm
from warifu.ports import hsm
from warifu.ports.store import Change, Find, Update

NODES: Final = ("authority-1", "authority-2")
RECORDS: Final = (StoredKeyPair, KeyBlock, KeyUse)
POOL: Final = PoolLimits(queue=100, sessions=4, history=4, dumps=2)
ASKERS: Final = 8
BLOCKS: Final = 3
"""Most that are kept."""
SMALL: Final[dict[str, tuple[int, ...]]] = {
    "BLOCK": (2, 3, 4), "SINGLES": (1, 2, 4), "CHOICE": (1, 3, 16), "AT_ONCE": (1, 2, 16), "PAGE": (1, 2, 1_000),
}  # fmt: skip
LASTS_MS: Final = 2_000
PATIENCE_MS: Final = (40, 400, 5_000)
CALM_MS: Final = 20_000
STORMS_MS: Final = (300, 1_500, 3_000)
BACK_MS: Final = (1, 300)
FULL_MS: Final = 20_000
"""When all is well again, what is missing is there after this time."""
RESTS_MS: Final = 10_000
SAMPLE: Final = 6
"""Private keys that are looked at in the end."""


class Stock(WithHsm, KeepingNode):
    """A stock of key pairs in a node, and the two ways in which the reception takes from it."""

    KIND: ClassVar[str] = "authority"

    def __init__(self, ports: Ports, pool: HsmPool, target: int) -> None:
        super().__init__(ports.world, ports.store)
        self.hsm = pool
        self.pool = KeyPool(ports.world, ports.store, pool, ports.crypto, target)
        self._reserving = asyncio.Lock()

    async def many(self, first: int, count: int) -> int:
        """As a part of an issue in bulk: pairs for so many certificates in one commit; how many it took."""
        self.pool.busy += 1
        try:
            for _ in range(MAX_DECISIONS):
                async with self._reserving:
                    if await self._is_used(first):
                        return count
                    taken = await self.pool.reserve(count)
                    pairs = enumerate(taken.pairs, first)
                    uses = [self.pool.used(each.key_pair_id, "signature", serial) for serial, each in pairs]
                    try:
                        await self.store.commit(Change(now_ms=self.world.clock.now_ms(), writes=(*taken.writes, *uses)))
                    except Stale:
                        continue
                    return len(taken.pairs)
        finally:
            self.pool.busy -= 1
        raise Stale("key pairs keep moving")

    async def one(self, serial: int) -> int:
        """As for a counter: a pair for one certificate."""
        for _ in range(MAX_DECISIONS):
            if await self._is_used(serial):
                return 1
            pair = await self.pool.choose()
            taken = msgspec.structs.replace(pair, state="reserved", reserved_for=f"signature:{serial}")
            writes = (Update(taken), self.pool.used(pair.key_pair_id, "signature", serial))
            try:
                await self.store.commit(Change(now_ms=self.world.clock.now_ms(), writes=writes))
            except Stale:
                continue
            return 1
        raise Stale("key pairs keep moving")

    async def _is_used(self, serial: int) -> bool:
        """Whether an earlier try of the same request stands: the certificate has its pair."""
        found = await self.store.read(Find(KeyUse, {"ca": "signature", "serial": serial}, 1))
        return found.one(0, KeyUse) is not None

    async def run(self) -> None:
        """The stock is filled beside the other timers, as in the reception."""
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run())
            group.create_task(self.pool.run())


class StockTrial:
    """Two nodes, and who asks them."""

    def __init__(self, world: World) -> None:
        self._world = world
        world.deal, world.storms_ms = Deal(), STORMS_MS
        for name, values in SMALL.items():
            setattr(key_pool, name, values[world.pick(len(values))])  # a run's own: small_limits puts them back
        self._target = key_pool.SINGLES + key_pool.BLOCK * world.pick(BLOCKS + 1)
        self._register = world.stores.add("authority", RECORDS)
        made = device(world.deal, [each for each in KEYS["authority"] if each[0] == WRAP_KEY])
        made.entropy = SeededEntropy(world.plan.seed, "authority device")
        self._factory = SimulatedFactory(world, made)
        for name in NODES:
            world.add(name, "authority", self._node)
        self._seen = -1
        self._asked = 0
        world.look = self._look

    def _node(self, ports: Ports) -> KeepingNode:
        pool = HsmPool(self._factory, f"{ports.machine.name}/hsm", 2, limits=POOL)
        return Stock(ports, asked_once(self._world, pool, ports.machine.name), self._target)

    async def drive(self) -> None:
        """Parts of all sizes and single certificates; each is asked for until it is done."""
        serial = 1
        async with asyncio.TaskGroup() as group:
            for _ in range(self._world.plan.size or ASKERS):
                count = self._world.pick(2 * key_pool.BLOCK + 2) if self._world.pick(2) else 0
                group.create_task(self._taken(serial, count))
                serial += max(1, count)
        await self._world.healed.wait()

    async def _taken(self, first: int, count: int) -> None:
        world, wanted = self._world, max(1, count)
        self._asked += wanted
        await asyncio.sleep(world.delay_ms(0, LASTS_MS) / 1000)
        while True:
            machine = world.machines[NODES[world.pick(len(NODES))]]
            patience_ms = CALM_MS if world.dice.calm else PATIENCE_MS[world.pick(len(PATIENCE_MS))]
            ask = partial(Stock.many, first=first, count=count) if count else partial(Stock.one, serial=first)
            found = await inside(world, machine, Stock, ask, patience_ms)
            if found == wanted:
                return
            if isinstance(found, int):
                world.violated(LOST, f"{found} key pairs were given out for {wanted} certificates")
            await asyncio.sleep(world.delay_ms(*BACK_MS) / 1000)

    # -- looking

    def _look(self) -> None:
        commits = self._register._state.commits  # noqa: SLF001 - told nowhere else
        if commits == self._seen:
            return
        self._seen, wrong = commits, found_wrong(self._register)
        if wrong is not None:
            self._world.violated(*wrong)

    def settled(self) -> bool:
        """Nobody leaves messages here."""
        return True

    async def conclude(self) -> None:
        """Full again, and left alone then; every certificate has one pair, and each pair its private key."""
        await self._world.all_well(WELL_MS)
        end_ms = self._world.loop.now_ms + FULL_MS
        while not is_full(self._register, self._target):
            if self._world.loop.now_ms > end_ms:
                self._world.violated("the stock of key pairs is filled again", f"not after {FULL_MS} ms")
            await asyncio.sleep(0.1)
        await asyncio.sleep(RESTS_MS / 1000)  # who had begun before ends
        before = self._counted()
        await asyncio.sleep(RESTS_MS / 1000)
        if self._counted() != before:
            self._world.violated("a full stock is left alone", f"{before} became {self._counted()}")
        uses = len(self._register.records(KeyUse))
        if uses != self._asked:
            self._world.violated(TWICE, f"{uses} key pairs were used for {self._asked} certificates")
        self._unwrapped()

    def _counted(self) -> tuple[int, int]:
        return len(self._register.records(StoredKeyPair)), len(self._register.records(KeyBlock))

    def _unwrapped(self) -> None:
        """What is kept under the HSM's key is the private half of its row's public one, and opens under its name."""
        private = {pair.public_key: pair.private_key for pair in map(fixture_rsa, range(self._world.deal.dealt))}
        rows = [row for row in self._register.records(StoredKeyPair) if isinstance(row, StoredKeyPair)]
        engine = Engine(self._factory.device)
        for row in rows[:: max(1, len(rows) // SAMPLE)]:
            found = engine.perform(hsm.Unwrap(WRAP_KEY, row.wrapped or b"", row.key_pair_id.encode()))
            if not isinstance(found, hsm.Bytes) or found.data != private[row.public_key]:
                self._world.violated("a key pair is one", f"{row.key_pair_id} has not its private half")

    def state(self) -> object:
        """How much there is of each, and who is up."""
        up = tuple(machine.up for machine in self._world.machines.values())
        return self._counted(), len(self._register.records(KeyUse)), up


STOCK: Final = Scenario("stock", StockTrial, common)
