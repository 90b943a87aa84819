"""The ``jpki`` scenario: certificates issued in bulk, revoked, asked about -- authority, responder and front.

All of them are real. Batches are issued by two managers at once while the residents' records change; certificates are
held and revoked; meanwhile verifiers ask the front, relying parties the responder, and both fetch lists. Whatever
breaks: what was revoked before somebody asked is answered revoked, and each certificate is issued once.
"""

import asyncio
import datetime
import hashlib
import pickle
from typing import Final, Literal

from msgspec import structs

from warifu.contract.authority import (
    BatchIssued,
    BatchOrder,
    Certificates,
    IssueBatch,
    IssueCertificates,
    RevokeCertificates,
    RevokeSerials,
    Withdrawn,
)
from warifu.contract.message import Done
from warifu.contract.registry import ResidentChangedForAuthority
from warifu.contract.values import Person
from warifu.domain.certificates.records import Certificate, ListRevision, PublishedList, Revocation
from warifu.domain.pki.profile import Profile
from warifu.domain.verifiers.records import StoredVerifier
from warifu.kernel.errors import KeyReused, Refused
from warifu.kernel.ids import ULID_RANDOM_BYTES, card_id, new_ulid
from warifu.lab.properties import common
from warifu.lab.scenarios.jpki_evening import KINDS, JpkiEvening
from warifu.lab.scenarios.jpki_operators import Operators
from warifu.lab.scenarios.jpki_relying import VERIFIERS, Relying
from warifu.lab.scenarios.jpki_watched import Moments, WatchedFront, WatchedShelf
from warifu.lab.scenarios.nation import HERE, KEY_PAIRS, morning
from warifu.lab.scenarios.scenario import Safeguard, Scenario
from warifu.lab.scenarios.signed_book import SignedBook
from warifu.lab.scenarios.status_book import StatusBook
from warifu.lab.scenarios.stock_book import is_full
from warifu.lab.simulation.devices import SimulatedDevice, SimulatedFactory, device
from warifu.lab.simulation.driver import Driver
from warifu.lab.simulation.keys import EPOCH_MS, Deal, SeededEntropy
from warifu.lab.simulation.storage import StoreView
from warifu.lab.simulation.world import WELL_MS, Ports, World
from warifu.nodes import front
from warifu.nodes.authority import key_pool
from warifu.nodes.authority import node as authority
from warifu.nodes.base import Node
from warifu.nodes.hsm_pool import HsmPool, PoolLimits
from warifu.nodes.responder import Responder
from warifu.ports.store import Change, Insert

POOL: Final = PoolLimits(queue=100, sessions=8, history=8, dumps=4)
DEFAULT_SIZE: Final = 2
"""Orders of a part."""
PARTS: Final = 2
ALONE: Final = 1
"""Cards whose certificates are issued beside the batches."""
TOGETHER_MS: Final = 20
"""Within this time their residents move again."""
CHECKS: Final = 6
"""Askers of each verifier: more than it may have at work."""
OPERATORS_SHARE: Final = 2
"""In one run of so many somebody registers a verifier."""
TOLD_LATE_MS: Final = 4_000
"""Within this time JPKI hears of a change that an order knew of: perhaps when its certificates are issued."""
SMALL_BLOCK: Final = 8
"""Where blocks of key pairs are no larger than this, some are kept; production's would take all there are of keys."""
BLOCKS: Final = 2
FULL_MS: Final = 30_000
"""Within this time after all is well the stock is full again."""
CALM_MS: Final = 60_000
STORMS_MS: Final = (400, 2_000, 5_000)
SEALED_MS: Final = 2_500
_TODAY: Final = datetime.date(2026, 4, 1)
BORN: Final = (
    datetime.date(1985, 5, 5),
    datetime.date(2011, 4, 1),
    datetime.date(2011, 4, 2),
    datetime.date(1985, 5, 5),
)
"""Grown up; fifteen years old today; tomorrow."""
_EXPIRES: Final = datetime.date(2035, 3, 1)


class JpkiTrial:
    """One authority with its register, one responder, one front."""

    def __init__(self, world: World) -> None:
        self._world = world
        begin = morning()
        world.deal = Deal(begin.dealt)
        world.storms_ms, world.snap_within_ms = STORMS_MS, 3_000
        is_small = key_pool.BLOCK <= SMALL_BLOCK
        self._key_pairs = key_pool.SINGLES + BLOCKS * key_pool.BLOCK if is_small else KEY_PAIRS
        self.register = world.stores.add("authority", authority.RECORDS)
        self.register._state = pickle.loads(begin.stores["authority"])  # noqa: S301, SLF001 - our own, of this process
        self.front = world.stores.add("front", front.RECORDS)
        self._factories = {
            "authority": self._factory(SimulatedDevice(world.deal, begin.keys["authority"]), "authority"),
            "responder": self._factory(device(world.deal, ()), "responder"),
        }
        self._signed = SignedBook(world, self._factories["authority"], self.register)
        self._shelf = WatchedShelf(world)
        self._moments = Moments()
        world.add("authority-1", "authority", self._authority)
        world.add("responder-1", "responder", self._responder)
        world.add("front-1", "front", lambda ports: WatchedFront(ports, world))
        self._entropy = SeededEntropy(world.plan.seed, "jpki")
        self._holders = begin.holders
        self._evening = JpkiEvening(world, self.register, self.front)
        self._relying = Relying(world, self._evening, self.register)
        world.look, world.last = self._look, self._relying.last

    def _factory(self, made: SimulatedDevice, name: str) -> SimulatedFactory:
        made.entropy = SeededEntropy(self._world.plan.seed, f"{name} device")
        return SimulatedFactory(self._world, made)

    def _pool(self, kind: str, ports: Ports) -> HsmPool:
        return HsmPool(self._factories[kind], f"{ports.machine.name}/hsm", 2, limits=POOL)

    def _authority(self, ports: Ports) -> Node:
        node = authority.Authority(
            ports.world,
            ports.store,
            self._pool("authority", ports),
            ports.crypto,
            profile=Profile(),
            key_pairs=self._key_pairs,
            shelf=self._shelf,
        )
        self._moments.watch(node.bulk)
        return node

    def _responder(self, ports: Ports) -> Node:
        register = StoreView(self._world, ports.machine, self._world.stores.of("authority"))
        node = Responder(ports.world, register, self._pool("responder", ports), Profile(), self._shelf)
        StatusBook(self._world, node.looks, self.register)
        return node

    async def _registered(self) -> None:
        """Two verifiers, before anything breaks."""
        verifiers = tuple(
            StoredVerifier(
                verifier_id=name,
                kind=kind,
                name=name,
                approval="1",
                state="approved",
                credential=hashlib.sha256(name.encode()).digest(),
                proposed_by="a",
                approved_by="b",
                changed_ms=EPOCH_MS,
            )
            for name, kind in VERIFIERS.items()
        )
        await self.front.commit(Change(now_ms=EPOCH_MS, writes=tuple(map(Insert, verifiers))))

    # -- who comes

    async def drive(self) -> None:
        """Everybody at once; when all is revoked and healed, everybody asks once more."""
        world = self._world
        await self._registered()
        parts = [self._part(number) for number in range(PARTS)]
        async with asyncio.TaskGroup() as group:
            for number, part in enumerate(parts):
                for manager in range(2):
                    group.create_task(self._issued(f"driver-{number}{manager}", part))
            group.create_task(self._changed(parts[0].orders[0], 2))
            group.create_task(self._changed_twice(parts[1].orders[0]))
            if len(parts[1].orders) > 1:
                group.create_task(self._ended_early(parts[1].orders[1]))
                group.create_task(self._changed(parts[0].orders[1], 1, TOLD_LATE_MS))
            for number in range(ALONE):
                group.create_task(self._alone(number))
            for holder in self._holders[: 1 + world.pick(len(self._holders))]:
                group.create_task(self._held(holder.card_id))
            group.create_task(self._withdrawn())
            group.create_task(self._registering())
            for name, kind in VERIFIERS.items():
                for _ in range(CHECKS):
                    group.create_task(self._relying.verifier(name, kind))
                group.create_task(self._relying.party(kind))
        await world.healed.wait()
        await self._relying.all_once_more()

    async def _registering(self) -> None:
        if not self._world.plan.tight and self._world.plan.seed % OPERATORS_SHARE == 0:
            await Operators(self._world, tuple(sorted(self._evening.serials()["authentication"]))).work()

    def _part(self, number: int) -> IssueBatch:
        orders = tuple(self._order(10 * number + each) for each in range(self._world.plan.size or DEFAULT_SIZE))
        batch = new_ulid(EPOCH_MS, self._entropy.random_bytes(ULID_RANDOM_BYTES))
        return IssueBatch(batch_id=batch, position=number, orders=orders)

    def _order(self, number: int) -> BatchOrder:
        resident = new_ulid(EPOCH_MS, self._entropy.random_bytes(ULID_RANDOM_BYTES))
        person = Person(
            name=f"割符　{'甲乙丙丁'[number % 4]}子", kana="ワリフ　コウコ",
            birth_date=BORN[(number + self._world.plan.seed) % len(BORN)],
            sex="female", address=f"東京都千代田区大手町{number + 1}－１", municipality=HERE,
        )  # fmt: skip
        return BatchOrder(
            card_id=card_id(500 + number), resident_id=resident, person=person, municipality=HERE,
            card_expires_on=_EXPIRES, resident_version=1,
        )  # fmt: skip

    def _clerk(self, name: str) -> Driver:
        return Driver(self._world, name, calm_ms=CALM_MS)

    async def _later(self, most_ms: int) -> None:
        await asyncio.sleep(self._world.delay_ms(0, most_ms) / 1000)

    async def _issued(self, name: str, part: IssueBatch) -> None:
        """One manager's: the same part as the other's, and as before."""
        clerk = self._clerk(name)
        await self._later(1_500)
        for step in ("1", "2"):
            operation = clerk.operation_id()
            found = await clerk.ask("authority", part, BatchIssued, operation_id=operation, step=step)
            if isinstance(found, Refused):
                self._world.violated("no request is refused", f"batch: {found.code} {found}")
                return
            self._evening.issued(part, found)
        if name.endswith("0"):
            await self._reused(clerk, part)

    async def _reused(self, clerk: Driver, part: IssueBatch) -> None:
        """The part's place for other orders: an error of the asker's, and answered as one."""
        first = structs.replace(part.orders[0], card_expires_on=_EXPIRES - datetime.timedelta(days=1))
        other = structs.replace(part, orders=(first, *part.orders[1:]))
        refused = await clerk.ask("authority", other, BatchIssued, operation_id=clerk.operation_id(), step="other")
        if not isinstance(refused, KeyReused):
            self._world.violated("a key is not used twice", f"part {part.position} came with other orders: {refused}")

    async def _changed_twice(self, order: BatchOrder) -> None:
        """JPKI knows of the change that the order speaks of; it hears of the next between reading and recording."""
        await self._changed(order, 1)
        await self._moments.read(self._world)
        await self._changed(order, 2, 0)

    async def _ended_early(self, order: BatchOrder) -> None:
        """A card ends while its certificates are being signed: what had been recorded by then never becomes valid."""
        await self._moments.signing(self._world)
        serials, center = self._evening.recorded_of(order.card_id), self._clerk("center-77")
        self._evening.begun |= serials
        request = RevokeCertificates(card_id=order.card_id, event="abolition")
        self._evening.changed[order.resident_id] = order.resident_version
        found = await center.ask(
            "authority", request, Certificates, operation_id=center.operation_id(), step="abolition"
        )
        if not isinstance(found, Refused):
            self._evening.ended_early |= serials
        self._evening.begun |= self._evening.recorded_of(order.card_id)

    async def _changed(self, order: BatchOrder, version: int, within_ms: int = 1_500) -> None:
        """The address of somebody whose certificates are just being issued changes; or changed before, as they say."""
        registry = self._clerk(f"registry-{version}{order.card_id[-3:]}")
        await self._later(within_ms)
        told = ResidentChangedForAuthority(
            resident_id=order.resident_id, event="address", resident_version=version, municipality_before=HERE,
            municipality_after=HERE, occurred_on=_TODAY,
        )  # fmt: skip
        self._evening.telling[order.resident_id] = max(version, self._evening.telling.get(order.resident_id, 0))
        await registry.ask("authority", told, Done, operation_id=registry.operation_id(), step="changed")
        if version > order.resident_version:
            self._evening.changed[order.resident_id] = version

    async def _alone(self, number: int) -> None:
        """One card's certificates are issued alone, as the address changes once more: whichever comes first."""
        order, version = self._order(100 + number), 2
        registry, factory = self._clerk(f"registry-8{number}"), self._clerk(f"issuance-8{number}")
        await self._later(500)
        await self._moved(registry, order, version)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._issued_alone(factory, order))
            await self._later(TOGETHER_MS)
            await self._moved(registry, order, version + 1)

    async def _issued_alone(self, factory: Driver, order: BatchOrder) -> None:
        await self._later(TOGETHER_MS)
        request = IssueCertificates(
            card_id=order.card_id, resident_id=order.resident_id, person=order.person, municipality=order.municipality,
            card_expires_on=order.card_expires_on, kinds=KINDS,
        )  # fmt: skip
        found = await factory.ask(
            "authority", request, Certificates, operation_id=factory.operation_id(), step=order.card_id
        )
        if isinstance(found, Refused):
            self._world.violated("no request is refused", f"issue: {found.code} {found}")
        self._evening.alone.append(order)

    async def _moved(self, registry: Driver, order: BatchOrder, version: int) -> None:
        told = ResidentChangedForAuthority(
            resident_id=order.resident_id, event="address", resident_version=version, municipality_before=HERE,
            municipality_after=HERE, occurred_on=_TODAY,
        )  # fmt: skip
        self._evening.telling[order.resident_id] = version
        await registry.ask("authority", told, Done, operation_id=registry.operation_id(), step=f"changed.{version}")
        self._evening.changed[order.resident_id] = version

    async def _held(self, card: str) -> None:
        """A loss is reported: held; then, perhaps, the card ends: revoked for good."""
        center = self._clerk(f"center-9{card[-3:]}")
        events: tuple[Literal["suspension", "abolition"], ...] = ("suspension", "abolition")
        for event in events[: 1 + self._world.pick(2)]:
            await self._later(1_500)
            request = RevokeCertificates(card_id=card, event=event)
            serials = self._evening.of_card(card)
            self._evening.begun |= serials
            operation = center.operation_id()
            found = await center.ask("authority", request, Certificates, operation_id=operation, step=event)
            if not isinstance(found, Refused):
                self._evening.revoked |= serials
                self._evening.for_good |= serials if event == "abolition" else frozenset()

    async def _withdrawn(self) -> None:
        """Certificates by serial number, some of which there are not."""
        clerk = self._clerk("driver-8")
        for ca, serials in self._evening.serials().items():
            await self._later(2_000)
            chosen = [serial for serial in serials if self._world.pick(2)]
            unknown = [max(serials) + 1_000 + number for number in range(self._world.pick(3))]
            keys = frozenset((ca, serial) for serial in chosen)
            self._evening.begun |= keys
            request = RevokeSerials(ca=ca, serials=(*chosen, *unknown, 1 << 40), event="record_error")
            found = await clerk.ask("authority", request, Withdrawn, operation_id=clerk.operation_id(), step=ca)
            if isinstance(found, Refused) or found.revoked != len(chosen) or len(found.unknown) != len(unknown) + 1:
                self._world.violated("what is named is revoked", f"{found}, of {len(chosen)} and {len(unknown) + 1}")
                continue
            self._evening.revoked |= keys
            self._evening.for_good |= keys

    # -- who asks

    # -- looking

    def _look(self) -> None:
        self._relying.look()
        machine = self._world.machines["authority-1"]
        node = machine.node
        if machine.up and isinstance(node, authority.Authority):
            asked = machine.serving[IssueBatch.NAME]
            if node.pool.busy != asked:
                self._world.violated("what is held is given back", f"{node.pool.busy} issues under way, {asked} are")

    def settled(self) -> bool:
        """Nobody leaves messages here."""
        return True

    async def conclude(self) -> None:
        """Every node says that it is well; register, lists and logs are whole."""
        await self._world.all_well(WELL_MS)
        await self._filled()
        await self._relying.conclude()
        await asyncio.sleep(SEALED_MS / 1000)
        await self._evening.check(self._shelf)
        self._signed.check()

    async def _filled(self) -> None:
        """What was taken from the stock is there again."""
        end_ms = self._world.loop.now_ms + FULL_MS
        while not is_full(self.register, self._key_pairs):
            if self._world.loop.now_ms > end_ms:
                self._world.violated("the stock of key pairs is filled again", f"not after {FULL_MS} ms")
            await asyncio.sleep(0.1)

    def state(self) -> object:
        """The register, as far as it tells states apart."""
        rows = [row for row in self.register.records(Certificate) if isinstance(row, Certificate)]
        revisions = [row.version for row in self.register.records(ListRevision)]
        lists = [row.version for row in self.register.records(PublishedList)]
        revoked = len(self.register.records(Revocation))
        machines = tuple(machine.up for machine in self._world.machines.values())
        return tuple((row.ca, row.serial, row.state) for row in rows), revisions, lists, revoked, machines


JPKI: Final = Scenario(
    "jpki",
    JpkiTrial,
    common,
    prepare=morning,
    safeguards=(
        Safeguard("idempotency", "the answer is remembered under the request's key, and given again"),
        Safeguard("version-guard", "a commit fails when the record moved since it was read"),
    ),
)
