"""Responder: OCSP answers and revocation lists for relying parties. Reads JPKI's register; holds no CA key.

An answer is signed just in time from what the register says at that instant (``status_look``), so that every request
received after a revocation's commit answers revoked. An answer without a nonce is given again while the register still
says the same: the register is asked each time, only the signature is spared.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from typing import ClassVar, Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from msgspec import Struct

from warifu.contract.authority import (
    AskAuthorities,
    AskListPart,
    AskOcsp,
    AskResponderCertificate,
    Authorities,
    OcspResponse,
    PublishList,
    ResponderCertificate,
    RevocationList,
)
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.contract.message import Request
from warifu.contract.values import CertificateKind
from warifu.domain.certificates.records import PublishedList
from warifu.domain.pki import extensions, ocsp, profile
from warifu.domain.pki.errors import OcspRefused
from warifu.domain.pki.lint_answers import lint_answer
from warifu.domain.pki.ocsp import CertStatus, IssuerKey, OcspRequest, Revoked, Status
from warifu.domain.pki.ocsp_forms import AnswerForm, RequestForms, answer_form
from warifu.domain.pki.profile import MAX_SERIAL, Profile
from warifu.kernel.errors import DeadlinePassed, Fault, Stale, WarifuError
from warifu.kernel.ids import new_ulid
from warifu.nodes.authority.signing import KINDS
from warifu.nodes.base import A, Call, Node, Probe, World, expect
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.list_parts import ListParts
from warifu.nodes.signing_together import SigningTogether
from warifu.nodes.status_look import Known, Looks
from warifu.nodes.with_hsm import WithHsm
from warifu.ports.hsm import CreateKey
from warifu.ports.shelf import Shelf
from warifu.ports.store import Get, Store

RENEW_MS: Final = 30 * 86_400_000
"""A responder's certificate is renewed when less than this is left of it."""
FRESH_MS: Final = 60_000
"""How long whoever asked may keep an answer."""
REUSED_MS: Final = 30_000
"""How long an answer without a nonce is given again, while the register says the same."""
WHOLE_LINT_EVERY: Final = 128
"""Of so many answers written by a form one goes through the whole lint too, beside every form's specimen."""
ANSWER_FORMS: Final = 256
"""Of one second."""
KEPT_ANSWERS: Final = 50_000
KEPT_ANSWER_BYTES: Final = 512
"""Of a request whose answer is kept."""
REFRESH_MS: Final = 1_000
"""An issuer nobody knows may be a new generation: JPKI is asked, at most so often."""
ANSWER_MS: Final = 10_000
EDITIONS: Final = 3
"""How often a list may be replaced between the look for it and its reading."""


class Identity(Struct, frozen=True):
    """This responder under one generation of one CA: only that generation's key can delegate it (RFC 6960 4.2.2.2)."""

    authority: profile.Authority
    root: bytes
    label: str
    public_key: bytes
    key_id: bytes
    certificate: bytes
    until_ms: int


class Kept(Struct, frozen=True):
    """An answer that was given, and what it was made from."""

    der: bytes
    keys: tuple[tuple[str, int], ...]
    statuses: tuple[Status, ...]
    until_ms: int


class Responder(WithHsm, Node):
    """Answers relying parties."""

    KIND: ClassVar[str] = "responder"

    def __init__(self, world: World, register: Store, hsm: HsmPool, names: Profile, shelf: Shelf) -> None:
        super().__init__(world)
        self.shelf = shelf
        self.register = register
        self.hsm = hsm
        self.profile = names
        self.looks = Looks(register)
        self._identities: dict[CertificateKind, tuple[Identity, ...]] = {}
        self._by_issuer: dict[IssuerKey, Identity] = {}
        self._refreshed_ms = 0
        self._preparing = asyncio.Lock()
        self._kept: OrderedDict[bytes, Kept] = OrderedDict()
        self.signing = SigningTogether(hsm, ANSWER_MS)
        self._forms = RequestForms()
        self._answers: dict[tuple[object, ...], AnswerForm] = {}
        self._answers_of = 0
        """The second whose answers they are."""
        self._written = 0
        self.handlers |= {AskOcsp.NAME: self.answer_call, AskListPart.NAME: ListParts(self).part}

    # ---- OCSP --------------------------------------------------------------------------------------------------

    async def answer_call(self, call: Call) -> OcspResponse:
        """An OCSP request in a message of the contract."""
        return OcspResponse(der=await self.answer(expect(call.request, AskOcsp).request))

    async def answer(self, data: bytes) -> bytes:
        """An OCSP answer (DER) to a request's bytes; what cannot be answered gets OCSP's own error answer."""
        try:
            async with asyncio.timeout(ANSWER_MS / 1000):
                kept = self._kept.get(data)
                return await (self._again(data, kept) if kept is not None else self._answer(data))
        except OcspRefused as error:
            return ocsp.error_response(error.status)
        except (WarifuError, TimeoutError) as error:
            code = error.code if isinstance(error, WarifuError) else "deadline.passed"
            self.world.log.trouble("responder.failed", code=code)
            return ocsp.error_response("try_later")

    async def _again(self, data: bytes, kept: Kept) -> bytes:
        """The answer given before, if the register still says the same and it is young."""
        told = await self.looks.statuses(kept.keys)
        now_ms = self.world.clock.now_ms()
        if _only_statuses(told) == kept.statuses and kept.until_ms - REUSED_MS <= now_ms < kept.until_ms:
            if data in self._kept:  # others' answers may have taken its place while the register was asked
                self._kept.move_to_end(data)
            return kept.der
        self._kept.pop(data, None)
        return await self._answer(data)

    async def _answer(self, data: bytes) -> bytes:
        known = self._forms.read(data)
        request = known or ocsp.parse_request(data)
        identity = await self._identity_for(request)
        if known is None:
            self._forms.learn(data, request)
        keys = tuple((identity.authority.kind, cert_id.serial) for cert_id in request.cert_ids)
        statuses = await self.looks.statuses(keys)
        now_ms = self.world.clock.now_ms() // 1000 * 1000
        der = await self._signed(identity, request, statuses, now_ms)
        if request.nonce is None and len(data) <= KEPT_ANSWER_BYTES:
            self._keep(data, statuses, Kept(der, keys, _only_statuses(statuses), now_ms + REUSED_MS))
        return der

    async def _signed(self, identity: Identity, request: OcspRequest, told: Sequence[Known], now_ms: int) -> bytes:
        form = self._form(identity, request, told, now_ms)
        tbs = form.write(request) if form is not None else None
        if form is None or tbs is None:
            lines = _lines(request, told, now_ms)
            tbs = ocsp.response_tbs(identity.public_key, now_ms, lines, request.nonce)
            lint_answer(tbs, identity.key_id, now_ms, lines, request.nonce)
            signature = await self.signing.sign(identity.label, tbs)
            return ocsp.assemble_response(tbs, signature, identity.certificate)
        form.check(tbs, request)
        self._written += 1
        if self._written % WHOLE_LINT_EVERY == 0:
            lint_answer(tbs, identity.key_id, now_ms, _lines(request, told, now_ms), request.nonce)
        return form.assemble(tbs, await self.signing.sign(identity.label, tbs))

    def _form(self, identity: Identity, request: OcspRequest, told: Sequence[Known], now_ms: int) -> AnswerForm | None:
        """The form of this second's answers that say the same, made from the first of them."""
        if len(told) != 1 or isinstance(told[0].status, Revoked):  # each at an instant of its own
            return None
        if self._answers_of != now_ms:
            self._answers, self._answers_of = {}, now_ms
        cert_id, nonce = request.cert_ids[0], request.nonce
        key = (identity.root, cert_id.issuer, len(cert_id.encoded), len(nonce or b""), told[0].status)
        form = self._answers.get(key)
        if form is None and len(self._answers) < ANSWER_FORMS and 0 <= cert_id.serial <= MAX_SERIAL:
            (line,) = _lines(request, told, now_ms)
            form = answer_form(identity.public_key, identity.certificate, now_ms, line, nonce)
            self._answers[key] = form
        return form

    def _keep(self, data: bytes, told: Sequence[Known], kept: Kept) -> None:
        """Only what may be told again: a certificate that is not known yet may be issued any moment."""
        if all(each.municipality for each in told):
            self._kept[data] = kept
            while len(self._kept) > KEPT_ANSWERS:
                self._kept.popitem(last=False)

    async def _identity_for(self, request: OcspRequest) -> Identity:
        """The identity under the one generation that the request asks about.

        Raises:
            OcspRefused: ``unauthorized``: another's certificate, or those of several authorities or generations.
        """
        known = self._by_issuer.get(request.cert_ids[0].issuer)
        if known is not None and len(request.cert_ids) == 1 and self._last_long((known,)):
            return known
        for kind in KINDS:
            await self.identities(kind)
        if any(cert_id.issuer not in self._by_issuer for cert_id in request.cert_ids):
            await self._refresh()
        authorities = {issuer: identity.authority for issuer, identity in self._by_issuer.items()}
        ocsp.only_issuer(request, authorities)
        return self._by_issuer[request.cert_ids[0].issuer]

    # ---- lists and CA certificates -----------------------------------------------------------------------------

    async def list(
        self, ca: CertificateKind, municipality: str = "", generation: int = 0, *, within_ms: int = ANSWER_MS
    ) -> bytes:
        """The current list (DER); the authority rebuilds it first if a revocation was committed since the last.

        The list itself comes from the shelf: one of many revocations is larger than a message may be.
        """
        request = PublishList(ca=ca, municipality=municipality, generation=generation, with_der=False)
        deadline = asyncio.get_running_loop().time() + within_ms / 1000
        for _ in range(EDITIONS):
            left_ms = int((deadline - asyncio.get_running_loop().time()) * 1000)
            if left_ms <= 0:
                raise DeadlinePassed(PublishList.NAME)
            answer = await self.ask_authority(request, RevocationList, "list", left_ms)
            key = (ca, answer.generation, municipality)
            published = (await self.register.read(Get(PublishedList, key))).one(0, PublishedList)
            if published is None or published.number < answer.number:
                raise Fault("the list that was published is not in the register")
            der = await self.shelf.get(published.name)
            if der is not None:
                return der
        raise Stale("the list keeps being replaced")

    async def root(self, ca: CertificateKind) -> bytes:
        """The newest CA certificate (DER)."""
        return (await self.identities(ca))[-1].root

    # ---- identities --------------------------------------------------------------------------------------------

    async def identities(self, kind: CertificateKind) -> tuple[Identity, ...]:
        """This responder under each generation of one CA, newest last; made, or renewed, when needed."""
        known = self._identities.get(kind, ())
        if known and self._last_long(known):
            return known
        async with self._preparing:
            known = self._identities.get(kind, ())
            if not known or not self._last_long(known):
                known = await self._prepare(kind)
            return known

    def _last_long(self, known: Sequence[Identity]) -> bool:
        now_ms = self.world.clock.now_ms()
        return all(identity.until_ms - now_ms >= RENEW_MS for identity in known)

    async def _refresh(self) -> None:
        """Look for new generations, unless somebody did a moment ago."""
        async with self._preparing:
            now_ms = self.world.clock.now_ms()
            if 0 <= now_ms - self._refreshed_ms < REFRESH_MS:
                return
            self._refreshed_ms = now_ms
            for kind in KINDS:
                await self._prepare(kind)

    async def _prepare(self, kind: CertificateKind) -> tuple[Identity, ...]:
        """Identities under generations that are new; those that last long stay."""
        told = await self.ask_authority(AskAuthorities(ca=kind), Authorities, "authorities")
        known = {identity.root: identity for identity in self._identities.get(kind, ()) if self._last_long([identity])}
        numbers = told.generations or tuple(range(1, len(told.certificates) + 1))
        found = tuple(
            [
                known.get(root) or await self._made(kind, number, root)
                for number, root in zip(numbers, told.certificates, strict=True)
            ]
        )
        self._identities[kind] = found
        index = ocsp.issuer_index(identity.authority for identity in found)
        by_key = {identity.authority.public_key: identity for identity in found}
        self._by_issuer |= {issuer: by_key[authority.public_key] for issuer, authority in index.items()}
        return found

    async def _made(self, kind: CertificateKind, generation: int, root: bytes) -> Identity:
        label = f"{self.world.name}-ocsp-{kind}"
        public_key = await self.hsm.bytes_of(CreateKey(label, "sign"), ANSWER_MS)
        ask = AskResponderCertificate(ca=kind, public_key=public_key, generation=generation)
        certificate = (await self.ask_authority(ask, ResponderCertificate, "certificate")).der
        return Identity(
            authority=profile.Authority(kind=kind, public_key=_public_key(root), profile=self.profile),
            root=root,
            label=label,
            public_key=public_key,
            key_id=extensions.key_identifier(public_key),
            certificate=certificate,
            until_ms=int(x509.load_der_x509_certificate(certificate).not_valid_after_utc.timestamp() * 1000),
        )

    async def ask_authority(self, request: Request, answer: type[A], step: str, within_ms: int = ANSWER_MS) -> A:
        """Ask JPKI's reception on this responder's own behalf."""
        envelope = Envelope(
            name=request.NAME,
            operation_id=new_ulid(self.world.clock.now_ms(), self.world.entropy.random_bytes(10)),
            step=step,
            sender=self.world.name,
            remaining_ms=min(within_ms, ANSWER_MS),
            body=encode(request),
        )
        return await self.exchange("authority", envelope, answer)

    # ---- timers and health -------------------------------------------------------------------------------------

    async def run(self) -> None:
        """The looks at the register and the signatures beside the other timers."""
        async with asyncio.TaskGroup() as group:
            group.create_task(super().run())
            group.create_task(self.looks.run())
            group.create_task(self.signing.run())

    def parts(self) -> dict[str, Probe]:
        """The register, the HSM, and an identity under both CAs."""
        return super().parts() | {"register": self.register.probe, "identity": self._probe_identity}

    async def _probe_identity(self) -> None:
        for kind in KINDS:
            await self.identities(kind)


def _lines(request: OcspRequest, told: Sequence[Known], now_ms: int) -> tuple[CertStatus, ...]:
    return tuple(
        CertStatus(cert_id=cert_id, status=each.status, this_update_ms=now_ms, next_update_ms=now_ms + FRESH_MS)
        for cert_id, each in zip(request.cert_ids, told, strict=True)
    )


def _only_statuses(told: Sequence[Known]) -> tuple[Status, ...]:
    return tuple(each.status for each in told)


def _public_key(root: bytes) -> bytes:
    key = x509.load_der_x509_certificate(root).public_key()
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
