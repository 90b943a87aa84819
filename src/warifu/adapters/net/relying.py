"""What relying parties ask over HTTP (RFC 6960 appendix A, RFC 5280), whoever answers: a responder, a lent test CA.

==========================================  =========================================================
``POST /ocsp``                              OCSP request, DER
``GET /ocsp/{base64}``                      the same in the path
``GET /crl/{ca}.crl``                       the full list of ``signature`` or ``authentication``, DER
``GET /crl/{ca}/{municipality}.crl``        one municipality's list
``GET /crl/{ca}.{generation}...``           either, of this generation of the CA's key: ``/crl/signature.1.crl``
``GET /ca/{ca}.cer``                        the newest CA certificate, DER
==========================================  =========================================================
"""

import base64
import re
from typing import Final, Protocol, cast

from warifu.adapters.net.http import HttpHandler, HttpRequest, HttpResponse
from warifu.contract.values import CertificateKind
from warifu.kernel.errors import Malformed, NotFound
from warifu.kernel.municipalities import municipality

_LIST: Final = re.compile(r"^/crl/(signature|authentication)(?:\.([1-9][0-9]{0,3}))?(?:/([0-9]{6}))?\.crl$")
_ROOT: Final = re.compile(r"^/ca/(signature|authentication)\.cer$")
_OCSP: Final = "/ocsp"
_FRESH: Final = {"cache-control": "no-cache"}
"""A list or answer that somebody else keeps would hide a revocation: each request asks us."""


class Source(Protocol):
    """Whoever knows what is revoked. All answers are DER."""

    async def answer(self, data: bytes) -> bytes:
        """An OCSP answer to a request's bytes; what cannot be answered gets OCSP's own error answer."""

    async def list(self, ca: CertificateKind, municipality: str = "", generation: int = 0) -> bytes:
        """The current list: the full one, or one municipality's; of the newest generation (0), or another.

        Raises:
            NotFound: there is no such generation.
        """

    async def root(self, ca: CertificateKind) -> bytes:
        """The newest CA certificate."""


def relying_edge(source: Source) -> HttpHandler:
    """Answers relying parties."""

    async def handle(request: HttpRequest) -> HttpResponse:
        if request.path == _OCSP or request.path.startswith(f"{_OCSP}/"):
            return _answer("application/ocsp-response", await source.answer(_ocsp_request(request)))
        if found := _LIST.match(request.path):
            ca, generation, code = cast("CertificateKind", found[1]), int(found[2] or 0), found[3] or ""
            if code:
                municipality(code)  # an unknown one is not found, not an empty list
            return _answer("application/pkix-crl", await source.list(ca, code, generation))
        if found := _ROOT.match(request.path):
            return _answer("application/pkix-cert", await source.root(cast("CertificateKind", found[1])))
        raise NotFound(request.path[:60])

    return handle


def _ocsp_request(request: HttpRequest) -> bytes:
    if request.method == "POST" and request.path == _OCSP:
        return request.body
    text = request.path.removeprefix(_OCSP).removeprefix("/")
    if request.method == "POST" or not text:
        raise Malformed("an OCSP request is POSTed to /ocsp, or stands behind /ocsp/ in base64")
    try:
        return base64.b64decode(text.replace(" ", "+"), validate=True)
    except ValueError:  # binascii.Error is one; other characters than ASCII raise the plain one
        raise Malformed("not base64") from None


def _answer(kind: str, body: bytes) -> HttpResponse:
    return HttpResponse(headers={"content-type": kind} | _FRESH, body=body)
