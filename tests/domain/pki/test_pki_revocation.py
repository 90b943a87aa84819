"""Revocation: reasons, events, entries and lists."""

from typing import get_args

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from pki_testca import DAY_MS, KIYOSE, NOW_MS, authority, key, sign

from warifu.contract.values import CertificateEvent
from warifu.domain.pki.errors import AlreadyRevoked, BadContent
from warifu.domain.pki.names import KINDS, Kind, Point
from warifu.domain.pki.profile import FIRST_SERIAL, MAX_SERIAL, assemble
from warifu.domain.pki.revocation import REASON_CODES, Consequence, Event, Reason, consequence, crl_entry, crl_tbs
from warifu.domain.pki.revocation import next_reason as after

SIGN = authority("signature")


def load(entries: list[bytes], point: Point | None = None, number: int = 1) -> x509.CertificateRevocationList:
    tbs = crl_tbs(
        SIGN, number=number, this_update_ms=NOW_MS, next_update_ms=NOW_MS + DAY_MS, entries=entries, point=point
    )
    return x509.load_der_x509_crl(assemble(tbs, sign("signature", tbs)))


@pytest.mark.parametrize("event", ["move", "name", "address", "birth_date", "sex"])
def test_a_change_of_particulars_revokes_the_signature_certificate_alone(event: Event) -> None:
    assert consequence(event) == Consequence("affiliation_changed", ("signature",))


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ("death", "cessation_of_operation"),
        ("abolition", "cessation_of_operation"),
        ("return", "cessation_of_operation"),
        ("cancelled_delivery", "unspecified"),
        ("suspension", "certificate_hold"),
        ("renewal", "superseded"),
        ("key_compromise", "key_compromise"),
        ("authority_compromise", "ca_compromise"),
    ],
)
def test_an_end_revokes_both(event: Event, reason: Reason) -> None:
    assert consequence(event) == Consequence(reason, KINDS)


@pytest.mark.parametrize("event", get_args(CertificateEvent))
def test_every_event_of_the_contract_has_a_consequence(event: Event) -> None:
    assert consequence(event).kinds


def test_a_consequence_can_be_narrowed_to_one_certificate() -> None:
    assert consequence("renewal", "authentication").kinds == ("authentication",)
    assert consequence("move", "authentication").kinds == ()


def test_a_hold_becomes_a_revocation_but_is_never_released() -> None:
    assert after(None, "certificate_hold") == "certificate_hold"
    assert after("certificate_hold", "cessation_of_operation") == "cessation_of_operation"
    assert "remove_from_crl" not in REASON_CODES


@given(st.sampled_from(sorted(REASON_CODES)), st.sampled_from(sorted(REASON_CODES)))
def test_a_revocation_stands(current: Reason, wanted: Reason) -> None:
    if current in ("certificate_hold", wanted):
        assert after(current, wanted) == wanted
    else:
        with pytest.raises(AlreadyRevoked):
            after(current, wanted)


@given(st.dictionaries(st.integers(1, MAX_SERIAL), st.sampled_from(sorted(REASON_CODES)), max_size=40))
def test_a_list_says_what_was_put_in(revoked: dict[int, Reason]) -> None:
    crl = load([crl_entry(serial, NOW_MS, reason) for serial, reason in revoked.items()])
    found: dict[int, int] = {}
    for entry in crl:
        reasons = [one.value for one in entry.extensions]
        assert entry.revocation_date_utc.timestamp() * 1000 == NOW_MS
        found[entry.serial_number] = _code(reasons)
    assert found == {serial: REASON_CODES[reason] for serial, reason in revoked.items()}


def _code(reasons: list[x509.ExtensionType]) -> int:
    if not reasons:
        return 0
    (reason,) = reasons
    assert isinstance(reason, x509.CRLReason)
    return int(reason.public_bytes()[-1])


def test_entries_of_subscribers_have_one_width() -> None:
    assert {len(crl_entry(serial, NOW_MS, "superseded")) for serial in (FIRST_SERIAL, MAX_SERIAL)} == {37}


def test_unspecified_is_said_by_leaving_it_out() -> None:
    assert b"\x55\x1d\x15" not in crl_entry(1, NOW_MS, "unspecified")


def test_a_list_names_its_number_key_and_scope() -> None:
    crl = load([], point=KIYOSE, number=2**40)
    assert crl.is_signature_valid(key("signature").public_key())
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 2**40
    identifier = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert identifier == SIGN.key_id
    scope = crl.extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    assert scope.critical
    assert [name.value.public_bytes() for name in scope.value.full_name or ()] == [SIGN.point_name(KIYOSE)]


def test_the_full_list_has_no_scope() -> None:
    assert [one.oid._name for one in load([]).extensions] == ["authorityKeyIdentifier", "cRLNumber"]


def test_a_list_beyond_three_thousand_entries_is_still_read() -> None:
    """Pyca #7574: lists above 3,110 entries broke one version of the library."""
    crl = load([crl_entry(FIRST_SERIAL + index, NOW_MS, "superseded") for index in range(20_000)])
    assert len(crl) == 20_000
    assert crl.get_revoked_certificate_by_serial_number(FIRST_SERIAL + 19_999) is not None
    assert crl.is_signature_valid(key("signature").public_key())


@pytest.mark.parametrize("serial", [0, -1, MAX_SERIAL + 1])
def test_an_entry_has_a_possible_serial(serial: int) -> None:
    with pytest.raises(BadContent):
        crl_entry(serial, NOW_MS, "superseded")


@pytest.mark.parametrize(("number", "lasts_ms"), [(-1, DAY_MS), (1, 0), (1, -1)])
def test_a_list_has_a_number_and_lasts(number: int, lasts_ms: int) -> None:
    with pytest.raises(BadContent):
        crl_tbs(SIGN, number=number, this_update_ms=NOW_MS, next_update_ms=NOW_MS + lasts_ms, entries=[])


@pytest.mark.parametrize("kind", KINDS)
def test_each_authority_has_its_own_point_for_a_municipality(kind: Kind) -> None:
    other = authority("authentication" if kind == "signature" else "signature")
    assert authority(kind).point_name(KIYOSE) != other.point_name(KIYOSE)


TABLE: dict[Event, tuple[Reason, int, tuple[Kind, ...]]] = {
    "move": ("affiliation_changed", 3, ("signature",)),
    "name": ("affiliation_changed", 3, ("signature",)),
    "address": ("affiliation_changed", 3, ("signature",)),
    "birth_date": ("affiliation_changed", 3, ("signature",)),
    "sex": ("affiliation_changed", 3, ("signature",)),
    "record_error": ("affiliation_changed", 3, ("signature",)),
    "death": ("cessation_of_operation", 5, KINDS),
    "left_register": ("cessation_of_operation", 5, KINDS),
    "abolition": ("cessation_of_operation", 5, KINDS),
    "return": ("cessation_of_operation", 5, KINDS),
    "request": ("cessation_of_operation", 5, KINDS),
    "cancelled_delivery": ("unspecified", 0, KINDS),
    "suspension": ("certificate_hold", 6, KINDS),
    "renewal": ("superseded", 4, KINDS),
    "key_compromise": ("key_compromise", 1, KINDS),
    "authority_compromise": ("ca_compromise", 2, KINDS),
}
"""J-LIS's reasons and the law's events: 異動等失効, 申請失効, 危殆化, 一時保留 ..."""


@pytest.mark.parametrize("event", TABLE)
def test_each_event_has_the_reason_and_reach_of_the_table(event: Event) -> None:
    reason, code, kinds = TABLE[event]
    assert (consequence(event).reason, REASON_CODES[reason], consequence(event).kinds) == (reason, code, kinds)


def test_every_reason_of_the_service_occurs() -> None:
    assert {reason for reason, _, _ in TABLE.values()} == set(REASON_CODES)
