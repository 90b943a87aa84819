"""Verifiers that are not ours, as functions: pkilint's validators and outside programs.

A finding of pkilint's is either told in ``TOLD`` with its reason (and in decision 0018), or it is a fault.
"""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from pkilint import loader, pkix
from pkilint.bin import lint_pkix_signer_signee_cert_chain as pair
from pkilint.pkix import certificate as pkix_certificate
from pkilint.pkix import crl as pkix_crl
from pkilint.pkix import extension, name
from pkilint.pkix import ocsp as pkix_ocsp

TOLD: Final = {
    "pkix.subject_key_identifier_method_1_identified": (
        "a notice: the key identifier is SHA-1 of the key's bits, RFC 5280's method 1, as in the real CA certificates"
    ),
    "pkix.certificate_policies_policy_has_qualifier": (
        "the real profile has a CPS qualifier in certificatePolicies; RFC 5280 4.2.1.4 only recommends to have none"
    ),
}
"""What pkilint says of what we issue, and why it stays."""
TOLD_OF_ROOTS: Final = {
    "pkix.authority_key_id_extension_missing": (
        "the real CA certificates have no authorityKeyIdentifier; RFC 5280 4.2.1.1 lets a self-signed one leave it out"
    ),
}
"""Of a root as its own subject."""

_DECODERS: Final = (
    pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
    pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
)
_CERTIFICATE: Final = pkix_certificate.create_pkix_certificate_validator_container(
    pkix_certificate.create_decoding_validators(name.ATTRIBUTE_TYPE_MAPPINGS, extension.EXTENSION_MAPPINGS),
    [
        pkix_certificate.create_issuer_validator_container([]),
        pkix_certificate.create_validity_validator_container(),
        pkix_certificate.create_subject_validator_container([]),
        pkix_certificate.create_extensions_validator_container([]),
        pkix_certificate.create_spki_validator_container([]),
    ],
)
_LIST: Final = pkix_crl.create_pkix_crl_validator_container(
    list(_DECODERS),
    [
        pkix_crl.create_issuer_validator_container([]),
        pkix_crl.create_validity_validator_container([]),
        pkix_crl.create_extensions_validator_container([]),
    ],
)
_ANSWER: Final = pkix_ocsp.create_pkix_ocsp_response_validator_container(
    [pkix_ocsp.create_response_decoder(), *_DECODERS], []
)
_PAIR: Final = (
    pair.create_decoder_validation_container(),
    pair.create_issuer_validation_container(),
    pair.create_subject_validation_container(),
)


def codes(results: Iterable[Any]) -> set[str]:
    """The names of the findings."""
    return {found.finding.code for result in results for found in result.finding_descriptions}


def certificate_findings(der: bytes) -> set[str]:
    """What pkilint says of a certificate."""
    return codes(_CERTIFICATE.validate(loader.load_certificate(der, "certificate").root))


def list_findings(der: bytes) -> set[str]:
    """What pkilint says of a revocation list."""
    return codes(_LIST.validate(loader.load_crl(der, "list").root))


def answer_findings(der: bytes) -> set[str]:
    """What pkilint says of an OCSP answer."""
    return codes(_ANSWER.validate(loader.load_ocsp_response(der, "answer").root))


def pair_findings(issuer: bytes, subject: bytes) -> set[str]:
    """What pkilint says of a subject under its issuer."""
    documents: dict[str, Any] = {}
    load = loader.RFC5280CertificateDocumentLoader().load_der_document
    documents["issuer"] = load(issuer, "issuer", "issuer", documents)
    documents["subject"] = load(subject, "subject", "subject", documents)
    decoding, of_issuer, of_subject = _PAIR
    results = [*decoding.validate(documents["issuer"].root), *decoding.validate(documents["subject"].root)]
    results += [*of_issuer.validate(documents["issuer"].root), *of_subject.validate(documents["subject"].root)]
    return codes(results)


def run(*command: str | Path) -> tuple[int, str]:
    """A program's status, and all that it said."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr
