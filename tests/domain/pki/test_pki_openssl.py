"""The real ``openssl`` reads, verifies and answers about what we make."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pki_testca import (
    DAY_MS,
    KIYOSE,
    NOW_MS,
    authentication_content,
    authority,
    issue,
    key,
    public,
    responder_content,
    root_content,
    sign,
    signature_content,
)

from warifu.domain.pki import ocsp
from warifu.domain.pki.names import KINDS, Kind, Point, point_of
from warifu.domain.pki.profile import Content, assemble
from warifu.domain.pki.revocation import crl_entry, crl_tbs

pytestmark = pytest.mark.real

ADACHI = point_of("131211")
SIGN = authority("signature")
AT = str(NOW_MS // 1000 + 60)


def openssl(*arguments: str | Path, ok: bool = True) -> str:
    """Output of the program; fails unless it ends as expected."""
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode == 0) is ok, done.stdout + done.stderr
    return done.stdout + done.stderr


def pem(path: Path, kind: str, der: bytes) -> Path:
    if kind == "CERTIFICATE":
        path.write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
    else:
        path.write_bytes(x509.load_der_x509_crl(der).public_bytes(Encoding.PEM))
    return path


def content_of(kind: Kind) -> Content:
    return signature_content() if kind == "signature" else authentication_content()


def write_list(path: Path, serials: Sequence[int], point: Point | None = None) -> Path:
    entries = [crl_entry(serial, NOW_MS, "affiliation_changed") for serial in serials]
    tbs = crl_tbs(SIGN, number=9, this_update_ms=NOW_MS, next_update_ms=NOW_MS + DAY_MS, entries=entries, point=point)
    return pem(path, "X509 CRL", assemble(tbs, sign("signature", tbs)))


@pytest.mark.parametrize("kind", KINDS)
def test_openssl_verifies_each_certificate(kind: Kind, tmp_path: Path) -> None:
    by = authority(kind)
    root = pem(tmp_path / "root.pem", "CERTIFICATE", issue(by, root_content()))
    leaf = pem(tmp_path / "leaf.pem", "CERTIFICATE", issue(by, content_of(kind)))
    policy = by.profile.naming.policy(kind)
    command: list[str | Path] = [
        "verify",
        "-x509_strict",
        "-attime",
        AT,
        "-CAfile",
        root,
        "-explicit_policy",
        "-policy",
    ]
    assert "OK" in openssl(*command, policy, leaf)
    openssl(*command, "2.999.1", leaf, ok=False)


def test_openssl_prints_every_field(tmp_path: Path) -> None:
    leaf = pem(tmp_path / "leaf.pem", "CERTIFICATE", issue(SIGN, signature_content()))
    text = openssl("x509", "-in", leaf, "-noout", "-text", "-nameopt", "utf8")
    for wanted in (
        "Subject: C=JP, L=Tokyo-to, L=Kiyose-shi, CN=2025102711000013221003A",
        "Not After : Feb 17 14:59:59 2030 GMT",
        "othername: 1.3.6.1.4.1.32473.8.5.5.1::黒桐　幹也",
        "X509v3 Certificate Policies: critical",
        "CPS: http://warifu.example/cps.html",
        "OU = CRL Distribution Points, OU = Tokyo-to, CN = Kiyose-shi CRLDP",
    ):
        assert wanted in text


@pytest.mark.parametrize("point", [None, KIYOSE])
@pytest.mark.parametrize("extended", [(), ("-extended_crl",)])
def test_openssl_checks_a_certificate_against_its_list(
    point: Point | None, extended: tuple[str, ...], tmp_path: Path
) -> None:
    root = pem(tmp_path / "root.pem", "CERTIFICATE", issue(SIGN, root_content()))
    leaf = pem(tmp_path / "leaf.pem", "CERTIFICATE", issue(SIGN, signature_content()))
    for revoked in (False, True):
        crl = write_list(tmp_path / "list.pem", [0x01000001] if revoked else [7, 8], point)
        output = openssl(
            *("verify", "-crl_check", "-attime", AT, *extended),
            *("-CAfile", root, "-CRLfile", crl, leaf),
            ok=not revoked,
        )
        assert ("certificate revoked" if revoked else "OK") in output


def test_openssl_refuses_another_municipalitys_list(tmp_path: Path) -> None:
    root = pem(tmp_path / "root.pem", "CERTIFICATE", issue(SIGN, root_content()))
    leaf = pem(tmp_path / "leaf.pem", "CERTIFICATE", issue(SIGN, signature_content()))
    crl = write_list(tmp_path / "list.pem", [], ADACHI)
    output = openssl("verify", "-crl_check", "-attime", AT, "-CAfile", root, "-CRLfile", crl, leaf, ok=False)
    assert "different CRL scope" in output


def test_openssl_reads_a_list_of_a_hundred_thousand(tmp_path: Path) -> None:
    crl = write_list(tmp_path / "list.pem", range(0x01000001, 0x01000001 + 100_000))
    root = pem(tmp_path / "root.pem", "CERTIFICATE", issue(SIGN, root_content()))
    assert "verify OK" in openssl("crl", "-in", crl, "-noout", "-CAfile", root)


@pytest.mark.parametrize("status", [ocsp.Good(), ocsp.Unknown(), ocsp.Revoked(NOW_MS, "certificate_hold")])
def test_openssl_verifies_our_answer_to_its_own_request(status: ocsp.Status, tmp_path: Path) -> None:
    root = pem(tmp_path / "root.pem", "CERTIFICATE", issue(SIGN, root_content()))
    leaf = pem(tmp_path / "leaf.pem", "CERTIFICATE", issue(SIGN, signature_content()))
    question, reply = tmp_path / "request.der", tmp_path / "response.der"
    asking = ("ocsp", "-issuer", root, "-cert", leaf, "-sha256", "-cert", leaf)
    openssl(*asking, "-nonce", "-reqout", question)
    reply.write_bytes(answer_to(question.read_bytes(), status))
    output = openssl(*asking, "-no_nonce", "-reqin", question, "-respin", reply, "-CAfile", root, "-attime", AT)
    word = {"Good": "good", "Unknown": "unknown", "Revoked": "revoked"}[type(status).__name__]
    assert "Response verify OK" in output
    assert output.count(f": {word}") == 2
    if isinstance(status, ocsp.Revoked):
        assert "Reason: certificateHold" in output


def answer_to(question: bytes, status: ocsp.Status) -> bytes:
    request = ocsp.parse_request(question)
    assert request.nonce is not None
    assert ocsp.only_issuer(request, ocsp.issuer_index([SIGN, authority("authentication")])) == SIGN
    # openssl holds these instants against the real clock, whatever -attime says: hence the long life.
    lines = [
        ocsp.CertStatus(cert_id=asked, status=status, this_update_ms=NOW_MS, next_update_ms=NOW_MS + 9000 * DAY_MS)
        for asked in request.cert_ids
    ]
    tbs = ocsp.response_tbs(public("responder"), NOW_MS, lines, request.nonce)
    return ocsp.assemble_response(tbs, sign("responder", tbs), issue(SIGN, responder_content()))


def test_openssl_accepts_a_holders_signature(tmp_path: Path) -> None:
    leaf = pem(tmp_path / "leaf.pem", "CERTIFICATE", issue(SIGN, signature_content()))
    message, signature, secret = tmp_path / "message", tmp_path / "signature", tmp_path / "key.pem"
    message.write_bytes(b"signed by the holder")
    secret.write_bytes(key("holder").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    openssl("dgst", "-sha256", "-sign", secret, "-out", signature, message)
    (tmp_path / "public.pem").write_text(openssl("x509", "-in", leaf, "-noout", "-pubkey"))
    assert "Verified OK" in openssl(
        "dgst", "-sha256", "-verify", tmp_path / "public.pem", "-signature", signature, message
    )
