"""The whole chain in one process and in virtual time: every node, real scripts, real chips.

Nothing here decides anything: stores are the memory twin, messages pass the wire's codec, HSM commands the real engine.
"""

import asyncio
import copy
import datetime
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import TypeVar

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import ocsp
from nodes_parts import EngineFactory, ListLog, LoopClock, MemoryDevice, MemoryReader

from warifu.adapters.artwork import PillowArtwork
from warifu.adapters.backlog import MemoryBacklog
from warifu.adapters.net.handling import Handler, Peer
from warifu.adapters.net.local import LocalTransport
from warifu.adapters.shelf import MemoryShelf
from warifu.adapters.store.memory import MemoryStore, StoreHooks, _State
from warifu.chip import client, layout
from warifu.contract.authority import AskAuthorities, AskCertificates, AskOcsp, Authorities, Certificates, OcspResponse
from warifu.contract.center import AskCard, CardView
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope, Reply
from warifu.contract.errors import open_reply
from warifu.contract.intake import AcceptApplication, Apply, AskNotification, CheckApplication, Followed, Notification
from warifu.contract.issuance import Produced, RunProduction
from warifu.contract.message import Answer, Request
from warifu.contract.registry import Changed, ChangeResident, Register, Registered
from warifu.contract.terminal import Performed, PerformOperation, Pin, ReceiveShipment, TerminalReceived
from warifu.contract.values import CertificateKind, CertificateView, OperationKind, Person, PinName, ResidentEvent
from warifu.domain.admission.rules import Limits
from warifu.domain.cards.records import Card
from warifu.domain.certificates.records import CaGeneration
from warifu.domain.pki.profile import Profile
from warifu.kernel.errors import Unavailable
from warifu.kernel.ids import new_ulid, ulid_bytes
from warifu.lab.simulation.keys import Deal, FixtureCrypto, SeededEntropy
from warifu.nodes import center, front, intake, issuance, numbering, registry
from warifu.nodes.authority import applet, key_pool, searching
from warifu.nodes.authority import node as authority
from warifu.nodes.base import Node, World
from warifu.nodes.card_trust import CardTrust
from warifu.nodes.center.scripts import CARD_MASTER, CODE_KEY, ROOT_KEY, SIGNING_KEY
from warifu.nodes.cs import CommunicationServer
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.relay import MESSAGE_KEY, Relay
from warifu.nodes.responder import Responder
from warifu.nodes.sealed_keys import FACTORY_KEY
from warifu.nodes.terminal import Terminal
from warifu.ports.hsm import Purpose
from warifu.ports.store import Change, Record
from warifu.synthetic.photos import portrait
from warifu.verify import Anchors, CertificateRevoked, verify_response, verify_signature

A = TypeVar("A", bound=Answer)

HERE, THERE = "131016", "132217"
"""Chiyoda-ku and Kiyose-shi."""
PINS: dict[PinName, Pin] = {"signature": "ABC123", "authentication": "1234", "text": "5678", "juki": "9012"}
PERSON = Person(
    name="割符　花子",
    kana="ワリフ　ハナコ",
    birth_date=datetime.date(1980, 2, 17),
    sex="female",
    address="東京都千代田区丸の内１－２",
    municipality=HERE,
)
MOVED = msgspec.structs.replace(PERSON, address="東京都清瀬市中里５－８４２", municipality=THERE)

KEYS: dict[str, dict[str, Purpose]] = {
    "numbering": {numbering.WRAP_KEY: "wrap", numbering.INDEX_KEY: "mac"},
    "center": {CARD_MASTER: "card-master", SIGNING_KEY: "sign", ROOT_KEY: "sign", CODE_KEY: "mac"},
    "authority": {applet.CARD_MASTER: "card-master", key_pool.WRAP_KEY: "wrap", searching.NAMES_KEY: "mac"},
    "issuance": {FACTORY_KEY: "agree"},
    "relay": {MESSAGE_KEY: "agree"},
    "responder": {},
}
"""What the stack makes in each device before the node starts."""
CALL_MS = 60_000
_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")
"""RFC 8017, section 9.2, note 1: SHA-256."""


def digest_info(message: bytes) -> bytes:
    return _DIGEST_INFO + hashlib.sha256(message).digest()


@cache
def photo() -> bytes:
    return portrait(7, 45, "female")


RECORDS: dict[str, tuple[type[Record], ...]] = {
    "registry": registry.RECORDS,
    "numbering": numbering.RECORDS,
    "intake": intake.RECORDS,
    "center": center.RECORDS,
    "authority": authority.RECORDS,
    "issuance": issuance.RECORDS,
    "front": front.RECORDS,
}


class Watch(StoreHooks):
    """Tells of every change of a store."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()

    async def after_commit(self, change: Change) -> None:
        del change
        self.changed.set()


class House:
    """Every node of a small nation: two municipalities, two relays, one of each other kind."""

    def __init__(self, *, key_pairs: int = 2) -> None:
        self.clock, self.log, self.deal = LoopClock(), ListLog(), Deal()
        self.entropy = SeededEntropy(1, "house")
        self.reader = MemoryReader(self.entropy)
        self.handlers: dict[str, Handler] = {}
        self.nodes: dict[str, Node] = {}
        self.calls: list[tuple[str, Envelope]] = []
        self.lose_at, self.lose_replies, self.lose_name = -1, False, ""
        self.patience = 0
        self.watch = Watch()
        self.stores = {kind: MemoryStore(records, hooks=self.watch) for kind, records in RECORDS.items()}
        self.devices = {kind: EngineFactory(MemoryDevice(self.deal)) for kind in KEYS}
        for kind, keys in KEYS.items():
            for label, purpose in keys.items():
                self.devices[kind].create(label, purpose)
        self.shelf = MemoryShelf()
        self.crypto = FixtureCrypto(self.entropy, self.deal)
        self.steps = 0
        self._relay = 0
        self._build(key_pairs)

    def _build(self, key_pairs: int) -> None:
        artwork, stores = PillowArtwork(), self.stores
        self.add(registry.Registry(self.world("registry"), stores["registry"]))
        self.add(numbering.Numbering(self.world("numbering"), stores["numbering"], self.pool("numbering")))
        self.add(intake.Intake(self.world("intake"), stores["intake"], artwork))
        self.add(center.Center(self.world("center"), stores["center"], self.pool("center"), artwork))
        self.authority = authority.Authority(
            self.world("authority"),
            stores["authority"],
            self.pool("authority"),
            self.crypto,
            profile=Profile(),
            key_pairs=key_pairs,
            shelf=self.shelf,
        )
        self.add(self.authority)
        self.responder = Responder(
            self.world("responder"), stores["authority"], self.pool("responder"), Profile(), self.shelf
        )
        self.add(self.responder)
        self.front = front.Front(self.world("front"), stores["front"])
        self.add(self.front)
        self.add(
            issuance.Issuance(
                self.world("issuance"),
                stores["issuance"],
                self.pool("issuance"),
                artwork=artwork,
                chips=self.reader,
                reader=self.reader,
            )
        )
        for name in ("relay-1", "relay-2"):
            self.add(Relay(self.world(name), self.pool("relay", name), Limits()))
        self.handlers["relay"] = self._either_relay
        for place in (HERE, THERE):
            self.add(CommunicationServer(self.world(f"cs-{place}"), self.crypto, place, MemoryBacklog()))
            management = self.devices["center"].device.public_key(SIGNING_KEY)
            trust = CardTrust(self.roots, Profile().naming)
            self.add(Terminal(self.world(f"terminal-{place}"), self.reader, f"cs-{place}", management, trust))

    def roots(self) -> tuple[bytes, ...]:
        """The CA certificates as they are installed at terminals."""
        rows = self.stores["authority"].records(CaGeneration)
        return tuple(row.der for row in rows if isinstance(row, CaGeneration))

    def world(self, name: str) -> World:
        transport = LocalTransport(self.handlers, name, self.log)
        return World(name=name, transport=transport, clock=self.clock, entropy=self.entropy, log=self.log)

    def pool(self, kind: str, name: str = "") -> HsmPool:
        return HsmPool(self.devices[kind], f"{name or kind}/hsm", 1)

    def add(self, node: Node) -> None:
        async def handle(envelope: Envelope, _peer: Peer) -> Reply:
            lost = self._is_lost(node.world.name, envelope)
            if lost and not self.lose_replies:
                raise Unavailable("the request is lost")
            reply = await node.handle(envelope)
            if lost:
                raise Unavailable("the reply is lost")
            return reply

        self.nodes[node.world.name] = node
        self.handlers[node.world.name] = handle

    def lose(self, at: int, *, replies: bool) -> None:
        """Lose the request or the reply of message ``at`` from now (0: the next)."""
        self.lose_at, self.lose_replies, self.calls = at, replies, []

    def _is_lost(self, node: str, envelope: Envelope) -> bool:
        self.calls.append((node, envelope))
        return len(self.calls) - 1 == self.lose_at or envelope.name == self.lose_name

    async def _either_relay(self, envelope: Envelope, peer: Peer) -> Reply:
        """The balancer: each relay in turn."""
        self._relay += 1
        return await self.handlers[f"relay-{self._relay % 2 + 1}"](envelope, peer)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["House"]:
        """With every node's timers running."""
        async with asyncio.TaskGroup() as group:
            timers = [group.create_task(node.run(), name=name) for name, node in self.nodes.items()]
            try:
                yield self
            finally:
                for timer in timers:
                    timer.cancel()

    async def settled(self) -> None:
        """Wait until no outbox has anything left."""
        async with asyncio.timeout(60):
            while any(store.outbox() for store in self.stores.values()):
                self.watch.changed.clear()
                await self.watch.changed.wait()

    # ---- asking ------------------------------------------------------------------------------------------------

    def new_id(self) -> str:
        return new_ulid(self.clock.now_ms(), self.entropy.random_bytes(10))

    def envelope(self, request: Request, *, sender: str = "driver", operation_id: str = "", step: str = "") -> Envelope:
        self.steps += 1
        return Envelope(
            name=request.NAME,
            operation_id=operation_id or self.new_id(),
            step=step or f"step{self.steps}",
            sender=sender,
            remaining_ms=CALL_MS,
            body=encode(request),
        )

    async def send(self, destination: str, envelope: Envelope) -> Reply:
        return await LocalTransport(self.handlers, envelope.sender, self.log).call(destination, envelope)

    async def ask(self, destination: str, request: Request, answer: type[A], *, operation_id: str = "") -> A:
        """Ask as the driver does: the same request again, as long as its patience lasts; errors are raised."""
        envelope = self.envelope(request, operation_id=operation_id)
        for _ in range(self.patience):
            reply = await self.send(destination, envelope)
            if reply.error is None or reply.error.kind != "try_again":
                return open_reply(reply, answer)
        return open_reply(await self.send(destination, envelope), answer)

    # ---- the main job ------------------------------------------------------------------------------------------

    async def register(self, person: Person = PERSON) -> str:
        resident_id = self.new_id()
        await self.ask("registry", Register(resident_id=resident_id, person=person), Registered)
        await self.settled()
        return resident_id

    async def apply(self, resident_id: str) -> str:
        """Form, photo, check, acceptance; the card is ordered."""
        notification = await self.ask("intake", AskNotification(resident_id=resident_id), Notification)
        application_id = notification.application_id
        await self.ask("intake", Apply(application_id=application_id, photo=photo()), Followed)
        checked = await self.ask("intake", CheckApplication(application_id=application_id), Followed)
        assert (checked.state, checked.findings) == ("checked", ())
        await self.ask("intake", AcceptApplication(application_id=application_id), Followed)
        await self.settled()
        return application_id

    async def produce(self) -> Produced:
        produced = await self.ask("issuance", RunProduction(), Produced)
        await self.settled()
        return produced

    async def receive(self, produced: Produced, place: str = HERE) -> tuple[str, ...]:
        received: list[str] = []
        for shipment in produced.shipments:
            counted = ReceiveShipment(batch_id=shipment.batch_id, card_ids=shipment.card_ids)
            received += (await self.ask(f"terminal-{place}", counted, TerminalReceived)).card_ids
        return tuple(received)

    async def perform(
        self,
        kind: OperationKind,
        card_id: str,
        *,
        place: str = HERE,
        operation_id: str = "",
        new_pins: dict[PinName, Pin] | None = None,
        reset_pins: Sequence[PinName] = (),
    ) -> Performed:
        request = PerformOperation(
            kind=kind,
            card_id=card_id,
            new_pins=PINS if new_pins is None else new_pins,
            reset_pins=tuple(reset_pins),
            proof_pins={"juki": PINS["juki"]},
        )
        performed = await self.ask(f"terminal-{place}", request, Performed, operation_id=operation_id)
        await self.settled()
        return performed

    async def change(self, resident_id: str, event: ResidentEvent, person: Person) -> None:
        changed = ChangeResident(resident_id=resident_id, event=event, person=person, occurred_on=self.clock.today())
        await self.ask("registry", changed, Changed)
        await self.settled()

    async def card_at_counter(self) -> str:
        """A card that was made, shipped and received."""
        await self.apply(await self.register())
        (card_id,) = await self.receive(await self.produce())
        return card_id

    # ---- looking -----------------------------------------------------------------------------------------------

    async def view(self, card_id: str) -> CardView:
        return await self.ask("center", AskCard(card_id=card_id), CardView)

    def card(self, card_id: str) -> Card:
        (found,) = [card for card in self.stores["center"].records(Card) if getattr(card, "card_id", "") == card_id]
        assert isinstance(found, Card)
        return found

    def live_cards(self, resident_id: str) -> list[str]:
        cards = [card for card in self.stores["center"].records(Card) if isinstance(card, Card)]
        return [card.card_id for card in cards if card.live_resident_id == resident_id]

    def assert_tally(self, card_id: str) -> None:
        """The two halves of the tally are equal: state, last write, and nothing pending."""
        card, chip = self.card(card_id), self.reader.image(card_id)
        assert chip.last_write is not None
        assert chip.last_write.committed
        assert chip.last_write.write_id == ulid_bytes(card.write_id)
        assert CHIP_STATES[card.state] == chip.life

    async def certificates(self, card_id: str) -> tuple[CertificateView, ...]:
        asked = AskCertificates(card_id=card_id, with_der=True)
        return (await self.ask("authority", asked, Certificates)).certificates

    async def newest(self, card_id: str, kind: CertificateKind) -> CertificateView:
        return [view for view in await self.certificates(card_id) if view.kind == kind][-1]

    async def online_status(self, view: CertificateView) -> str:
        """What OCSP says: ``good``, or the reason of the revocation. Verified as a relying party would."""
        roots = (await self.ask("authority", AskAuthorities(ca=view.kind), Authorities)).certificates
        leaf, issuer = x509.load_der_x509_certificate(view.der), x509.load_der_x509_certificate(roots[-1])
        request = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, SHA256()).build()
        asked = AskOcsp(request=request.public_bytes(serialization.Encoding.DER))
        response = (await self.ask("responder", asked, OcspResponse)).der
        try:
            verify_response(response, view.der, Anchors.of(roots), at_ms=self.clock.now_ms())
        except CertificateRevoked as revoked:
            return revoked.reason
        return "good"

    async def register_says(self, card_id: str) -> list[tuple[str, str]]:
        """Kind and state (or reason) of each certificate, in the order of their serials; OCSP must say the same."""
        said: list[tuple[str, str]] = []
        for view in await self.certificates(card_id):
            online = await self.online_status(view)
            assert online == (view.reason if view.state == "revoked" else "good")
            said.append((view.kind, view.reason or view.state))
        return said

    async def signs(self, card_id: str, pin: str = PINS["signature"]) -> bool:
        """Whether the chip's signature is good under the newest signature certificate."""
        connection = await self.reader.connect(card_id)
        await client.verify_pin(connection.transmit, layout.JPKI, layout.SIGNATURE_PIN, pin)
        message = b"a contract"
        signature = await client.sign_digest(connection.transmit, "signature", digest_info(message))
        await connection.close()
        verify_signature((await self.newest(card_id, "signature")).der, message, signature)
        return True

    # ---- states ------------------------------------------------------------------------------------------------

    def save(self) -> "Saved":
        """Everything durable."""
        states = {kind: copy.deepcopy(store._state) for kind, store in self.stores.items()}
        return Saved(states, dict(self.reader.images))

    def restore(self, saved: "Saved") -> None:
        for kind, store in self.stores.items():
            store._state = copy.deepcopy(saved.states[kind])
        self.reader.images = dict(saved.images)


class Saved:
    """A point to come back to."""

    def __init__(self, states: dict[str, _State], images: dict[str, bytes]) -> None:
        self.states, self.images = states, images


CHIP_STATES = {
    "made": "made",
    "shipped": "made",
    "received": "made",
    "set_up": "set_up",
    "in_use": "in_use",
    "suspended": "in_use",
    "abolished": "terminated",
}
"""What the chip's life state is for each state of the record (a loss is reported without the card)."""
