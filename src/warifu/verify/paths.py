"""Certificates: from a subscriber's to a trust anchor, and signatures made with its key.

The authorities are one-tier roots, so a path is one step. Generations share one name: the anchor is chosen by the
authority key identifier, never by the name alone.
"""

from collections.abc import Iterable

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtensionOID
from msgspec import Struct

from warifu.domain.pki import der
from warifu.domain.pki.errors import NotDer
from warifu.domain.pki.names import WARIFU_TEST, Kind, Naming
from warifu.verify.errors import (
    CertificateExpired,
    CertificateNotYetValid,
    NoTrustAnchor,
    Unreadable,
    WrongKeyUsage,
    WrongPolicy,
)
from warifu.verify.reading import (
    check_critical,
    check_signature,
    check_signed_algorithm,
    find,
    load_certificate,
    readable,
    rsa_key,
    to_ms,
)

_KNOWN_CRITICAL = (
    ExtensionOID.KEY_USAGE,
    ExtensionOID.CERTIFICATE_POLICIES,
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.EXTENDED_KEY_USAGE,
)


class Anchor(Struct, frozen=True):
    """One authority's key, trusted because the caller says so."""

    certificate: x509.Certificate
    key_id: bytes
    key: RSAPublicKey

    def check_instant(self, at_ms: int) -> None:
        """Raises ``CertificateNotYetValid`` or ``CertificateExpired`` when the anchor is not valid at the instant."""
        check_instant(self.certificate, at_ms, "trust anchor")


class Anchors(Struct, frozen=True):
    """The trust anchors of a relying party, by key identifier."""

    by_key_id: dict[bytes, tuple[Anchor, ...]]

    @classmethod
    def of(cls, roots: Iterable[bytes]) -> "Anchors":
        """Trust these certificates (DER), each an authority's own.

        Raises:
            Unreadable: one is not a certificate with an RSA key.
            NoTrustAnchor: one is no authority (basicConstraints, keyUsage) or has no key identifier.
        """
        found: dict[bytes, tuple[Anchor, ...]] = {}
        for root in roots:
            anchor = _anchor(load_certificate(root))
            found[anchor.key_id] = (*found.get(anchor.key_id, ()), anchor)
        return cls(found)

    def issuer_of(self, name: x509.Name, extensions: x509.Extensions) -> Anchor:
        """The anchor that the authority key identifier and the issuer's name point to.

        Raises:
            NoTrustAnchor: none does.
        """
        identifier = find(extensions, x509.AuthorityKeyIdentifier)
        key_id = identifier.key_identifier if identifier else None
        candidates = self.by_key_id.get(key_id, ()) if key_id else ()
        for anchor in candidates:
            if anchor.certificate.subject == name:
                return anchor
        raise NoTrustAnchor("no trust anchor has the issuer's name and key identifier")


class Holder(Struct, frozen=True, kw_only=True):
    """What a signature certificate says about its holder, as written there; personal data."""

    name: str
    name_substitutes: str
    """One ``0`` or ``1`` a character: ``1`` where the register has a character the certificate cannot write."""
    birth_date: str
    """``EYYYYMMDD``."""
    sex: str
    address: str
    address_substitutes: str

    def __repr__(self) -> str:
        """Without personal data."""
        return "Holder(<hidden>)"


class Verified(Struct, frozen=True, kw_only=True):
    """A certificate whose path holds at the instant asked about. Its revocation status is another question."""

    kind: Kind
    serial: int
    not_before_ms: int
    not_after_ms: int
    anchor: Anchor
    holder: Holder | None
    """None for user authentication."""


def verify_certificate(
    certificate: bytes, anchors: Anchors, *, at_ms: int, kind: Kind, naming: Naming = WARIFU_TEST
) -> Verified:
    """Establish that an anchor issued the certificate for this use, and that it is within its validity.

    Args:
        certificate: the subscriber's, DER.
        anchors: whom to trust.
        at_ms: instant of judgement, milliseconds since 1970 UTC.
        kind: which of a card's two certificates it must be (by policy and key usage).
        naming: whose policies count.

    Raises:
        Unreadable, NoTrustAnchor, SignatureInvalid, CertificateNotYetValid, CertificateExpired, WrongPolicy,
        WrongKeyUsage: what their names say.
    """
    leaf = load_certificate(certificate)
    anchor = verify_issued(leaf, anchors)
    anchor.check_instant(at_ms)
    check_instant(leaf, at_ms, "certificate")
    _check_policy(leaf, naming.policy(kind))
    check_key_usage(leaf, non_repudiation=kind == "signature")
    return Verified(
        kind=kind,
        serial=leaf.serial_number,
        not_before_ms=to_ms(leaf.not_valid_before_utc),
        not_after_ms=to_ms(leaf.not_valid_after_utc),
        anchor=anchor,
        holder=_holder(leaf, naming) if kind == "signature" else None,
    )


def verify_signature(certificate: bytes, message: bytes, signature: bytes) -> None:
    """Establish that the certificate's key signed the message (RSASSA-PKCS1-v1_5, SHA-256).

    Raises:
        Unreadable: the certificate is none, or its key is not RSA.
        WrongKeyUsage: the key may not sign.
        SignatureInvalid: it did not sign this.
    """
    leaf = load_certificate(certificate)
    check_key_usage(leaf, non_repudiation=False)
    check_signature(rsa_key(leaf), signature, message)


def verify_issued(leaf: x509.Certificate, anchors: Anchors) -> Anchor:
    """The anchor that signed this end-entity certificate.

    Raises:
        Unreadable, NoTrustAnchor, SignatureInvalid, WrongKeyUsage: see ``verify_certificate``.
    """
    check_critical(leaf.extensions, _KNOWN_CRITICAL)
    anchor = anchors.issuer_of(readable(lambda: leaf.issuer), leaf.extensions)
    check_signed_algorithm(leaf.signature_algorithm_oid, leaf.tbs_certificate_bytes)
    check_signature(anchor.key, leaf.signature, leaf.tbs_certificate_bytes)
    constraints = find(leaf.extensions, x509.BasicConstraints)
    if constraints and constraints.ca:
        raise WrongKeyUsage("certificate is an authority's")
    return anchor


def check_instant(certificate: x509.Certificate, at_ms: int, what: str) -> None:
    """Both ends of a validity belong to it (RFC 5280 section 4.1.2.5); its last second is whole.

    Raises:
        CertificateNotYetValid, CertificateExpired: the instant lies outside.
    """
    if at_ms < to_ms(certificate.not_valid_before_utc):
        raise CertificateNotYetValid(f"{what} is not valid yet")
    if at_ms > to_ms(certificate.not_valid_after_utc) + 999:
        raise CertificateExpired(f"{what} is not valid any more")


def check_key_usage(certificate: x509.Certificate, *, non_repudiation: bool) -> None:
    """digitalSignature, and nonRepudiation if asked for.

    Raises:
        WrongKeyUsage: the extension is missing or does not say so.
    """
    usage = find(certificate.extensions, x509.KeyUsage)
    if usage is None or not usage.digital_signature or (non_repudiation and not usage.content_commitment):
        raise WrongKeyUsage("key usage does not allow this")


def _anchor(certificate: x509.Certificate) -> Anchor:
    check_critical(certificate.extensions, _KNOWN_CRITICAL)
    constraints = find(certificate.extensions, x509.BasicConstraints)
    usage = find(certificate.extensions, x509.KeyUsage)
    identifier = find(certificate.extensions, x509.SubjectKeyIdentifier)
    if not (constraints and constraints.ca and usage and usage.key_cert_sign and usage.crl_sign and identifier):
        raise NoTrustAnchor("not an authority's certificate")
    return Anchor(certificate, identifier.digest, rsa_key(certificate))


def _check_policy(certificate: x509.Certificate, wanted: str) -> None:
    found = find(certificate.extensions, x509.CertificatePolicies)
    if found is None or wanted not in {policy.policy_identifier.dotted_string for policy in found}:
        raise WrongPolicy("certificate was issued under another policy")


def _holder(certificate: x509.Certificate, naming: Naming) -> Holder:
    alternatives = find(certificate.extensions, x509.SubjectAlternativeName)
    names = alternatives.get_values_for_type(x509.OtherName) if alternatives else []
    texts = {name.type_id.dotted_string: _text(name.value) for name in names}
    arc = naming.attribute_arc
    if len(texts) != len(names) or not {f"{arc}.{number}" for number in range(1, 7)} <= set(texts):
        raise Unreadable("holder's attributes are incomplete or doubled")
    return Holder(
        name=texts[f"{arc}.1"],
        name_substitutes=texts[f"{arc}.2"],
        sex=texts[f"{arc}.3"],
        birth_date=texts[f"{arc}.4"],
        address=texts[f"{arc}.5"],
        address_substitutes=texts[f"{arc}.6"],
    )


def _text(value: bytes) -> str:
    try:
        return der.read_only(value, der.UTF8_STRING).content.decode()
    except (NotDer, UnicodeDecodeError) as error:
        raise Unreadable("holder's attribute is not a UTF8String") from error
