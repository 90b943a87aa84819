"""Mutual TLS 1.3 between nodes: contexts, and a small authority that names the nodes.

A node's name is the one SAN dNSName of its certificate that ends in ``.warifu.internal`` (RFC 5280, 4.2.1.6); the
common name repeats it for people. Contexts trust this one authority and nothing else.
"""

import datetime
import os
import ssl
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from warifu.kernel.errors import Fault, NotAllowed

DOMAIN = ".warifu.internal"
AUTHORITY_DAYS = 3650
NODE_DAYS = 397


class NodeTls(Struct, frozen=True):
    """Where a node finds its certificate, its private key and the authority it trusts (PEM files)."""

    certificate: Path
    key: Path
    authority: Path


def server_context(tls: NodeTls) -> ssl.SSLContext:
    """For a server: asks for a client certificate and refuses the connection without one."""
    return _context(ssl.PROTOCOL_TLS_SERVER, tls)


def client_context(tls: NodeTls) -> ssl.SSLContext:
    """For a client. Host names mean nothing between nodes: ``client`` checks the node's name itself, always."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, tls)


def edge_context(tls: NodeTls) -> ssl.SSLContext:
    """For an HTTPS edge to those outside: shows our certificate, asks for none; they show a credential of their own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(tls.certificate, tls.key)
    return context


def node_name(certificate: object) -> str:
    """The node's name in a peer's verified certificate (``SSLObject.getpeercert``); ``NotAllowed`` if none."""
    alternatives = certificate.get("subjectAltName", ()) if isinstance(certificate, dict) else ()
    names = [value for kind, value in alternatives if kind == "DNS" and value.endswith(DOMAIN)]
    if len(names) != 1:
        raise NotAllowed("the peer's certificate does not name one node")
    return str(names[0]).removesuffix(DOMAIN)


def make_authority(folder: Path) -> Path:
    """Make ``node-ca.pem`` and ``node-ca.key`` (P-256) in the folder, unless they are there.

    Returns:
        The authority's certificate.
    """
    certificate, key_file = folder / "node-ca.pem", folder / "node-ca.key"
    if certificate.exists() and key_file.exists():
        return certificate
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = _common_name("Warifu node authority (synthetic)")
    builder = _builder(name, name, key.public_key(), AUTHORITY_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_key_usage(authority=True), critical=True)
    _write_key(key_file, key)
    _write(certificate, builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM), 0o644)
    return certificate


def issue_node_certificate(folder: Path, name: str, hosts: Iterable[str] = ()) -> NodeTls:
    """Make a key and a certificate for a node, signed by the folder's authority; replaces those of the same name.

    Args:
        folder: where ``make_authority`` was.
        name: the node's name, as in the topology and in ``Envelope.sender``.
        hosts: more host names and addresses to name in it, beside localhost and 127.0.0.1.
    """
    authority, authority_key = _load_authority(folder)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_common_name(name), authority.subject, key.public_key(), NODE_DAYS)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(authority=False), critical=True)
    builder = builder.add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
    )
    builder = builder.add_extension(_alternatives(name, hosts), critical=False)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    builder = builder.add_extension(issuer, critical=False)
    tls = NodeTls(folder / f"{name}.pem", folder / f"{name}.key", folder / "node-ca.pem")
    _write_key(tls.key, key)
    _write(tls.certificate, builder.sign(authority_key, hashes.SHA256()).public_bytes(Encoding.PEM), 0o644)
    return tls


def _context(protocol: int, tls: NodeTls) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.load_verify_locations(tls.authority)
    context.load_cert_chain(tls.certificate, tls.key)
    return context


def _load_authority(folder: Path) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    certificate = x509.load_pem_x509_certificate((folder / "node-ca.pem").read_bytes())
    key = load_pem_private_key((folder / "node-ca.key").read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise Fault("the node authority's key and certificate do not belong together")
    return certificate, key


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))  # clocks of two nodes differ
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(name: str, hosts: Iterable[str]) -> x509.SubjectAlternativeName:
    names = dict.fromkeys((name + DOMAIN, "localhost", "127.0.0.1", *hosts))
    return x509.SubjectAlternativeName([_general_name(host) for host in names])


def _general_name(host: str) -> x509.GeneralName:
    address = _address(host)
    return x509.IPAddress(address) if address else x509.DNSName(host)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and never readable by others for a moment."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:  # noqa: PTH123 - of a descriptor
        file.write(content)
    draft.replace(path)
