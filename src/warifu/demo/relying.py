"""A relying party: holds the CA certificates, asks OCSP with a nonce, fetches lists, believes only what verifies."""

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from msgspec import Struct

from warifu.contract.values import CertificateKind
from warifu.demo.errors import Unexpected, WebUnavailable
from warifu.demo.web import Web
from warifu.ports.clock import Clock
from warifu.ports.entropy import Entropy
from warifu.verify import (
    Anchors,
    CertificateRevoked,
    ResponderRefused,
    Verified,
    open_list,
    verify_certificate,
    verify_response,
    verify_signature,
)

NONCE_BYTES = 16


class OnCard(Struct, frozen=True):
    """A certificate as its holder presents it."""

    kind: CertificateKind
    der: bytes
    municipality: str
    """Where it was issued: the partition of the list that covers it."""


class RelyingParty:
    """Verifies signatures and certificates.

    Args:
        web: the responder.
        roots: CA certificates (DER) by kind, every generation.
        clock: the instant of judgement.
        entropy: for nonces.
    """

    def __init__(
        self, web: Web, roots: dict[CertificateKind, tuple[bytes, ...]], clock: Clock, entropy: Entropy
    ) -> None:
        self.web = web
        self._anchors = {kind: Anchors.of(certificates) for kind, certificates in roots.items()}
        self._clock = clock
        self._entropy = entropy

    def verify(self, certificate: OnCard, message: bytes, signature: bytes) -> Verified:
        """Establish path, purpose, validity and signature; revocation is another question."""
        verified = self.path(certificate)
        verify_signature(certificate.der, message, signature)
        return verified

    def path(self, certificate: OnCard) -> Verified:
        """Establish path, purpose and validity."""
        anchors = self._anchors[certificate.kind]
        return verify_certificate(certificate.der, anchors, at_ms=self._clock.now_ms(), kind=certificate.kind)

    async def by_ocsp(self, certificate: OnCard) -> str | None:
        """None when OCSP says good; the reason when it says revoked.

        Raises:
            WebUnavailable: the responder does not answer, or asks to try later.
            VerificationFailed: its answer does not verify, or says anything else.
        """
        nonce = self._entropy.random_bytes(NONCE_BYTES)
        answer = await self.web.ocsp(self._question(certificate, nonce))
        anchors = self._anchors[certificate.kind]
        try:
            verify_response(answer, certificate.der, anchors, at_ms=self._clock.now_ms(), nonce=nonce)
        except CertificateRevoked as revoked:
            return revoked.reason
        except ResponderRefused as refused:
            if refused.status in {"try_later", "internal_error"}:
                raise WebUnavailable(f"OCSP: {refused.status}") from refused
            raise
        return None

    async def by_list(self, certificate: OnCard, municipality: str) -> str | None:
        """The same by a revocation list: one municipality's, or ("") the full one."""
        crl = await self.web.list(certificate.kind, municipality)
        current = open_list(crl, self._anchors[certificate.kind], at_ms=self._clock.now_ms())
        try:
            current.check(certificate.der)
        except CertificateRevoked as revoked:
            return revoked.reason
        return None

    async def require_good(self, certificate: OnCard) -> None:
        """OCSP and both lists say that it stands."""
        for source, reason in await self._everywhere(certificate):
            if reason is not None:
                raise Unexpected(f"{source} says that the {certificate.kind} certificate is revoked: {reason}")

    async def require_revoked(self, certificate: OnCard, wanted: str) -> None:
        """OCSP and both lists say that it is revoked, for this reason."""
        for source, reason in await self._everywhere(certificate):
            if reason != wanted:
                raise Unexpected(
                    f"{source} says {reason or 'good'} of the {certificate.kind} certificate, not {wanted}"
                )

    async def _everywhere(self, certificate: OnCard) -> list[tuple[str, str | None]]:
        return [
            ("OCSP", await self.by_ocsp(certificate)),
            ("the municipality's list", await self.by_list(certificate, certificate.municipality)),
            ("the full list", await self.by_list(certificate, "")),
        ]

    def _question(self, certificate: OnCard, nonce: bytes) -> bytes:
        leaf = x509.load_der_x509_certificate(certificate.der)
        issuer = self.path(certificate).anchor.certificate
        # SHA-1 names the issuer here and protects nothing (RFC 6960 section 4.1.1); every client sends it.
        builder = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA1())  # noqa: S303
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
        return builder.build().public_bytes(serialization.Encoding.DER)
