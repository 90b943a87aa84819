"""Issuing: the intent (serial, key pair, what will be signed) is recorded before the HSM sees it; then it is signed.

A break between the two leaves an intent, which the repeated request finds and signs: no serial and no key pair is used
twice, and no certificate is without its record.
"""

import datetime
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Struct

from warifu.contract.values import CertificateKind, Person
from warifu.domain.certificates.errors import WriteEnded
from warifu.domain.certificates.records import AppletWrite, CaGeneration, Certificate, KnownResident
from warifu.domain.certificates.rules import LIVE, require_current
from warifu.domain.pki.dates import Validity, certificate_validity
from warifu.domain.pki.lint import lint_certificate
from warifu.domain.pki.names import point_of
from warifu.domain.pki.profile import (
    AuthenticationContent,
    Content,
    SignatureContent,
    certificate_tbs,
    common_name,
    subscriber_data,
)
from warifu.kernel.calendar import JST, SIGNATURE_MIN_AGE, age_on, jst_date
from warifu.kernel.errors import Stale
from warifu.nodes.authority.key_pool import KeyPool
from warifu.nodes.authority.searching import NameIndex
from warifu.nodes.authority.signing import Signer
from warifu.nodes.base import MAX_DECISIONS, Call, KeepingNode
from warifu.ports.store import Change, Check, Find, Get, Insert, JournalEntry, Update, Write

ALL: Final = 1_000
"""More certificates than a card or a resident ever has."""


class Order(Struct, frozen=True, kw_only=True):
    """Certificates to be issued for a card."""

    card_id: str
    resident_id: str
    person: Person
    municipality: str
    card_expires_on: datetime.date
    kinds: tuple[CertificateKind, ...]
    write_id: str = ""
    """The card write they are for; "" at the factory."""
    resident_version: int = 0
    """Of the registry's record that ``person`` is; 0 when not told."""
    opened_ms: int = 0
    """When the operation was opened that they are for; 0 at the factory."""

    def __repr__(self) -> str:
        """Without personal data."""
        return f"Order({self.card_id})"


class Standing(Struct, frozen=True):
    """What an order meets: the card's certificates, intents included, and what must stay as it is until they exist."""

    of_card: tuple[Certificate, ...]
    guards: tuple[Write, ...]
    touched: tuple[Write, ...]
    """The guards for what is new: written, not only looked at. Who is about to end what is issued (a change told of, a
    card write settled) and read before this certificate was there finds the record moved, and reads again."""


class New(Struct, frozen=True):
    """What makes a certificate this one and no other.

    ``cap`` is the last day it may have; ``renewed_until`` that of the valid one it takes the place of.
    """

    serial: int
    public_key: bytes
    cap: datetime.date | None
    renewed_until: datetime.date | None


class Issuer:
    """Issues for the reception."""

    def __init__(self, node: KeepingNode, signer: Signer, pool: KeyPool, names: NameIndex) -> None:
        self.node = node
        self.signer = signer
        self.pool = pool
        self.names = names

    async def issue(self, call: Call, order: Order) -> tuple[Certificate, ...]:
        """Issue what the order asks and the holder's age allows; what was issued for it already is found again.

        Raises:
            WriteEnded: the card write that it is for has ended, or what was issued for it is not what the holder may
                have any more. Another write gets others; this one would leave the holder without.
            LeftRegister: so has the resident's record.
            StaleIdentity: the registry has told of a change since.
        """
        order = await self._dated(order)
        for _ in range(MAX_DECISIONS):
            standing = await self._standing(call, order)
            mine = [each for each in standing.of_card if each.write_id == order.write_id]
            if order.write_id and any(_is_spent(each, order) for each in mine):
                raise WriteEnded(order.write_id)
            missing = [kind for kind in self._allowed(call, order) if kind not in {each.ca for each in mine}]
            try:
                if not missing:
                    wanted = [each for each in mine if each.state == "intent" or each.state in LIVE]
                    return tuple([await self._signed(call, each, standing.guards) for each in wanted])
                intended = await self._intended(call, order, missing[0], standing.of_card)
                await self._commit(call, standing.touched, *intended)
            except Stale:
                # A serial's place or a key pair was taken meanwhile; the same request ran twice and the other signed
                # first (RSA PKCS#1 signs the same bytes alike); the card write ended; the resident's record moved.
                continue
        raise Stale("certificates of this card keep changing")

    async def _dated(self, order: Order) -> Order:
        """Who does not say of which version the identity is gets what is known now: a change from here on is seen."""
        if order.resident_version:
            return order
        found = await self.node.store.read(Get(KnownResident, (order.resident_id,)))
        known = found.one(0, KnownResident)
        return msgspec.structs.replace(order, resident_version=known.resident_version) if known else order

    async def _standing(self, call: Call, order: Order) -> Standing:
        """All in one look. The guards make a commit fail once the card write has ended or a change was told of."""
        snapshot = await self.node.store.read(
            Get(AppletWrite, (order.write_id,)),
            Get(KnownResident, (order.resident_id,)),
            Find(Certificate, {"card_id": order.card_id}, ALL),
        )
        write, known = snapshot.one(0, AppletWrite), snapshot.one(1, KnownResident)
        if order.write_id and (write is None or write.state != "open"):
            raise WriteEnded(order.write_id)
        require_current(known, order.resident_id, order.resident_version)
        unknown = KnownResident(resident_id=order.resident_id, resident_version=0, changed_ms=call.now_ms)
        looked_at = tuple(record for record in (known, write) if record is not None)
        first: tuple[Write, ...] = () if known else (Insert(unknown),)
        return Standing(
            of_card=snapshot.all(2, Certificate),
            guards=(*first, *(Check(record) for record in looked_at)),
            touched=(*first, *(Update(record) for record in looked_at)),
        )

    async def of_card(self, card_id: str) -> tuple[Certificate, ...]:
        """Every certificate of a card, intents included."""
        return (await self.node.store.read(Find(Certificate, {"card_id": card_id}, ALL))).all(0, Certificate)

    @staticmethod
    def _allowed(call: Call, order: Order) -> tuple[CertificateKind, ...]:
        """User authentication first: a signature certificate ends no later than it."""
        of_age = age_on(order.person.birth_date, jst_date(call.now_ms)) >= SIGNATURE_MIN_AGE
        wanted: tuple[CertificateKind, ...] = ("authentication", "signature")
        return tuple(kind for kind in wanted if kind in order.kinds and (kind != "signature" or of_age))

    async def _intended(
        self, call: Call, order: Order, kind: CertificateKind, of_card: Sequence[Certificate]
    ) -> tuple[Certificate, tuple[Write, ...]]:
        """A certificate to be signed, and what records it."""
        await self.names.load(self.node.remaining_ms(call))
        generation = await self.signer.newest(kind)
        pair = await self.pool.choose()
        serial = await self.signer.next_serial(kind)
        new = New(serial, pair.public_key, _cap(kind, of_card), _renewed_until(kind, of_card))
        content = self._content(call, order, kind, new)
        authority = self.signer.authority(generation)
        tbs = certificate_tbs(authority, content)
        lint_certificate(authority, content, tbs)
        certificate = Certificate(
            ca=kind,
            serial=serial,
            generation=generation.generation,
            card_id=order.card_id,
            resident_id=order.resident_id,
            municipality=order.municipality,
            key_pair_id=pair.key_pair_id,
            state="intent",
            write_id=order.write_id,
            resident_version=order.resident_version,
            opened_ms=order.opened_ms,
            not_after=jst_date(content.validity.not_after_ms),
            tbs=tbs,
            name_digest=self.names.digest(order.person.name),
            changed_ms=call.now_ms,
        )
        reserved = msgspec.structs.replace(
            pair, state="reserved", reserved_for=f"{kind}:{serial}", changed_ms=call.now_ms
        )
        return certificate, (Insert(certificate), Update(reserved), self.pool.used(pair.key_pair_id, kind, serial))

    async def _commit(
        self, call: Call, guards: tuple[Write, ...], certificate: Certificate, writes: tuple[Write, ...]
    ) -> None:
        entry = self._entry(call, certificate, certificate.state)
        await self.node.store.commit(Change(now_ms=call.now_ms, writes=(*writes, *guards), journal=(entry,)))

    def _content(
        self,
        call: Call,
        order: Order,
        kind: CertificateKind,
        new: New,
    ) -> Content:
        point = point_of(order.municipality)
        validity: Validity = certificate_validity(
            call.now_ms,
            order.person.birth_date,
            order.card_expires_on,
            renewed_until=new.renewed_until,
            cap=new.cap,
        )
        if kind == "authentication":
            stamp = self.node.world.entropy.random_bytes(7).hex().upper()
            return AuthenticationContent(
                serial=new.serial,
                public_key=new.public_key,
                validity=validity,
                common_name=common_name(stamp, order.municipality),
                point=point,
            )
        issued = datetime.datetime.fromtimestamp(call.now_ms / 1000, JST)
        name = common_name(issued.strftime("%Y%m%d%H%M%S"), order.municipality)
        subscriber = subscriber_data(order.person, municipality=order.municipality, point=point, common_name=name)
        return SignatureContent(serial=new.serial, public_key=new.public_key, validity=validity, subscriber=subscriber)

    async def _signed(self, call: Call, certificate: Certificate, guards: tuple[Write, ...]) -> Certificate:
        if certificate.state != "intent":
            return certificate
        generation = await self._generation(certificate)
        der = await self.signer.sign(generation, certificate.tbs, self.node.remaining_ms(call))
        issued = msgspec.structs.replace(certificate, state="issued", der=der, changed_ms=call.now_ms)
        await self._commit(call, guards, issued, (Update(issued),))
        return msgspec.structs.replace(issued, version=certificate.version + 1)

    async def _generation(self, certificate: Certificate) -> CaGeneration:
        return await self.signer.generation(
            "signature" if certificate.ca == "signature" else "authentication", certificate.generation
        )

    @staticmethod
    def _entry(call: Call, certificate: Certificate, event: str) -> JournalEntry:
        detail = {"card": certificate.card_id, "key_pair": certificate.key_pair_id}
        return JournalEntry(f"certificate:{certificate.ca}:{certificate.serial}", event, call.operation_id, detail)


def _is_spent(certificate: Certificate, order: Order) -> bool:
    """Whether it was ended; or will be, as one for signatures of an older record than the order speaks of."""
    is_older = certificate.ca == "signature" and certificate.resident_version < order.resident_version
    return is_older or certificate.state in {"revoked", "abandoned"}


def _renewed_until(kind: CertificateKind, of_card: Sequence[Certificate]) -> datetime.date | None:
    return max((each.not_after for each in of_card if each.ca == kind and each.state == "valid"), default=None)


def _cap(kind: CertificateKind, of_card: Sequence[Certificate]) -> datetime.date | None:
    if kind != "signature":
        return None
    ends = [
        each.not_after for each in of_card if each.ca == "authentication" and each.state not in {"revoked", "abandoned"}
    ]
    return max(ends, default=None)
