"""Authorities, holders and responders of the verification tests; keys live in memory for one run."""

from datetime import date
from functools import cache
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key

from warifu.contract.values import Person
from warifu.domain.pki import ocsp
from warifu.domain.pki.dates import Validity, certificate_validity
from warifu.domain.pki.names import Kind, Point, point_of
from warifu.domain.pki.profile import (
    AuthenticationContent,
    Authority,
    Profile,
    ResponderContent,
    RootContent,
    SignatureContent,
    assemble,
    certificate_tbs,
    common_name,
    subscriber_data,
)
from warifu.domain.pki.revocation import Reason, crl_entry, crl_tbs
from warifu.verify import Anchors

NOW_MS: Final = 1_761_530_400_000  # 2025-10-27 11:00 in Japan
DAY_MS: Final = 86_400_000
SERIAL: Final = 0x01000001
KIYOSE: Final = point_of("132217")
ADACHI: Final = point_of("131211")
PERSON: Final = Person(
    name="髙橋　花子",
    birth_date=date(1980, 2, 17),
    sex="female",
    address="東京都清瀬市１－２－３",
    municipality="132217",
)
VALIDITY: Final = certificate_validity(NOW_MS, PERSON.birth_date, date(2035, 2, 17))
ROOT_VALIDITY: Final = Validity(not_before_ms=NOW_MS - 100 * DAY_MS, not_after_ms=NOW_MS + 3000 * DAY_MS)


@cache
def key(_name: str) -> RSAPrivateKey:
    """A key of this run, by name."""
    return generate_private_key(65537, 2048)


@cache
def public(name: str) -> bytes:
    return (
        key(name).public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def sign(name: str, data: bytes) -> bytes:
    """What the HSM, or a card, does."""
    return key(name).sign(data, PKCS1v15(), hashes.SHA256())


def authority(kind: Kind = "signature", generation: int = 3, profile: Profile | None = None) -> Authority:
    return Authority(kind=kind, public_key=public(f"{kind}-{generation}"), profile=profile or Profile())


SIGN: Final = authority()
OLD: Final = authority(generation=2)
AUTH: Final = authority("authentication")
_KEY_NAMES: Final = {SIGN.key_id: "signature-3", OLD.key_id: "signature-2", AUTH.key_id: "authentication-3"}


def sealed(by: Authority, tbs: bytes) -> bytes:
    """Certificate or list, signed by the authority."""
    return assemble(tbs, sign(_KEY_NAMES[by.key_id], tbs))


def root(by: Authority, validity: Validity = ROOT_VALIDITY) -> bytes:
    return sealed(by, certificate_tbs(by, RootContent(serial=1, validity=validity)))


ANCHORS: Final = Anchors.of([root(OLD), root(SIGN), root(AUTH)])


@cache
def signature_certificate(by: Authority = SIGN, point: Point = KIYOSE, serial: int = SERIAL) -> bytes:
    stamp = common_name("20251027110000", "132217")
    subscriber = subscriber_data(PERSON, municipality="132217", point=point, common_name=stamp)
    content = SignatureContent(serial=serial, public_key=public("holder"), validity=VALIDITY, subscriber=subscriber)
    return sealed(by, certificate_tbs(by, content))


@cache
def authentication_certificate() -> bytes:
    content = AuthenticationContent(
        serial=SERIAL,
        public_key=public("holder"),
        validity=VALIDITY,
        common_name="997794E9AGCIEG13221003A",
        point=KIYOSE,
    )
    return sealed(AUTH, certificate_tbs(AUTH, content))


def revocation_list(
    revoked: dict[int, Reason], by: Authority = SIGN, point: Point | None = None, *, age_ms: int = 0
) -> bytes:
    entries = [crl_entry(serial, NOW_MS - DAY_MS, reason) for serial, reason in revoked.items()]
    issued_ms = NOW_MS - age_ms
    tbs = crl_tbs(
        by, number=4, this_update_ms=issued_ms, next_update_ms=issued_ms + DAY_MS, entries=entries, point=point
    )
    return sealed(by, tbs)


@cache
def responder_certificate(by: Authority = SIGN, name: str = "responder", profile: Profile | None = None) -> bytes:
    content = ResponderContent(
        serial=SERIAL + 1,
        public_key=public(name),
        validity=Validity(not_before_ms=NOW_MS - DAY_MS, not_after_ms=NOW_MS + 30 * DAY_MS),
        common_name="OCSP responder 1",
    )
    writer = Authority(kind=by.kind, public_key=by.public_key, profile=profile) if profile else by
    return sealed(by, certificate_tbs(writer, content))


def answer(
    status: ocsp.Status | None = None,
    *,
    asked: ocsp.CertId | None = None,
    nonce: bytes | None = None,
    attached: bytes | None = None,
    signer: str = "responder",
    produced_ms: int = NOW_MS,
) -> bytes:
    """A responder's answer about the holder's signature certificate."""
    line = ocsp.CertStatus(
        cert_id=asked or ocsp.cert_id(SIGN, SERIAL),
        status=status or ocsp.Good(),
        this_update_ms=produced_ms,
        next_update_ms=produced_ms + DAY_MS,
    )
    tbs = ocsp.response_tbs(public(signer), produced_ms, [line], nonce)
    return ocsp.assemble_response(tbs, sign(signer, tbs), attached or responder_certificate())
