"""Certificate profiles: the exact fields, extensions and order of the certificates this service issues.

Four kinds: the two authorities' self-signed roots, signature and user-authentication certificates of subscribers, and
certificates of delegated OCSP responders. Each has a *content* (what is ordered, recorded before signing) and a
``*_tbs`` function that writes it as to-be-signed DER.

What public sources leave open about the real profile is a field of ``Profile``: which two extensions close a
subscriber's certificate (authority and subject key identifier here: a verifier needs the first to tell generations of
one name apart), whether there is an OCSP address (none here unless given), and the digit for "neither sex".
"""

from datetime import date

from msgspec import Struct

from warifu.contract.values import Person, Sex
from warifu.domain.pki import der, extensions, names
from warifu.domain.pki.dates import Validity
from warifu.domain.pki.errors import BadContent, TooYoung
from warifu.domain.pki.extensions import ExtensionName
from warifu.domain.pki.names import WARIFU_TEST, Kind, Naming, Point
from warifu.domain.pki.substitutes import full_width, substitute
from warifu.kernel.calendar import SIGNATURE_MIN_AGE, age_on, jpki_date, jst_date

FIRST_SERIAL = 0x01000000
"""Where a new authority's ascending counter may start so that every subscriber's serial has four octets."""
MAX_SERIAL = 0x7FFFFFFF
MAX_NAME_CHARS = 152
"""The contract's longest name, longest former surname, and its brackets."""
MAX_ADDRESS_CHARS = 200

SIGNATURE_ALGORITHM = der.sequence(der.oid("1.2.840.113549.1.1.11"), der.null())
"""sha256WithRSAEncryption."""
SIGNATURE_BYTES = 256
"""Of an authority's key."""

_VERSION_3 = der.explicit(0, der.integer(2))


class Profile(Struct, frozen=True, kw_only=True):
    """Names, and the extensions of each kind of certificate in their order."""

    naming: Naming = WARIFU_TEST
    root_extensions: tuple[ExtensionName, ...] = (
        "key_usage",
        "subject_alt_name",
        "basic_constraints",
        "points",
        "subject_key",
    )
    signature_extensions: tuple[ExtensionName, ...] = (
        "key_usage",
        "subject_alt_name",
        "policies",
        "issuer_alt_name",
        "points",
        "authority_key",
        "subject_key",
    )
    authentication_extensions: tuple[ExtensionName, ...] = (
        "key_usage",
        "policies",
        "issuer_alt_name",
        "points",
        "authority_key",
        "subject_key",
    )
    responder_extensions: tuple[ExtensionName, ...] = (
        "key_usage",
        "extended_key_usage",
        "no_check",
        "authority_key",
        "subject_key",
    )
    ocsp_uri: str = ""
    """Where responders answer; needed when an ``authority_info`` extension is asked for."""
    other_sex_digit: str = "9"
    """JIS X 0303's "not applicable"; one source says 3."""

    def sex_digit(self, sex: Sex) -> str:
        """1 male, 2 female, else as configured."""
        return {"male": "1", "female": "2"}.get(sex, self.other_sex_digit)


class Authority(Struct, frozen=True, kw_only=True):
    """One generation of one certification authority: its name (by kind) and its public key."""

    kind: Kind
    public_key: bytes
    """SubjectPublicKeyInfo, DER."""
    profile: Profile = Profile()

    @property
    def name(self) -> bytes:
        """The authority's distinguished name, DER: subject of its root, issuer of all it signs."""
        return names.distinguished_name(*names.authority_attributes(self.profile.naming, self.kind))

    @property
    def key_id(self) -> bytes:
        """Key identifier (20 bytes): what tells generations of one name apart."""
        return extensions.key_identifier(self.public_key)

    def point_name(self, point: Point) -> bytes:
        """A municipality's distribution point name, DER."""
        return names.distinguished_name(*names.point_attributes(self.profile.naming, self.kind, point))


class SubscriberData(Struct, frozen=True, kw_only=True):
    """What a signature certificate says about its holder. Built by ``subscriber_data``."""

    name: str
    name_substitutes: str
    birth_date: date
    sex: Sex
    address: str
    address_substitutes: str
    municipality: str
    """Six-digit code; for the record, not in the certificate."""
    point: Point
    """Prefecture and municipality in romaji."""
    common_name: str
    """When and where it was issued (``common_name``)."""

    def __post_init__(self) -> None:
        """Refuse what the profile cannot carry."""
        _check_text("name", self.name, self.name_substitutes, MAX_NAME_CHARS)
        _check_text("address", self.address, self.address_substitutes, MAX_ADDRESS_CHARS)

    def __repr__(self) -> str:
        """Without personal data."""
        return f"SubscriberData(<{self.municipality}>)"


def _check_text(field: str, text: str, flags: str, limit: int) -> None:
    if not 0 < len(text) <= limit or len(flags) != len(text) or not set(flags) <= {"0", "1"}:
        raise BadContent(f"subscriber's {field} or its substitute flags")


def subscriber_data(person: Person, *, municipality: str, point: Point, common_name: str) -> SubscriberData:
    """The holder's data from the resident register's, with characters a certificate cannot carry replaced and flagged.

    Args:
        person: as the registry keeps it.
        municipality: six-digit code of the one that issues.
        point: the same in romaji (``names.point_of``).
        common_name: of the new certificate.

    Raises:
        BadContent: name or address are too long once written.
    """
    name, address = substitute(written_name(person)), substitute(person.address)
    return SubscriberData(
        name=name.text,
        name_substitutes=name.flags,
        birth_date=person.birth_date,
        sex=person.sex,
        address=address.text,
        address_substitutes=address.flags,
        municipality=municipality,
        point=point,
        common_name=common_name,
    )


def written_name(person: Person) -> str:
    """The name, with a former surname in brackets behind the surname, as cards print it (旧姓併記)."""
    if not person.former_surname:
        return person.name
    surname, space, given = full_width(person.name).partition("\u3000")
    return f"{surname}［{person.former_surname}］{space}{given}"


def common_name(stamp: str, municipality: str, desk: str = "003A") -> str:
    """CN of a subscriber: 14 characters, the 5-digit municipality code, and the issuing desk (23 in all).

    Inferred from one test card (``997794E9AGCIEG`` ``13221`` ``003A``). For signature certificates the stamp is the
    time of issue in Japan, ``YYYYMMDDhhmmss``; for user authentication 14 characters that say nothing.

    Raises:
        BadContent: a part has another length.
    """
    parts = (stamp, municipality[:5], desk)
    if [len(part) for part in parts] != [14, 5, 4] or not "".join(parts).isalnum():
        raise BadContent("parts of the common name")
    return "".join(parts)


class RootContent(Struct, frozen=True, kw_only=True):
    """Order for an authority's self-signed certificate; the key is the authority's own."""

    serial: int
    validity: Validity


class SignatureContent(Struct, frozen=True, kw_only=True):
    """Order for a signature certificate."""

    serial: int
    public_key: bytes
    validity: Validity
    subscriber: SubscriberData


class AuthenticationContent(Struct, frozen=True, kw_only=True):
    """Order for a user-authentication certificate: nothing personal in it."""

    serial: int
    public_key: bytes
    validity: Validity
    common_name: str
    point: Point


class ResponderContent(Struct, frozen=True, kw_only=True):
    """Order for a delegated OCSP responder's certificate (RFC 6960 section 4.2.2.2)."""

    serial: int
    public_key: bytes
    validity: Validity
    common_name: str


Content = RootContent | SignatureContent | AuthenticationContent | ResponderContent


def root_tbs(authority: Authority, content: RootContent) -> bytes:
    """To-be-signed DER of the authority's own certificate.

    Raises:
        BadContent: the serial or key cannot stand in a certificate, or the profile asks for an extension roots lack.
    """
    naming, kind = authority.profile.naming, authority.kind
    native = names.distinguished_name(*names.native_authority_attributes(naming, kind))
    parts = {
        "key_usage": extensions.key_usage(5, 6),
        "subject_alt_name": extensions.subject_alt_name(extensions.directory_name(native)),
        "basic_constraints": extensions.basic_constraints_ca(),
        "points": extensions.points(authority.name),
        "subject_key": extensions.subject_key(authority.key_id),
    }
    chosen = _chosen(authority.profile.root_extensions, parts)
    return _tbs(authority, content, authority.name, authority.public_key, chosen)


def signature_certificate_tbs(authority: Authority, content: SignatureContent) -> bytes:
    """To-be-signed DER of a subscriber's signature certificate.

    Raises:
        TooYoung: the subscriber is under 15 when the certificate begins.
        BadContent: as ``root_tbs``, or the authority is the other one.
    """
    _check_kind(authority, "signature")
    subscriber = content.subscriber
    if age_on(subscriber.birth_date, jst_date(content.validity.not_before_ms)) < SIGNATURE_MIN_AGE:
        raise TooYoung(f"no signature certificate under {SIGNATURE_MIN_AGE}")
    parts = _subscriber_parts(authority, content.public_key, subscriber.point) | {
        "key_usage": extensions.key_usage(0, 1),
        "subject_alt_name": _holder_alt_name(authority.profile, subscriber),
    }
    chosen = _chosen(authority.profile.signature_extensions, parts)
    subject = names.distinguished_name(
        *names.signature_subject_attributes(subscriber.point, subscriber.common_name),
    )
    return _tbs(authority, content, subject, content.public_key, chosen)


def authentication_certificate_tbs(authority: Authority, content: AuthenticationContent) -> bytes:
    """To-be-signed DER of a subscriber's user-authentication certificate.

    Raises:
        BadContent: as ``root_tbs``, or the authority is the other one.
    """
    _check_kind(authority, "authentication")
    parts = _subscriber_parts(authority, content.public_key, content.point) | {
        "key_usage": extensions.key_usage(0),
        "extended_key_usage": extensions.extended_key_usage(extensions.CLIENT_AUTH),
    }
    chosen = _chosen(authority.profile.authentication_extensions, parts)
    subject = names.distinguished_name(*names.authentication_subject_attributes(content.common_name))
    return _tbs(authority, content, subject, content.public_key, chosen)


def responder_tbs(authority: Authority, content: ResponderContent) -> bytes:
    """To-be-signed DER of a delegated responder's certificate; short-lived, so its own revocation is not checked.

    Raises:
        BadContent: as ``root_tbs``.
    """
    parts = {
        "key_usage": extensions.key_usage(0),
        "extended_key_usage": extensions.extended_key_usage(extensions.OCSP_SIGNING),
        "no_check": extensions.no_check(),
        "authority_key": extensions.authority_key(authority.key_id),
        "subject_key": extensions.subject_key(extensions.key_identifier(content.public_key)),
    }
    chosen = _chosen(authority.profile.responder_extensions, parts)
    attributes = names.responder_subject_attributes(authority.profile.naming, authority.kind, content.common_name)
    subject = names.distinguished_name(*attributes)
    return _tbs(authority, content, subject, content.public_key, chosen)


def certificate_tbs(authority: Authority, content: Content) -> bytes:
    """To-be-signed DER of whatever is ordered.

    Raises:
        TooYoung, BadContent: as the function for that kind.
    """
    if isinstance(content, SignatureContent):
        return signature_certificate_tbs(authority, content)
    if isinstance(content, AuthenticationContent):
        return authentication_certificate_tbs(authority, content)
    return root_tbs(authority, content) if isinstance(content, RootContent) else responder_tbs(authority, content)


def assemble(tbs: bytes, signature: bytes) -> bytes:
    """Certificate or list (RFC 5280: both have this shape) from what was signed and its signature."""
    behind = signature_part(signature)
    return b"".join((der.header(der.SEQUENCE, len(tbs) + len(behind)), tbs, behind))


def signature_part(signature: bytes) -> bytes:
    """What stands behind the signed part: the algorithm once more, and the signature."""
    return SIGNATURE_ALGORITHM + der.bit_string(signature)


def _check_kind(authority: Authority, kind: Kind) -> None:
    if authority.kind != kind:
        raise BadContent(f"only the {kind} authority issues this")


def _subscriber_parts(authority: Authority, public_key: bytes, point: Point) -> dict[str, bytes]:
    """What both of a subscriber's certificates have in common."""
    profile = authority.profile
    parts = {
        "policies": extensions.policies(profile.naming.policy(authority.kind), profile.naming.cps_uri),
        "issuer_alt_name": extensions.issuer_alt_name(
            names.distinguished_name(*names.native_authority_attributes(profile.naming, authority.kind)),
        ),
        "points": extensions.points(authority.point_name(point)),
        "authority_key": extensions.authority_key(authority.key_id),
        "subject_key": extensions.subject_key(extensions.key_identifier(public_key)),
    }
    return parts | ({"authority_info": extensions.authority_info(profile.ocsp_uri)} if profile.ocsp_uri else {})


def _holder_attributes(profile: Profile, subscriber: SubscriberData) -> tuple[tuple[str, str], ...]:
    """The six attributes of subjectAltName in the order cards have them: 1, 4, 3, 5, 2, 6."""
    return (
        ("1", subscriber.name),
        ("4", jpki_date(subscriber.birth_date)),
        ("3", profile.sex_digit(subscriber.sex)),
        ("5", subscriber.address),
        ("2", subscriber.name_substitutes),
        ("6", subscriber.address_substitutes),
    )


def _holder_alt_name(profile: Profile, subscriber: SubscriberData) -> bytes:
    arc = profile.naming.attribute_arc
    return extensions.subject_alt_name(
        *(
            extensions.other_name(f"{arc}.{number}", der.utf8_string(text))
            for number, text in _holder_attributes(profile, subscriber)
        ),
    )


def _chosen(order: tuple[ExtensionName, ...], parts: dict[str, bytes]) -> list[bytes]:
    missing = [name for name in order if name not in parts]
    if missing:
        raise BadContent(f"profile asks for an extension this certificate cannot have: {missing[0]}")
    return [parts[name] for name in order]


def _tbs(authority: Authority, content: Content, subject: bytes, public_key: bytes, chosen: list[bytes]) -> bytes:
    if not 1 <= content.serial <= MAX_SERIAL:
        raise BadContent("serial number")
    validity = content.validity
    return der.sequence(
        _VERSION_3,
        der.integer(content.serial),
        SIGNATURE_ALGORITHM,
        authority.name,
        der.sequence(der.time(validity.not_before_ms), der.time(validity.not_after_ms)),
        subject,
        public_key,
        der.explicit(3, der.sequence(*chosen)),
    )
