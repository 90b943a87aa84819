"""The ``ceremony`` scenario: the authorities' keys, their holders, and new generations; two processes, one register.

People are enrolled at once, from nothing; ceremonies are asked for twice, with two consents, with one, with another's;
certificates are issued meanwhile. Whatever breaks: nothing happens to a key without two, a generation is made once, and
who asked for it is told what stands.
"""

import asyncio
import datetime
import hashlib
import pickle
from collections.abc import Sequence
from typing import Final, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate
from cryptography.x509.ocsp import OCSPResponseStatus

from warifu.adapters.shelf import MemoryShelf
from warifu.contract.authority import (
    AskAuthorities,
    Authorities,
    Certificates,
    EnrolHolder,
    GenerationMade,
    HolderApproval,
    IssueCertificates,
    MakeGeneration,
)
from warifu.contract.message import Done
from warifu.contract.values import CertificateKind, Person
from warifu.domain.certificates.ceremony import enrolment_statement, generation_statement
from warifu.domain.certificates.errors import DualControl, NotNextGeneration
from warifu.domain.certificates.records import CaGeneration, Certificate, KeyCeremony, KeyHolder
from warifu.domain.pki import ocsp
from warifu.domain.pki.profile import Authority as PkiAuthority
from warifu.domain.pki.profile import Profile
from warifu.kernel.errors import Refused
from warifu.kernel.ids import ULID_RANDOM_BYTES, card_id, new_ulid
from warifu.lab.properties import common
from warifu.lab.scenarios.jpki_evening import KINDS
from warifu.lab.scenarios.jpki_relying import RESPONDER, ocsp_answer
from warifu.lab.scenarios.nation import HERE, KEYS, morning
from warifu.lab.scenarios.scenario import Scenario
from warifu.lab.simulation.asked_once import asked_once
from warifu.lab.simulation.devices import SimulatedDevice, SimulatedFactory, device
from warifu.lab.simulation.driver import Driver
from warifu.lab.simulation.keys import EPOCH_MS, NOT_DEALT, Deal, SeededEntropy, fixture_rsa
from warifu.lab.simulation.storage import StoreView
from warifu.lab.simulation.world import WELL_MS, Ports, World
from warifu.nodes import responder
from warifu.nodes.authority import node as authority
from warifu.nodes.authority import signing
from warifu.nodes.base import Node
from warifu.nodes.hsm_pool import HsmPool, PoolLimits
from warifu.nodes.responder import Responder
from warifu.ports.store import Record

R = TypeVar("R", bound=Record)
NODES: Final = ("authority-1", "authority-2")
POOL: Final = PoolLimits(queue=100, sessions=4, history=4, dumps=2)
PEOPLE: Final = tuple(f"holder-{number}" for number in range(1, 5))
ALONE: Final = 2
"""So many become holders by themselves; each further one with the consent of two."""
CLERKS: Final = 2
CARDS: Final = 3
TOGETHER_MS: Final = 30
"""Within this time people come who come together."""
ACTIVE_MS: Final = (0, 1_500, 86_400_000)
"""From when on a new generation issues, from the day's beginning on."""
STORMS_MS: Final = (400, 2_000, 5_000)
CALM_MS: Final = 60_000
SLACK_MS: Final = 2_000
ANSWERED_MS: Final = 20_000
"""When all is well, so long after it was made a generation is answered for at the latest."""
TWO = "nothing happens to a key without two"
MADE = "a generation is made once, and who asked is told"
WHOLE = "a generation is whole"
_EXPIRES: Final = datetime.date(2035, 3, 1)


class CeremonyTrial:
    """Two processes of the authority; people, clerks, a factory."""

    def __init__(self, world: World) -> None:
        self._world = world
        world.storms_ms, world.snap_within_ms = STORMS_MS, 3_000
        begin, self._register = morning(), world.stores.add("authority", authority.RECORDS)
        if world.pick(2):  # somebody issued before
            world.deal = Deal(begin.dealt)
            self._register._state = pickle.loads(begin.stores["authority"])  # noqa: S301, SLF001 - our own, of this process
            made = SimulatedDevice(world.deal, begin.keys["authority"])
        else:
            world.deal = Deal()
            made = device(world.deal, KEYS["authority"])
        made.entropy = SeededEntropy(world.plan.seed, "authority device")
        self._factory, self._shelf = SimulatedFactory(world, made), MemoryShelf()
        self._keys = {
            name: Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest()) for name in PEOPLE
        }
        self._entropy = SeededEntropy(world.plan.seed, "ceremony")
        self._holders: list[str] = []
        self._by_themselves = 0
        self._made: list[tuple[CertificateKind, GenerationMade]] = []
        self._cards = 0
        responders = device(world.deal, ())
        responders.entropy = SeededEntropy(world.plan.seed, "responder device")
        self._responders = SimulatedFactory(world, responders)
        for name in NODES:
            world.add(name, "authority", self._authority)
        world.add(RESPONDER, "responder", self._responder)

    def _authority(self, ports: Ports) -> Node:
        pool = asked_once(
            self._world, HsmPool(self._factory, f"{ports.machine.name}/hsm", 2, limits=POOL), ports.machine.name
        )
        return authority.Authority(
            ports.world, ports.store, pool, ports.crypto, profile=Profile(), key_pairs=0, shelf=self._shelf
        )

    def _responder(self, ports: Ports) -> Node:
        register = StoreView(self._world, ports.machine, self._world.stores.of("authority"))
        pool = HsmPool(self._responders, f"{ports.machine.name}/hsm", 2, limits=POOL)
        return Responder(ports.world, register, pool, Profile(), self._shelf)

    # -- who comes

    async def drive(self) -> None:
        """First holders, all at once; then those with consent, ceremonies of both authorities, and cards."""
        async with asyncio.TaskGroup() as group:
            for name in PEOPLE[: ALONE + 1]:
                group.create_task(self._enrolled(name))
            group.create_task(self._issued())
            group.create_task(self._answered("signature", fixture_rsa(NOT_DEALT).public_key))
        if self._by_themselves != ALONE:
            self._bad(TWO, f"{self._by_themselves} became holders by themselves, not {ALONE}")
            return
        two, more = tuple(self._holders), [name for name in PEOPLE if name not in self._holders]
        async with asyncio.TaskGroup() as group:
            for name in more:
                group.create_task(self._admitted(name, two))
            for ca in KINDS[: 1 + self._world.pick(len(KINDS))]:
                group.create_task(self._ceremonies(ca, two))
            for _ in range(CARDS):
                group.create_task(self._issued())
        await self._world.healed.wait()

    def _clerk(self, name: str) -> Driver:
        return Driver(self._world, name, calm_ms=CALM_MS)

    async def _later(self, most_ms: int) -> None:
        await asyncio.sleep(self._world.delay_ms(0, most_ms) / 1000)

    async def _enrol(self, name: str, approvals: Sequence[HolderApproval], step: str) -> Done | Refused:
        clerk = self._clerk(f"driver-{step}-{name}")
        request = EnrolHolder(holder=name, public_key=self._public(name), approvals=tuple(approvals))
        return await clerk.ask("authority", request, Done, operation_id=clerk.operation_id(), step=step)

    async def _enrolled(self, name: str) -> None:
        """Without anybody's consent: the first two."""
        await self._later(TOGETHER_MS)
        found = await self._enrol(name, (), "alone")
        if not isinstance(found, Refused):
            self._by_themselves += 1
            self._holders.append(name)
        elif not isinstance(found, DualControl):
            self._bad("no request is refused", f"{name}: {found.code} {found}")

    async def _admitted(self, name: str, two: Sequence[str]) -> None:
        """With the consent of one, and of two to something else; then of two to this."""
        await self._later(TOGETHER_MS)
        statement, other = (enrolment_statement(name, self._public(each)) for each in (name, two[0]))
        for consent, step in ((self._approved(statement, two[:1]), "one"), (self._approved(other, two), "other")):
            found = await self._enrol(name, consent, step)
            if not isinstance(found, DualControl):
                self._bad(TWO, f"{name} with {step}: {found}")
        if isinstance(found := await self._enrol(name, self._approved(statement, two), "two"), Refused):
            self._bad("no request is refused", f"{name}: {found.code} {found}")
        self._holders.append(name)

    async def _ceremonies(self, ca: CertificateKind, two: Sequence[str]) -> None:
        """The same one is asked for by clerks who do not know of each other; one of them holds it."""
        active_ms = EPOCH_MS + ACTIVE_MS[self._world.pick(len(ACTIVE_MS))]
        for generation in range(2, 3 + self._world.pick(2)):
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(self._asked(ca, generation, active_ms, two, each)) for each in range(CLERKS)]
                group.create_task(self._refused(ca, generation, active_ms, two))
            made = [found for each in asked if isinstance(found := each.result(), GenerationMade)]
            if len(made) != 1:
                self._bad(MADE, f"{len(made)} of {CLERKS} clerks were told that {ca} {generation} is made")
            self._made += [(ca, each) for each in made]
            await self._answered(ca, _key_of(made[0].der))

    async def _asked(
        self, ca: CertificateKind, generation: int, active_ms: int, two: Sequence[str], number: int
    ) -> GenerationMade | Refused:
        clerk = self._clerk(f"driver-{ca}-{generation}-{number}")
        await self._later(TOGETHER_MS)
        consent = self._approved(generation_statement(ca, generation, active_ms), two)
        request = MakeGeneration(ca=ca, generation=generation, active_from_ms=active_ms, approvals=consent)
        operation, found = clerk.operation_id(), None
        for step in range(2):  # who lost the answer asks once more, and gets the same
            before = found
            found = await clerk.ask("authority", request, GenerationMade, operation_id=operation, step="made")
            if step and isinstance(found, GenerationMade) and found != before:
                self._bad("same answer for the same key", f"{ca} {generation}: another generation")
        if not isinstance(found, GenerationMade | NotNextGeneration):
            self._bad("no request is refused", f"{ca} {generation}: {found}")
        return found  # type: ignore[return-value]  # asked twice

    async def _refused(self, ca: CertificateKind, generation: int, active_ms: int, two: Sequence[str]) -> None:
        """One consent; one person's twice; two to another instant; a stranger's."""
        await self._later(TOGETHER_MS)
        statement, other = (generation_statement(ca, generation, at_ms) for at_ms in (active_ms, active_ms + 1))
        stranger = HolderApproval(holder="nobody", signature=self._keys[two[0]].sign(statement))
        one = self._approved(statement, two[:1])
        consents = (one, (*one, *one), self._approved(other, two), (*one, stranger))
        consent = consents[self._world.pick(len(consents))]
        clerk = self._clerk(f"driver-{ca}-{generation}-refused")
        request = MakeGeneration(ca=ca, generation=generation, active_from_ms=active_ms, approvals=consent)
        found = await clerk.ask("authority", request, GenerationMade, operation_id=clerk.operation_id(), step="refused")
        if not isinstance(found, DualControl):
            self._bad(TWO, f"{ca} {generation}: {found}")

    async def _issued(self) -> str:
        """A card's certificates, beside whatever happens to the keys."""
        self._cards += 1
        number, factory = self._cards, self._clerk(f"issuance-{self._cards}")
        await self._later(1_500)
        resident = new_ulid(EPOCH_MS, self._entropy.random_bytes(ULID_RANDOM_BYTES))
        person = Person(
            name="割符　一子", kana="ワリフ　カズコ", birth_date=datetime.date(1985, 5, 5), sex="female",
            address=f"東京都千代田区大手町{number}－１", municipality=HERE,
        )  # fmt: skip
        request = IssueCertificates(
            card_id=card_id(700 + number), resident_id=resident, person=person, municipality=HERE,
            card_expires_on=_EXPIRES, kinds=KINDS,
        )  # fmt: skip
        found = await factory.ask("authority", request, Certificates, operation_id=factory.operation_id(), step="issue")
        if isinstance(found, Refused):
            self._bad("no request is refused", f"issue: {found.code} {found}")
        return request.card_id

    async def _answered(self, ca: CertificateKind, public_key: bytes) -> bool:
        """Whether the responder answers for the authority with this key. It may be one that nobody here knows."""
        asked = PkiAuthority(kind=ca, public_key=public_key, profile=Profile())
        answer = await ocsp_answer(self._world, ocsp.request([ocsp.cert_id(asked, 1)]), CALM_MS)
        return answer is not None and answer.response_status is OCSPResponseStatus.SUCCESSFUL

    def _approved(self, statement: bytes, people: Sequence[str]) -> tuple[HolderApproval, ...]:
        return tuple(HolderApproval(holder=name, signature=self._keys[name].sign(statement)) for name in people)

    def _public(self, name: str) -> bytes:
        return self._keys[name].public_key().public_bytes_raw()

    # -- the evening

    def settled(self) -> bool:
        """The outboxes are empty."""
        return self._world.stores.waiting() == 0

    async def conclude(self) -> None:
        """Holders, generations and certificates are what people were told; both processes know all of them."""
        await self._world.all_well(WELL_MS)
        await asyncio.sleep((signing.LOOK_AGAIN_MS + SLACK_MS) / 1000)
        card = await self._issued()
        for name in NODES:
            await self._anchors(name)
        for ca in KINDS:
            for row in (each for each in self._rows(CaGeneration) if each.ca == ca):
                await self._answered_for(ca, row)
        if sorted(row.holder for row in self._rows(KeyHolder)) != sorted(self._holders):
            self._bad(TWO, f"{len(self._rows(KeyHolder))} holders, {len(self._holders)} were told that they are")
        enrolled = [row.entry.stream for row in self._register.journal() if row.entry.event == "enrolled"]
        if len(enrolled) != len(self._holders):
            self._bad(
                "exactly one effect per request", f"{len(enrolled)} were enrolled, {len(self._holders)} are holders"
            )
        for kind in KINDS:
            self._of(kind, card)

    async def _anchors(self, name: str) -> None:
        """Each process tells of every generation."""
        machine, clerk = self._world.machines[name], self._clerk(f"driver-anchors-{name}")
        for ca in KINDS:
            stand = [row.generation for row in self._rows(CaGeneration) if row.ca == ca]
            node = machine.node
            known = await node.signer.generations(ca) if isinstance(node, authority.Authority) else ()
            asked = await clerk.ask(
                "authority", AskAuthorities(ca=ca), Authorities, operation_id=clerk.operation_id(), step=ca
            )
            told = list(asked.generations) if isinstance(asked, Authorities) else []
            if not [each.generation for each in known] == told == stand:
                self._bad(WHOLE, f"{name} knows {len(known)} of the {len(stand)} generations of {ca}")

    async def _answered_for(self, ca: CertificateKind, row: CaGeneration) -> None:
        """Whoever holds a certificate of it is answered, however often others were looked for before it was made."""
        until_ms = self._world.loop.now_ms + ANSWERED_MS
        while not await self._answered(ca, row.public_key):
            if self._world.loop.now_ms > until_ms:
                self._bad("the responder answers for every generation", f"not for {ca} {row.generation}")
            await asyncio.sleep(responder.REFRESH_MS / 1000)

    def _of(self, ca: CertificateKind, last: str) -> None:
        rows = {row.generation: row for row in self._rows(CaGeneration) if row.ca == ca}
        minutes = {row.generation: row for row in self._rows(KeyCeremony) if row.ca == ca}
        told = {made.generation: made for of, made in self._made if of == ca}
        if list(rows) != list(range(1, len(rows) + 1)) or set(minutes) != set(rows) - {1} or set(told) != set(minutes):
            self._bad(MADE, f"{ca}: {sorted(rows)} stand, {sorted(minutes)} have minutes, {sorted(told)} were told")
        for number, made in told.items():
            if (made.der, made.minutes, made.signature) != (
                rows[number].der, minutes[number].minutes, minutes[number].signature
            ):  # fmt: skip
                self._bad(MADE, f"{ca} {number} is another than was told")
        serials = [row.serial for row in self._rows(Certificate) if row.ca == ca]
        for number, row in rows.items():
            serials.append(load_der_x509_certificate(row.der).serial_number)
            self._whole(row, minutes.get(number))
        if len(set(serials)) != len(serials):
            self._bad("a key pair and a serial are used once", f"{ca}: {len(serials) - len(set(serials))} twice")
        now_ms = EPOCH_MS + self._world.loop.now_ms - SLACK_MS
        newest = max(number for number, row in rows.items() if row.active_from_ms <= now_ms)
        for certificate in self._rows(Certificate):
            if certificate.ca == ca and certificate.der:
                self._signed(certificate.der, rows[certificate.generation])
                if certificate.card_id == last and certificate.generation != newest:
                    self._bad(WHOLE, f"{ca}: {certificate.generation} issues, and the newest is {newest}")

    def _whole(self, row: CaGeneration, minutes: KeyCeremony | None) -> None:
        """Its certificate is of its key, by its key; the minutes name it, and are signed with it."""
        key = load_der_x509_certificate(row.der).public_key()
        if _key_of(row.der) != row.public_key:
            self._bad(WHOLE, f"{row.ca} {row.generation}: its certificate is of another key")
        if self._factory.device.public_key(row.key_label) != row.public_key:
            self._bad(WHOLE, f"{row.ca} {row.generation}: the HSM has another key")
        self._signed(row.der, row)
        if minutes is None or not isinstance(key, RSAPublicKey):
            return
        if hashlib.sha256(row.der).hexdigest().encode() not in minutes.minutes:
            self._bad(WHOLE, f"{row.ca} {row.generation}: the minutes are of another certificate")
        try:
            key.verify(minutes.signature, minutes.minutes, PKCS1v15(), SHA256())
        except InvalidSignature:
            self._bad(WHOLE, f"{row.ca} {row.generation}: the minutes are not signed with its key")

    def _signed(self, der: bytes, generation: CaGeneration) -> None:
        certificate, key = load_der_x509_certificate(der), load_der_x509_certificate(generation.der).public_key()
        try:
            if isinstance(key, RSAPublicKey):
                key.verify(certificate.signature, certificate.tbs_certificate_bytes, PKCS1v15(), SHA256())
        except InvalidSignature:
            self._bad(WHOLE, f"{generation.ca} {certificate.serial_number} is not of its generation")

    def _rows(self, record: type[R]) -> list[R]:
        return [row for row in self._register.records(record) if isinstance(row, record)]

    def _bad(self, name: str, text: str) -> None:
        self._world.violated(name, text)

    def state(self) -> object:
        """Who holds, what stands."""
        up = tuple(machine.up for machine in self._world.machines.values())
        rows = [(row.ca, row.generation) for row in self._rows(CaGeneration)]
        return len(self._rows(KeyHolder)), rows, [row.state for row in self._rows(Certificate)], up


def _key_of(der: bytes) -> bytes:
    key = load_der_x509_certificate(der).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


CEREMONY: Final = Scenario("ceremony", CeremonyTrial, common, prepare=morning)
