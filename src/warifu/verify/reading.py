"""Reading DER with ``cryptography``, and the few checks every part of this library makes."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ObjectIdentifier

from warifu.domain.pki import der
from warifu.domain.pki.errors import NotDer
from warifu.domain.pki.profile import SIGNATURE_ALGORITHM
from warifu.verify.errors import SignatureInvalid, Unreadable

T = TypeVar("T")
E = TypeVar("E", bound=x509.ExtensionType)

SHA256_WITH_RSA = ObjectIdentifier("1.2.840.113549.1.1.11")
MIN_KEY_BITS = 2048

_COMPLAINTS = (
    NotDer,
    UnsupportedAlgorithm,
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def readable(read: Callable[[], T]) -> T:
    """What ``read`` gives; the parser's own complaints become ours.

    Raises:
        Unreadable: the parser refused.
    """
    try:
        return read()
    except _COMPLAINTS as error:
        raise Unreadable("not the DER structure it should be") from error


def load_certificate(data: bytes) -> x509.Certificate:
    """The certificate in DER, its names and extensions readable.

    Raises:
        Unreadable: it is not one.
    """
    certificate = readable(lambda: x509.load_der_x509_certificate(data))
    readable(lambda: (certificate.issuer, certificate.subject, certificate.extensions))
    return certificate


def rsa_key(certificate: x509.Certificate) -> RSAPublicKey:
    """The certificate's RSA key of at least 2048 bits.

    Raises:
        Unreadable: another kind of key, or a shorter one.
    """
    key = readable(certificate.public_key)
    if not isinstance(key, RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        raise Unreadable("public key is not RSA of at least 2048 bits")
    return key


def check_signature(key: RSAPublicKey, signature: bytes, data: bytes) -> None:
    """RSASSA-PKCS1-v1_5 with SHA-256.

    Raises:
        SignatureInvalid: it does not verify.
    """
    try:
        key.verify(signature, data, PKCS1v15(), hashes.SHA256())
    except InvalidSignature as error:
        raise SignatureInvalid("signature does not verify") from error


def check_algorithm(algorithm: ObjectIdentifier) -> None:
    """Only sha256WithRSAEncryption is known here.

    Raises:
        SignatureInvalid: another algorithm.
    """
    if algorithm != SHA256_WITH_RSA:
        raise SignatureInvalid("signature algorithm is not sha256WithRSAEncryption")


def check_signed_algorithm(algorithm: ObjectIdentifier, tbs: bytes) -> None:
    """Certificates and lists name the algorithm twice, and only the inner one is signed: both must be ours.

    (RFC 5280 section 4.1.1.2; the parser does not compare them.)

    Raises:
        Unreadable: the signed part is not DER.
        SignatureInvalid: another algorithm, inside or outside.
    """
    check_algorithm(algorithm)
    if readable(lambda: _inner_algorithm(tbs)) != SIGNATURE_ALGORITHM:
        raise SignatureInvalid("signed part names another algorithm")


def signed_part(data: bytes) -> bytes:
    """The first element of a certificate or list: the very octets that were signed.

    (For a list of a million entries the parser's own copy takes two seconds to encode again.)

    Raises:
        Unreadable: not DER.
    """
    return readable(lambda: der.read(der.read_only(data, der.SEQUENCE).content)[0].encoded)


def _inner_algorithm(tbs: bytes) -> bytes:
    """The first SEQUENCE of a tbsCertificate or tbsCertList."""
    rest = der.read_only(tbs, der.SEQUENCE).content
    while True:
        element, rest = der.read(rest)
        if element.tag == der.SEQUENCE:
            return element.encoded


def find(extensions: x509.Extensions, kind: type[E]) -> E | None:
    """The extension of this kind, or None."""
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def check_critical(extensions: x509.Extensions, known: Iterable[ObjectIdentifier]) -> None:
    """Every critical extension must be one we act on (RFC 5280 section 4.2).

    Raises:
        Unreadable: there is another.
    """
    unknown = {extension.oid for extension in extensions if extension.critical} - set(known)
    if unknown:
        raise Unreadable("unknown critical extension")


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970 UTC."""
    return int(moment.timestamp()) * 1000


def from_ms(instant_ms: int) -> datetime:
    """The moment, in UTC."""
    return datetime.fromtimestamp(instant_ms / 1000, UTC)
