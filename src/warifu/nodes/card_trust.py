"""What a terminal trusts of certificates on chips: the roots it was installed with, and JPKI's names.

Judged are path, kind (policy and key usage) and validity, with the same library that relying parties use. Status is
the register's to say, in the same operation, and is not asked again here.
"""

from collections.abc import Callable
from typing import Final

from warifu.domain.pki.names import Kind, Naming
from warifu.kernel.errors import Unavailable
from warifu.verify import Anchors, CertificateNotYetValid, NoTrustAnchor, verify_certificate

CLOCKS_APART_MS: Final = 300_000
"""A certificate issued a moment ago is not from the future because this terminal's clock is slow."""


class CardTrust:
    """Judges certificates that chips hold."""

    def __init__(self, roots: Callable[[], tuple[bytes, ...]], naming: Naming) -> None:
        """Make one.

        Args:
            roots: the installed CA certificates (DER), every generation; asked again when a certificate names an
                issuer that is not known here: a new generation may have been installed.
            naming: whose policies count.
        """
        self._roots = roots
        self._naming = naming
        self._anchors: Anchors | None = None

    def judge(self, certificate: bytes, kind: Kind, now_ms: int) -> None:
        """Establish that a trusted CA issued it for this use and that it is valid now.

        Raises:
            Unavailable: no roots are installed.
            VerificationFailed: with the code of what could not be established (``warifu.verify``).
        """
        if self._anchors is None:
            self._anchors = self._installed()
        try:
            self._established(certificate, self._anchors, kind, now_ms)
        except NoTrustAnchor:
            self._anchors = self._installed()
            self._established(certificate, self._anchors, kind, now_ms)

    def _established(self, certificate: bytes, anchors: Anchors, kind: Kind, now_ms: int) -> None:
        try:
            verify_certificate(certificate, anchors, at_ms=now_ms, kind=kind, naming=self._naming)
        except CertificateNotYetValid:
            later = now_ms + CLOCKS_APART_MS
            verify_certificate(certificate, anchors, at_ms=later, kind=kind, naming=self._naming)

    def _installed(self) -> Anchors:
        roots = self._roots()
        if not roots:
            raise Unavailable("no CA certificates are installed at this terminal")
        return Anchors.of(roots)
