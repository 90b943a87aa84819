"""Whether a certificate stands, as relying parties are told."""

from warifu.contract.authority import SerialStatus
from warifu.domain.certificates.records import Certificate
from warifu.domain.certificates.rules import UNSIGNED


def status_of(serial: int, certificate: Certificate | None) -> SerialStatus:
    """Good, revoked or unknown; of what was never signed nothing is known."""
    if certificate is None or certificate.state in UNSIGNED:
        return SerialStatus(serial=serial, status="unknown")
    if certificate.state != "revoked":
        return SerialStatus(serial=serial, status="good")
    return SerialStatus(serial=serial, status="revoked", reason=certificate.reason, revoked_ms=certificate.revoked_ms)
