"""On-line status (RFC 6960, nonces by RFC 9654): reading requests and writing answers.

Requests come from anyone, so everything has a limit and anything odd becomes one typed refusal that names its error
answer. They are read with our strict reader: the ``cryptography`` parser takes one certID a request, clients may send
several. Answers are written here and signed by the HSM.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal
from urllib.parse import unquote

from msgspec import Struct

from warifu.domain.pki import der, extensions
from warifu.domain.pki.errors import BadContent, NotDer, OcspError, OcspRefused
from warifu.domain.pki.profile import MAX_SERIAL, SIGNATURE_ALGORITHM, Authority
from warifu.domain.pki.revocation import REASON_CODES, Reason

MAX_REQUEST_BYTES = 16_384
MAX_CERT_IDS = 32
MAX_NONCE_BYTES = 128

HashName = Literal["sha1", "sha256"]
IssuerKey = tuple[HashName, bytes, bytes]
"""Hash algorithm, hash of the issuer's name, hash of its key: how a certID names an issuer."""

_NONCE = der.oid("1.3.6.1.5.5.7.48.1.2")
_BASIC_RESPONSE = der.oid("1.3.6.1.5.5.7.48.1.1")
_HASHES: Final[dict[bytes, HashName]] = {der.oid("1.3.14.3.2.26"): "sha1", der.oid("2.16.840.1.101.3.4.2.1"): "sha256"}
_ERROR_CODES: Final[dict[OcspError, int]] = {
    "malformed_request": 1,
    "internal_error": 2,
    "try_later": 3,
    "signature_required": 5,
    "unauthorized": 6,
}
_MIN_CERT_ID_FIELDS = 4


class CertId(Struct, frozen=True, kw_only=True):
    """Which certificate is asked about."""

    issuer: IssuerKey
    serial: int
    encoded: bytes
    """As the client wrote it: echoed, so that its own comparison matches."""


class OcspRequest(Struct, frozen=True, kw_only=True):
    """A request that was read."""

    cert_ids: tuple[CertId, ...]
    nonce: bytes | None


class Good(Struct, frozen=True, tag=True):
    """Issued and not revoked."""


class Unknown(Struct, frozen=True, tag=True):
    """Not issued here, as far as the responder knows."""


class Revoked(Struct, frozen=True, tag=True):
    """Revoked, or on hold."""

    revoked_ms: int
    reason: Reason


Status = Good | Revoked | Unknown


class CertStatus(Struct, frozen=True, kw_only=True):
    """One certificate's line of an answer."""

    cert_id: CertId
    status: Status
    this_update_ms: int
    """Instant of the revocation data, not of the answer."""
    next_update_ms: int


def parse_request(data: bytes) -> OcspRequest:
    """Read a request (the body of a POST).

    Raises:
        OcspRefused: ``malformed_request``: not a request, over a limit, or with a critical extension we do not know.
    """
    if len(data) > MAX_REQUEST_BYTES:
        raise OcspRefused("request is too large")
    try:
        return _read_request(data)
    except NotDer as error:
        raise OcspRefused("request is not DER of RFC 6960") from error


def parse_get_path(path: str) -> OcspRequest:
    """Read the last part of a GET's path: percent-encoded base64 of the request (RFC 6960 appendix A.1).

    Raises:
        OcspRefused: as ``parse_request``, or not base64.
    """
    if len(path) > 3 * MAX_REQUEST_BYTES:
        raise OcspRefused("request is too large")
    try:
        data = base64.b64decode(unquote(path.strip("/")), validate=True)
    except (binascii.Error, ValueError) as error:
        raise OcspRefused("path is not base64") from error
    return parse_request(data)


def _read_request(data: bytes) -> OcspRequest:
    whole = der.read_all(der.read_only(data, der.SEQUENCE).content)
    if not 1 <= len(whole) <= 2:  # noqa: PLR2004 - tbsRequest and an optional signature, which we need not check
        raise NotDer("OCSPRequest")
    fields = list(der.read_all(der.expect(whole[0], der.SEQUENCE).content))
    if fields and fields[0].tag == 0xA0:  # noqa: PLR2004 - version [0], absent or 0
        _check_version(fields.pop(0))
    if fields and fields[0].tag == 0xA1:  # noqa: PLR2004 - requestorName [1], of no use to us
        fields.pop(0)
    if not fields:
        raise NotDer("requestList")
    cert_ids = _read_list(der.expect(fields.pop(0), der.SEQUENCE))
    return OcspRequest(cert_ids=cert_ids, nonce=_read_nonce(fields))


def _check_version(element: der.Element) -> None:
    if der.read_integer(der.read_only(element.content, der.INTEGER)) != 0:
        raise OcspRefused("request version")


def _read_list(element: der.Element) -> tuple[CertId, ...]:
    requests = der.read_all(element.content)
    if not 1 <= len(requests) <= MAX_CERT_IDS:
        raise OcspRefused(f"1 to {MAX_CERT_IDS} certificates may be asked about")
    return tuple(_read_single(request) for request in requests)


def _read_single(element: der.Element) -> CertId:
    fields = der.read_all(der.expect(element, der.SEQUENCE).content)
    if not fields:
        raise NotDer("Request")
    for extra in fields[1:]:
        _read_extensions(extra)  # singleRequestExtensions [0]: none is known
    return _read_cert_id(der.expect(fields[0], der.SEQUENCE))


def _read_cert_id(element: der.Element) -> CertId:
    fields = der.read_all(element.content)
    if len(fields) != _MIN_CERT_ID_FIELDS:
        raise NotDer("CertID")
    algorithm = der.read_all(der.expect(fields[0], der.SEQUENCE).content)
    name = _HASHES.get(algorithm[0].encoded) if algorithm else None
    if name is None:
        raise OcspRefused("hash algorithm is neither SHA-1 nor SHA-256")
    hashes = tuple(der.expect(field, der.OCTET_STRING).content for field in fields[1:3])
    serial = der.read_integer(fields[3])
    return CertId(issuer=(name, hashes[0], hashes[1]), serial=serial, encoded=element.encoded)


def _read_nonce(fields: list[der.Element]) -> bytes | None:
    if not fields:
        return None
    if len(fields) > 1 or fields[0].tag != 0xA2:  # noqa: PLR2004 - requestExtensions [2]
        raise NotDer("tbsRequest")
    value = _read_extensions(fields[0], _NONCE).get(_NONCE)
    if value is None:
        return None
    nonce = der.read_only(value, der.OCTET_STRING).content
    if not 1 <= len(nonce) <= MAX_NONCE_BYTES:
        raise OcspRefused(f"nonce is not of 1 to {MAX_NONCE_BYTES} octets")
    return nonce


def _read_extensions(element: der.Element, *known: bytes) -> dict[bytes, bytes]:
    """Values by encoded type; an unknown critical one is refused."""
    found: dict[bytes, bytes] = {}
    for one in der.read_all(der.read_only(element.content, der.SEQUENCE).content):
        fields = der.read_all(der.expect(one, der.SEQUENCE).content)
        if not 2 <= len(fields) <= 3 or fields[0].encoded in found:  # noqa: PLR2004 - critical is optional
            raise NotDer("Extension")
        critical = len(fields) == 3 and fields[1].content != b"\x00"  # noqa: PLR2004 - likewise
        if critical and fields[0].encoded not in known:
            raise OcspRefused("unknown critical extension")
        found[fields[0].encoded] = der.expect(fields[-1], der.OCTET_STRING).content
    return found


def issuer_key(authority: Authority, hash_name: HashName) -> IssuerKey:
    """How a certID with this hash names the authority."""
    bits = extensions.public_key_bits(authority.public_key)
    return hash_name, _digest(hash_name, authority.name), _digest(hash_name, bits)


def issuer_index(authorities: Iterable[Authority]) -> dict[IssuerKey, Authority]:
    """All authorities (and generations) a responder serves, by every name a certID can give them."""
    names: tuple[HashName, ...] = ("sha1", "sha256")
    return {issuer_key(authority, name): authority for authority in authorities for name in names}


def only_issuer(request: OcspRequest, index: Mapping[IssuerKey, Authority]) -> Authority:
    """The one authority a request asks about; an answer has one signer, who speaks for one authority's key.

    Raises:
        OcspRefused: ``unauthorized``: another's certificate, or those of several authorities.
    """
    found = {id(index.get(cert_id.issuer)): index.get(cert_id.issuer) for cert_id in request.cert_ids}
    authorities = list(found.values())
    if len(authorities) != 1 or authorities[0] is None:
        raise OcspRefused("not one authority this responder answers for", status="unauthorized")
    return authorities[0]


def cert_id(authority: Authority, serial: int, hash_name: HashName = "sha1") -> CertId:
    """The certID of one of the authority's certificates.

    Raises:
        BadContent: the serial is out of range.
    """
    if not 1 <= serial <= MAX_SERIAL:
        raise BadContent("serial number")
    issuer = issuer_key(authority, hash_name)
    algorithm = next(encoded for encoded, name in _HASHES.items() if name == hash_name)
    encoded = der.sequence(
        der.sequence(algorithm, der.null()),
        der.octet_string(issuer[1]),
        der.octet_string(issuer[2]),
        der.integer(serial),
    )
    return CertId(issuer=issuer, serial=serial, encoded=encoded)


def request(cert_ids: Sequence[CertId], nonce: bytes | None = None) -> bytes:
    """An unsigned request, DER: for our own terminals and tests."""
    request_list = der.sequence(*(der.sequence(one.encoded) for one in cert_ids))
    return der.sequence(der.sequence(request_list, *_nonce_extension(2, nonce)))


def _nonce_extension(number: int, nonce: bytes | None) -> tuple[bytes, ...]:
    if nonce is None:
        return ()
    extension = der.sequence(_NONCE, der.octet_string(der.octet_string(nonce)))
    return (der.explicit(number, der.sequence(extension)),)


def response_tbs(
    responder_key: bytes, produced_ms: int, statuses: Sequence[CertStatus], nonce: bytes | None = None
) -> bytes:
    """To-be-signed DER of an answer (``ResponseData``), its responder named by key.

    Args:
        responder_key: the delegated responder's SubjectPublicKeyInfo, DER.
        produced_ms: instant of the answer.
        statuses: one for each certID of the request, in its order.
        nonce: the request's, echoed.
    """
    responder = der.explicit(2, der.octet_string(extensions.key_identifier(responder_key)))
    return der.sequence(
        responder,
        der.generalized_time(produced_ms),
        der.sequence(*map(_single_response, statuses)),
        *_nonce_extension(1, nonce),
    )


def _single_response(line: CertStatus) -> bytes:
    return der.sequence(
        line.cert_id.encoded,
        _status(line.status),
        der.generalized_time(line.this_update_ms),
        der.explicit(0, der.generalized_time(line.next_update_ms)),
    )


def _status(status: Status) -> bytes:
    if isinstance(status, Good):
        return der.implicit(0, b"")
    if isinstance(status, Unknown):
        return der.implicit(2, b"")
    code = REASON_CODES[status.reason]
    reason = der.explicit(0, der.enumerated(code)) if code else b""
    return der.explicit(1, der.generalized_time(status.revoked_ms), reason)


def assemble_response(tbs: bytes, signature: bytes, responder_certificate: bytes) -> bytes:
    """A successful OCSPResponse, with the delegated responder's certificate attached."""
    certificates = der.explicit(0, der.sequence(responder_certificate))
    basic = der.sequence(tbs, SIGNATURE_ALGORITHM, der.bit_string(signature), certificates)
    return der.sequence(der.enumerated(0), der.explicit(0, der.sequence(_BASIC_RESPONSE, der.octet_string(basic))))


def error_response(status: OcspError) -> bytes:
    """An unsigned OCSPResponse that carries nothing but why."""
    return der.sequence(der.enumerated(_ERROR_CODES[status]))


def _digest(name: HashName, data: bytes) -> bytes:
    if name == "sha1":
        return hashlib.sha1(data, usedforsecurity=False).digest()
    return hashlib.sha256(data).digest()
