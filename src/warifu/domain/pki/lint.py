"""The last look at a certificate before the HSM signs it.

Two passes, neither of which uses the writer. First the bytes: our strict reader takes the fields apart, and names,
keys and extension values must be, octet for octet, what the classes of ``cryptography`` encode for the order. Then the
meaning: the certificate gets a dummy signature, and that library's parser must read the order's values back. (Its
parser alone would let a wrong algorithm inside the signed part pass, and padding in keyUsage.)
"""

from datetime import UTC, datetime
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID, ObjectIdentifier

from warifu.domain.pki import der, names
from warifu.domain.pki.errors import LintFailed, NotDer
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
ALGORITHM = bytes.fromhex("300d06092a864886f70d01010b0500")
"""sha256WithRSAEncryption with NULL, as octets."""
_TRUE = bytes.fromhex("0101ff")
_UNREADABLE = (
    NotDer,
    UnsupportedAlgorithm,
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

_FIELDS = (
    "version",
    "serial",
    "signature algorithm",
    "issuer",
    "validity",
    "subject",
    "public key",
    "extensions",
)
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
        expected = [_extension(authority, content, name) for name in _order(authority.profile, content)]
        _check_bytes(authority, content, tbs, expected)
        certificate = x509.load_der_x509_certificate(assemble(tbs, _DUMMY_SIGNATURE))
        _check_fields(content, certificate)
        _check_key(certificate, _public_key(authority, content))
        _check_extensions(authority, content, certificate, expected)
    except _UNREADABLE as error:
        raise LintFailed("encoding") from error


def require(holds: bool, field: str) -> None:  # noqa: FBT001 - reads as a sentence
    """``LintFailed`` for the field unless it holds."""
    if not holds:
        raise LintFailed(field)


def _check_bytes(authority: Authority, content: Content, tbs: bytes, extensions: list[x509.ExtensionType]) -> None:
    fields = der.read_all(der.read_only(tbs, der.SEQUENCE).content)
    require(len(fields) == len(_FIELDS), "number of fields")
    naming, kind = authority.profile.naming, authority.kind
    expected = {
        "version": bytes.fromhex("a003020102"),
        "signature algorithm": ALGORITHM,
        "issuer": encoded_name(names.authority_attributes(naming, kind)),
        "subject": encoded_name(_subject(authority, content)),
        "public key": _public_key(authority, content),
    }
    for field, element in zip(_FIELDS, fields, strict=True):
        require(element.encoded == expected.get(field, element.encoded), field)
    require(der.read_integer(fields[1]) == content.serial and 1 <= content.serial <= MAX_SERIAL, "serial")
    _check_extension_bytes(_order(authority.profile, content), fields[-1], extensions)


def _check_extension_bytes(
    order: tuple[ExtensionName, ...], wrapper: der.Element, expected: list[x509.ExtensionType]
) -> None:
    found = der.read_all(der.read_only(der.expect(wrapper, 0xA3).content, der.SEQUENCE).content)
    require(len(found) == len(order), "number of extensions")
    for name, element, extension in zip(order, found, expected, strict=True):
        parts = der.read_all(der.expect(element, der.SEQUENCE).content)
        value = der.expect(parts[-1], der.OCTET_STRING).content
        flags = [part.encoded for part in parts[1:-1]]
        require(value == extension.public_bytes(), name)
        require(flags == ([_TRUE] if _CRITICAL.get(name, False) else []), name)


def _check_fields(content: Content, certificate: x509.Certificate) -> None:
    validity = content.validity
    require(certificate.version is x509.Version.v3, "version")
    require(certificate.serial_number == content.serial, "serial")
    require(certificate.not_valid_before_utc == _instant(validity.not_before_ms), "notBefore")
    require(certificate.not_valid_after_utc == _instant(validity.not_after_ms), "notAfter")
    if isinstance(content, SignatureContent):
        age = age_on(content.subscriber.birth_date, jst_date(validity.not_before_ms))
        require(age >= SIGNATURE_MIN_AGE, "age")


def _check_key(certificate: x509.Certificate, expected: bytes) -> None:
    key = certificate.public_key()
    require(isinstance(key, RSAPublicKey), "key type")
    if isinstance(key, RSAPublicKey):
        require(key.key_size == _KEY_BITS and key.public_numbers().e == _EXPONENT, "key size")
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    require(spki == expected, "public key")


def _check_extensions(
    authority: Authority, content: Content, certificate: x509.Certificate, expected: list[x509.ExtensionType]
) -> None:
    order = _order(authority.profile, content)
    for name, actual, extension in zip(order, certificate.extensions, expected, strict=True):
        require(actual.value == extension and actual.critical == _CRITICAL.get(name, False), name)


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
    require(name == "no_check" and responder, name)
    return x509.OCSPNoCheck()


def _key_id(authority: Authority, content: Content, name: ExtensionName) -> x509.ExtensionType:
    key = authority.public_key if name == "authority_key" else _public_key(authority, content)
    loaded = load_key(key)
    if name == "authority_key":
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(loaded)
    return x509.SubjectKeyIdentifier.from_public_key(loaded)


@lru_cache(maxsize=64)
def load_key(public_key: bytes) -> RSAPublicKey:
    """An RSA key from its SubjectPublicKeyInfo; ``LintFailed`` for another kind."""
    loaded = serialization.load_der_public_key(public_key)
    if not isinstance(loaded, RSAPublicKey):
        raise LintFailed("key type")
    return loaded


def _named(authority: Authority, content: Content, name: ExtensionName) -> x509.ExtensionType:
    naming, kind = authority.profile.naming, authority.kind
    native = x509.DirectoryName(x509_name(names.native_authority_attributes(naming, kind)))
    if name == "issuer_alt_name":
        return x509.IssuerAlternativeName([native])
    if name == "subject_alt_name":
        if isinstance(content, SignatureContent):
            return x509.SubjectAlternativeName(_holder(authority.profile, content.subscriber))
        return x509.SubjectAlternativeName([native])
    point = _point(content)
    attributes = names.point_attributes(naming, kind, point) if point else names.authority_attributes(naming, kind)
    full = [x509.DirectoryName(x509_name(attributes))]
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


@lru_cache(maxsize=8192)
def x509_name(attributes: tuple[Attribute, ...]) -> x509.Name:
    """A name in ``cryptography``'s own terms."""
    return x509.Name([x509.NameAttribute(ObjectIdentifier(kind), text) for kind, text in attributes])


def encoded_name(attributes: tuple[Attribute, ...]) -> bytes:
    """The same as that library encodes it."""
    return x509_name(attributes).public_bytes()


def _instant(instant_ms: int) -> datetime:
    return datetime.fromtimestamp(instant_ms // 1000, UTC)
