"""OCSP answers: signed by the issuing key or by a responder it delegated, fresh, and about the right certificate."""

import hashlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from warifu.verify.errors import (
    AnswerMismatch,
    CertificateRevoked,
    NonceMismatch,
    ResponderNotAuthorized,
    ResponderRefused,
    StaleData,
    StatusUnknown,
    VerificationFailed,
)
from warifu.verify.lists import reason_of
from warifu.verify.paths import Anchor, Anchors, check_instant, check_key_usage, verify_issued
from warifu.verify.reading import (
    check_algorithm,
    check_critical,
    check_signature,
    find,
    load_certificate,
    readable,
    rsa_key,
    to_ms,
)

CLOCK_SKEW_MS = 60_000


def verify_response(
    response: bytes,
    certificate: bytes,
    anchors: Anchors,
    *,
    at_ms: int,
    nonce: bytes | None = None,
    skew_ms: int = CLOCK_SKEW_MS,
) -> None:
    """Establish that the certificate's issuer, or a responder it delegated, says "good" now.

    Args:
        response: OCSPResponse, DER.
        certificate: the one asked about, DER.
        anchors: whom to trust.
        at_ms: the instant; the answer must be current then.
        nonce: the request's; None when it had none.
        skew_ms: how far the responder's clock may be from ours.

    Raises:
        ResponderRefused: an error answer.
        Unreadable, NoTrustAnchor, SignatureInvalid, ResponderNotAuthorized, NonceMismatch, AnswerMismatch, StaleData,
        StatusUnknown, CertificateRevoked: what their names say.
    """
    answer = readable(lambda: ocsp.load_der_ocsp_response(response))
    if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        status = answer.response_status.name.lower()
        raise ResponderRefused(f"responder answered {status}", status=status)
    leaf = load_certificate(certificate)
    anchor = verify_issued(leaf, anchors)
    anchor.check_instant(at_ms)
    _check_signer(answer, anchor, anchors, at_ms)
    _check_nonce(answer, nonce)
    single = _single_for(answer, leaf, anchor)
    _check_fresh(single, to_ms(answer.produced_at_utc), at_ms, skew_ms)
    _check_status(single)


def _check_signer(answer: ocsp.OCSPResponse, anchor: Anchor, anchors: Anchors, at_ms: int) -> None:
    check_algorithm(answer.signature_algorithm_oid)
    key = _signer_key(answer, anchor, anchors, at_ms)
    check_signature(key, answer.signature, answer.tbs_response_bytes)
    check_critical(readable(lambda: answer.extensions), (x509.OCSPNonce.oid,))


def _signer_key(answer: ocsp.OCSPResponse, anchor: Anchor, anchors: Anchors, at_ms: int) -> RSAPublicKey:
    """The key of whoever the answer names: the issuer itself, or one of the attached certificates."""
    if _names(answer, anchor.certificate):
        return anchor.key
    for candidate in readable(lambda: answer.certificates):
        if _names(answer, candidate):
            _check_delegation(
                load_certificate(candidate.public_bytes(serialization.Encoding.DER)), anchor, anchors, at_ms
            )
            return rsa_key(candidate)
    raise ResponderNotAuthorized("responder's certificate is not attached")


def _names(answer: ocsp.OCSPResponse, certificate: x509.Certificate) -> bool:
    if answer.responder_key_hash is not None:
        # RFC 6960 section 4.2.1 fixes SHA-1 for KeyHash: an identifier, not a security claim.
        return answer.responder_key_hash == _key_hash(rsa_key(certificate), hashes.SHA1())  # noqa: S303
    return answer.responder_name == certificate.subject


def _check_delegation(responder: x509.Certificate, anchor: Anchor, anchors: Anchors, at_ms: int) -> None:
    """RFC 6960 section 4.2.2.2: the same key that issued the certificate delegated this responder, for this, now."""
    try:
        delegated_by = verify_issued(responder, anchors)
        check_instant(responder, at_ms, "responder's certificate")
        check_key_usage(responder, non_repudiation=False)
    except VerificationFailed as error:
        raise ResponderNotAuthorized("responder's certificate does not hold") from error
    usage = find(responder.extensions, x509.ExtendedKeyUsage)
    if delegated_by.key_id != anchor.key_id or usage is None or ExtendedKeyUsageOID.OCSP_SIGNING not in usage:
        raise ResponderNotAuthorized("the issuing authority did not delegate this responder")
    if find(responder.extensions, x509.OCSPNoCheck) is None:
        raise ResponderNotAuthorized("responder's certificate would itself need a revocation check")


def _check_nonce(answer: ocsp.OCSPResponse, nonce: bytes | None) -> None:
    if nonce is None:
        return
    found = find(answer.extensions, x509.OCSPNonce)
    if found is None or found.nonce != nonce:
        raise NonceMismatch("answer does not carry the request's nonce")


def _single_for(answer: ocsp.OCSPResponse, leaf: x509.Certificate, anchor: Anchor) -> ocsp.OCSPSingleResponse:
    for single in readable(lambda: list(answer.responses)):
        if single.serial_number == leaf.serial_number and _is_issuer(single, anchor):
            return single
    raise AnswerMismatch("answer is not about this certificate")


def _is_issuer(single: ocsp.OCSPSingleResponse, anchor: Anchor) -> bool:
    algorithm = readable(lambda: single.hash_algorithm)
    name = anchor.certificate.subject.public_bytes()
    expected = (_hash(name, algorithm), _key_hash(anchor.key, algorithm))
    return (single.issuer_name_hash, single.issuer_key_hash) == expected


def _key_hash(key: RSAPublicKey, algorithm: hashes.HashAlgorithm) -> bytes:
    """Hash of the bits of subjectPublicKey, which for RSA are the PKCS#1 form."""
    return _hash(key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1), algorithm)


def _hash(data: bytes, algorithm: hashes.HashAlgorithm) -> bytes:
    if isinstance(algorithm, hashes.SHA1):  # an identifier here, not a security claim
        return hashlib.sha1(data, usedforsecurity=False).digest()
    if isinstance(algorithm, hashes.SHA256):
        return hashlib.sha256(data).digest()
    raise AnswerMismatch("answer names its issuer by an unknown hash")


def _check_fresh(single: ocsp.OCSPSingleResponse, produced_ms: int, at_ms: int, skew_ms: int) -> None:
    if single.next_update_utc is None:
        raise StaleData("answer does not say until when it holds")
    this_update_ms, next_update_ms = to_ms(single.this_update_utc), to_ms(single.next_update_utc)
    if max(this_update_ms, produced_ms) > at_ms + skew_ms or next_update_ms < at_ms - skew_ms:
        raise StaleData("answer is not current at the instant")


def _check_status(single: ocsp.OCSPSingleResponse) -> None:
    if single.certificate_status is ocsp.OCSPCertStatus.UNKNOWN:
        raise StatusUnknown("responder does not know the certificate")
    if single.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        revoked = single.revocation_time_utc
        raise CertificateRevoked(
            reason=reason_of(readable(lambda: single.revocation_reason)),
            revoked_ms=to_ms(revoked) if revoked else 0,
        )
