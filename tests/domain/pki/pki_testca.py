"""A software authority for these tests: the keys live here, in memory, for one run. Nothing else may import this."""

import hashlib
from datetime import date
from functools import cache
from typing import Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicNumbers, generate_private_key

from warifu.contract.values import Person
from warifu.domain.pki.dates import Validity, certificate_validity
from warifu.domain.pki.names import Kind, point_of
from warifu.domain.pki.profile import (
    AuthenticationContent,
    Authority,
    Content,
    Profile,
    ResponderContent,
    RootContent,
    SignatureContent,
    SubscriberData,
    assemble,
    certificate_tbs,
    common_name,
    subscriber_data,
)

NOW_MS: Final = 1_761_530_400_000  # 2025-10-27 11:00 in Japan
DAY_MS: Final = 86_400_000
BIRTH: Final = date(1980, 2, 17)
CARD_UNTIL: Final = date(2035, 2, 17)
PERSON: Final = Person(
    name="黒桐　幹也",
    birth_date=BIRTH,
    sex="male",
    address="東京都清瀬市観布子南１２－７－２０２",
    municipality="132217",
)
KIYOSE: Final = point_of("132217")
ROOT_VALIDITY: Final = Validity(not_before_ms=NOW_MS - 365 * DAY_MS, not_after_ms=NOW_MS + 3650 * DAY_MS)
VALIDITY: Final = certificate_validity(NOW_MS, BIRTH, CARD_UNTIL)


@cache
def key(_name: str) -> RSAPrivateKey:
    """A key of this run, by name."""
    return generate_private_key(65537, 2048)


@cache
def public(name: str) -> bytes:
    return (
        key(name).public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def paper_key(seed: str) -> bytes:
    """A public key without a private one (an odd number of 2048 bits made from the seed): vectors never sign."""
    octets = b"".join(hashlib.sha256(f"{seed} {part}".encode()).digest() for part in range(8))
    modulus = int.from_bytes(octets, "big") | 1 | 1 << 2047
    numbers = RSAPublicNumbers(65537, modulus).public_key()
    return numbers.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def sign(name: str, tbs: bytes) -> bytes:
    """What the HSM does."""
    return key(name).sign(tbs, PKCS1v15(), hashes.SHA256())


def authority(kind: Kind = "signature", *, profile: Profile | None = None) -> Authority:
    return Authority(kind=kind, public_key=public(kind), profile=profile or Profile())


def subscriber(person: Person = PERSON) -> SubscriberData:
    stamp = common_name("20251027110000", "132217")
    return subscriber_data(person, municipality="132217", point=KIYOSE, common_name=stamp)


def root_content() -> RootContent:
    return RootContent(serial=1, validity=ROOT_VALIDITY)


def signature_content(serial: int = 0x01000001, public_key: bytes | None = None) -> SignatureContent:
    return SignatureContent(
        serial=serial, public_key=public_key or public("holder"), validity=VALIDITY, subscriber=subscriber()
    )


def authentication_content(serial: int = 0x01000002, public_key: bytes | None = None) -> AuthenticationContent:
    return AuthenticationContent(
        serial=serial,
        public_key=public_key or public("holder"),
        validity=VALIDITY,
        common_name="997794E9AGCIEG13221003A",
        point=KIYOSE,
    )


def responder_content(public_key: bytes | None = None) -> ResponderContent:
    return ResponderContent(
        serial=0x01000003,
        public_key=public_key or public("responder"),
        validity=Validity(not_before_ms=NOW_MS, not_after_ms=NOW_MS + 30 * DAY_MS),
        common_name="OCSP responder 1",
    )


def issue(by: Authority, content: Content) -> bytes:
    """A signed certificate."""
    tbs = certificate_tbs(by, content)
    return assemble(tbs, sign(by.kind, tbs))
