"""What a relying party needs: is this signature good, whose is it, and does the certificate still stand?

Pure functions over bytes; fetching lists and answers is the caller's. Nothing here returns False: each function returns
what it established or raises an error of one tree (``warifu.verify.errors``).

    anchors = Anchors.of(roots)
    holder = verify_certificate(certificate, anchors, at_ms=now_ms, kind="signature")
    verify_signature(certificate, message, signature)
    open_list(crl, anchors, at_ms=now_ms).check(certificate)            # or
    verify_response(response, certificate, anchors, at_ms=now_ms, nonce=nonce)

May import domain and all below.
"""

from warifu.verify.errors import (
    AnswerMismatch,
    CertificateExpired,
    CertificateNotYetValid,
    CertificateRevoked,
    NonceMismatch,
    NoTrustAnchor,
    OutOfScope,
    ResponderNotAuthorized,
    ResponderRefused,
    SignatureInvalid,
    StaleData,
    StatusUnknown,
    Unreadable,
    VerificationFailed,
    WrongKeyUsage,
    WrongPolicy,
)
from warifu.verify.lists import RevocationList, open_list
from warifu.verify.paths import Anchor, Anchors, Holder, Verified, verify_certificate, verify_signature
from warifu.verify.responses import verify_response

__all__ = [
    "Anchor",
    "Anchors",
    "AnswerMismatch",
    "CertificateExpired",
    "CertificateNotYetValid",
    "CertificateRevoked",
    "Holder",
    "NoTrustAnchor",
    "NonceMismatch",
    "OutOfScope",
    "ResponderNotAuthorized",
    "ResponderRefused",
    "RevocationList",
    "SignatureInvalid",
    "StaleData",
    "StatusUnknown",
    "Unreadable",
    "VerificationFailed",
    "Verified",
    "WrongKeyUsage",
    "WrongPolicy",
    "open_list",
    "verify_certificate",
    "verify_response",
    "verify_signature",
]
