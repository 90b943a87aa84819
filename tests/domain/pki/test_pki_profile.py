"""Profiles as specified in public sources: fields, order, validity, who may have what."""

from datetime import UTC, date, datetime, timedelta

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from pki_testca import (
    BIRTH,
    KIYOSE,
    NOW_MS,
    PERSON,
    authentication_content,
    authority,
    issue,
    root_content,
    signature_content,
    subscriber,
)

from warifu.domain.pki import names
from warifu.domain.pki.dates import Validity, certificate_validity, validity_until
from warifu.domain.pki.errors import BadContent, CardExpired, TooYoung
from warifu.domain.pki.profile import (
    MAX_SERIAL,
    Profile,
    certificate_tbs,
    common_name,
    signature_certificate_tbs,
    written_name,
)
from warifu.kernel.calendar import SIGNATURE_MIN_AGE, age_on, birthday_in, jst_date

DAYS = st.dates(date(1900, 1, 1), date(2060, 12, 31))
INSTANTS = st.integers(1_450_000_000_000, 3_000_000_000_000)


def extension_names(der: bytes) -> list[tuple[str, bool]]:
    return [(one.oid._name, one.critical) for one in x509.load_der_x509_certificate(der).extensions]


def test_signature_certificate_has_the_seven_extensions_in_order() -> None:
    assert extension_names(issue(authority(), signature_content())) == [
        ("keyUsage", True),
        ("subjectAltName", False),
        ("certificatePolicies", True),
        ("issuerAltName", False),
        ("cRLDistributionPoints", False),
        ("authorityKeyIdentifier", False),
        ("subjectKeyIdentifier", False),
    ]


def test_root_has_neither_authority_key_nor_policies() -> None:
    assert extension_names(issue(authority(), root_content())) == [
        ("keyUsage", True),
        ("subjectAltName", False),
        ("basicConstraints", True),
        ("cRLDistributionPoints", False),
        ("subjectKeyIdentifier", False),
    ]


def test_holder_attributes_come_in_the_cards_order() -> None:
    certificate = x509.load_der_x509_certificate(issue(authority(), signature_content()))
    san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    arc = names.WARIFU_TEST.attribute_arc
    found = [(name.type_id.dotted_string, name.value[2:].decode()) for name in san if isinstance(name, x509.OtherName)]
    assert found == [
        (f"{arc}.1", "黒桐　幹也"),
        (f"{arc}.4", "319800217"),
        (f"{arc}.3", "1"),
        (f"{arc}.5", "東京都清瀬市観布子南１２－７－２０２"),
        (f"{arc}.2", "00000"),
        (f"{arc}.6", "0" * 18),
    ]


def test_authentication_certificate_says_nothing_about_the_person() -> None:
    der = issue(authority("authentication"), authentication_content())
    assert "subjectAltName" not in dict(extension_names(der))
    assert x509.load_der_x509_certificate(der).subject.rfc4514_string() == "CN=997794E9AGCIEG13221003A,C=JP"


def test_real_names_are_those_of_the_shipped_roots() -> None:
    der = issue(authority(profile=Profile(naming=names.REAL_NAMES)), root_content())
    assert x509.load_der_x509_certificate(der).subject.rfc4514_string() == (
        "OU=Japan Agency for Local Authority Information Systems,OU=JPKI for digital signature,O=JPKI,C=JP"
    )
    # String types as in the shipped certificates: PrintableString for C, UTF8String for O.
    assert bytes.fromhex("060355040613024a50") in der
    assert bytes.fromhex("060355040a0c044a504b49") in der


def test_default_names_say_that_this_is_not_the_real_service() -> None:
    der = issue(authority(), root_content())
    assert b"Warifu Test" in der
    assert b"not a real authority" in der
    assert "実在の認証局ではありません".encode() in der


def test_validity_ends_with_the_fifth_birthday_in_japan() -> None:
    """The test card of jpki.md 2.3: issued 2025-10-27, born 1980-02-17, valid until 2030-02-17."""
    validity = certificate_validity(NOW_MS, BIRTH, date(2035, 2, 17))
    assert datetime.fromtimestamp(validity.not_after_ms / 1000, UTC) == datetime(2030, 2, 17, 14, 59, 59, tzinfo=UTC)


def test_validity_is_capped_by_the_card() -> None:
    validity = certificate_validity(NOW_MS, BIRTH, date(2027, 3, 1))
    assert jst_date(validity.not_after_ms) == date(2027, 3, 1)


def test_no_certificate_for_a_card_that_has_ended() -> None:
    with pytest.raises(CardExpired):
        certificate_validity(NOW_MS, BIRTH, date(2025, 10, 26))


def test_the_cards_last_day_still_counts() -> None:
    assert jst_date(certificate_validity(NOW_MS, BIRTH, date(2025, 10, 27)).not_after_ms) == date(2025, 10, 27)


@given(INSTANTS, DAYS)
def test_validity_ends_on_a_birthday_after_four_to_five_years(issued_ms: int, birth: date) -> None:
    issued = jst_date(issued_ms)
    birth = min(birth, issued)
    last = jst_date(certificate_validity(issued_ms, birth, date(2200, 1, 1)).not_after_ms)
    assert last == birthday_in(birth, last.year)
    assert timedelta(days=4 * 365) < last - issued <= timedelta(days=5 * 365 + 2)


@given(INSTANTS, st.integers(0, 40 * 366))
def test_signature_certificates_begin_at_fifteen(issued_ms: int, age_days: int) -> None:
    issued_ms -= issued_ms % 1000
    issued = jst_date(issued_ms)
    birth = issued - timedelta(days=age_days)
    content = replace(
        signature_content(),
        subscriber=subscriber(replace(PERSON, birth_date=birth)),
        validity=validity_until(issued_ms, issued + timedelta(days=365)),
    )
    if age_on(birth, issued) < SIGNATURE_MIN_AGE:
        with pytest.raises(TooYoung):
            signature_certificate_tbs(authority(), content)
    else:
        assert signature_certificate_tbs(authority(), content)


@pytest.mark.parametrize("serial", [-1, 0, MAX_SERIAL + 1])
def test_serials_are_positive_and_of_four_octets_at_most(serial: int) -> None:
    with pytest.raises(BadContent):
        certificate_tbs(authority(), signature_content(serial))


def test_an_authority_issues_its_own_kind_only() -> None:
    with pytest.raises(BadContent):
        certificate_tbs(authority("authentication"), signature_content())
    with pytest.raises(BadContent):
        certificate_tbs(authority("signature"), authentication_content())


def test_a_profile_cannot_ask_for_what_a_certificate_lacks() -> None:
    profile = Profile(signature_extensions=("key_usage", "authority_info"))
    with pytest.raises(BadContent):
        certificate_tbs(authority(profile=profile), signature_content())


@pytest.mark.parametrize("public_key", [b"", b"\x30\x00", b"\x30\x80", bytes(300)])
def test_only_an_rsa_key_is_certified(public_key: bytes) -> None:
    content = replace(signature_content(), public_key=public_key)
    with pytest.raises(Exception, match=r"key|DER|element|tag|length"):
        certificate_tbs(authority(), content)


@pytest.mark.parametrize("change", [{"name": ""}, {"name_substitutes": "0"}, {"address": "あ" * 201}])
def test_subscriber_data_must_fit(change: dict[str, str]) -> None:
    with pytest.raises(BadContent):
        replace(subscriber(), **change)


def test_a_former_surname_stands_in_brackets() -> None:
    assert written_name(replace(PERSON, former_surname="佐藤")) == "黒桐［佐藤］　幹也"


def test_common_name_has_the_test_cards_shape() -> None:
    assert common_name("997794E9AGCIEG", "132217") == "997794E9AGCIEG13221003A"
    with pytest.raises(BadContent):
        common_name("short", "132217")


@pytest.mark.parametrize("romaji", ["", "kiyose-shi", "清瀬市", "A" * 61, "Kiyose/shi"])
def test_points_are_romaji(romaji: str) -> None:
    with pytest.raises(BadContent):
        names.Point(prefecture="Tokyo-to", municipality=romaji)


def test_personal_data_is_not_shown() -> None:
    assert "黒桐" not in repr(signature_content())


def test_an_empty_validity_is_refused() -> None:
    with pytest.raises(BadContent):
        Validity(not_before_ms=NOW_MS, not_after_ms=NOW_MS)


def test_point_name_is_the_municipalitys() -> None:
    certificate = x509.load_der_x509_certificate(issue(authority(), signature_content()))
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    full_name = points[0].full_name
    assert full_name is not None
    (full,) = full_name
    assert full.value.public_bytes() == authority().point_name(KIYOSE)
    assert full.value.rfc4514_string().startswith("CN=Kiyose-shi CRLDP,OU=Tokyo-to,OU=CRL Distribution Points,")
