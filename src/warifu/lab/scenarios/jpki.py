"""The ``jpki`` scenario: certificates issued in bulk, revoked, asked about -- authority, responder and front.

All of them are real. Batches are issued by two managers at once while the residents' records change; certificates are
held and revoked; meanwhile verifiers ask the front, relying parties the responder, and both fetch lists. Whatever
breaks: what was revoked before somebody asked is answered revoked, and each certificate is issued once.
"""

import asyncio
import datetime
import functools
import hashlib
import pickle
from collections.abc import Awaitable, Callable
from typing import Final, Literal

from cryptography.x509 import CRLNumber, load_der_x509_crl
from cryptography.x509 import ocsp as library
from msgspec import Struct, structs

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
from warifu.contract.values import CertificateKind, Person
from warifu.domain.certificates.records import CaGeneration, Certificate, ListRevision, PublishedList, Revocation
from warifu.domain.pki import ocsp
from warifu.domain.pki.profile import Authority as PkiAuthority
from warifu.domain.pki.profile import Profile
from warifu.domain.verifiers.records import StoredVerifier
from warifu.kernel.errors import KeyReused, Refused
from warifu.kernel.ids import ULID_RANDOM_BYTES, card_id, new_ulid
from warifu.lab.properties import common
from warifu.lab.scenarios.jpki_evening import KINDS, JpkiEvening
from warifu.lab.scenarios.jpki_operators import Operators
from warifu.lab.scenarios.jpki_watched import Moments, WatchedFront, WatchedShelf
from warifu.lab.scenarios.nation import HERE, KEY_PAIRS, THERE, morning
from warifu.lab.scenarios.scenario import Safeguard, Scenario
from warifu.lab.scenarios.signed_book import SignedBook
from warifu.lab.scenarios.status_book import StatusBook
from warifu.lab.scenarios.stock_book import is_full
from warifu.lab.simulation.devices import SimulatedDevice, SimulatedFactory, device
from warifu.lab.simulation.driver import Driver
from warifu.lab.simulation.inside import inside
from warifu.lab.simulation.keys import EPOCH_MS, NOT_DEALT, Deal, SeededEntropy, fixture_rsa
from warifu.lab.simulation.storage import StoreView
from warifu.lab.simulation.world import WELL_MS, Machine, Ports, World
from warifu.nodes import front, responder
from warifu.nodes.authority import key_pool, lists
from warifu.nodes.authority import node as authority
from warifu.nodes.base import Node
from warifu.nodes.front import Checked, Credential, Front
from warifu.nodes.hsm_pool import HsmPool, PoolLimits
from warifu.nodes.responder import Responder
from warifu.ports.store import Change, Insert

POOL: Final = PoolLimits(queue=100, sessions=8, history=8, dumps=4)
DEFAULT_SIZE: Final = 2
"""Orders of a part."""
PARTS: Final = 2
VERIFIERS: Final[dict[str, CertificateKind]] = {"bank": "authentication", "court": "signature"}
ALONE: Final = 1
"""Cards whose certificates are issued beside the batches."""
TOGETHER_MS: Final = 20
"""Within this time their residents move again."""
CHECKS: Final = 6
LOOK_MS: Final = 10
"""What a look at the register takes, more or less."""
BURST: Final = 6
"""Requests of one verifier at once, more than it may have at work."""
LAST: Final = 6
"""Of a CA, as the responder ends."""
OPERATORS_SHARE: Final = 2
"""In one run of so many somebody registers a verifier."""
SMALL_BLOCK: Final = 8
"""Where blocks of key pairs are no larger than this, some are kept; production's would take all there are of keys."""
BLOCKS: Final = 2
FULL_MS: Final = 30_000
"""Within this time after all is well the stock is full again."""
STRANGE_TIMES: Final = 6
STRANGERS: Final = 2
"""Who ask about certificates of an authority that nobody here knows."""
NEVER_ISSUED: Final = 2_000
"""Numbers behind the last."""
AGED_MS: Final = 5_000
AGED_TIMES: Final = 6
OCSP_TIME_MS: Final = 1_000
"""Answers tell whole seconds."""
LIST_TIME_MS: Final = 1_000
"""Lists tell whole seconds."""
RENEWED_MS: Final = 2_000
"""What renewing takes, when all is well."""
PATIENCE_MS: Final = (30, 600, 15_000)
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


Ask = Callable[[str, CertificateKind], Awaitable[bool]]
"""Of a verifier's name and a kind: whether it was answered."""


class Asked(Struct, frozen=True):
    """What somebody is about to ask, and what had been revoked by then."""

    revoked: frozenset[tuple[str, int]]
    for_good: frozenset[tuple[str, int]]


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
        self._inside = dict.fromkeys(VERIFIERS, 0)
        self._numbered: dict[tuple[str, str, int], bytes] = {}
        world.look, world.last = self._look, self._last

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
            for number in range(ALONE):
                group.create_task(self._alone(number))
            for holder in self._holders[: 1 + world.pick(len(self._holders))]:
                group.create_task(self._held(holder.card_id))
            group.create_task(self._withdrawn())
            group.create_task(self._registering())
            for name, kind in VERIFIERS.items():
                for number in range(CHECKS):
                    group.create_task(self._verifier(name, kind, f"{name} {number}"))
                group.create_task(self._relying(kind))
        await world.healed.wait()
        for name, kind in VERIFIERS.items():
            await self._until(self._checked, name, kind)
            await self._until(self._fetched, name, kind)
            await self._until(self._answered, name, kind)
        async with asyncio.TaskGroup() as group:
            for _ in range(STRANGERS):
                group.create_task(self._strange())

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
        self._evening.moving.add(order.resident_id)
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

    async def _verifier(self, name: str, kind: CertificateKind, who: str) -> None:
        """Again and again; six at once are more than a verifier may have at work."""
        del who
        for _ in range(3):
            await self._later(2_000)
            if self._world.pick(2):
                await self._checked(name, kind)
            else:
                await self._fetched(name, kind)

    async def _relying(self, kind: CertificateKind) -> None:
        """Two at a time: the second's look may come while the first's is being read."""
        for _ in range(CHECKS // 2):
            await self._later(1_000)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._answered("", kind))
                group.create_task(self._unknown(kind))
                await self._later(LOOK_MS)
                await self._answered("", kind)

    async def _until(self, ask: Ask, name: str, kind: CertificateKind) -> None:
        for _ in range(200):
            if await ask(name, kind):
                return
            await asyncio.sleep(0.5)
        self._world.violated("everything converges after the storm", f"{name} is not answered about {kind}")

    def _patience_ms(self) -> int:
        return CALM_MS if self._world.dice.calm else PATIENCE_MS[self._world.pick(len(PATIENCE_MS))]

    async def _checked(self, name: str, kind: CertificateKind) -> bool:
        """One check at the front: what was revoked by now is revoked, what nobody revoked is good."""
        serials = tuple(sorted(self._evening.serials()[kind]))
        before, machine = self._before(), self._world.machines["front-1"]
        credential = Credential(name, name.encode())
        self._inside[name] += 1
        try:
            checked = await inside(
                self._world, machine, Front, lambda node: node.check(credential, kind, serials), self._patience_ms()
            )
        finally:
            self._inside[name] -= 1
        if not isinstance(checked, Checked):
            return self._refused(checked)
        self._evening.answers["status"] += 1
        self._evening.logged()
        for one in checked.statuses:
            self._evening.judge(kind, one.serial, one.status, before.revoked, "front")
            if (kind, one.serial) in before.for_good and one.reason == "certificate_hold":
                self._world.violated("what was revoked is answered revoked", f"{kind} {one.serial} is said to be held")
        return True

    async def _fetched(self, name: str, kind: CertificateKind) -> bool:
        """A list through the front: all that was revoked by now is on it."""
        place = ("", HERE, THERE)[self._world.pick(3)]
        before = self._before()
        der = await self._list(name, kind, place, self._patience_ms())
        if der is None:
            return False
        crl = load_der_x509_crl(der)
        number = crl.extensions.get_extension_for_class(CRLNumber).value.crl_number
        if self._numbered.setdefault((kind, place, number), der) != der:
            self._world.violated("a list's number is of one list", f"{kind} of {place!r}: {number} is of two")
        listed = {entry.serial_number for entry in crl}
        for ca, serial in before.revoked:
            if ca == kind and place in {"", self._evening.place_of(ca, serial)} and serial not in listed:
                self._world.violated(
                    "what was revoked is on the list", f"{ca} {serial} is not on the list of {place!r}"
                )
        return True

    async def _list(self, name: str, kind: CertificateKind, place: str, patience_ms: int) -> bytes | None:
        """What a verifier gets; None when nothing came of it."""
        machine, credential = self._world.machines["front-1"], Credential(name, name.encode())
        self._inside[name] += 1
        try:
            der = await inside(
                self._world, machine, Front, lambda node: node.fetch(credential, kind, place), patience_ms
            )
        finally:
            self._inside[name] -= 1
        if not isinstance(der, bytes):
            self._refused(der)
            return None
        self._evening.answers["list"] += 1
        self._evening.logged()
        return der

    async def _answered(self, name: str, kind: CertificateKind, *, newest: bool = False) -> bool:
        """An OCSP request without a nonce, whose answer may be given again."""
        del name
        serials = sorted(self._evening.serials()[kind])
        serial = serials[-1] if newest else serials[self._world.pick(len(serials))]
        asked_ms, calm = EPOCH_MS + self._world.loop.now_ms, self._world.dice.calm
        request = ocsp.request([ocsp.cert_id(self._ca(kind), serial)])
        before, machine = self._before(), self._world.machines["responder-1"]
        der = await inside(self._world, machine, Responder, lambda node: node.answer(request), self._patience_ms())
        if not isinstance(der, bytes):
            return False
        answer = library.load_der_ocsp_response(der)
        if answer.response_status is not library.OCSPResponseStatus.SUCCESSFUL:
            return False
        self._evening.judge(kind, serial, answer.certificate_status.name.lower(), before.revoked, "responder")
        if calm:  # else the responder's clock may be wrong
            age_ms = asked_ms - int(answer.this_update_utc.timestamp() * 1000)
            if age_ms > responder.REUSED_MS + OCSP_TIME_MS:
                self._world.violated("an old answer is not given again", f"{kind} {serial}: {age_ms} ms old")
        return True

    async def _unknown(self, kind: CertificateKind) -> None:
        """About one that was never issued, as others are asked about in the same second."""
        serial = max(self._evening.serials()[kind]) + NEVER_ISSUED
        request = ocsp.request([ocsp.cert_id(self._ca(kind), serial)])
        machine = self._world.machines["responder-1"]
        der = await inside(self._world, machine, Responder, lambda node: node.answer(request), self._patience_ms())
        answer = library.load_der_ocsp_response(der) if isinstance(der, bytes) else None
        if answer is None or answer.response_status is not library.OCSPResponseStatus.SUCCESSFUL:
            return
        if answer.certificate_status is not library.OCSPCertStatus.UNKNOWN:
            text = f"{kind} {serial} is {answer.certificate_status.name.lower()}"
            self._world.violated("what was never issued is unknown", text)

    async def _aged(self) -> None:
        """The same question again and again, until the first answer would be too old."""
        if responder.REUSED_MS > AGED_MS:
            return
        for kind in KINDS:
            for _ in range(AGED_TIMES):
                await self._answered("", kind, newest=True)
                await asyncio.sleep(responder.REUSED_MS / 2 / 1000)

    async def _strange(self) -> None:
        """About another country's certificate: whether its authority is a new one here is looked up, and it is not."""
        await self._later(LOOK_MS)
        key = fixture_rsa(NOT_DEALT).public_key
        request = ocsp.request([ocsp.cert_id(PkiAuthority(kind="signature", public_key=key, profile=Profile()), 1)])
        machine = self._world.machines["responder-1"]
        later, status = library.OCSPResponseStatus.TRY_LATER, None
        for _ in range(STRANGE_TIMES):  # keys may be in the making meanwhile, on a device that was slow a moment ago
            der = await inside(self._world, machine, Responder, lambda node: node.answer(request), CALM_MS)
            status = library.load_der_ocsp_response(der).response_status if isinstance(der, bytes) else None
            if status is not later:
                break
        if status is not library.OCSPResponseStatus.UNAUTHORIZED:
            self._world.violated("nobody answers for another's certificates", str(status))

    def _refused(self, found: object) -> bool:
        if isinstance(found, Refused):
            self._world.violated("no request is refused", f"verifier: {found.code} {found}")
        return False

    def _before(self) -> Asked:
        return Asked(frozenset(self._evening.revoked), frozenset(self._evening.for_good))

    def _ca(self, kind: CertificateKind) -> PkiAuthority:
        rows = self.register.records(CaGeneration)
        row = next(each for each in rows if isinstance(each, CaGeneration) and each.ca == kind)
        return PkiAuthority(kind=kind, public_key=row.public_key, profile=Profile())

    # -- looking

    def _look(self) -> None:
        machine, issuing = self._world.machines["front-1"], self._world.machines["authority-1"]
        node = machine.node
        if machine.up and isinstance(node, Front):
            for name, inside_now in self._inside.items():
                at_work = node._at_work[name]  # noqa: SLF001 - a leak shows nowhere else
                if at_work > min(inside_now, front.AT_ONCE):
                    self._world.violated("what is held is given back", f"{name}: {at_work} at work, {inside_now} ask")
        self._look_at(issuing)

    def _last(self) -> list[asyncio.Task[object]]:
        """OCSP requests that come as the responder ends: more than its HSM's workers sign at once."""
        machine, tasks = self._world.machines["responder-1"], list[asyncio.Task[object]]()
        for kind, serials in self._evening.serials().items():
            for number in range(1 + self._world.pick(LAST)):
                if isinstance(machine.node, Responder):
                    serial, nonce = serials[number % len(serials)], bytes([number] * 16) if number else None
                    work = machine.node.answer(ocsp.request([ocsp.cert_id(self._ca(kind), serial)], nonce))
                    tasks.append(self._world.spawn(work, f"the last about {kind}", machine.process.context.copy()))
        return tasks

    def _look_at(self, machine: Machine) -> None:
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
        await self._renewed()
        await self._fresh()
        await self._aged()
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

    async def _renewed(self) -> None:
        """Who asks its responder now gets an answer whose certificate lasts, however long the evening was."""
        machine = self._world.machines["responder-1"]
        for kind in KINDS:
            asked = functools.partial(Responder.identities, kind=kind)
            found = await inside(self._world, machine, Responder, asked, CALM_MS)
            if isinstance(found, tuple):
                left_ms = min(identity.until_ms for identity in found) - EPOCH_MS - self._world.loop.now_ms
                if left_ms < responder.RENEW_MS - RENEWED_MS:
                    self._world.violated("a responder's certificate is renewed in time", f"{kind}: {left_ms} ms left")

    async def _fresh(self) -> None:
        """Who fetches a list now gets one that was built lately, whether or not anything was revoked since."""
        for name, kind in VERIFIERS.items():
            asked_ms = EPOCH_MS + self._world.loop.now_ms
            der = await self._list(name, kind, "", CALM_MS)
            if der is None:
                continue
            age_ms = asked_ms - int(load_der_x509_crl(der).last_update_utc.timestamp() * 1000)
            if age_ms > lists.REFRESH_MS + LIST_TIME_MS:
                self._world.violated("lists are built anew in time", f"{kind}: {age_ms} ms old")

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
