"""The last look at a certificate before the HSM signs it.

The to-be-signed bytes get a dummy signature and are read by ``cryptography``'s parser, and every field is compared
with what that library's own classes make of the order. The two share the tables of names, but no encoding: a slip of
the writer shows.
"""

from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, ObjectIdentifier

from warifu.domain.pki import names
from warifu.domain.pki.errors import LintFailed
from warifu.domain.pki.extensions import ExtensionName
from warifu.domain.pki.names import Attribute, Point
from warifu.domain.pki.profile import (
    MAX_SERIAL,
    Authority,
    Content,
    Profile,
    ResponderContent,
    RootContent,
    SignatureContent,
    SubscriberData,
    assemble,
)
from warifu.kernel.calendar import SIGNATURE_MIN_AGE, age_on, jpki_date, jst_date

_KEY_BITS = 2048
_EXPONENT = 65537
_DUMMY_SIGNATURE = bytes(256)
_SHA256_WITH_RSA = ObjectIdentifier("1.2.840.113549.1.1.11")

_CRITICAL: dict[ExtensionName, bool] = {"key_usage": True, "policies": True, "basic_constraints": True}


def lint_certificate(authority: Authority, content: Content, tbs: bytes) -> None:
    """Let the certificate pass only if it is exactly what was ordered.

    Args:
        authority: who issues it.
        content: the order.
        tbs: the to-be-signed DER about to be sent to the HSM.

    Raises:
        LintFailed: a field differs, is missing or is more than ordered; its name is in ``field``.
    """
    try:
        certificate = x509.load_der_x509_certificate(assemble(tbs, _DUMMY_SIGNATURE))
        _check_fields(authority, content, certificate)
        _check_extensions(authority, content, certificate)
    except (ValueError, TypeError) as error:
        raise LintFailed("encoding") from error


def _require(holds: bool, field: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not holds:
        raise LintFailed(field)


def _check_fields(authority: Authority, content: Content, certificate: x509.Certificate) -> None:
    naming, kind = authority.profile.naming, authority.kind
    issuer = _name(names.authority_attributes(naming, kind))
    validity = content.validity
    _require(certificate.version is x509.Version.v3, "version")
    _require(certificate.serial_number == content.serial and 1 <= content.serial <= MAX_SERIAL, "serial")
    _require(certificate.signature_algorithm_oid == _SHA256_WITH_RSA, "signature algorithm")
    _require(certificate.issuer.public_bytes() == issuer, "issuer")
    _require(certificate.subject.public_bytes() == _name(_subject(authority, content)), "subject")
    _require(certificate.not_valid_before_utc == _instant(validity.not_before_ms), "notBefore")
    _require(certificate.not_valid_after_utc == _instant(validity.not_after_ms), "notAfter")
    _check_key(certificate, _public_key(authority, content))
    if isinstance(content, SignatureContent):
        age = age_on(content.subscriber.birth_date, jst_date(validity.not_before_ms))
        _require(age >= SIGNATURE_MIN_AGE, "age")


def _check_key(certificate: x509.Certificate, expected: bytes) -> None:
    key = certificate.public_key()
    _require(isinstance(key, RSAPublicKey), "key type")
    if isinstance(key, RSAPublicKey):
        _require(key.key_size == _KEY_BITS and key.public_numbers().e == _EXPONENT, "key size")
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    _require(spki == expected, "public key")


def _check_extensions(authority: Authority, content: Content, certificate: x509.Certificate) -> None:
    order = _order(authority.profile, content)
    found = list(certificate.extensions)
    _require(len(found) == len(order), "number of extensions")
    for name, actual in zip(order, found, strict=True):
        expected = _extension(authority, content, name)
        _require(actual.oid == expected.oid and actual.critical == _CRITICAL.get(name, False), name)
        _require(actual.value.public_bytes() == expected.public_bytes(), name)


def _order(profile: Profile, content: Content) -> tuple[ExtensionName, ...]:
    if isinstance(content, RootContent):
        return profile.root_extensions
    if isinstance(content, ResponderContent):
        return profile.responder_extensions
    if isinstance(content, SignatureContent):
        return profile.signature_extensions
    return profile.authentication_extensions


def _public_key(authority: Authority, content: Content) -> bytes:
    return authority.public_key if isinstance(content, RootContent) else content.public_key


def _point(content: Content) -> Point | None:
    if isinstance(content, SignatureContent):
        return content.subscriber.point
    return None if isinstance(content, RootContent | ResponderContent) else content.point


def _subject(authority: Authority, content: Content) -> tuple[Attribute, ...]:
    naming, kind = authority.profile.naming, authority.kind
    if isinstance(content, RootContent):
        return names.authority_attributes(naming, kind)
    if isinstance(content, ResponderContent):
        return names.responder_subject_attributes(naming, kind, content.common_name)
    if isinstance(content, SignatureContent):
        return names.signature_subject_attributes(content.subscriber.point, content.subscriber.common_name)
    return names.authentication_subject_attributes(content.common_name)


def _extension(authority: Authority, content: Content, name: ExtensionName) -> x509.ExtensionType:
    """The extension as the order asks for it, in ``cryptography``'s own terms."""
    profile = authority.profile
    if name in ("subject_key", "authority_key"):
        return _key_id(authority, content, name)
    if name in ("subject_alt_name", "issuer_alt_name", "points"):
        return _named(authority, content, name)
    if name == "policies":
        policy = ObjectIdentifier(profile.naming.policy(authority.kind))
        return x509.CertificatePolicies([x509.PolicyInformation(policy, [profile.naming.cps_uri])])
    if name == "authority_info":
        location = x509.UniformResourceIdentifier(profile.ocsp_uri)
        return x509.AuthorityInformationAccess([x509.AccessDescription(AuthorityInformationAccessOID.OCSP, location)])
    return _usage(content, name)


def _usage(content: Content, name: ExtensionName) -> x509.ExtensionType:
    root, responder = isinstance(content, RootContent), isinstance(content, ResponderContent)
    if name == "key_usage":
        return x509.KeyUsage(
            digital_signature=not root,
            content_commitment=isinstance(content, SignatureContent),
            key_encipherment=False,
            data_encipherment=False,
            key_agreement=False,
            key_cert_sign=root,
            crl_sign=root,
            encipher_only=False,
            decipher_only=False,
        )
    if name == "basic_constraints":
        return x509.BasicConstraints(ca=root, path_length=None)
    if name == "extended_key_usage":
        return x509.ExtendedKeyUsage(
            [ExtendedKeyUsageOID.OCSP_SIGNING if responder else ExtendedKeyUsageOID.CLIENT_AUTH],
        )
    _require(name == "no_check" and responder, name)
    return x509.OCSPNoCheck()


def _key_id(authority: Authority, content: Content, name: ExtensionName) -> x509.ExtensionType:
    key = authority.public_key if name == "authority_key" else _public_key(authority, content)
    loaded = serialization.load_der_public_key(key)
    if not isinstance(loaded, RSAPublicKey):
        raise LintFailed(name)
    if name == "authority_key":
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(loaded)
    return x509.SubjectKeyIdentifier.from_public_key(loaded)


def _named(authority: Authority, content: Content, name: ExtensionName) -> x509.ExtensionType:
    naming, kind = authority.profile.naming, authority.kind
    native = x509.DirectoryName(_x509_name(names.native_authority_attributes(naming, kind)))
    if name == "issuer_alt_name":
        return x509.IssuerAlternativeName([native])
    if name == "subject_alt_name":
        if isinstance(content, SignatureContent):
            return x509.SubjectAlternativeName(_holder(authority.profile, content.subscriber))
        return x509.SubjectAlternativeName([native])
    point = _point(content)
    attributes = names.point_attributes(naming, kind, point) if point else names.authority_attributes(naming, kind)
    full = [x509.DirectoryName(_x509_name(attributes))]
    return x509.CRLDistributionPoints([x509.DistributionPoint(full, None, None, None)])


def _holder(profile: Profile, subscriber: SubscriberData) -> list[x509.GeneralName]:
    texts = {
        1: subscriber.name,
        4: jpki_date(subscriber.birth_date),
        3: profile.sex_digit(subscriber.sex),
        5: subscriber.address,
        2: subscriber.name_substitutes,
        6: subscriber.address_substitutes,
    }
    arc = profile.naming.attribute_arc
    return [x509.OtherName(ObjectIdentifier(f"{arc}.{number}"), _utf8(text)) for number, text in texts.items()]


def _utf8(text: str) -> bytes:
    """A UTF8String, without the writer this module is to check; at most 65 535 octets."""
    octets = text.encode()
    size = len(octets)
    if size < 0x80:  # noqa: PLR2004 - X.690 8.1.3: short form
        return bytes((0x0C, size)) + octets
    if size < 0x100:  # noqa: PLR2004 - one length octet
        return bytes((0x0C, 0x81, size)) + octets
    return bytes((0x0C, 0x82, *divmod(size, 256))) + octets


def _x509_name(attributes: tuple[Attribute, ...]) -> x509.Name:
    return x509.Name([x509.NameAttribute(ObjectIdentifier(kind), text) for kind, text in attributes])


def _name(attributes: tuple[Attribute, ...]) -> bytes:
    return _x509_name(attributes).public_bytes()


def _instant(instant_ms: int) -> datetime:
    return datetime.fromtimestamp(instant_ms // 1000, UTC)
