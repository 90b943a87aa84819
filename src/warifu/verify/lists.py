"""Revocation lists: full ones, and one municipality's partition.

A partition says nothing about certificates of another municipality; taking it for the full list would let revoked ones
pass. So the scope (issuingDistributionPoint) is compared with the certificate's own distribution point first
(RFC 5280 section 6.3.3, step b).
"""

from cryptography import x509
from cryptography.x509.oid import ExtensionOID
from msgspec import Struct

from warifu.domain.pki.revocation import REASON_CODES, Reason
from warifu.verify.errors import CertificateRevoked, OutOfScope, StaleData
from warifu.verify.paths import Anchor, Anchors
from warifu.verify.reading import (
    check_critical,
    check_signature,
    check_signed_algorithm,
    find,
    load_certificate,
    readable,
    signed_part,
    to_ms,
)

_KNOWN_CRITICAL = (ExtensionOID.ISSUING_DISTRIBUTION_POINT,)
_REASONS: dict[str, Reason] = {name.replace("_", ""): name for name in REASON_CODES}


class RevocationList(Struct, frozen=True, kw_only=True):
    """A list whose signature and currency are established; ask it about as many certificates as you like."""

    crl: x509.CertificateRevocationList
    anchor: Anchor
    number: int
    """CRLNumber: refuse to go back to a lower one of the same scope."""
    this_update_ms: int
    next_update_ms: int

    def check(self, certificate: bytes) -> None:
        """Establish that the list covers the certificate (DER) and does not revoke it.

        Raises:
            Unreadable: it is no certificate.
            OutOfScope: the list does not cover it.
            CertificateRevoked: it is revoked or held.
        """
        leaf = load_certificate(certificate)
        self._check_scope(leaf)
        entry = readable(lambda: self.crl.get_revoked_certificate_by_serial_number(leaf.serial_number))
        if entry is None:
            return
        readable(lambda: check_critical(entry.extensions, ()))
        reason = find(entry.extensions, x509.CRLReason)
        raise CertificateRevoked(
            reason=reason_of(reason.reason if reason else None),
            revoked_ms=to_ms(entry.revocation_date_utc),
        )

    def _check_scope(self, leaf: x509.Certificate) -> None:
        identifier = find(leaf.extensions, x509.AuthorityKeyIdentifier)
        same_key = identifier is not None and identifier.key_identifier == self.anchor.key_id
        if leaf.issuer != self.crl.issuer or not same_key:
            raise OutOfScope("list is of another authority or generation")
        scope = find(self.crl.extensions, x509.IssuingDistributionPoint)
        if scope is None:
            return
        if scope.only_contains_ca_certs or scope.only_contains_attribute_certs:
            raise OutOfScope("list is about another kind of certificate")
        if scope.full_name and not _shared_point(scope, leaf):
            raise OutOfScope("list is of another distribution point")


def open_list(crl: bytes, anchors: Anchors, *, at_ms: int) -> RevocationList:
    """Establish that an anchor issued the list and that it is current.

    Args:
        crl: DER.
        anchors: whom to trust.
        at_ms: instant of judgement; the list must have been issued by then and not be due for replacement.

    Raises:
        Unreadable: not a list, or with a critical extension we do not know (a delta list, for one).
        OutOfScope: indirect, or partial by reason.
        NoTrustAnchor, SignatureInvalid: nobody trusted signed it.
        StaleData: it is not current at the instant.
    """
    loaded = readable(lambda: x509.load_der_x509_crl(crl))
    extensions = readable(lambda: loaded.extensions)
    check_critical(extensions, _KNOWN_CRITICAL)
    anchor = anchors.issuer_of(readable(lambda: loaded.issuer), extensions)
    tbs = signed_part(crl)
    check_signed_algorithm(loaded.signature_algorithm_oid, tbs)
    check_signature(anchor.key, loaded.signature, tbs)
    anchor.check_instant(at_ms)
    _check_form(extensions)
    this_update_ms, next_update_ms = to_ms(loaded.last_update_utc), _next_update_ms(loaded)
    if not this_update_ms <= at_ms <= next_update_ms:
        raise StaleData("list is not current at the instant")
    number = find(extensions, x509.CRLNumber)
    return RevocationList(
        crl=loaded,
        anchor=anchor,
        number=number.crl_number if number else 0,
        this_update_ms=this_update_ms,
        next_update_ms=next_update_ms,
    )


def reason_of(flag: x509.ReasonFlags | None) -> Reason:
    """A parser's reason in our words; one that this service does not use counts as unspecified."""
    return _REASONS.get(flag.value.lower(), "unspecified") if flag else "unspecified"


def _check_form(extensions: x509.Extensions) -> None:
    scope = find(extensions, x509.IssuingDistributionPoint)
    if scope and (scope.indirect_crl or scope.only_some_reasons or scope.relative_name):
        raise OutOfScope("list is indirect, partial by reason or named relatively")


def _next_update_ms(crl: x509.CertificateRevocationList) -> int:
    if crl.next_update_utc is None:
        raise StaleData("list does not say when the next one is due")
    return to_ms(crl.next_update_utc)


def _shared_point(scope: x509.IssuingDistributionPoint, leaf: x509.Certificate) -> bool:
    points = find(leaf.extensions, x509.CRLDistributionPoints)
    own = {name for point in points or () if _is_whole(point) for name in point.full_name or ()}
    return not own.isdisjoint(scope.full_name or ())


def _is_whole(point: x509.DistributionPoint) -> bool:
    """Neither for some reasons only, nor of another issuer's lists."""
    return point.reasons is None and point.crl_issuer is None
