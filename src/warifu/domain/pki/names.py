"""Names: who the certification authorities say they are, their policies, and what subscribers and lists are called.

``WARIFU_TEST`` is the default and says plainly that it is not the real service. ``REAL_NAMES`` has the real service's
names and object identifiers, for testing programs that insist on them; keys remain ours, so nothing signed under it
chains to a real authority.

Distinguished names are written with exact string types: C is PrintableString, everything else UTF8String (as in the
certificates the real service ships).
"""

import re
from functools import lru_cache

from msgspec import Struct

from warifu.contract.values import CertificateKind
from warifu.domain.pki import der
from warifu.domain.pki.errors import BadContent
from warifu.kernel.municipalities import municipality

Kind = CertificateKind
"""Which of the two authorities, and which of a card's two certificates."""
KINDS: tuple[Kind, ...] = ("signature", "authentication")

Attribute = tuple[str, str]
"""Type (dotted) and text of one relative distinguished name."""

COUNTRY, LOCALITY, ORGANIZATION, UNIT, COMMON_NAME = "2.5.4.6", "2.5.4.7", "2.5.4.10", "2.5.4.11", "2.5.4.3"

_ROMAJI = re.compile(r"[A-Z][A-Za-z' -]{1,59}")
_MAX_COMMON_NAME_CHARS = 64


class Naming(Struct, frozen=True, kw_only=True):
    """All names one certification service uses. Romanised names are also the authorities' subjects."""

    organization: str
    signature_unit: str
    authentication_unit: str
    operator_unit: str
    native_organization: str
    """Japanese names stand in the authorities' subjectAltName and the subscribers' issuerAltName."""
    native_signature_unit: str
    native_authentication_unit: str
    native_operator_unit: str
    points_unit: str = "CRL Distribution Points"
    point_suffix: str = " CRLDP"
    """Ends a distribution point's CN. Not confirmed in the real profile; seen in one verifier service's examples."""
    signature_policy: str
    authentication_policy: str
    attribute_arc: str
    """Arc above the subscriber's attributes in subjectAltName (.1 name, .4 birth date, ...)."""
    cps_uri: str

    def unit(self, kind: Kind) -> str:
        """The authority's own organisational unit."""
        return self.signature_unit if kind == "signature" else self.authentication_unit

    def native_unit(self, kind: Kind) -> str:
        """The same in Japanese."""
        return self.native_signature_unit if kind == "signature" else self.native_authentication_unit

    def policy(self, kind: Kind) -> str:
        """The certificate policy, dotted."""
        return self.signature_policy if kind == "signature" else self.authentication_policy


# 32473 is the enterprise number that IANA keeps for documentation (RFC 5612): nobody may ever come to trust policies
# below it, which says by itself what they are. ITU-T's example arc 2.999 would say the same, but not every parser reads
# it (pkilint's takes 2.999 for out of range), and the 128-bit arcs of UUIDs (2.25) break those that keep 32 or 64 bits.
WARIFU_TEST = Naming(
    organization="Warifu Test",
    signature_unit="Warifu Test for digital signature",
    authentication_unit="Warifu Test for user authentication",
    operator_unit="Synthetic data - not a real authority",
    native_organization="割符試験認証サービス",
    native_signature_unit="割符試験認証サービス署名用",
    native_authentication_unit="割符試験認証サービス利用者証明用",
    native_operator_unit="合成データ専用（実在の認証局ではありません）",
    signature_policy="1.3.6.1.4.1.32473.8.5.1.1.20",
    authentication_policy="1.3.6.1.4.1.32473.8.5.1.3.30",
    attribute_arc="1.3.6.1.4.1.32473.8.5.5",
    cps_uri="http://warifu.example/cps.html",
)

REAL_NAMES = Naming(
    organization="JPKI",
    signature_unit="JPKI for digital signature",
    authentication_unit="JPKI for user authentication",
    operator_unit="Japan Agency for Local Authority Information Systems",
    native_organization="公的個人認証サービス",
    native_signature_unit="公的個人認証サービス署名用",
    native_authentication_unit="公的個人認証サービス利用者証明用",
    native_operator_unit="地方公共団体情報システム機構",
    signature_policy="1.2.392.200149.8.5.1.1.20",
    authentication_policy="1.2.392.200149.8.5.1.3.30",
    attribute_arc="1.2.392.200149.8.5.5",
    cps_uri="http://www.jpki.go.jp/cps.html",
)


class Point(Struct, frozen=True, kw_only=True):
    """A municipality's distribution point, and the L's of a subject, e.g. ``Tokyo-to``, ``Kiyose-shi``."""

    prefecture: str
    municipality: str

    def __post_init__(self) -> None:
        """Refuse what is not romaji."""
        if not (_ROMAJI.fullmatch(self.prefecture) and _ROMAJI.fullmatch(self.municipality)):
            raise BadContent("romaji of prefecture or municipality")


def attribute(kind: str, text: str) -> bytes:
    """RelativeDistinguishedName with one attribute, in its exact string type."""
    value = der.printable_string(text) if kind == COUNTRY else der.utf8_string(text)
    return der.set_of(der.sequence(der.oid(kind), value))


@lru_cache(maxsize=8192)
def distinguished_name(*attributes: Attribute) -> bytes:
    """Name (RFC 5280 section 4.1.2.4), DER, in the given order."""
    return der.sequence(*(attribute(kind, text) for kind, text in attributes))


def authority_attributes(naming: Naming, kind: Kind) -> tuple[Attribute, ...]:
    """Subject and issuer of the authority: the same for every generation of its key."""
    return (
        (COUNTRY, "JP"),
        (ORGANIZATION, naming.organization),
        (UNIT, naming.unit(kind)),
        (UNIT, naming.operator_unit),
    )


def native_authority_attributes(naming: Naming, kind: Kind) -> tuple[Attribute, ...]:
    """The authority's name in Japanese, for the alternative names."""
    return (
        (COUNTRY, "JP"),
        (ORGANIZATION, naming.native_organization),
        (UNIT, naming.native_unit(kind)),
        (UNIT, naming.native_operator_unit),
    )


def point_attributes(naming: Naming, kind: Kind, point: Point) -> tuple[Attribute, ...]:
    """Name of a municipality's distribution point.

    For user authentication the real naming is not confirmed; it follows the signature authority's here.
    """
    return (
        (COUNTRY, "JP"),
        (ORGANIZATION, naming.organization),
        (UNIT, naming.unit(kind)),
        (UNIT, naming.points_unit),
        (UNIT, point.prefecture),
        (COMMON_NAME, point.municipality + naming.point_suffix),
    )


def signature_subject_attributes(point: Point, common_name: str) -> tuple[Attribute, ...]:
    """Subject of a signature certificate: where it was issued, and a name that says when."""
    return (
        (COUNTRY, "JP"),
        (LOCALITY, point.prefecture),
        (LOCALITY, point.municipality),
        (COMMON_NAME, checked_common_name(common_name)),
    )


def authentication_subject_attributes(common_name: str) -> tuple[Attribute, ...]:
    """Subject of a user-authentication certificate: a number that says nothing about the person."""
    return ((COUNTRY, "JP"), (COMMON_NAME, checked_common_name(common_name)))


def responder_subject_attributes(naming: Naming, kind: Kind, common_name: str) -> tuple[Attribute, ...]:
    """Subject of a delegated OCSP responder."""
    return (
        (COUNTRY, "JP"),
        (ORGANIZATION, naming.organization),
        (UNIT, naming.unit(kind)),
        (COMMON_NAME, checked_common_name(common_name)),
    )


def checked_common_name(text: str) -> str:
    """The text, if a CN may be it (1 to 64 characters, X.520).

    Raises:
        BadContent: it may not.
    """
    if not 0 < len(text) <= _MAX_COMMON_NAME_CHARS:
        raise BadContent("common name")
    return text


@lru_cache(maxsize=4096)
def point_of(code: str) -> Point:
    """The distribution point of a municipality, by its six-digit code.

    Raises:
        NotFound: not in the kernel's table.
    """
    found = municipality(code)
    return Point(prefecture=found.prefecture_romaji, municipality=found.name_romaji)
