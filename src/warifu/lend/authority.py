"""The test CA of one folder: two roots, certificates, lists and OCSP answers, with keys that are files.

The same profile, lint, list and OCSP functions as the real nodes use; only store and HSM are smaller. Keys are those of
a software key store whose PIN lies beside it: for tests, and named so in every certificate.
"""

import secrets
from pathlib import Path
from typing import Final, get_args

import msgspec
from msgspec import Struct

from warifu.adapters.hsm.config import SoftwareConfig
from warifu.adapters.hsm.software import SoftwareDevice
from warifu.contract.values import CertificateEvent, CertificateKind
from warifu.domain.cards.contents import Unsigned
from warifu.domain.pki import ocsp, profile
from warifu.domain.pki.dates import Validity
from warifu.domain.pki.errors import OcspRefused
from warifu.domain.pki.lint import lint_certificate
from warifu.domain.pki.names import point_of
from warifu.domain.pki.ocsp import CertStatus, Good, OcspRequest, Revoked, Status, Unknown
from warifu.domain.pki.profile import Content, ResponderContent, RootContent
from warifu.domain.pki.revocation import consequence, crl_entry, crl_tbs, next_reason
from warifu.kernel.calendar import jst_date
from warifu.lend.errors import NotLent
from warifu.lend.register import Issued, Register, RegisterFile

KINDS: Final[tuple[CertificateKind, ...]] = get_args(CertificateKind)
MANAGEMENT_KEY: Final = "management-signing"
"""Certifies cards' own keys and signs what the text and face applets hold."""
ROOT_KEY: Final = "management-root"
"""Certifies that key in the cards' card-verifiable certificates."""
CARD_MASTERS: Final = ("management-card-master", "jpki-card-master")
"""SCP03 masters of the issuer domain and of JPKI's."""
CODE_KEY: Final = "security-code"

_DAY_MS: Final = 86_400_000
_ROOT_BEGINS_DAYS: Final = 3653
_ROOT_ENDS_DAYS: Final = 15 * 365
"""A test root begins ten years before it was made, since expired personas need a past, and outlives their cards."""
_RESPONDER_DAYS: Final = 5 * 365
_LIST_MS: Final = _DAY_MS
_FRESH_MS: Final = 60_000


class CertificateOrder(Struct, frozen=True, kw_only=True):
    """What is to be issued, once its serial number is known."""

    ca: CertificateKind
    card_id: str
    persona: str
    municipality: str
    content: Content
    """Its serial is a placeholder."""


class LendingAuthority:
    """The test CA in ``folder``; made when there is none.

    Args:
        folder: its own; keys, register and nothing else.
        now_ms: milliseconds since 1970 UTC, for what has to be made first.
    """

    def __init__(self, folder: Path, now_ms: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = RegisterFile(folder)
        with self._file.locked():
            self.device = _device(folder)
            self._prepare(now_ms)

    def _prepare(self, now_ms: int) -> None:
        register = self._file.load()
        for kind in KINDS:
            if kind not in register.roots:
                register = self._with_root(register, kind, now_ms)
            if kind not in register.responders:
                register = self._with_responder(register, kind, now_ms)
        self._file.save(register)

    def _with_root(self, register: Register, kind: CertificateKind, now_ms: int) -> Register:
        serial, register = register.took_serial(kind)
        validity = _days(now_ms, -_ROOT_BEGINS_DAYS, _ROOT_ENDS_DAYS)
        der = self._certify(kind, RootContent(serial=serial, validity=validity))
        return msgspec.structs.replace(register, roots=register.roots | {kind: der})

    def _with_responder(self, register: Register, kind: CertificateKind, now_ms: int) -> Register:
        serial, register = register.took_serial(kind)
        content = ResponderContent(
            serial=serial,
            public_key=self.device.public_key(_responder_label(kind)),
            validity=_days(now_ms, -1, _RESPONDER_DAYS),
            common_name="Warifu test responder",
        )
        return msgspec.structs.replace(register, responders=register.responders | {kind: self._certify(kind, content)})

    def register(self) -> Register:
        """What was issued and revoked, as it stands on disk."""
        return self._file.load()

    def sign(self, label: str, data: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256."""
        return self.device.sign(self.device.find(label, "sign"), data)

    def sign_contents(self, unsigned: Unsigned) -> bytes:
        """The signature of a part of the text or the face applet."""
        key = self.device.find(ROOT_KEY if unsigned.by_root else MANAGEMENT_KEY, "sign")
        return (self.device.sign_digest_info if unsigned.is_digest_info else self.device.sign)(key, unsigned.data)

    def authority(self, kind: CertificateKind) -> profile.Authority:
        """One of the two authorities, as the profile's functions want it."""
        return profile.Authority(kind=kind, public_key=self.device.public_key(_ca_label(kind)))

    def issue(self, order: CertificateOrder) -> Issued:
        """Issue one certificate. Raises ``LintFailed`` when it is not exactly what was ordered."""
        with self._file.locked():
            serial, register = self._file.load().took_serial(order.ca)
            self._file.save(register)  # a serial is used up even if what follows fails
            content = msgspec.structs.replace(order.content, serial=serial)
            issued = Issued(
                ca=order.ca,
                serial=serial,
                card_id=order.card_id,
                persona=order.persona,
                municipality=order.municipality,
                not_after=jst_date(content.validity.not_after_ms),
                der=self._certify(order.ca, content),
            )
            self._file.save(msgspec.structs.replace(register, issued=(*register.issued, issued)))
        return issued

    def _certify(self, kind: CertificateKind, content: Content) -> bytes:
        authority = self.authority(kind)
        tbs = profile.certificate_tbs(authority, content)
        lint_certificate(authority, content, tbs)
        return profile.assemble(tbs, self.sign(_ca_label(kind), tbs))

    def revoke(self, card_id: str, event: CertificateEvent, now_ms: int) -> tuple[Issued, ...]:
        """Revoke what the event revokes of a card's certificates.

        Raises:
            NotLent: no certificate of this card was issued here.
            AlreadyRevoked: for another reason than a hold.
        """
        effect = consequence(event)
        with self._file.locked():
            register = self._file.load()
            if not register.of_card(card_id):
                raise NotLent(card_id)
            changed = {
                (each.ca, each.serial): msgspec.structs.replace(
                    each, revoked_ms=each.revoked_ms or now_ms, reason=next_reason(each.reason, effect.reason)
                )
                for each in register.of_card(card_id)
                if each.ca in effect.kinds
            }
            issued = tuple(changed.get((each.ca, each.serial), each) for each in register.issued)
            self._file.save(msgspec.structs.replace(register, issued=issued))
        return tuple(changed.values())

    def revocation_list(self, kind: CertificateKind, now_ms: int, municipality: str = "") -> bytes:
        """A fresh list, DER: full, or of one municipality (six digits)."""
        with self._file.locked():
            register = self._file.load()
            number = register.list_number + 1
            self._file.save(msgspec.structs.replace(register, list_number=number))
        this_update_ms = now_ms - now_ms % 1000
        tbs = crl_tbs(
            self.authority(kind),
            number=number,
            this_update_ms=this_update_ms,
            next_update_ms=this_update_ms + _LIST_MS,
            entries=_entries(register, kind, municipality, now_ms),
            point=point_of(municipality) if municipality else None,
        )
        return profile.assemble(tbs, self.sign(_ca_label(kind), tbs))

    def ocsp_response(self, request: bytes, now_ms: int) -> bytes:
        """The answer (DER) to a request's bytes; what cannot be answered gets OCSP's own error answer."""
        try:
            return self._ocsp_response(ocsp.parse_request(request), now_ms - now_ms % 1000)
        except OcspRefused as error:
            return ocsp.error_response(error.status)

    def _ocsp_response(self, request: OcspRequest, now_ms: int) -> bytes:
        authority = ocsp.only_issuer(request, ocsp.issuer_index(self.authority(kind) for kind in KINDS))
        register = self._file.load()
        lines = [
            CertStatus(
                cert_id=cert_id,
                status=_status(register.find(authority.kind, cert_id.serial)),
                this_update_ms=now_ms,
                next_update_ms=now_ms + _FRESH_MS,
            )
            for cert_id in request.cert_ids
        ]
        label = _responder_label(authority.kind)
        tbs = ocsp.response_tbs(self.device.public_key(label), now_ms, lines, request.nonce)
        return ocsp.assemble_response(tbs, self.sign(label, tbs), register.responders[authority.kind])


def _device(folder: Path) -> SoftwareDevice:
    """The key store, with every key there is."""
    pin = folder / "pin"
    if not pin.exists():
        fresh = folder / "pin.new"
        fresh.touch(mode=0o600)
        fresh.write_text(secrets.token_hex(24), encoding="ascii")
        fresh.replace(pin)
    device = SoftwareDevice(SoftwareConfig(directory=str(folder / "keys"), pin_file=str(pin)))
    for kind in KINDS:
        device.create(_ca_label(kind), "sign")
        device.create(_responder_label(kind), "sign")
    device.create(MANAGEMENT_KEY, "sign")
    device.create(ROOT_KEY, "sign")
    device.create(CODE_KEY, "mac")
    for master in CARD_MASTERS:
        device.create(master, "card-master")
    return device


def _ca_label(kind: CertificateKind) -> str:
    return f"ca-{kind}"


def _responder_label(kind: CertificateKind) -> str:
    return f"ocsp-{kind}"


def _days(now_ms: int, first: int, last: int) -> Validity:
    second = now_ms - now_ms % 1000
    return Validity(not_before_ms=second + first * _DAY_MS, not_after_ms=second + last * _DAY_MS)


def _entries(register: Register, kind: CertificateKind, municipality: str, now_ms: int) -> list[bytes]:
    """The lines of a list, by serial; expired certificates leave it."""
    return [
        crl_entry(each.serial, each.revoked_ms, each.reason)
        for each in register.issued
        if each.ca == kind
        and each.revoked_ms is not None
        and each.reason is not None
        and municipality in {"", each.municipality}
        and each.not_after >= jst_date(now_ms)
    ]


def _status(issued: Issued | None) -> Status:
    if issued is None:
        return Unknown()
    if issued.revoked_ms is None or issued.reason is None:
        return Good()
    return Revoked(revoked_ms=issued.revoked_ms, reason=issued.reason)
