"""Revocation lists: full, partition, stale, foreign."""

import pytest
from verify_testca import (
    ADACHI,
    ANCHORS,
    AUTH,
    DAY_MS,
    KIYOSE,
    NOW_MS,
    OLD,
    SERIAL,
    SIGN,
    authentication_certificate,
    revocation_list,
    root,
    sealed,
    sign,
    signature_certificate,
)

from warifu.domain.pki import der, extensions
from warifu.domain.pki.names import Point
from warifu.domain.pki.profile import assemble
from warifu.domain.pki.revocation import REASON_CODES, Reason
from warifu.verify import (
    Anchors,
    CertificateRevoked,
    NoTrustAnchor,
    OutOfScope,
    SignatureInvalid,
    StaleData,
    Unreadable,
    VerificationFailed,
    open_list,
)


@pytest.mark.parametrize("point", [None, KIYOSE])
def test_a_certificate_not_on_its_list_stands(point: Point | None) -> None:
    opened = open_list(revocation_list({SERIAL + 1: "superseded"}, point=point), ANCHORS, at_ms=NOW_MS)
    opened.check(signature_certificate())
    assert (opened.number, opened.this_update_ms, opened.next_update_ms) == (4, NOW_MS, NOW_MS + DAY_MS)


@pytest.mark.parametrize("reason", sorted(REASON_CODES))
def test_a_certificate_on_its_list_is_revoked_with_reason_and_instant(reason: Reason) -> None:
    opened = open_list(revocation_list({7: "superseded", SERIAL: reason}, point=KIYOSE), ANCHORS, at_ms=NOW_MS)
    with pytest.raises(CertificateRevoked) as caught:
        opened.check(signature_certificate())
    assert (caught.value.reason, caught.value.revoked_ms) == (reason, NOW_MS - DAY_MS)


def test_another_municipalitys_list_says_nothing() -> None:
    opened = open_list(revocation_list({}, point=ADACHI), ANCHORS, at_ms=NOW_MS)
    with pytest.raises(OutOfScope):
        opened.check(signature_certificate(point=KIYOSE))
    opened.check(signature_certificate(point=ADACHI))


def test_another_generations_list_says_nothing() -> None:
    opened = open_list(revocation_list({}, OLD), ANCHORS, at_ms=NOW_MS)
    with pytest.raises(OutOfScope):
        opened.check(signature_certificate(SIGN))
    opened.check(signature_certificate(OLD))


def test_the_other_authoritys_list_says_nothing() -> None:
    opened = open_list(revocation_list({SERIAL: "superseded"}), ANCHORS, at_ms=NOW_MS)
    with pytest.raises(OutOfScope):
        opened.check(authentication_certificate())


@pytest.mark.parametrize("age_ms", [-1000, DAY_MS + 1000])
def test_a_list_of_another_day_is_stale(age_ms: int) -> None:
    with pytest.raises(StaleData):
        open_list(revocation_list({}, age_ms=age_ms), ANCHORS, at_ms=NOW_MS)


def test_a_list_of_nobody_trusted_is_refused() -> None:
    with pytest.raises(NoTrustAnchor):
        open_list(revocation_list({}), Anchors.of([root(OLD), root(AUTH)]), at_ms=NOW_MS)


def test_a_forged_list_is_noticed() -> None:
    good = revocation_list({SERIAL: "superseded"})
    forged = good.replace((SERIAL).to_bytes(4, "big"), (SERIAL + 1).to_bytes(4, "big"))
    assert forged != good
    with pytest.raises(SignatureInvalid):
        open_list(forged, ANCHORS, at_ms=NOW_MS)


def test_a_wrong_octet_never_gives_another_error() -> None:
    good = revocation_list({SERIAL: "superseded"}, point=KIYOSE)
    for position in range(0, len(good), 2):
        spoiled = bytearray(good)
        spoiled[position] ^= 0x55
        with pytest.raises(VerificationFailed):
            open_list(bytes(spoiled), ANCHORS, at_ms=NOW_MS)


def with_scope(*scope: bytes, dotted: str = "2.5.29.28") -> bytes:
    """A list of the signature authority with a scope nobody here writes."""
    extension = extensions.extension(dotted, der.sequence(*scope), critical=True)
    fields = der.read_all(der.read_only(_signed_part(revocation_list({})), der.SEQUENCE).content)
    own = der.read_only(fields[-1].content, der.SEQUENCE).content
    tail = der.explicit(0, der.sequence(own, extension))
    return sealed(SIGN, der.sequence(*(field.encoded for field in fields[:-1]), tail))


def _signed_part(data: bytes) -> bytes:
    return der.read_all(der.read_only(data, der.SEQUENCE).content)[0].encoded


@pytest.mark.parametrize(("number", "value"), [(4, b"\xff"), (3, b"\x06\x40")])
def test_indirect_and_partial_lists_are_refused(number: int, value: bytes) -> None:
    with pytest.raises(OutOfScope):
        open_list(with_scope(der.implicit(number, value)), ANCHORS, at_ms=NOW_MS)


@pytest.mark.parametrize("number", [2, 5])
def test_a_list_of_authorities_or_attributes_says_nothing_about_holders(number: int) -> None:
    opened = open_list(with_scope(der.implicit(number, b"\xff")), ANCHORS, at_ms=NOW_MS)
    with pytest.raises(OutOfScope):
        opened.check(signature_certificate())


def test_a_list_for_holders_only_is_as_good_as_the_full_one() -> None:
    open_list(with_scope(der.implicit(1, b"\xff")), ANCHORS, at_ms=NOW_MS).check(signature_certificate())


def test_a_list_with_an_unknown_critical_extension_is_refused() -> None:
    with pytest.raises(Unreadable):
        open_list(with_scope(dotted="2.999.27"), ANCHORS, at_ms=NOW_MS)


def test_a_list_without_its_end_is_stale() -> None:
    fields = der.read_all(der.read_only(_signed_part(revocation_list({})), der.SEQUENCE).content)
    tbs = der.sequence(*(field.encoded for index, field in enumerate(fields) if index != 4))
    with pytest.raises(StaleData):
        open_list(assemble(tbs, sign("signature-3", tbs)), ANCHORS, at_ms=NOW_MS)


def test_a_delta_list_is_refused() -> None:
    delta = extensions.extension("2.5.29.27", der.integer(1), critical=True)
    fields = der.read_all(der.read_only(_signed_part(revocation_list({})), der.SEQUENCE).content)
    own = der.read_only(fields[-1].content, der.SEQUENCE).content
    tail = der.explicit(0, der.sequence(own, delta))
    with pytest.raises(Unreadable):
        open_list(sealed(SIGN, der.sequence(*(field.encoded for field in fields[:-1]), tail)), ANCHORS, at_ms=NOW_MS)
