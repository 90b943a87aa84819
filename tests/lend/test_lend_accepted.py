"""Everything we issue, for every persona, before verifiers that are not ours.

OpenSSL is in ``tests/domain/pki/test_pki_openssl.py``; here are GnuTLS, pyHanko's validator and pkilint. What the nodes
at work issue is in ``test_lend_nodes_accepted.py``.
"""

import asyncio
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import asn1crypto.x509
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from lend_kit import Desk
from outside_verifiers import (
    TOLD,
    TOLD_OF_ROOTS,
    answer_findings,
    certificate_findings,
    list_findings,
    pair_findings,
    run,
)
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.errors import PathValidationError, RevokedError
from pyhanko_certvalidator.policy_decl import PKIXValidationParams
from pyhanko_certvalidator.revinfo.validate_ocsp import verify_ocsp_response

from warifu.domain.pki import ocsp
from warifu.domain.pki.names import WARIFU_TEST, Kind
from warifu.lend.authority import KINDS
from warifu.lend.personas import PERSONAS


class Leaf(NamedTuple):
    persona: str
    kind: Kind
    der: bytes
    serial: int
    municipality: str


def leaves(desk: Desk) -> list[Leaf]:
    """Every subscriber's certificate of every persona."""
    return [
        Leaf(persona, each.ca, each.der, each.serial, each.municipality)
        for persona in PERSONAS
        for each in desk.card(persona).certificates
    ]


def root_of(desk: Desk, kind: Kind) -> bytes:
    return desk.authority.register().roots[kind]


def answer(desk: Desk, kind: Kind, serial: int) -> bytes:
    request = ocsp.request([ocsp.cert_id(desk.authority.authority(kind), serial)], b"0123456789abcdef")
    return desk.authority.ocsp_response(request, desk.now_ms)


def lists(desk: Desk, kind: Kind) -> list[bytes]:
    """The full list, a partition with entries, and an empty one."""
    here = desk.card("revoked").certificates[0].municipality
    return [desk.authority.revocation_list(kind, desk.now_ms, place) for place in ("", here, "011002")]


# ---- pkilint -----------------------------------------------------------------------------------------------------


def test_pkilint_finds_nothing_in_a_certificate_that_is_not_told(desk: Desk) -> None:
    register = desk.authority.register()
    certificates = [leaf.der for leaf in leaves(desk)] + [*register.roots.values(), *register.responders.values()]
    found = [certificate_findings(der) for der in certificates]
    assert set().union(*found) == set(TOLD)


def test_pkilint_finds_nothing_in_lists(desk: Desk) -> None:
    found = [list_findings(der) for kind in KINDS for der in lists(desk, kind)]
    assert set().union(*found) == set()


def test_pkilint_finds_nothing_in_answers(desk: Desk) -> None:
    asked = [(leaf.kind, leaf.serial) for leaf in leaves(desk)] + [(kind, 7) for kind in KINDS]
    found = [answer_findings(answer(desk, *each)) for each in asked]
    assert set().union(*found) == set()


def test_pkilint_finds_every_pair_of_issuer_and_subject_sound(desk: Desk) -> None:
    responders = desk.authority.register().responders
    pairs = [(root_of(desk, leaf.kind), leaf.der) for leaf in leaves(desk)]
    pairs += [(root_of(desk, kind), responders[kind]) for kind in KINDS]
    assert set().union(*(pair_findings(*each) for each in pairs)) == set()
    for kind in KINDS:
        assert pair_findings(root_of(desk, kind), root_of(desk, kind)) == set(TOLD_OF_ROOTS)


def test_pkilint_would_find_another_issuer(desk: Desk) -> None:
    leaf = next(each for each in leaves(desk) if each.kind == "signature")
    assert pair_findings(root_of(desk, "authentication"), leaf.der)


# ---- pyHanko -----------------------------------------------------------------------------------------------------


def validator_of(desk: Desk, leaf: Leaf, mode: str, **sources: Any) -> tuple[CertificateValidator, ValidationContext]:
    # a second later: what was revoked at the very instant of judgement still stood at it
    context = ValidationContext(
        trust_roots=[asn1crypto.x509.Certificate.load(root_of(desk, leaf.kind))],
        moment=datetime.fromtimestamp(desk.now_ms // 1000 + 1, UTC),
        revocation_mode=mode,
        **sources,
    )
    policy = frozenset({WARIFU_TEST.policy(leaf.kind)})
    parameters = PKIXValidationParams(user_initial_policy_set=policy, initial_explicit_policy=True)
    certificate = asn1crypto.x509.Certificate.load(leaf.der)
    return CertificateValidator(certificate, validation_context=context, pkix_params=parameters), context


def usages(leaf: Leaf) -> set[str]:
    return {"digital_signature"} | ({"non_repudiation"} if leaf.kind == "signature" else set())


@pytest.mark.parametrize("partition", [False, True])
def test_pyhanko_establishes_path_policy_usage_and_status_by_list(desk: Desk, partition: bool) -> None:  # noqa: FBT001
    for leaf in leaves(desk):
        place = leaf.municipality if partition else ""
        crls = [desk.authority.revocation_list(leaf.kind, desk.now_ms, place)]
        validator, _ = validator_of(desk, leaf, "require", crls=crls)
        refused = {"revoked": RevokedError, "expired": PathValidationError}.get(leaf.persona)
        with pytest.raises(refused) if refused else nullcontext():
            asyncio.run(validator.async_validate_usage(usages(leaf)))


def test_pyhanko_takes_no_other_municipalitys_list(desk: Desk) -> None:
    leaf = next(each for each in leaves(desk) if each.persona == "adult")
    crls = [desk.authority.revocation_list(leaf.kind, desk.now_ms, "011002")]
    validator, _ = validator_of(desk, leaf, "require", crls=crls)
    with pytest.raises(PathValidationError):
        asyncio.run(validator.async_validate_usage(usages(leaf)))


def test_pyhanko_believes_our_answers(desk: Desk) -> None:
    """Asked for directly: by itself it looks for answers only where a certificate names an address."""
    for leaf in leaves(desk):
        if leaf.persona == "expired":
            continue
        ocsps = [answer(desk, leaf.kind, leaf.serial)]
        validator, context = validator_of(desk, leaf, "soft-fail", ocsps=ocsps)

        async def asked(validator: CertificateValidator, context: ValidationContext, leaf: Leaf) -> None:
            path = await validator.async_validate_usage(usages(leaf))
            await verify_ocsp_response(asn1crypto.x509.Certificate.load(leaf.der), path, context)

        with pytest.raises(RevokedError) if leaf.persona == "revoked" else nullcontext():
            asyncio.run(asked(validator, context, leaf))


# ---- GnuTLS ------------------------------------------------------------------------------------------------------


def pem(path: Path, *ders: bytes) -> Path:
    path.write_bytes(b"".join(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in ders))
    return path


@pytest.mark.real
def test_certtool_verifies_each_certificate_with_either_list(desk: Desk, tmp_path: Path) -> None:
    """Certtool looks an entry up in any list of the issuer: it does not compare distribution points."""
    for number, leaf in enumerate(leaves(desk)):
        root = pem(tmp_path / "root.pem", root_of(desk, leaf.kind))
        end = pem(tmp_path / f"{number}.pem", leaf.der)
        for place in ("", leaf.municipality):
            crl = tmp_path / "list.pem"
            loaded = x509.load_der_x509_crl(desk.authority.revocation_list(leaf.kind, desk.now_ms, place))
            crl.write_bytes(loaded.public_bytes(Encoding.PEM))
            status, said = run(
                "certtool", "--verify", "--load-ca-certificate", root, "--load-crl", crl, "--infile", end
            )
            assert (status == 0) is (leaf.persona not in {"revoked", "expired"}), said
            wanted = {"revoked": "revoked", "expired": "expired"}.get(leaf.persona, "Verified")
            assert wanted in said


@pytest.mark.real
def test_certtool_verifies_each_list(desk: Desk, tmp_path: Path) -> None:
    for kind in KINDS:
        root = pem(tmp_path / "root.pem", root_of(desk, kind))
        for der in lists(desk, kind):
            crl = tmp_path / "list.pem"
            crl.write_bytes(x509.load_der_x509_crl(der).public_bytes(Encoding.PEM))
            status, said = run("certtool", "--verify-crl", "--load-ca-certificate", root, "--infile", crl)
            assert (status, "Verified" in said) == (0, True), said


@pytest.mark.real
def test_ocsptool_asks_and_verifies(desk: Desk, tmp_path: Path) -> None:
    """Its own request, with a nonce of its own, and our answer to it."""
    for leaf in leaves(desk):
        root = pem(tmp_path / "root.pem", root_of(desk, leaf.kind))
        end = pem(tmp_path / "leaf.pem", leaf.der)
        request, response = tmp_path / "request.der", tmp_path / "response.der"
        common = ("--load-issuer", root, "--load-cert", end)
        assert run("ocsptool", "--generate-request", *common, "--outfile", request, "--outder", "--nonce")[0] == 0
        response.write_bytes(desk.authority.ocsp_response(request.read_bytes(), desk.now_ms))
        trust = ("--load-trust", root, "--load-issuer", root, "--load-cert", end)
        status, said = run("ocsptool", "--verify-response", *trust, "--load-response", response)
        assert status == 0, said
        assert "Success" in said
        _, text = run("ocsptool", "--response-info", "--load-response", response)
        assert f"Certificate Status: {'revoked' if leaf.persona == 'revoked' else 'good'}" in text
