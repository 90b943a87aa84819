"""The last look at an OCSP answer before the HSM signs it: another parser reads back what was meant.

That parser passes over what it does not know, so our strict reader counts the fields, too: none missing, none more.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509 import ocsp as library

from warifu.domain.pki import der
from warifu.domain.pki.errors import LintFailed, NotDer
from warifu.domain.pki.lint import require
from warifu.domain.pki.ocsp import CertStatus, Good, IssuerKey, Revoked, Status
from warifu.domain.pki.revocation import REASON_CODES, Reason

_AROUND: Final = (
    bytes.fromhex("300d06092a864886f70d01010b0500"),  # sha256WithRSAEncryption
    bytes.fromhex("0382010100") + bytes(256),  # a signature's length of zeros
)
_SUCCESSFUL_BASIC: Final = (bytes.fromhex("0a0100"), bytes.fromhex("06092b0601050507300101"))
_REASONS: Final[dict[Reason, x509.ReasonFlags]] = {
    "key_compromise": x509.ReasonFlags.key_compromise,
    "ca_compromise": x509.ReasonFlags.ca_compromise,
    "affiliation_changed": x509.ReasonFlags.affiliation_changed,
    "superseded": x509.ReasonFlags.superseded,
    "cessation_of_operation": x509.ReasonFlags.cessation_of_operation,
    "certificate_hold": x509.ReasonFlags.certificate_hold,
}
_UNREADABLE: Final = (NotDer, UnsupportedAlgorithm, ValueError, TypeError, KeyError)
_FIELDS: Final = ((0xA2, 0x18, 0x30), (0xA2, 0x18, 0x30, 0xA1))
"""Responder by key, producedAt, responses; and a nonce."""


def lint_answer(tbs: bytes, key_id: bytes, produced_ms: int, lines: Sequence[CertStatus], nonce: bytes | None) -> None:
    """Let an answer pass only if it says exactly this.

    Args:
        tbs: the ``ResponseData`` about to be sent to the HSM.
        key_id: the responder's key identifier.
        produced_ms: instant of the answer.
        lines: what it is to say of each certificate, in order.
        nonce: to be echoed.

    Raises:
        LintFailed: it says something else, or more.
    """
    try:
        _check_form(tbs, len(lines), nonce)
        answer = library.load_der_ocsp_response(_whole(tbs))
        require(answer.tbs_response_bytes == tbs, "encoding")
        require(answer.responder_key_hash == key_id, "responder")
        require(answer.produced_at_utc == _instant(produced_ms), "producedAt")
        for single, line in zip(answer.responses, lines, strict=True):
            _check_line(single, line)
        found = [extension.value for extension in answer.extensions]
        require(found == ([x509.OCSPNonce(nonce)] if nonce is not None else []), "nonce")
    except _UNREADABLE as error:
        raise LintFailed("encoding") from error


def _check_form(tbs: bytes, count: int, nonce: bytes | None) -> None:
    fields = der.read_all(der.read_only(tbs, der.SEQUENCE).content)
    require(tuple(field.tag for field in fields) == _FIELDS[nonce is not None], "fields")
    lines = der.read_all(fields[2].content)
    require(len(lines) == count, "number of certificates")
    for line in lines:
        tags = tuple(field.tag for field in der.read_all(der.expect(line, der.SEQUENCE).content))
        require(len(tags) == 4 and (tags[0], *tags[2:]) == (0x30, 0x18, 0xA0), "fields of a line")  # noqa: PLR2004


def _check_line(single: library.OCSPSingleResponse, line: CertStatus) -> None:
    require(single.serial_number == line.cert_id.serial, "serial")
    issuer: IssuerKey = line.cert_id.issuer
    named = (single.hash_algorithm.name, single.issuer_name_hash, single.issuer_key_hash)
    require(named == issuer, "issuer")
    require(single.this_update_utc == _instant(line.this_update_ms), "thisUpdate")
    require(single.next_update_utc == _instant(line.next_update_ms), "nextUpdate")
    require(_status(single) == _wanted(line.status), "status")


def _status(single: library.OCSPSingleResponse) -> tuple[object, ...]:
    if single.certificate_status is not library.OCSPCertStatus.REVOKED:
        return (single.certificate_status,)
    return single.certificate_status, single.revocation_time_utc, single.revocation_reason


def _wanted(status: Status) -> tuple[object, ...]:
    if isinstance(status, Revoked):
        reason = _REASONS[status.reason] if REASON_CODES[status.reason] else None
        return library.OCSPCertStatus.REVOKED, _instant(status.revoked_ms), reason
    return (library.OCSPCertStatus.GOOD if isinstance(status, Good) else library.OCSPCertStatus.UNKNOWN,)


def _whole(tbs: bytes) -> bytes:
    """An answer around it, as a client gets it, its signature missing."""
    basic = der.sequence(tbs, *_AROUND)
    return der.sequence(
        _SUCCESSFUL_BASIC[0], der.explicit(0, der.sequence(_SUCCESSFUL_BASIC[1], der.octet_string(basic)))
    )


def _instant(instant_ms: int) -> datetime:
    return datetime.fromtimestamp(instant_ms // 1000, UTC)
