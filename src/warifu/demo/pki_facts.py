"""Lists, OCSP answers and register side by side: read with ``cryptography`` alone, judged by pure rules."""

import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, get_args

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from msgspec import Struct

from warifu.contract.values import CertificateKind
from warifu.demo.errors import Unexpected, WebUnavailable
from warifu.demo.facts import Database
from warifu.demo.patience import Patience
from warifu.demo.web import Web
from warifu.domain.certificates.records import CaGeneration, Certificate
from warifu.domain.certificates.rules import UNSIGNED
from warifu.ports.entropy import Entropy

NONCE_BYTES: Final = 16
KINDS: Final[tuple[CertificateKind, ...]] = get_args(CertificateKind)
TRY_LATER: Final = frozenset({ocsp.OCSPResponseStatus.TRY_LATER, ocsp.OCSPResponseStatus.INTERNAL_ERROR})


class Lines(Struct, frozen=True):
    """What the register and the lists say about one CA: serial → reason."""

    register: dict[str, dict[int, str]]
    """By municipality: revoked and not expired."""
    full: dict[int, str]
    partitions: dict[str, dict[int, str]]


def judge_lists(kind: CertificateKind, lines: Lines) -> list[str]:
    """The full list has exactly what is revoked and not expired; the partitions divide it by municipality."""
    wanted = {serial: reason for part in lines.register.values() for serial, reason in part.items()}
    problems = _compare(f"full {kind} list", lines.full, wanted)
    for municipality in sorted(lines.register | lines.partitions):
        found = lines.partitions.get(municipality, {})
        problems += _compare(f"{kind} list of {municipality}", found, lines.register.get(municipality, {}))
    if sum(len(part) for part in lines.partitions.values()) != len(lines.full):
        problems.append(f"the {kind} lists of the municipalities do not divide the full one")
    return problems


def _compare(name: str, found: Mapping[int, str], wanted: Mapping[int, str]) -> list[str]:
    problems = [f"{name}: {serial} is missing" for serial in sorted(wanted.keys() - found.keys())]
    problems += [f"{name}: {serial} is not revoked in the register" for serial in sorted(found.keys() - wanted.keys())]
    for serial in sorted(found.keys() & wanted.keys()):
        if found[serial] != wanted[serial]:
            problems.append(f"{name}: {serial} has reason {found[serial]}, not {wanted[serial]}")
    return problems


def judge_answer(certificate: Certificate, answer: str) -> Iterator[str]:
    """OCSP's word (``good`` or a reason) against the register."""
    wanted = certificate.reason if certificate.state == "revoked" else "good"
    if answer != wanted:
        yield f"OCSP says {answer} of the {certificate.ca} certificate {certificate.serial}, not {wanted}"


def reason_text(flag: x509.ReasonFlags | None) -> str:
    """A reason in the register's words."""
    return flag.name if flag is not None else "unspecified"


class PkiReader:
    """Reads the certification service from outside.

    Args:
        database: for register and CA certificates.
        web: for lists and OCSP.
        patience: a killed responder comes back.
        entropy: for nonces.
    """

    def __init__(self, database: Database, web: Web, patience: Patience, entropy: Entropy) -> None:
        self._database = database
        self._web = web
        self._patience = patience
        self._entropy = entropy

    async def check(self, certificates: Iterable[Certificate], today: datetime.date) -> list[str]:
        """Every inconsistency between register, lists and OCSP answers."""
        problems: list[str] = []
        roots: dict[str, list[x509.Certificate]] = {}
        for kind in KINDS:
            generations = await self._database.find("authority", CaGeneration, "ca", [kind])
            roots[kind] = [x509.load_der_x509_certificate(each.der) for each in generations]
            problems += await self._check_lists(kind, roots[kind], today)
        for certificate in certificates:
            if certificate.state in UNSIGNED:
                continue
            problems += await self._check_certificate(certificate, roots[certificate.ca])
        return problems

    # ---- lists -------------------------------------------------------------------------------------------------

    async def _check_lists(
        self, kind: CertificateKind, roots: list[x509.Certificate], today: datetime.date
    ) -> list[str]:
        register = await self._register(kind, today)
        try:
            full = await self._list(kind, "", roots)
            partitions = {place: await self._list(kind, place, roots) for place in register}
        except Unexpected as error:
            return [str(error)]
        return judge_lists(kind, Lines(register, full, partitions))

    async def _register(self, kind: CertificateKind, today: datetime.date) -> dict[str, dict[int, str]]:
        """Revoked and not expired, by municipality; every municipality that has certificates at all."""
        rows = await self._database.rows(
            "authority",
            "SELECT municipality, serial, reason, state = 'revoked' AND not_after >= $2 AS listed "
            "FROM authority.certificate WHERE ca = $1",
            kind,
            today,
        )
        found: dict[str, dict[int, str]] = {}
        for row in rows:
            part = found.setdefault(str(row["municipality"]), {})
            if row["listed"]:
                part[int(str(row["serial"]))] = str(row["reason"])
        return found

    async def _list(self, kind: CertificateKind, municipality: str, roots: list[x509.Certificate]) -> dict[int, str]:
        raw = await self._patience.persist(lambda: self._web.list(kind, municipality))
        crl = x509.load_der_x509_crl(raw)
        name = f"{kind} list of {municipality or 'all'}"
        if not any(_signs(root, crl) for root in roots):
            raise Unexpected(f"{name}: no CA certificate verifies it")
        now = datetime.datetime.now(datetime.UTC)
        if crl.next_update_utc is None or not crl.last_update_utc <= now <= crl.next_update_utc:
            raise Unexpected(f"{name}: not current")
        return {entry.serial_number: _entry_reason(entry) for entry in crl}

    # ---- OCSP --------------------------------------------------------------------------------------------------

    async def _check_certificate(self, certificate: Certificate, roots: list[x509.Certificate]) -> list[str]:
        leaf = x509.load_der_x509_certificate(certificate.der)
        issuer = next((root for root in roots if _issued(leaf, root)), None)
        if issuer is None:
            return [f"{certificate.ca} certificate {certificate.serial}: no CA certificate verifies it"]
        try:
            answer = await self._patience.persist(lambda: self._ask(leaf, issuer))
        except Unexpected as error:
            return [f"{certificate.ca} certificate {certificate.serial}: {error}"]
        return list(judge_answer(certificate, answer))

    async def _ask(self, leaf: x509.Certificate, issuer: x509.Certificate) -> str:
        """``good``, or the reason of the revocation."""
        nonce = self._entropy.random_bytes(NONCE_BYTES)
        builder = ocsp.OCSPRequestBuilder().add_certificate(leaf, issuer, hashes.SHA256())
        question = builder.add_extension(x509.OCSPNonce(nonce), critical=False).build()
        raw = await self._web.ocsp(question.public_bytes(serialization.Encoding.DER))
        answer = ocsp.load_der_ocsp_response(raw)
        if answer.response_status in TRY_LATER:
            raise WebUnavailable("OCSP: try later")
        if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise Unexpected(f"OCSP answers {answer.response_status.name}")
        _require_authentic(answer, issuer)
        if answer.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce != nonce:
            raise Unexpected("the OCSP answer is to another question")
        if answer.serial_number != leaf.serial_number:
            raise Unexpected("the OCSP answer is about another certificate")
        if answer.certificate_status is ocsp.OCSPCertStatus.GOOD:
            return "good"
        if answer.certificate_status is ocsp.OCSPCertStatus.REVOKED:
            return reason_text(answer.revocation_reason)
        return "unknown"


def _require_authentic(answer: ocsp.OCSPResponse, issuer: x509.Certificate) -> None:
    """Signed by a responder that the issuer delegated (RFC 6960 section 4.2.2.2)."""
    for responder in answer.certificates:
        usage = responder.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        key = responder.public_key()
        if not _issued(responder, issuer) or ExtendedKeyUsageOID.OCSP_SIGNING not in usage:
            continue
        if isinstance(key, rsa.RSAPublicKey) and _verifies(key, answer.signature, answer.tbs_response_bytes):
            return
    raise Unexpected("no delegated responder signed the OCSP answer")


def _verifies(key: rsa.RSAPublicKey, signature: bytes, data: bytes) -> bool:
    try:
        key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        return False
    return True


def _issued(leaf: x509.Certificate, root: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(root)
    except (InvalidSignature, ValueError):
        return False
    return True


def _signs(root: x509.Certificate, crl: x509.CertificateRevocationList) -> bool:
    key = root.public_key()
    return isinstance(key, rsa.RSAPublicKey) and crl.is_signature_valid(key)


def _entry_reason(entry: x509.RevokedCertificate) -> str:
    try:
        return reason_text(entry.extensions.get_extension_for_class(x509.CRLReason).value.reason)
    except x509.ExtensionNotFound:
        return "unspecified"
