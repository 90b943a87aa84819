"""Writes what outsiders need to check us: CA certificates, current lists, subscribers' certificates; DER and PEM."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, get_args

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from warifu.adapters.reader.files import list_cards
from warifu.contract.authority import AskAuthorities, AskCertificates, Authorities, Certificates
from warifu.contract.values import CertificateKind, CertificateView
from warifu.demo.asking import Asker
from warifu.demo.web import Web
from warifu.stack.errors import disk_errors

KINDS: Final[tuple[CertificateKind, ...]] = get_args(CertificateKind)


class Exported(Struct, frozen=True, kw_only=True):
    """What was written."""

    authorities: int
    lists: int
    certificates: tuple[CertificateView, ...]


async def export_pki(
    folder: Path, asker: Asker, web: Web, *, municipalities: Sequence[str], cards: Path, report: Callable[[str], None]
) -> Exported:
    """Write everything under a folder.

    Args:
        folder: made when missing; files of the same names are replaced.
        asker: reaches the authority.
        web: the responder.
        municipalities: whose partitions to fetch.
        cards: where the cards are whose certificates are wanted.
        report: told what is being fetched.

    Raises:
        HomeUnusable, DiskFull: the folder cannot be written.
        WarifuError: authority or responder do not answer.
    """
    with disk_errors(folder):
        for name in ("ca", "crl", "certificates"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    report("CA certificates")
    generations = {kind: await _authorities(folder / "ca", asker, kind) for kind in KINDS}
    lists = 0
    for kind in KINDS:
        report(f"revocation lists: {kind}")
        for municipality in ("", *municipalities):
            lists += await _lists(folder / "crl", asker, web, (kind, municipality), generations[kind])
    report("certificates")
    views = await _certificates(folder / "certificates", asker, list_cards(cards))
    authorities = sum(len(numbers) for numbers in generations.values())
    return Exported(authorities=authorities, lists=lists, certificates=views)


async def _authorities(folder: Path, asker: Asker, kind: CertificateKind) -> tuple[int, ...]:
    """Each generation in a file of its own, and all of them in one PEM bundle; their numbers."""
    found = await asker.ask("authority", AskAuthorities(ca=kind), Authorities)
    bundle = b""
    for generation, der in zip(found.generations, found.certificates, strict=True):
        certificate = x509.load_der_x509_certificate(der)
        _write(folder / f"{kind}-{generation}", certificate, ".cer")
        bundle += certificate.public_bytes(Encoding.PEM)
    with disk_errors(folder):
        (folder / f"{kind}.pem").write_bytes(bundle)
    return found.generations


async def _lists(
    folder: Path, asker: Asker, web: Web, which: tuple[CertificateKind, str], generations: Sequence[int]
) -> int:
    """One list of each generation of a CA's key; how many.

    The one that issues now has the plain name. Where there are several, each stands under its number, too, and the PEM
    file of the plain name has all of them, as verifiers want them.
    """
    kind, municipality = which
    tail = f"-{municipality}" if municipality else ""
    numbers = (0, *generations) if len(generations) > 1 else (0,)
    bundle = b""
    for number in numbers:
        der = await asker.patience.persist(lambda n=number: web.list(kind, municipality, n))  # type: ignore[misc]
        crl = x509.load_der_x509_crl(der)
        _write(folder / (f"{kind}.{number}{tail}" if number else f"{kind}{tail}"), crl, ".crl")
        bundle += crl.public_bytes(Encoding.PEM) if number else b""
    if bundle:
        with disk_errors(folder):
            (folder / f"{kind}{tail}.pem").write_bytes(bundle)
    return len(generations)


async def _certificates(folder: Path, asker: Asker, cards: Sequence[str]) -> tuple[CertificateView, ...]:
    """Every certificate of these cards, by kind and serial number."""
    found: list[CertificateView] = []
    for card_id in cards:
        ask = AskCertificates(card_id=card_id, with_der=True)
        for view in (await asker.ask("authority", ask, Certificates)).certificates:
            _write(folder / f"{view.kind}-{view.serial}", x509.load_der_x509_certificate(view.der), ".cer")
            found.append(view)
    return tuple(found)


def _write(path: Path, value: x509.Certificate | x509.CertificateRevocationList, der_suffix: str) -> None:
    with disk_errors(path.parent):
        path.with_name(path.name + der_suffix).write_bytes(value.public_bytes(Encoding.DER))
        path.with_name(path.name + ".pem").write_bytes(value.public_bytes(Encoding.PEM))


def openssl_commands(folder: Path, url: str, certificates: Sequence[CertificateView]) -> list[str]:
    """Commands to try: one certificate that stands, one that is revoked, each by list and by OCSP."""
    good = next((view for view in certificates if view.state == "valid"), None)
    revoked = next((view for view in certificates if view.state == "revoked"), None)
    commands = []
    for word, view in (("good", good), ("revoked", revoked)):
        if view is None:
            continue
        root, leaf = folder / "ca" / f"{view.kind}.pem", folder / "certificates" / f"{view.kind}-{view.serial}.pem"
        crl = folder / "crl" / f"{view.kind}.pem"
        commands += [
            f"# {word}",
            f"openssl verify -crl_check -CAfile {root} -CRLfile {crl} {leaf}",
            f"openssl ocsp -issuer {_issuer(folder / 'ca', view)} -CAfile {root} -cert {leaf} -url {url}/ocsp",
        ]
    return commands


def _issuer(folder: Path, view: CertificateView) -> Path:
    """The generation that issued it, found by its key: all have one name, and openssl takes the first of a file."""
    for path in sorted(folder.glob(f"{view.kind}-*.cer")):
        root = x509.load_der_x509_certificate(path.read_bytes())
        try:
            x509.load_der_x509_certificate(view.der).verify_directly_issued_by(root)
        except (ValueError, InvalidSignature):
            continue
        return path.with_suffix(".pem")
    return folder / f"{view.kind}.pem"
