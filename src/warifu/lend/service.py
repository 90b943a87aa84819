"""What relying parties ask a lent CA for, over HTTP (``adapters.net.relying``) and as files."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from warifu.adapters.net.http import HttpHandler
from warifu.adapters.net.relying import relying_edge
from warifu.contract.values import CertificateKind
from warifu.kernel.errors import NotFound
from warifu.lend.authority import KINDS, MANAGEMENT_KEY, ROOT_KEY, LendingAuthority


def edge(authority: LendingAuthority, now_ms: Callable[[], int]) -> HttpHandler:
    """Answers relying parties. Each answer is made from the register as it stands: a revocation counts at once."""
    return relying_edge(_Lent(authority, now_ms))


class _Lent:
    """One question after the other, and beside the loop: a list takes the register's lock, which another may hold."""

    def __init__(self, authority: LendingAuthority, now_ms: Callable[[], int]) -> None:
        self._authority = authority
        self._now_ms = now_ms
        self._turn = asyncio.Lock()

    async def answer(self, data: bytes) -> bytes:
        async with self._turn:
            return await asyncio.to_thread(self._authority.ocsp_response, data, self._now_ms())

    async def list(self, ca: CertificateKind, municipality: str = "", generation: int = 0) -> bytes:
        if generation > 1:
            raise NotFound(f"generation {generation}: the lent CA has one")
        async with self._turn:
            return await asyncio.to_thread(self._authority.revocation_list, ca, self._now_ms(), municipality)

    async def root(self, ca: CertificateKind) -> bytes:
        return self._authority.register().roots[ca]


def export(authority: LendingAuthority, folder: Path, now_ms: int) -> tuple[Path, ...]:
    """Write what a relying party installs, in DER and PEM: roots, full lists, card management's two public keys.

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
    for name, label in (("card-management.pem", MANAGEMENT_KEY), ("card-root.pem", ROOT_KEY)):
        key = load_der_public_key(authority.device.public_key(label))
        files[name] = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return tuple(folder / name for name in files)
