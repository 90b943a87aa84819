"""What the last look before the HSM must notice: anything at all."""

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from msgspec.structs import replace
from pki_testca import (
    KIYOSE,
    authentication_content,
    authority,
    public,
    responder_content,
    root_content,
    signature_content,
    subscriber,
)

from warifu.domain.pki.dates import Validity
from warifu.domain.pki.errors import LintFailed
from warifu.domain.pki.lint import lint_certificate
from warifu.domain.pki.names import REAL_NAMES, Point
from warifu.domain.pki.profile import Authority, Content, Profile, SignatureContent, certificate_tbs

SIGN, AUTH = authority("signature"), authority("authentication")
FULL = Profile(
    naming=REAL_NAMES,
    ocsp_uri="http://ocsp.example",
    authentication_extensions=(
        "key_usage",
        "extended_key_usage",
        "authority_info",
        "policies",
        "issuer_alt_name",
        "points",
        "authority_key",
        "subject_key",
    ),
)
ORDERS = [
    (SIGN, root_content()),
    (AUTH, root_content()),
    (SIGN, signature_content()),
    (AUTH, authentication_content()),
    (SIGN, responder_content()),
    (authority("authentication", profile=FULL), authentication_content()),
]


@pytest.mark.parametrize(("by", "content"), ORDERS)
def test_what_was_ordered_passes(by: Authority, content: Content) -> None:
    lint_certificate(by, content, certificate_tbs(by, content))


def holder(**change: object) -> SignatureContent:
    return replace(signature_content(), subscriber=replace(subscriber(), **change))


@pytest.mark.parametrize(
    ("field", "ordered"),
    [
        ("serial", signature_content(0x01000009)),
        ("public key", signature_content(public_key=public("other"))),
        ("notBefore", replace(signature_content(), validity=Validity(not_before_ms=1000, not_after_ms=2000))),
        ("subject", holder(common_name="2025102711000013221004A")),
        ("subject", holder(point=Point(prefecture="Tokyo-to", municipality="Adachi-ku"))),
        ("subject_alt_name", holder(name="黒桐　幹山")),
        ("subject_alt_name", holder(name_substitutes="00001")),
        ("subject_alt_name", holder(sex="female")),
        ("subject", authentication_content()),
        ("subject", root_content()),
    ],
)
def test_what_was_not_ordered_is_named(field: str, ordered: Content) -> None:
    tbs = certificate_tbs(SIGN, signature_content())
    with pytest.raises(LintFailed) as caught:
        lint_certificate(SIGN, replace(ordered, serial=0x01000001) if field == "subject" else ordered, tbs)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("field", "profile"),
    [
        ("issuer", Profile(naming=REAL_NAMES)),
        ("number of extensions", Profile(signature_extensions=("key_usage",))),
        (
            "authority_key",
            Profile(
                signature_extensions=(
                    "key_usage",
                    "subject_alt_name",
                    "policies",
                    "issuer_alt_name",
                    "points",
                    "subject_key",
                    "authority_key",
                )
            ),
        ),
    ],
)
def test_another_profile_is_noticed(field: str, profile: Profile) -> None:
    tbs = certificate_tbs(authority(profile=profile), signature_content())
    with pytest.raises(LintFailed) as caught:
        lint_certificate(SIGN, signature_content(), tbs)
    assert caught.value.field in (field, "subject_key")


def test_another_generation_of_the_key_is_noticed() -> None:
    other = Authority(kind="signature", public_key=public("generation-2"))
    with pytest.raises(LintFailed) as caught:
        lint_certificate(SIGN, signature_content(), certificate_tbs(other, signature_content()))
    assert caught.value.field == "authority_key"


def test_another_municipalitys_point_is_noticed() -> None:
    content = authentication_content()
    tbs = certificate_tbs(AUTH, replace(content, point=Point(prefecture="Tokyo-to", municipality="Adachi-ku")))
    assert content.point == KIYOSE
    with pytest.raises(LintFailed) as caught:
        lint_certificate(AUTH, content, tbs)
    assert caught.value.field == "points"


def test_a_short_key_is_refused() -> None:
    short = generate_private_key(65537, 1024).public_key()  # noqa: S505 - weak on purpose
    spki = short.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    content = signature_content(public_key=spki)
    with pytest.raises(LintFailed) as caught:
        lint_certificate(SIGN, content, certificate_tbs(SIGN, content))
    assert caught.value.field == "key size"


@pytest.mark.parametrize(("by", "content"), ORDERS)
def test_no_flipped_bit_gets_past(by: Authority, content: Content) -> None:
    tbs = certificate_tbs(by, content)
    for position in range(8 * len(tbs)):
        flipped = bytearray(tbs)
        flipped[position // 8] ^= 1 << position % 8
        with pytest.raises(LintFailed):
            lint_certificate(by, content, bytes(flipped))


def test_bytes_cut_off_or_put_on_are_noticed() -> None:
    tbs = certificate_tbs(SIGN, signature_content())
    for changed in (tbs[:-1], tbs + b"\x05\x00", b""):
        with pytest.raises(LintFailed):
            lint_certificate(SIGN, signature_content(), changed)


def test_the_text_holds_no_personal_data() -> None:
    tbs = certificate_tbs(SIGN, signature_content())
    with pytest.raises(LintFailed) as caught:
        lint_certificate(SIGN, holder(name="黒桐　幹山"), tbs)
    assert "黒桐" not in str(caught.value)
