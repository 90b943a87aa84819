"""What registered verifiers ask the front over HTTPS. Each request shows ``Authorization: Bearer <verifier>:<secret>``.

==========================================  =========================================================
``POST /status/{ca}``                       ``{"serials": [1, 2, …]}`` → ``{"as_of_ms", "statuses": […]}``, JSON
``GET /crl/{ca}.crl``                       the full list of ``signature`` or ``authentication``, DER
``GET /crl/{ca}/{municipality}.crl``        one municipality's list
==========================================  =========================================================

A status is ``good``, ``revoked`` (with ``reason`` and ``revoked_ms``) or ``unknown``, in the order asked.
"""

import re
from http import HTTPStatus
from typing import Annotated, Final, Protocol, cast

import msgspec
from msgspec import Meta, Struct

from warifu.adapters.net.http import HttpHandler, HttpLimits, HttpRequest, HttpResponse, render
from warifu.contract.values import CertificateKind
from warifu.domain.verifiers.errors import NotAdmitted
from warifu.kernel.decoding import NOT_DECODED
from warifu.kernel.errors import Malformed, NotAllowed, NotFound
from warifu.kernel.municipalities import municipality
from warifu.nodes.front import MAX_SERIALS, Checked, Credential

LIMITS: Final = HttpLimits(max_body_bytes=131_072)
"""Five thousand serial numbers and what stands between them."""
_STATUS: Final = re.compile(r"^/status/(signature|authentication)$")
_LIST: Final = re.compile(r"^/crl/(signature|authentication)(?:/([0-9]{6}))?\.crl$")
_BEARER: Final = re.compile(r"^Bearer ([a-z0-9-]{1,40}):([0-9a-f]{64})$")
_FRESH: Final = {"cache-control": "no-store"}


class StatusQuestion(Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a check."""

    serials: Annotated[tuple[Annotated[int, Meta(ge=0, le=2**63 - 1)], ...], Meta(min_length=1, max_length=MAX_SERIALS)]


class Desk(Protocol):
    """Whoever answers verifiers (``nodes.front``)."""

    async def check(self, credential: Credential, ca: CertificateKind, serials: tuple[int, ...]) -> Checked:
        """The statuses of certificates."""

    async def fetch(self, credential: Credential, ca: CertificateKind, municipality: str = "") -> bytes:
        """The current list."""


def verifier_edge(desk: Desk) -> HttpHandler:
    """Answers verifiers."""

    async def handle(request: HttpRequest) -> HttpResponse:
        try:
            return await _answer(desk, request)
        except NotAdmitted as error:
            refused = render(error)
            headers = {**refused.headers, "www-authenticate": "Bearer"}
            return HttpResponse(status=HTTPStatus.UNAUTHORIZED, headers=headers, body=refused.body)
        except NotAllowed as error:
            refused = render(error)
            return HttpResponse(status=HTTPStatus.FORBIDDEN, headers=refused.headers, body=refused.body)

    return handle


async def _answer(desk: Desk, request: HttpRequest) -> HttpResponse:
    credential = _credential(request)
    if (found := _STATUS.match(request.path)) and request.method == "POST":
        checked = await desk.check(credential, cast("CertificateKind", found[1]), _question(request.body).serials)
        return _found("application/json", msgspec.json.encode(checked))
    if (found := _LIST.match(request.path)) and request.method != "POST":
        ca, code = cast("CertificateKind", found[1]), found[2] or ""
        if code:
            municipality(code)  # an unknown one is not found, not an empty list
        return _found("application/pkix-crl", await desk.fetch(credential, ca, code))
    raise NotFound(request.path[:60])


def _credential(request: HttpRequest) -> Credential:
    found = _BEARER.match(request.headers.get("authorization", ""))
    if found is None:
        raise NotAdmitted("Authorization: Bearer <verifier>:<secret in hexadecimal>")
    return Credential(found[1], bytes.fromhex(found[2]))


def _question(body: bytes) -> StatusQuestion:
    try:
        return msgspec.json.decode(body, type=StatusQuestion)
    except NOT_DECODED:
        raise Malformed(f'{{"serials": [...]}}, 1 to {MAX_SERIALS} numbers') from None


def _found(kind: str, body: bytes) -> HttpResponse:
    return HttpResponse(headers={"content-type": kind} | _FRESH, body=body)
