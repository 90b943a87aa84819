"""Issue in bulk: a part of a batch at a time, streaming, restartable in the middle, each certificate exactly once.

One commit records the whole part before anything is signed: every certificate as an intent with its serial, key pair
and to-be-signed octets, the key pairs' use, and the part itself. Then the HSM signs, and one more commit makes the
intents certificates. A break between the two leaves intents, which the same request finds and signs. Nothing is read
beforehand: that a card has certificates already, or a resident is known, shows by the first commit's failure; only
then is looked, and what stands is left alone.
"""

import asyncio
import datetime
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec
from msgspec import Struct

from warifu.contract.authority import BatchIssued, BatchOrder, IssueBatch, RefusedOrder
from warifu.contract.codec import encode
from warifu.contract.values import CertificateKind
from warifu.domain.certificates.records import CaGeneration, Certificate, IssueBlock, KnownResident
from warifu.domain.certificates.rules import require_current
from warifu.domain.pki.dates import Validity, certificate_validity
from warifu.domain.pki.lint import lint_certificate
from warifu.domain.pki.names import Point, point_of
from warifu.domain.pki.profile import (
    AuthenticationContent,
    SignatureContent,
    SubscriberData,
    common_name,
    subscriber_data,
)
from warifu.domain.pki.template import Template, template_of
from warifu.kernel.calendar import JST, SIGNATURE_MIN_AGE, age_on, jst_date
from warifu.kernel.errors import Fault, KeyReused, Malformed, Refused, Stale, TryAgain
from warifu.nodes.authority.key_pool import KeyPool, Pair
from warifu.nodes.authority.searching import NameIndex
from warifu.nodes.authority.signing import Signer
from warifu.nodes.base import MAX_DECISIONS, Call, KeepingNode
from warifu.ports.store import Change, Find, Get, Insert, JournalEntry, Record, Snapshot, Update, Write

READ_AT_ONCE: Final = 60
WHOLE_LINT_EVERY: Final = 128
"""Of so many certificates one goes through the whole lint too, beside every template's specimen."""
_STAMP_BYTES: Final = 7
"""Random bytes that name a user-authentication certificate's holder without saying anything."""
KINDS: Final[tuple[CertificateKind, ...]] = ("authentication", "signature")
_SIGNED: Final = ("state", "tbs", "der", "changed_ms")
"""What the second commit changes of a certificate."""
_Codes = list[tuple[str, str]]
_Cards = list[str]
_Keys = list[tuple[str, int]]


class Prepared(Struct, frozen=True):
    """An order that can be carried out: what its certificates say, and which of them are to be issued.

    ``whole``: these are all that it may have; nothing stands already.
    """

    order: BatchOrder
    validity: Validity
    subscriber: SubscriberData | None
    point: Point
    kinds: tuple[CertificateKind, ...]
    whole: bool


class Sorted(Struct, frozen=True):
    """A part's orders: what can be carried out; what cannot, and why; cards of which not all is issued here."""

    prepared: list[Prepared]
    refused: _Codes
    unfinished: _Cards


class Wanted(Struct, frozen=True):
    """A certificate to be issued, its key pair and its serial."""

    prepared: Prepared
    kind: CertificateKind
    pair: Pair
    serial: int
    stamp: str


class Standing(Struct, frozen=True):
    """What is known of the orders' cards and residents."""

    taken: dict[tuple[str, str], datetime.date] = {}
    """The last day of what was issued, or is to be, by (card id, authority)."""
    residents: dict[str, KnownResident] = {}


class Begun(Struct, frozen=True):
    """A part that is recorded, with its certificates where they are at hand."""

    block: IssueBlock
    certificates: list[Certificate] | None


class BulkIssuer:
    """Issues for batches."""

    def __init__(self, node: KeepingNode, signer: Signer, pool: KeyPool, names: NameIndex) -> None:
        self.node = node
        self.signer = signer
        self.pool = pool
        self.names = names
        self._reserving = asyncio.Lock()

    async def issue(self, call: Call, request: IssueBatch) -> BatchIssued:
        """Issue one part; the same part again gives the same answer.

        Raises:
            KeyReused: the part's place stands for other orders.
            Malformed: a card or a resident is in it twice.
        """
        _require_distinct(request)
        self.pool.busy += 1
        try:
            for _ in range(MAX_DECISIONS):
                try:
                    block = await self._block(request) or await self._intended(call, request)
                    return _answer(request, await self._issued(call, block))
                except Stale:
                    continue  # the same request ran twice; or a resident's record, or a certificate, moved
        finally:
            self.pool.busy -= 1
        raise Stale("certificates of this batch keep changing")

    async def _block(self, request: IssueBatch) -> Begun | None:
        found = await self.node.store.read(Get(IssueBlock, (request.batch_id, request.position)))
        block = found.one(0, IssueBlock)
        if block is None:
            return None
        if block.digest != _digest(request):
            raise KeyReused(f"part {request.position} of batch {request.batch_id}")
        return Begun(block, None)

    # ---- the intent ----------------------------------------------------------------------------------------------

    async def _intended(self, call: Call, request: IssueBatch) -> Begun:
        """Record the whole part: at first as if nothing stood in its way, then with what does."""
        try:
            return await self._record(call, request, Standing())
        except Stale:
            return await self._record(call, request, await self._standing(request.orders))

    async def _standing(self, orders: Sequence[BatchOrder]) -> Standing:
        reads: list[Get | Find] = [Find(Certificate, {"card_id": order.card_id}) for order in orders]
        reads += [Get(KnownResident, (order.resident_id,)) for order in orders]
        parts = [reads[start : start + READ_AT_ONCE] for start in range(0, len(reads), READ_AT_ONCE)]
        rows = [row for part in parts for row in _rows(await self.node.store.read(*part))]
        taken = {
            (row.card_id, row.ca): row.not_after
            for row in rows
            if isinstance(row, Certificate) and not row.write_id and row.state != "abandoned"
        }
        residents = {row.resident_id: row for row in rows if isinstance(row, KnownResident)}
        return Standing(taken, residents)

    async def _record(self, call: Call, request: IssueBatch, standing: Standing) -> Begun:
        found = _sorted_out(call, request.orders, standing)
        prepared = found.prepared
        async with self._reserving:  # two parts would choose the same pairs
            reserved = await self.pool.reserve(sum(len(each.kinds) for each in prepared))
            certificates = await self._certificates(call, prepared, reserved.pairs)
            block = IssueBlock(
                batch_id=request.batch_id,
                position=request.position,
                digest=_digest(request),
                state="intent",
                serials=msgspec.msgpack.encode([(each.ca, each.serial) for each in certificates]),
                refused=msgspec.msgpack.encode(found.refused),
                unfinished=msgspec.msgpack.encode(found.unfinished),
                changed_ms=call.now_ms,
            )
            writes: list[Write] = [Insert(block), *reserved.writes, *_guards(call, prepared, standing)]
            for each in certificates:
                writes += (Insert(each), self.pool.used(each.key_pair_id, _kind(each), each.serial))
            await self._commit(call, block, tuple(writes))
        return Begun(
            msgspec.structs.replace(block, version=1),
            [msgspec.structs.replace(each, version=1) for each in certificates],
        )

    async def _certificates(self, call: Call, prepared: Sequence[Prepared], pairs: Sequence[Pair]) -> list[Certificate]:
        free, made = iter(pairs), list[Certificate]()
        await self.names.load(self.node.remaining_ms(call))
        digests = {each.order.card_id: self.names.digest(each.order.person.name) for each in prepared}
        for kind in KINDS:
            of_kind = [each for each in prepared if kind in each.kinds]
            if not of_kind:
                continue
            writer = _Writer(call, self.signer, await self.signer.newest(kind), digests)
            serials = await self.signer.next_serials(kind, len(of_kind))
            stamps = self.node.world.entropy.random_bytes(_STAMP_BYTES * len(of_kind)).hex().upper()
            for number, (each, serial) in enumerate(zip(of_kind, serials, strict=True)):
                stamp = stamps[2 * _STAMP_BYTES * number : 2 * _STAMP_BYTES * (number + 1)]
                made.append(writer.intent(Wanted(each, kind, next(free), serial, stamp)))
        return made

    # ---- the signatures ------------------------------------------------------------------------------------------

    async def _issued(self, call: Call, begun: Begun) -> IssueBlock:
        """Sign what is not signed yet. An intent that was abandoned meanwhile stays unsigned."""
        block = begun.block
        if block.state == "issued":
            return block
        certificates = begun.certificates
        if certificates is None:
            certificates = await self._recorded(block)
        intents = [each for each in certificates if each.state == "intent"]
        issued = await self._signed(call, intents)
        unfinished = msgspec.msgpack.encode(_unfinished(block, certificates, issued))
        done = msgspec.structs.replace(block, state="issued", unfinished=unfinished, changed_ms=call.now_ms)
        await self._commit(call, done, (Update(done), *(Update(each, only=_SIGNED) for each in issued)))
        return done

    async def _recorded(self, block: IssueBlock) -> list[Certificate]:
        keys = msgspec.msgpack.decode(block.serials, type=_Keys)
        parts = [keys[start : start + READ_AT_ONCE] for start in range(0, len(keys), READ_AT_ONCE)]
        snapshots = [await self.node.store.read(*(Get(Certificate, key) for key in part)) for part in parts]
        return [row for found in snapshots for row in _rows(found) if isinstance(row, Certificate)]

    async def _signed(self, call: Call, intents: Sequence[Certificate]) -> list[Certificate]:
        by_key: defaultdict[tuple[CertificateKind, int], list[Certificate]] = defaultdict(list)
        for each in intents:
            by_key[_kind(each), each.generation].append(each)
        signed: list[Certificate] = []
        for (kind, number), certificates in by_key.items():
            generation = await self.signer.generation(kind, number)
            texts = [each.tbs for each in certificates]
            encoded = await self.signer.sign_many(generation, texts, self.node.remaining_ms(call))
            for certificate, der in zip(certificates, encoded, strict=True):
                # What was signed is in the certificate: it need not be kept twice.
                fields = {"state": "issued", "der": der, "tbs": b"", "changed_ms": call.now_ms}
                signed.append(msgspec.structs.replace(certificate, **fields))
        return signed

    async def _commit(self, call: Call, block: IssueBlock, writes: tuple[Write, ...]) -> None:
        stream = f"issue_block:{block.batch_id}:{block.position}"
        keys = msgspec.msgpack.decode(block.serials, type=_Keys)
        entry = JournalEntry(stream, block.state, call.operation_id, {"certificates": len(keys), "spans": _spans(keys)})
        await self.node.store.commit(Change(now_ms=call.now_ms, writes=writes, journal=(entry,)))


class _Writer:
    """Writes and checks the certificates of one authority's generation."""

    def __init__(self, call: Call, signer: Signer, generation: CaGeneration, digests: Mapping[str, bytes]) -> None:
        self._digests = digests
        self._now_ms = call.now_ms
        self._issued = datetime.datetime.fromtimestamp(call.now_ms / 1000, JST).strftime("%Y%m%d%H%M%S")
        self._generation = generation.generation
        self._authority = signer.authority(generation)
        self._templates: dict[str, Template] = {}
        self._written = 0

    def intent(self, wanted: Wanted) -> Certificate:
        """The certificate to be signed, looked at for the last time."""
        order, content = wanted.prepared.order, self._content(wanted)
        template = self._templates.get(order.municipality)
        if template is None:
            template = self._templates[order.municipality] = template_of(self._authority, wanted.prepared.point)
        tbs = template.write(content)
        template.check(content, tbs)
        if self._written % WHOLE_LINT_EVERY == 0:
            lint_certificate(self._authority, content, tbs)
        self._written += 1
        return Certificate(
            ca=wanted.kind,
            serial=wanted.serial,
            generation=self._generation,
            card_id=order.card_id,
            resident_id=order.resident_id,
            municipality=order.municipality,
            key_pair_id=wanted.pair.key_pair_id,
            state="intent",
            resident_version=order.resident_version,
            not_after=_last_day(wanted.prepared.validity.not_after_ms),
            tbs=tbs,
            name_digest=self._digests[order.card_id],
            changed_ms=self._now_ms,
        )

    def _content(self, wanted: Wanted) -> SignatureContent | AuthenticationContent:
        prepared, pair, serial = wanted.prepared, wanted.pair, wanted.serial
        if wanted.kind == "authentication":
            return AuthenticationContent(
                serial=serial,
                public_key=pair.public_key,
                validity=prepared.validity,
                common_name=common_name(wanted.stamp, prepared.order.municipality),
                point=prepared.point,
            )
        if prepared.subscriber is None:
            raise Fault("a signature certificate without its holder")
        return SignatureContent(
            serial=serial, public_key=pair.public_key, validity=prepared.validity, subscriber=prepared.subscriber
        )


def _sorted_out(call: Call, orders: Sequence[BatchOrder], standing: Standing) -> Sorted:
    """What can be carried out, of the rest why not, and whose certificates are not all issued here."""
    found = Sorted([], [], [])
    for order in orders:
        try:
            each = _prepared(call, order, standing)
        except (Refused, TryAgain) as error:
            found.refused.append((order.card_id, error.code))
            continue
        if each.kinds:
            found.prepared.append(each)
        if not each.whole:
            found.unfinished.append(order.card_id)
    return found


def _prepared(call: Call, order: BatchOrder, standing: Standing) -> Prepared:
    known = standing.residents.get(order.resident_id)
    if known and not order.resident_version:  # whoever does not say of which version gets what is known now
        order = msgspec.structs.replace(order, resident_version=known.resident_version)
    require_current(known, order.resident_id, order.resident_version)
    person, point = order.person, point_of(order.municipality)
    cap = standing.taken.get((order.card_id, "authentication"))
    validity = certificate_validity(call.now_ms, person.birth_date, order.card_expires_on, cap=cap)
    of_age = age_on(person.birth_date, jst_date(call.now_ms)) >= SIGNATURE_MIN_AGE
    allowed = tuple(kind for kind in KINDS if kind in order.kinds and (kind != "signature" or of_age))
    kinds = tuple(kind for kind in allowed if (order.card_id, kind) not in standing.taken)
    subscriber = None
    if "signature" in kinds:
        issued = datetime.datetime.fromtimestamp(call.now_ms / 1000, JST).strftime("%Y%m%d%H%M%S")
        name = common_name(issued, order.municipality)
        subscriber = subscriber_data(person, municipality=order.municipality, point=point, common_name=name)
    return Prepared(order, validity, subscriber, point, kinds, kinds == allowed)


def _guards(call: Call, prepared: Sequence[Prepared], standing: Standing) -> list[Write]:
    """What makes the commit fail when JPKI was told of a change meanwhile, and the change's when it looked before.

    Written, not only looked at: a change told of ends what it finds. Who read before these intents were there finds the
    record moved, and reads again (write skew; see ``issuing.Standing``).
    """
    guards: list[Write] = []
    for each in prepared:
        resident_id = each.order.resident_id
        known = standing.residents.get(resident_id)
        unknown = KnownResident(resident_id=resident_id, resident_version=0, changed_ms=call.now_ms)
        guards.append(Update(known) if known else Insert(unknown))
    return guards


def _require_distinct(request: IssueBatch) -> None:
    for name in ("card_id", "resident_id"):
        if len({getattr(order, name) for order in request.orders}) != len(request.orders):
            raise Malformed(f"a {name} is in this part twice")


def _digest(request: IssueBatch) -> bytes:
    return hashlib.sha256(encode(request)).digest()


def _unfinished(block: IssueBlock, recorded: Iterable[Certificate], issued: Iterable[Certificate]) -> _Cards:
    """The cards of which not all is issued here, now that what stood as an intent is signed."""
    signed = {(each.ca, each.serial) for each in issued}
    cards = set(msgspec.msgpack.decode(block.unfinished, type=_Cards))
    return sorted(cards | {each.card_id for each in recorded if (each.ca, each.serial) not in signed})


def _answer(request: IssueBatch, block: IssueBlock) -> BatchIssued:
    refused = msgspec.msgpack.decode(block.refused, type=_Codes)
    others = {card_id for card_id, _ in refused}.union(msgspec.msgpack.decode(block.unfinished, type=_Cards))
    return BatchIssued(
        issued=len(msgspec.msgpack.decode(block.serials, type=_Keys)),
        refused=tuple(RefusedOrder(card_id=card_id, code=code) for card_id, code in refused),
        finished=tuple(order.card_id for order in request.orders if order.card_id not in others),
    )


def _spans(keys: _Keys) -> dict[str, list[int]]:
    """First and last serial of each authority, for the journal."""
    return {kind: [min(of), max(of)] for kind in KINDS if (of := [serial for ca, serial in keys if ca == kind])}


def _rows(snapshot: Snapshot) -> Iterable[Record]:
    return (row for rows in snapshot.results for row in rows)


def _kind(certificate: Certificate) -> CertificateKind:
    return "signature" if certificate.ca == "signature" else "authentication"


_last_day: Final = lru_cache(maxsize=8192)(jst_date)
