"""What relying parties ask a CA for, over HTTP and as files: the same addresses as the real responder's.

==========================================  =========================================================
``POST /ocsp``                              OCSP request, DER
``GET /ocsp/{base64}``                      the same in the path
``GET /crl/{ca}.crl``                       the full list of ``signature`` or ``authentication``, DER
``GET /crl/{ca}/{municipality}.crl``        one municipality's list
``GET /ca/{ca}.cer``                        the CA certificate, DER
==========================================  =========================================================
"""

import asyncio
import base64
import binascii
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, cast

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from warifu.adapters.net.http import HttpHandler, HttpRequest, HttpResponse
from warifu.contract.values import CertificateKind
from warifu.kernel.errors import Malformed, NotFound
from warifu.kernel.municipalities import municipality
from warifu.lend.authority import KINDS, MANAGEMENT_KEY, LendingAuthority

_LIST: Final = re.compile(r"^/crl/(signature|authentication)(?:/([0-9]{6}))?\.crl$")
_ROOT: Final = re.compile(r"^/ca/(signature|authentication)\.cer$")
_OCSP: Final = "/ocsp"


def edge(authority: LendingAuthority, now_ms: Callable[[], int]) -> HttpHandler:
    """Answers relying parties. Each answer is made from the register as it stands: a revocation counts at once."""

    async def handle(request: HttpRequest) -> HttpResponse:
        # One after the other, and beside the loop: a list takes the register's lock, which another process may hold.
        async with turn:
            return await asyncio.to_thread(answer, authority, request, now_ms())

    turn = asyncio.Lock()
    return handle


def answer(authority: LendingAuthority, request: HttpRequest, now_ms: int) -> HttpResponse:
    """One answer. ``NotFound`` and ``Malformed`` become HTTP's own in the server."""
    if request.path == _OCSP or request.path.startswith(f"{_OCSP}/"):
        return _of("application/ocsp-response", authority.ocsp_response(_ocsp_request(request), now_ms))
    if found := _LIST.match(request.path):
        code = found[2] or ""
        if code:
            municipality(code)  # an unknown one is not found, not an empty list
        return _of("application/pkix-crl", authority.revocation_list(_kind(found[1]), now_ms, code))
    if found := _ROOT.match(request.path):
        return _of("application/pkix-cert", authority.register().roots[_kind(found[1])])
    raise NotFound(request.path[:60])


def _kind(text: str) -> CertificateKind:
    return cast("CertificateKind", text)


def _ocsp_request(request: HttpRequest) -> bytes:
    if request.method == "POST" and request.path == _OCSP:
        return request.body
    text = request.path.removeprefix(_OCSP).removeprefix("/")
    if request.method == "POST" or not text:
        raise Malformed("an OCSP request is POSTed to /ocsp, or stands behind /ocsp/ in base64")
    try:
        return base64.b64decode(text.replace(" ", "+"), validate=True)
    except binascii.Error:
        raise Malformed("not base64") from None


def _of(kind: str, body: bytes) -> HttpResponse:
    return HttpResponse(headers={"content-type": kind, "cache-control": "no-cache"}, body=body)


def export(authority: LendingAuthority, folder: Path, now_ms: int) -> tuple[Path, ...]:
    """Write what a relying party installs, in DER and PEM: roots, full lists, card management's public key.

    Returns:
        The files, in the order written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    roots = authority.register().roots
    files: dict[str, bytes] = {}
    for kind in KINDS:
        root = x509.load_der_x509_certificate(roots[kind])
        issued = x509.load_der_x509_crl(authority.revocation_list(kind, now_ms))
        files |= {f"{kind}-ca.cer": roots[kind], f"{kind}-ca.pem": root.public_bytes(Encoding.PEM)}
        files |= {
            f"{kind}.crl": issued.public_bytes(Encoding.DER),
            f"{kind}.crl.pem": issued.public_bytes(Encoding.PEM),
        }
    key = load_der_public_key(authority.device.public_key(MANAGEMENT_KEY))
    files["card-management.pem"] = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return tuple(folder / name for name in files)
