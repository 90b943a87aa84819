"""Why a verification failed: one tree, a stable code each.

* ``Refused``
    * ``VerificationFailed``
        * ``Unreadable``             ``verify.unreadable`` -- not the DER it should be
        * ``SignatureInvalid``       ``verify.signature_invalid``
        * ``NoTrustAnchor``          ``verify.no_trust_anchor`` -- no anchor with the issuer's name and key identifier
        * ``CertificateNotYetValid`` ``verify.not_yet_valid``
        * ``CertificateExpired``     ``verify.expired``
        * ``WrongPolicy``            ``verify.wrong_policy``
        * ``WrongKeyUsage``          ``verify.wrong_key_usage``
        * ``CertificateRevoked``     ``verify.revoked`` -- with reason and instant; a hold is one too
        * ``OutOfScope``             ``verify.out_of_scope`` -- the list does not cover this certificate
        * ``StaleData``              ``verify.stale`` -- list or answer not current at the instant
        * ``StatusUnknown``          ``verify.status_unknown`` -- the responder does not know the certificate
        * ``AnswerMismatch``         ``verify.answer_mismatch`` -- the answer is about another certificate
        * ``NonceMismatch``          ``verify.nonce_mismatch``
        * ``ResponderNotAuthorized`` ``verify.responder_not_authorized``
        * ``ResponderRefused``       ``verify.responder_refused`` -- an error answer, nothing signed
"""

from warifu.domain.pki.revocation import Reason
from warifu.kernel.errors import Refused


class VerificationFailed(Refused):
    """Something could not be established. Texts hold no personal data."""

    code = "verify.failed"


class Unreadable(VerificationFailed):
    """The bytes are not the DER structure they should be, or hold a critical extension we do not know."""

    code = "verify.unreadable"


class SignatureInvalid(VerificationFailed):
    """The signature does not match the data and key."""

    code = "verify.signature_invalid"


class NoTrustAnchor(VerificationFailed):
    """No trust anchor has the issuer's name and key identifier, or the one that has may not issue."""

    code = "verify.no_trust_anchor"


class CertificateNotYetValid(VerificationFailed):
    """The instant lies before the validity of the certificate or its anchor."""

    code = "verify.not_yet_valid"


class CertificateExpired(VerificationFailed):
    """The instant lies after the validity of the certificate or its anchor."""

    code = "verify.expired"


class WrongPolicy(VerificationFailed):
    """The certificate was not issued under the policy asked for."""

    code = "verify.wrong_policy"


class WrongKeyUsage(VerificationFailed):
    """The key may not be used for this."""

    code = "verify.wrong_key_usage"


class CertificateRevoked(VerificationFailed):
    """The certificate is revoked, or held (which here is never undone).

    Args:
        text: for people.
        reason: why.
        revoked_ms: since when, milliseconds since 1970 UTC; what was signed before is the caller's to judge.
    """

    code = "verify.revoked"

    def __init__(
        self, text: str = "certificate is revoked", *, reason: Reason = "unspecified", revoked_ms: int = 0
    ) -> None:
        super().__init__(text)
        self.reason = reason
        self.revoked_ms = revoked_ms


class OutOfScope(VerificationFailed):
    """The list says nothing about this certificate: another issuer, generation, municipality or kind."""

    code = "verify.out_of_scope"


class StaleData(VerificationFailed):
    """The list or answer is not current at the instant: from the future, or due to be replaced."""

    code = "verify.stale"


class StatusUnknown(VerificationFailed):
    """The responder does not know the certificate."""

    code = "verify.status_unknown"


class AnswerMismatch(VerificationFailed):
    """The answer is about another certificate."""

    code = "verify.answer_mismatch"


class NonceMismatch(VerificationFailed):
    """The answer does not carry the request's nonce."""

    code = "verify.nonce_mismatch"


class ResponderNotAuthorized(VerificationFailed):
    """Whoever signed the answer may not speak for the issuer."""

    code = "verify.responder_not_authorized"


class ResponderRefused(VerificationFailed):
    """The responder gave an error answer: nothing is signed, nothing is known.

    Args:
        text: for people.
        status: ``try_later``, ``unauthorized`` ... as RFC 6960 names them.
    """

    code = "verify.responder_refused"

    def __init__(self, text: str = "responder refused", *, status: str = "") -> None:
        super().__init__(text)
        self.status = status
