"""NIST's path validation suite (PKITS 1.0.1, the files of ``cryptography-vectors``).

The authorities here are one-tier roots, so a case applies when it is decided by an end entity's certificate, its direct
issuer (taken as the anchor) and that issuer's lists. All others stand in ``NOT_OURS`` with the reason; where such a
case is to be refused, this library may refuse it for another reason, and accepts only those in ``DEFECT_ABOVE``.
"""

import re
import warnings
from functools import cache
from pathlib import Path
from typing import Final

import cryptography_vectors
import msgspec
import pytest
from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning

from warifu.domain.pki.names import WARIFU_TEST
from warifu.verify import Anchors, CertificateRevoked, VerificationFailed, open_list, verify_certificate

FOLDER: Final = Path(cryptography_vectors.__file__).parent / "x509" / "PKITS_data"
AT_MS: Final = 1_420_070_400_000  # 2015-01-01: within the suite's certificates and lists
POLICY_1: Final = "2.16.840.1.101.3.2.1.48.1"
NAMING: Final = msgspec.structs.replace(WARIFU_TEST, authentication_policy=POLICY_1)
ANCHOR: Final = "TrustAnchorRootCertificate"

LONGER_PATH: Final = "has authorities below authorities: ours are one-tier roots"
NOT_OURS: Final = {
    r"DSA": "DSA: only RSA is issued and accepted",
    r"nameConstraints": "nameConstraints: our roots have none, and an anchor with a critical one is refused as a whole",
    r"Mapping": "policyMappings and inhibitPolicyMapping: our roots have none, and a critical one is refused",
    r"inhibitAnyPolicy": "inhibitAnyPolicy: our roots have none, and a critical one is refused",
    r"requireExplicitPolicy": "requireExplicitPolicy: this library always asks for its policy",
    r"NoPolicies|anyPolicyTest11|DifferentPoliciesTest12|UserNoticeQualifierTest17": (
        "asks with no policy, or another: this library always asks for the service's own"
    ),
    r"delta": "delta lists: not issued, and refused when met; a complete list is believed for its time",
    r"ndirect|cRLIssuer": "indirect lists: every authority signs its own",
    r"onlySomeReasons": "lists for some reasons only: not issued, refused when met",
    r"ValiddistributionPointTest[457]": "distribution points named relatively: ours have full names",
    r"BasicSelfIssued|SeparateCertificateandCRLKeys": (
        "another key for lists, or roll-over by self-issued certificates: each key signs its own lists and is an anchor"
    ),
    r"ValidNameChaining|ValidUTF8StringCaseInsensitive": (
        "names that are equal only after folding: anchors are found by key identifier and the exact name"
    ),
    r"onlyContainsCACertsTest13|onlyContainsUserCertsTest11|pathLenConstraintTest8": (
        "the end entity is an authority: subscribers' certificates are not"
    ),
}
"""Pattern of the names of cases, and why they do not apply."""

DEFECT_ABOVE: Final = {
    "InvalidCASignatureTest2EE": "the anchor's own signature: who is an anchor is the caller's word",
    "InvalidRevokedCATest2EE": "the anchor is revoked by another authority: ours have none above them",
    "InvaliddeltaCRLTest4EE": "revoked in a delta list only",
    "InvalidSelfIssuedinhibitAnyPolicyTest8EE": LONGER_PATH,
    "InvalidSelfIssuedpathLenConstraintTest16EE": LONGER_PATH,
    "InvalidpathLenConstraintTest5EE": LONGER_PATH,
    "InvalidpathLenConstraintTest9EE": LONGER_PATH,
    "InvalidpathLenConstraintTest11EE": LONGER_PATH,
    "DifferentPoliciesTest5EE": LONGER_PATH,
    "DifferentPoliciesTest9EE": LONGER_PATH,
    "inhibitAnyPolicyTest3EE": LONGER_PATH,
}
"""What a longer path's validation would refuse, or what lies above the anchor: judged by the last step it stands."""


def case_names() -> list[str]:
    return sorted(path.stem for path in (FOLDER / "certs").glob("*EE.crt"))


def parsed(der: bytes) -> x509.Certificate | None:
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = certificate.issuer, certificate.subject, certificate.extensions
    except ValueError:
        return None
    return certificate


@cache
def certificates() -> dict[str, tuple[bytes, x509.Certificate | None]]:
    found = {path.stem: path.read_bytes() for path in (FOLDER / "certs").glob("*.crt")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        return {name: (der, parsed(der)) for name, der in sorted(found.items())}


@cache
def lists() -> list[tuple[bytes, x509.Name]]:
    found = [path.read_bytes() for path in sorted((FOLDER / "crls").glob("*.crl"))]
    return [(der, x509.load_der_x509_crl(der).issuer) for der in found]


def own_key(certificate: x509.Certificate) -> bytes:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


def issuers_key(certificate: x509.Certificate) -> bytes | None:
    """None in the trust anchor's own certificate."""
    try:
        return certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    except x509.ExtensionNotFound:
        return None


@cache
def issuers(name: str) -> tuple[str, ...]:
    """The authorities whose key the certificate names as its issuer's."""
    certificate = certificates()[name][1]
    if certificate is None:
        return ()
    wanted = issuers_key(certificate)
    authorities = {other: each for other, (_, each) in certificates().items() if each and not other.endswith("EE")}
    return tuple(other for other, each in authorities.items() if own_key(each) == wanted)


def verify(name: str) -> None:
    """As a relying party does: path, policy and usage; then the list that covers the certificate."""
    der, certificate = certificates()[name]
    anchors = Anchors.of(certificates()[issuer][0] for issuer in issuers(name))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        verify_certificate(der, anchors, at_ms=AT_MS, kind="authentication", naming=NAMING)
        assert certificate is not None
        refusals = [refusal(crl, der, anchors) for crl, issuer in lists() if issuer == certificate.issuer]
    for refused in refusals:
        if isinstance(refused, CertificateRevoked):
            raise refused
    if None not in refusals:
        raise next(filter(None, refusals), VerificationFailed("no list"))


def refusal(crl: bytes, der: bytes, anchors: Anchors) -> VerificationFailed | None:
    try:
        open_list(crl, anchors, at_ms=AT_MS).check(der)
    except VerificationFailed as error:
        return error
    return None


def why_not(name: str) -> str | None:
    """Why a case does not apply; None when it does."""
    for pattern, reason in NOT_OURS.items():
        if re.search(pattern, name):
            return reason
    above = {other for issuer in issuers(name) for other in issuers(issuer)}
    return None if above <= {ANCHOR} else LONGER_PATH


def is_sound(name: str) -> bool:
    return not name.startswith("Invalid")


APPLY: Final = [name for name in case_names() if why_not(name) is None and name not in DEFECT_ABOVE]


@pytest.mark.parametrize("name", [name for name in APPLY if is_sound(name)])
def test_a_sound_case_verifies(name: str) -> None:
    verify(name)


@pytest.mark.parametrize("name", [name for name in APPLY if not is_sound(name)])
def test_an_unsound_case_is_refused_with_a_precise_error(name: str) -> None:
    with pytest.raises(VerificationFailed) as refused:
        verify(name)
    assert refused.value.code.startswith("verify.")


@pytest.mark.parametrize("name", [name for name in case_names() if name not in APPLY and not is_sound(name)])
def test_an_unsound_case_that_is_not_ours_is_refused_all_the_same(name: str) -> None:
    if name in DEFECT_ABOVE:
        verify(name)  # the table tells the truth
        return
    with pytest.raises(VerificationFailed):
        verify(name)


def page() -> str:
    """The part of ``docs/pkits.md`` that lists the cases: by reason, in the suite's names."""
    reasons: dict[str, list[str]] = {}
    for name in case_names():
        if name not in APPLY:
            reasons.setdefault(why_not(name) or DEFECT_ABOVE[name], []).append(name.removesuffix("EE"))
    parts = [f"## {len(names)}: {reason}\n\n{', '.join(names)}\n" for reason, names in sorted(reasons.items())]
    above = ", ".join(sorted(name.removesuffix("EE") for name in DEFECT_ABOVE))
    return "\n".join((*parts, f"## Refused by the suite, accepted here\n\n{above}\n"))


def test_the_documentation_lists_every_case_that_does_not_apply_with_its_reason() -> None:
    text = (Path(__file__).parents[2] / "docs" / "pkits.md").read_text("utf-8")
    assert text.endswith(page())


def test_the_tables_name_cases_that_are_there_and_nothing_applies_twice() -> None:
    for pattern in NOT_OURS:
        assert any(re.search(pattern, name) for name in case_names()), pattern
    assert set(DEFECT_ABOVE) <= set(case_names())
    assert (len(case_names()), len(APPLY)) == (223, 63)
