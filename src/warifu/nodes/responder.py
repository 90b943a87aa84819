"""Responder: OCSP answers and revocation lists for relying parties. Reads JPKI's register; holds no CA key.

An answer is signed just in time from what the register says at that instant, so that every request received after a
revocation's commit answers revoked.
"""

import asyncio
from typing import ClassVar, Final, cast

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
from warifu.domain.certificates.records import Certificate, PublishedList
from warifu.domain.certificates.rules import UNSIGNED
from warifu.domain.pki import ocsp, profile
from warifu.domain.pki.errors import OcspRefused
from warifu.domain.pki.ocsp import CertStatus, Good, OcspRequest, Revoked, Unknown
from warifu.domain.pki.profile import Profile
from warifu.domain.pki.revocation import Reason
from warifu.kernel.errors import Fault, Stale, WarifuError
from warifu.kernel.ids import new_ulid
from warifu.nodes.authority.signing import KINDS
from warifu.nodes.base import A, Call, Node, Probe, World, expect
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.list_parts import ListParts
from warifu.nodes.with_hsm import WithHsm
from warifu.ports.hsm import CreateKey, Sign
from warifu.ports.shelf import Shelf
from warifu.ports.store import Get, Store

RENEW_MS: Final = 30 * 86_400_000
"""A responder's certificate is renewed when less than this is left of it."""
FRESH_MS: Final = 60_000
"""How long an answer may be kept by whoever asked; a cache of ours keeps none."""
ANSWER_MS: Final = 10_000
EDITIONS: Final = 3
"""How often a list may be replaced between the look for it and its reading."""


class Identity(Struct, frozen=True):
    """One CA's authorities, and this responder's key and certificate under it."""

    authorities: tuple[profile.Authority, ...]
    roots: tuple[bytes, ...]
    label: str
    public_key: bytes
    certificate: bytes
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
        self._identities: dict[CertificateKind, Identity] = {}
        self._preparing = asyncio.Lock()
        self.handlers |= {AskOcsp.NAME: self.answer_call, AskListPart.NAME: ListParts(self).part}

    async def answer_call(self, call: Call) -> OcspResponse:
        """An OCSP request in a message of the contract."""
        return OcspResponse(der=await self.answer(expect(call.request, AskOcsp).request))

    async def answer(self, data: bytes) -> bytes:
        """An OCSP answer (DER) to a request's bytes; what cannot be answered gets OCSP's own error answer."""
        try:
            async with asyncio.timeout(ANSWER_MS / 1000):
                return await self._answer(ocsp.parse_request(data))
        except OcspRefused as error:
            return ocsp.error_response(error.status)
        except (WarifuError, TimeoutError) as error:
            code = error.code if isinstance(error, WarifuError) else "deadline.passed"
            self.world.log.trouble("responder.failed", code=code)
            return ocsp.error_response("try_later")

    async def _answer(self, request: OcspRequest) -> bytes:
        identities = {kind: await self.identity(kind) for kind in KINDS}
        index = ocsp.issuer_index(a for identity in identities.values() for a in identity.authorities)
        authority = ocsp.only_issuer(request, index)
        identity = identities[authority.kind]
        now_ms = self.world.clock.now_ms() // 1000 * 1000
        statuses = await self._statuses(request, authority, now_ms)
        tbs = ocsp.response_tbs(identity.public_key, now_ms, statuses, request.nonce)
        signature = await self.hsm.bytes_of(Sign(identity.label, tbs), ANSWER_MS)
        return ocsp.assemble_response(tbs, signature, identity.certificate)

    async def _statuses(
        self, request: OcspRequest, authority: profile.Authority, now_ms: int
    ) -> tuple[CertStatus, ...]:
        reads = [Get(Certificate, (authority.kind, cert_id.serial)) for cert_id in request.cert_ids]
        snapshot = await self.register.read(*reads)
        return tuple(
            CertStatus(
                cert_id=cert_id,
                status=_status(snapshot.one(position, Certificate)),
                this_update_ms=now_ms,
                next_update_ms=now_ms + FRESH_MS,
            )
            for position, cert_id in enumerate(request.cert_ids)
        )

    async def list(self, ca: CertificateKind, municipality: str = "", generation: int = 0) -> bytes:
        """The current list (DER); the authority rebuilds it first if a revocation was committed since the last.

        The list itself comes from the shelf: one of many revocations is larger than a message may be.
        """
        request = PublishList(ca=ca, municipality=municipality, generation=generation, with_der=False)
        for _ in range(EDITIONS):
            answer = await self.ask_authority(request, RevocationList, "list")
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
        return (await self.identity(ca)).roots[-1]

    async def identity(self, kind: CertificateKind) -> Identity:
        """This responder's identity under one CA; made, or renewed, when needed."""
        async with self._preparing:
            identity = self._identities.get(kind)
            if identity is None or identity.until_ms - self.world.clock.now_ms() < RENEW_MS:
                identity = self._identities[kind] = await self._prepared(kind)
            return identity

    async def _prepared(self, kind: CertificateKind) -> Identity:
        label = f"{self.world.name}-ocsp-{kind}"
        public_key = await self.hsm.bytes_of(CreateKey(label, "sign"), ANSWER_MS)
        roots = (await self.ask_authority(AskAuthorities(ca=kind), Authorities, "authorities")).certificates
        ask = AskResponderCertificate(ca=kind, public_key=public_key)
        certificate = (await self.ask_authority(ask, ResponderCertificate, "certificate")).der
        return Identity(
            authorities=tuple(
                profile.Authority(kind=kind, public_key=_public_key(root), profile=self.profile) for root in roots
            ),
            roots=roots,
            label=label,
            public_key=public_key,
            certificate=certificate,
            until_ms=int(x509.load_der_x509_certificate(certificate).not_valid_after_utc.timestamp() * 1000),
        )

    async def ask_authority(self, request: Request, answer: type[A], step: str) -> A:
        """Ask JPKI's reception on this responder's own behalf."""
        envelope = Envelope(
            name=request.NAME,
            operation_id=new_ulid(self.world.clock.now_ms(), self.world.entropy.random_bytes(10)),
            step=step,
            sender=self.world.name,
            remaining_ms=ANSWER_MS,
            body=encode(request),
        )
        return await self.exchange("authority", envelope, answer)

    def parts(self) -> dict[str, Probe]:
        """The register, the HSM, and an identity under both CAs."""
        return super().parts() | {"register": self.register.probe, "identity": self._probe_identity}

    async def _probe_identity(self) -> None:
        for kind in KINDS:
            await self.identity(kind)


def _status(certificate: Certificate | None) -> Good | Revoked | Unknown:
    if certificate is None or certificate.state in UNSIGNED:
        return Unknown()
    if certificate.state != "revoked":
        return Good()
    if certificate.revoked_ms is None:
        raise Fault("a revoked certificate without its instant")
    return Revoked(revoked_ms=certificate.revoked_ms, reason=cast("Reason", certificate.reason))


def _public_key(root: bytes) -> bytes:
    key = x509.load_der_x509_certificate(root).public_key()
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
