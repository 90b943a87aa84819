"""Pre-encoded certificates: octet for octet the profile's, and a last look that notices anything."""

import datetime

import pytest
from msgspec.structs import replace
from pki_testca import authentication_content, authority, public, signature_content, subscriber
from test_pki_lint import FULL

from warifu.domain.pki.dates import Validity
from warifu.domain.pki.errors import BadContent, LintFailed, TooYoung
from warifu.domain.pki.names import REAL_NAMES, Point
from warifu.domain.pki.profile import Authority, Profile, SignatureContent, certificate_tbs
from warifu.domain.pki.template import Order, Template, template_of

REAL = Profile(naming=REAL_NAMES)
SIGN, AUTH = authority("signature"), authority("authentication")


def holder(**change: object) -> SignatureContent:
    return replace(signature_content(), subscriber=replace(subscriber(), **change))


ORDERS: list[tuple[Authority, Order]] = [
    (SIGN, signature_content()),
    (AUTH, authentication_content()),
    (authority("signature", profile=REAL), signature_content()),
    (authority("authentication", profile=REAL), authentication_content()),
    (authority("authentication", profile=FULL), authentication_content()),
    (SIGN, signature_content(0x7FFFFFFF, public("other"))),
    (SIGN, holder(name="〓" * 40, name_substitutes="1" * 40)),
    (SIGN, holder(name="字" * 100, name_substitutes="0" * 100, address="字" * 200, address_substitutes="1" * 200)),
    (SIGN, replace(signature_content(), serial=5)),
    (
        SIGN,
        replace(
            signature_content(), validity=Validity(not_before_ms=2_000_000_000_000, not_after_ms=2_600_000_000_000)
        ),
    ),
]


def template_for(by: Authority, order: Order) -> Template:
    return template_of(by, order.subscriber.point if isinstance(order, SignatureContent) else order.point)


@pytest.mark.parametrize(("by", "order"), ORDERS)
def test_a_certificate_from_a_template_is_the_profiles_and_passes(by: Authority, order: Order) -> None:
    template = template_for(by, order)
    tbs = template.write(order)
    assert tbs == certificate_tbs(by, order)
    template.check(order, tbs)


@pytest.mark.parametrize(("by", "order"), ORDERS[:2])
def test_the_last_look_notices_any_octet(by: Authority, order: Order) -> None:
    template = template_for(by, order)
    tbs = template.write(order)
    for place in range(len(tbs)):
        for bit in (0x01, 0x80):
            damaged = bytearray(tbs)
            damaged[place] ^= bit
            with pytest.raises(LintFailed):
                template.check(order, bytes(damaged))
    for other in (tbs[:-1], tbs + b"\x00", b"", tbs[:40]):
        with pytest.raises(LintFailed):
            template.check(order, other)


@pytest.mark.parametrize(
    "other",
    [
        signature_content(0x01000009),
        signature_content(public_key=public("other")),
        replace(
            signature_content(), validity=Validity(not_before_ms=1_000_000_000_000, not_after_ms=1_000_000_002_000)
        ),
        holder(common_name="2025102711000013221004A"),
        holder(name="黒桐　幹山", name_substitutes="00000"),
        holder(sex="female"),
        holder(birth_date=datetime.date(1980, 2, 18)),
    ],
)
def test_the_last_look_compares_with_the_order(other: SignatureContent) -> None:
    order = signature_content()
    template = template_of(SIGN, order.subscriber.point)
    with pytest.raises(LintFailed):
        template.check(other, template.write(order))


def test_a_short_or_weak_key_is_not_signed() -> None:
    order = signature_content()
    template = template_of(SIGN, order.subscriber.point)
    weak = bytearray(order.public_key)
    weak[33] &= 0x7F  # the modulus loses its highest bit
    with pytest.raises(LintFailed):
        template.check(replace(order, public_key=bytes(weak)), template.write(replace(order, public_key=bytes(weak))))


def test_a_template_is_of_one_authority_and_municipality() -> None:
    order = signature_content()
    template = template_of(SIGN, order.subscriber.point)
    with pytest.raises(BadContent):
        template.write(authentication_content())
    with pytest.raises(BadContent):
        template.write(holder(point=Point(prefecture="Tokyo-to", municipality="Adachi-ku")))
    with pytest.raises(TooYoung):
        template.write(holder(birth_date=datetime.date(2020, 1, 1)))
