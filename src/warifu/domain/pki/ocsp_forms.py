"""Requests and answers of one form: what all of them share is read, written and looked at once.

Clients of one program ask in one form: the same octets around another serial number and another nonce. Such a request
is read by comparing what is around with a specimen that the strict reader read; its answer is written by putting serial
number and nonce into a specimen that the writer wrote and the whole lint passed, octet for octet the same.

``AnswerForm.check`` is the last look at such an answer before the HSM: every octet of it is compared, those around the
gaps with the specimen, those in the gaps with the request. It shares nothing with ``write``.
"""

from collections import OrderedDict
from typing import Final

from msgspec import Struct

from warifu.domain.pki import der, extensions, ocsp
from warifu.domain.pki.errors import LintFailed
from warifu.domain.pki.lint_answers import lint_answer
from warifu.domain.pki.ocsp import CertId, CertStatus, IssuerKey, OcspRequest

FORMS: Final = 256
"""Kept: of each program that asks, one for each authority, generation, hash algorithm and length of its serials."""
_MARK: Final = b"\xa5"


class RequestForm(Struct, frozen=True, kw_only=True):
    """A request about one certificate: what stands around its serial number and its nonce (which ends it)."""

    issuer: IssuerKey
    cert_id_at: int
    serial_at: int
    nonce_at: int
    """The request's length when it has none."""
    length: int
    head: bytes
    """To the serial's own octets."""
    middle: bytes
    """From them to the nonce's own octets."""

    def read(self, data: bytes) -> OcspRequest | None:
        """As ``ocsp.parse_request`` reads it; None when it has another form, or a serial that is not as DER has it."""
        serial_end = self.nonce_at - len(self.middle)
        around = data[: self.serial_at] == self.head and data[serial_end : self.nonce_at] == self.middle
        if not around or len(data) != self.length:
            return None
        octets = data[self.serial_at : serial_end]
        if octets[0] >= 0x80 or (octets[0] == 0 and len(octets) > 1 and octets[1] < 0x80):  # noqa: PLR2004 - sign bit
            return None
        encoded = data[self.cert_id_at : serial_end]
        cert_id = CertId(issuer=self.issuer, serial=int.from_bytes(octets, "big"), encoded=encoded)
        return OcspRequest(cert_ids=(cert_id,), nonce=data[self.nonce_at :] or None)


def request_form(data: bytes, request: OcspRequest) -> RequestForm | None:
    """The form of a request that was read; None when it is not a plain one: one certificate, and a nonce or nothing."""
    cert_id = request.cert_ids[0]
    if len(request.cert_ids) != 1 or not 0 <= cert_id.serial < _MOST:
        return None
    if ocsp.request(request.cert_ids, request.nonce) != data:
        return None
    nonce_at = len(data) - len(request.nonce or b"")
    without = ocsp.request(request.cert_ids, _MARK * len(request.nonce) if request.nonce else None)
    serial_end = without.rindex(cert_id.encoded) + len(cert_id.encoded)
    serial_at = serial_end - len(_octets(cert_id.serial))
    return RequestForm(
        issuer=cert_id.issuer,
        cert_id_at=serial_end - len(cert_id.encoded),
        serial_at=serial_at,
        nonce_at=nonce_at,
        length=len(data),
        head=data[:serial_at],
        middle=data[serial_end:nonce_at],
    )


class RequestForms:
    """The forms in which requests came lately."""

    def __init__(self, limit: int = FORMS) -> None:
        self._limit = limit
        self._forms: OrderedDict[tuple[int, bytes], RequestForm] = OrderedDict()
        self._places: dict[int, tuple[int, ...]] = {}
        """By a request's length: where the serial number may stand."""

    def read(self, data: bytes) -> OcspRequest | None:
        """The request, if it has a form that is known."""
        for place in self._places.get(len(data), ()):
            form = self._forms.get((len(data), data[:place]))
            if form is not None:
                return form.read(data)
        return None

    def learn(self, data: bytes, request: OcspRequest) -> None:
        """Know the next of its form again."""
        form = request_form(data, request)
        if form is None:
            return
        self._forms[form.length, form.head] = form
        while len(self._forms) > self._limit:
            self._forms.popitem(last=False)
        places = sorted({(known.length, known.serial_at) for known in self._forms.values()})
        self._places = {length: tuple(at for of, at in places if of == length) for length, _ in places}


class AnswerForm(Struct, frozen=True, kw_only=True):
    """An answer about one certificate, and the gaps for serial number and nonce (which ends what is signed)."""

    specimen: bytes
    cert_id_at: int
    serial_at: int
    serial_end: int
    nonce_at: int
    head: bytes
    middle: bytes
    whole_head: bytes
    """Of the OCSPResponse, to what is signed."""
    whole_middle: bytes
    """To the signature's own octets."""
    whole_tail: bytes
    """Behind them: the responder's certificate."""

    def write(self, request: OcspRequest) -> bytes | None:
        """To-be-signed DER for a request; None when it does not fit: serial or nonce of another length."""
        serial, nonce = _octets(request.cert_ids[0].serial), request.nonce or b""
        if len(serial) != self.serial_end - self.serial_at or len(nonce) != len(self.specimen) - self.nonce_at:
            return None
        return b"".join((self.head, serial, self.middle, nonce))

    def check(self, tbs: bytes, request: OcspRequest) -> None:
        """Let an answer pass only if it says of this request what the specimen said of its own.

        Raises:
            LintFailed: any octet differs.
        """
        specimen, start, end, nonce_at = self.specimen, self.cert_id_at, self.serial_end, self.nonce_at
        if tbs[:start] != specimen[:start] or tbs[end:nonce_at] != specimen[end:nonce_at]:
            raise LintFailed("encoding")
        if tbs[start:end] != request.cert_ids[0].encoded:
            raise LintFailed("serial")
        if tbs[nonce_at:] != (request.nonce or b""):
            raise LintFailed("nonce")

    def assemble(self, tbs: bytes, signature: bytes) -> bytes:
        """The OCSPResponse, as ``ocsp.assemble_response`` writes it."""
        return b"".join((self.whole_head, tbs, self.whole_middle, signature, self.whole_tail))


def answer_form(
    responder_key: bytes, certificate: bytes, produced_ms: int, line: CertStatus, nonce: bytes | None
) -> AnswerForm:
    """The form of the answers that say this of certificates of the same issuer, signed at this instant.

    Args:
        responder_key: the delegated responder's SubjectPublicKeyInfo, DER.
        certificate: its certificate.
        produced_ms: instant of the answers.
        line: of any one certificate.
        nonce: of the request about it.

    Raises:
        LintFailed: the specimen says something else.
    """
    specimen = ocsp.response_tbs(responder_key, produced_ms, (line,), nonce)
    lint_answer(specimen, extensions.key_identifier(responder_key), produced_ms, (line,), nonce)
    encoded, nonce_at = line.cert_id.encoded, len(specimen) - len(nonce or b"")
    serial_end = specimen.index(encoded, _BEFORE_LINES) + len(encoded)
    serial_at = serial_end - len(_octets(line.cert_id.serial))
    signature = _MARK * _SIGNATURE_BYTES
    whole = ocsp.assemble_response(specimen, signature, certificate)
    tbs_at, signature_at = whole.index(specimen), whole.index(signature)
    return AnswerForm(
        specimen=specimen,
        cert_id_at=serial_end - len(encoded),
        serial_at=serial_at,
        serial_end=serial_end,
        nonce_at=nonce_at,
        head=specimen[:serial_at],
        middle=specimen[serial_end:nonce_at],
        whole_head=whole[:tbs_at],
        whole_middle=whole[tbs_at + len(specimen) : signature_at],
        whole_tail=whole[signature_at + _SIGNATURE_BYTES :],
    )


_SIGNATURE_BYTES: Final = 256
_MOST: Final = 1 << 160
"""RFC 5280 4.1.2.2: serial numbers have 20 octets at most."""
_BEFORE_LINES: Final = 24 + 17
"""Responder by key, and producedAt: where the list of answers begins, behind the outermost header."""


def _octets(serial: int) -> bytes:
    """An INTEGER's own octets."""
    return der.integer(serial)[2:]
