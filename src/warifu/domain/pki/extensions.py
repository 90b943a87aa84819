"""Certificate and list extensions (RFC 5280 section 4.2 and 5.2), each as a whole ``Extension`` element."""

import hashlib
from functools import lru_cache
from typing import Literal

from warifu.domain.pki import der
from warifu.domain.pki.errors import BadContent

ExtensionName = Literal[
    "key_usage",
    "subject_alt_name",
    "policies",
    "issuer_alt_name",
    "basic_constraints",
    "points",
    "authority_key",
    "subject_key",
    "extended_key_usage",
    "authority_info",
    "no_check",
]

CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"
OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"

_RSA_ENCRYPTION = der.sequence(der.oid("1.2.840.113549.1.1.1"), der.null())
_MAX_PUBLIC_KEY_BYTES = 1024


def extension(dotted: str, value: bytes, *, critical: bool = False) -> bytes:
    """One ``Extension``; DER leaves out a false ``critical``."""
    return der.sequence(der.oid(dotted), der.true() if critical else b"", der.octet_string(value))


@lru_cache(maxsize=64)
def key_usage(*bits: int) -> bytes:
    """Critical keyUsage: 0 digitalSignature, 1 nonRepudiation, 5 keyCertSign, 6 cRLSign."""
    return extension("2.5.29.15", der.named_bits(*bits), critical=True)


def subject_alt_name(*general_names: bytes) -> bytes:
    """The subjectAltName, not critical."""
    return extension("2.5.29.17", der.sequence(*general_names))


@lru_cache(maxsize=64)
def issuer_alt_name(name: bytes) -> bytes:
    """The issuerAltName with one directory name, not critical."""
    return extension("2.5.29.18", der.sequence(directory_name(name)))


@lru_cache(maxsize=64)
def policies(policy: str, cps_uri: str) -> bytes:
    """Critical certificatePolicies: one policy with the address of the practice statement."""
    qualifier = der.sequence(der.oid("1.3.6.1.5.5.7.2.1"), der.ia5_string(cps_uri))
    information = der.sequence(der.oid(policy), der.sequence(qualifier))
    return extension("2.5.29.32", der.sequence(information), critical=True)


def basic_constraints_ca() -> bytes:
    """Critical basicConstraints: a CA, no path length."""
    return extension("2.5.29.19", der.sequence(der.true()), critical=True)


@lru_cache(maxsize=8192)
def points(name: bytes) -> bytes:
    """The cRLDistributionPoints with one full directory name, not critical."""
    return extension("2.5.29.31", der.sequence(der.sequence(full_name(name))))


def full_name(name: bytes) -> bytes:
    """``distributionPoint [0]`` holding ``fullName [0]`` with one directory name."""
    return der.explicit(0, der.explicit(0, directory_name(name)))


def authority_key(key_id: bytes) -> bytes:
    """The authorityKeyIdentifier with the key identifier only, not critical."""
    return extension("2.5.29.35", der.sequence(der.implicit(0, key_id)))


def subject_key(key_id: bytes) -> bytes:
    """The subjectKeyIdentifier, not critical."""
    return extension("2.5.29.14", der.octet_string(key_id))


def extended_key_usage(purpose: str) -> bytes:
    """The extKeyUsage with one purpose, not critical."""
    return extension("2.5.29.37", der.sequence(der.oid(purpose)))


def authority_info(ocsp_uri: str) -> bytes:
    """The authorityInfoAccess with an OCSP address, not critical."""
    location = der.implicit(6, der.read_only(der.ia5_string(ocsp_uri), der.IA5_STRING).content)
    return extension("1.3.6.1.5.5.7.1.1", der.sequence(der.sequence(der.oid("1.3.6.1.5.5.7.48.1"), location)))


def no_check() -> bytes:
    """id-pkix-ocsp-nocheck (RFC 6960 section 4.2.2.2.1), not critical."""
    return extension("1.3.6.1.5.5.7.48.1.5", der.null())


def directory_name(name: bytes) -> bytes:
    """GeneralName of a directory; explicit, since Name is a CHOICE."""
    return der.explicit(4, name)


def other_name(dotted: str, value: bytes) -> bytes:
    """GeneralName ``otherName``: a type and its value."""
    return der.explicit(0, der.oid(dotted), der.explicit(0, value))


@lru_cache(maxsize=1024)
def key_identifier(public_key: bytes) -> bytes:
    """SHA-1 of the key's bits (RFC 5280 section 4.2.1.2, method 1); an identifier, not a security claim.

    Args:
        public_key: SubjectPublicKeyInfo of an RSA key, DER.

    Raises:
        NotDer, BadContent: it is not that.
    """
    return hashlib.sha1(public_key_bits(public_key), usedforsecurity=False).digest()


def public_key_bits(public_key: bytes) -> bytes:
    """Content of the subjectPublicKey bit string.

    Raises:
        NotDer, BadContent: not the SubjectPublicKeyInfo of an RSA key.
    """
    fields = der.read_all(der.read_only(public_key, der.SEQUENCE).content)
    if len(fields) != 2 or fields[0].encoded != _RSA_ENCRYPTION or len(public_key) > _MAX_PUBLIC_KEY_BYTES:  # noqa: PLR2004 - algorithm and key
        raise BadContent("public key is not RSA")
    bits = der.expect(fields[1], der.BIT_STRING).content
    if bits[:1] != b"\x00":
        raise BadContent("public key's bit string")
    return bits[1:]
