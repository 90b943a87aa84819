"""Errors of this room.

* ``Refused``
    * ``Malformed``
        * ``NotDer``        ``pki.not_der`` -- bytes that are not DER, or not of the expected shape
        * ``BadContent``    ``pki.bad_content`` -- a field a certificate or list cannot carry
    * ``NotAllowed``
        * ``TooYoung``      ``pki.too_young`` -- no signature certificate under 15
        * ``CardExpired``   ``pki.card_expired`` -- no day is left for a certificate
        * ``AlreadyRevoked`` ``pki.already_revoked``
    * ``OcspRefused``       ``pki.ocsp_refused`` -- answered with an unsigned OCSP error
* ``Fault``
    * ``LintFailed``        ``pki.lint_failed`` -- we made a certificate that is not what was ordered
"""

from typing import Literal

from warifu.kernel.errors import Fault, Malformed, NotAllowed, Refused

OcspError = Literal["malformed_request", "internal_error", "try_later", "signature_required", "unauthorized"]


class NotDer(Malformed):
    """The bytes are not DER, or not the structure that was expected."""

    code = "pki.not_der"


class BadContent(Malformed):
    """A field cannot stand in a certificate, list or answer. The text names the field, never its value."""

    code = "pki.bad_content"


class TooYoung(NotAllowed):
    """No signature certificate is issued to a person under 15."""

    code = "pki.too_young"


class CardExpired(NotAllowed):
    """The card's validity leaves no time for a certificate."""

    code = "pki.card_expired"


class AlreadyRevoked(NotAllowed):
    """The certificate is revoked for good; only a hold may still become a revocation."""

    code = "pki.already_revoked"


class OcspRefused(Refused):
    """The request gets an unsigned error answer.

    Args:
        text: why, for our own log; the client sees the status only.
        status: the responseStatus of RFC 6960 section 4.2.1, in our spelling.
    """

    code = "pki.ocsp_refused"

    def __init__(self, text: str, *, status: OcspError = "malformed_request") -> None:
        super().__init__(text)
        self.status: OcspError = status


class LintFailed(Fault):
    """A to-be-signed certificate is not what its order says; it must not be signed.

    Args:
        field: which part differs (never its content, which may be personal).
    """

    code = "pki.lint_failed"

    def __init__(self, field: str) -> None:
        super().__init__(f"to-be-signed certificate differs from its order: {field}")
        self.field = field
