"""OCSP: requests from the library and from openssl's shape, odd ones, and answers read by the library."""

import base64
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp as library
from hypothesis import given
from hypothesis import strategies as st
from pki_testca import (
    DAY_MS,
    NOW_MS,
    authority,
    issue,
    key,
    public,
    responder_content,
    root_content,
    sign,
    signature_content,
)

from warifu.domain.pki import der, ocsp
from warifu.domain.pki.errors import OcspError, OcspRefused
from warifu.domain.pki.profile import Authority

SIGN, AUTH = authority("signature"), authority("authentication")
OLD = Authority(kind="signature", public_key=public("generation-1"))
INDEX = ocsp.issuer_index([SIGN, AUTH, OLD])
NONCE = bytes(range(32))


def library_request(algorithm: hashes.HashAlgorithm, nonce: bytes | None = None) -> bytes:
    leaf = x509.load_der_x509_certificate(issue(SIGN, signature_content()))
    root = x509.load_der_x509_certificate(issue(SIGN, root_content()))
    builder = library.OCSPRequestBuilder().add_certificate(leaf, root, algorithm)
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


@pytest.mark.parametrize(("algorithm", "name"), [(hashes.SHA1(), "sha1"), (hashes.SHA256(), "sha256")])  # noqa: S303 - RFC 6960 clients use it
def test_a_librarys_request_names_our_authority(algorithm: hashes.HashAlgorithm, name: ocsp.HashName) -> None:
    request = ocsp.parse_request(library_request(algorithm, NONCE))
    (asked,) = request.cert_ids
    assert asked.serial == 0x01000001
    assert asked.issuer == ocsp.issuer_key(SIGN, name)
    assert asked == ocsp.cert_id(SIGN, 0x01000001, name)
    assert ocsp.only_issuer(request, INDEX) == SIGN
    assert request.nonce == NONCE


def test_our_request_is_the_librarys() -> None:
    ours = ocsp.request([ocsp.cert_id(SIGN, 0x01000001, "sha256")], NONCE)
    assert ours.hex() == library_request(hashes.SHA256(), NONCE).hex()


def test_a_get_path_is_the_same_request() -> None:
    data = library_request(hashes.SHA256())
    path = "/" + quote(base64.b64encode(data).decode(), safe="")
    assert ocsp.parse_get_path(path) == ocsp.parse_request(data)


def test_several_certificates_may_be_asked_about_up_to_a_limit() -> None:
    asked = [ocsp.cert_id(SIGN, serial) for serial in range(1, ocsp.MAX_CERT_IDS + 2)]
    assert len(ocsp.parse_request(ocsp.request(asked[:-1])).cert_ids) == ocsp.MAX_CERT_IDS
    with pytest.raises(OcspRefused):
        ocsp.parse_request(ocsp.request(asked))


@pytest.mark.parametrize(
    "asked",
    [
        [ocsp.cert_id(Authority(kind="signature", public_key=public("stranger")), 1)],
        [ocsp.cert_id(SIGN, 1), ocsp.cert_id(AUTH, 1)],
        [ocsp.cert_id(SIGN, 1), ocsp.cert_id(OLD, 1)],
    ],
)
def test_an_answer_speaks_for_one_key_of_ours(asked: list[ocsp.CertId]) -> None:
    with pytest.raises(OcspRefused) as caught:
        ocsp.only_issuer(ocsp.parse_request(ocsp.request(asked)), INDEX)
    assert caught.value.status == "unauthorized"


def test_both_hashes_of_one_issuer_are_one_issuer() -> None:
    asked = [ocsp.cert_id(SIGN, 1, "sha1"), ocsp.cert_id(SIGN, 2, "sha256")]
    assert ocsp.only_issuer(ocsp.parse_request(ocsp.request(asked)), INDEX) == SIGN


def critical_extension() -> bytes:
    extension = der.sequence(der.oid("2.999.1"), der.true(), der.octet_string(b""))
    cert_id = der.sequence(ocsp.cert_id(SIGN, 1).encoded)
    return der.sequence(der.sequence(der.sequence(cert_id), der.explicit(2, der.sequence(extension))))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30\x00",
        b"\x30\x80\x00\x00",
        b"\x30\x02\x30\x00",
        bytes(ocsp.MAX_REQUEST_BYTES + 1),
        ocsp.request([]),
        ocsp.request([ocsp.cert_id(SIGN, 1)], nonce=b""),
        ocsp.request([ocsp.cert_id(SIGN, 1)], nonce=bytes(129)),
        library_request(hashes.SHA512()),
        library_request(hashes.SHA256()) + b"\0",
        critical_extension(),
    ],
)
def test_an_odd_request_is_malformed(data: bytes) -> None:
    with pytest.raises(OcspRefused) as caught:
        ocsp.parse_request(data)
    assert caught.value.status == "malformed_request"


@pytest.mark.parametrize("path", ["!", "%ff", "AAA", "あ", "A" * 50_000])
def test_an_odd_path_is_malformed(path: str) -> None:
    with pytest.raises(OcspRefused):
        ocsp.parse_get_path(path)


@given(st.data())
def test_no_bytes_break_the_reader(data: st.DataObject) -> None:
    mutated = bytearray(library_request(hashes.SHA256(), NONCE))
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    try:
        request = ocsp.parse_request(bytes(mutated))
    except OcspRefused:
        return
    assert 1 <= len(request.cert_ids) <= ocsp.MAX_CERT_IDS


def line(status: ocsp.Status, serial: int = 0x01000001) -> ocsp.CertStatus:
    return ocsp.CertStatus(
        cert_id=ocsp.cert_id(SIGN, serial, "sha256"),
        status=status,
        this_update_ms=NOW_MS,
        next_update_ms=NOW_MS + DAY_MS,
    )


def answer(*lines: ocsp.CertStatus, nonce: bytes | None = None) -> library.OCSPResponse:
    tbs = ocsp.response_tbs(public("responder"), NOW_MS, lines, nonce)
    data = ocsp.assemble_response(tbs, sign("responder", tbs), issue(SIGN, responder_content()))
    return library.load_der_ocsp_response(data)


@pytest.mark.parametrize(
    ("status", "read", "reason"),
    [
        (ocsp.Good(), library.OCSPCertStatus.GOOD, None),
        (ocsp.Unknown(), library.OCSPCertStatus.UNKNOWN, None),
        (ocsp.Revoked(NOW_MS, "unspecified"), library.OCSPCertStatus.REVOKED, None),
        (
            ocsp.Revoked(NOW_MS, "certificate_hold"),
            library.OCSPCertStatus.REVOKED,
            x509.ReasonFlags.certificate_hold,
        ),
    ],
)
def test_an_answer_reads_as_meant(
    status: ocsp.Status, read: library.OCSPCertStatus, reason: x509.ReasonFlags | None
) -> None:
    response = answer(line(status), nonce=NONCE)
    assert response.response_status is library.OCSPResponseStatus.SUCCESSFUL
    assert (response.certificate_status, response.revocation_reason) == (read, reason)
    assert response.responder_key_hash is not None
    assert response.produced_at_utc.timestamp() * 1000 == NOW_MS
    assert response.this_update_utc.timestamp() * 1000 == NOW_MS
    assert response.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce == NONCE
    assert len(response.certificates) == 1


def test_an_answer_is_signed_by_the_responder() -> None:
    response = answer(line(ocsp.Good()))
    key("responder").public_key().verify(response.signature, response.tbs_response_bytes, PKCS1v15(), hashes.SHA256())


def test_an_answer_has_a_line_for_each_question() -> None:
    response = answer(line(ocsp.Good()), line(ocsp.Unknown(), 5))
    assert [one.serial_number for one in response.responses] == [0x01000001, 5]


@pytest.mark.parametrize(
    "status", ["malformed_request", "internal_error", "try_later", "signature_required", "unauthorized"]
)
def test_an_error_answer_says_why_and_nothing_else(status: OcspError) -> None:
    read = library.load_der_ocsp_response(ocsp.error_response(status))
    expected = {"signature_required": "sig_required"}.get(status, status)
    assert read.response_status.name.lower() == expected
