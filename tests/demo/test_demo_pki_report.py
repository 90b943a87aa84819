"""Reports of JPKI: what the certificates say is counted, and whatever does not agree with it is told."""

import datetime
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from warifu.demo.pki_report import Report, count_certificate, day_of, hold_card, month_of
from warifu.domain.pki.revocation import crl_entry
from warifu.kernel.calendar import JST

Row = dict[str, Any]
SERIAL = 77
ISSUED = datetime.datetime(2026, 4, 1, 11, tzinfo=JST)
UNTIL = datetime.datetime(2031, 2, 17, 23, 59, 59, tzinfo=JST)
REVOKED_MS = int(datetime.datetime(2026, 5, 20, 12, tzinfo=JST).timestamp() * 1000)
LISTED: Row = {
    "state": "revoked",
    "reason": "superseded",
    "revoked_ms": REVOKED_MS,
    "listed_reason": "superseded",
    "listed_ms": REVOKED_MS,
    "entry": crl_entry(SERIAL, REVOKED_MS, "superseded"),
}


@cache
def der(kind: str = "authentication") -> bytes:
    """A certificate with what a report reads of it."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    flags = dict.fromkeys(
        ("key_encipherment", "data_encipherment", "key_agreement", "key_cert_sign", "crl_sign"), False
    ) | {"encipher_only": False, "decipher_only": False}
    usage = x509.KeyUsage(digital_signature=True, content_commitment=kind == "signature", **flags)
    builder = x509.CertificateBuilder(name, name, key.public_key(), SERIAL, ISSUED, UNTIL)
    return builder.add_extension(usage, critical=True).sign(key, SHA256()).public_bytes(Encoding.DER)


def row(**changed: object) -> Row:
    plain: Row = {
        "ca": "authentication",
        "serial": SERIAL,
        "state": "valid",
        "not_after": UNTIL.date(),
        "reason": "",
        "revoked_ms": None,
        "municipality": "131016",
        "der": der(),
        "listed_reason": None,
        "listed_ms": None,
        "entry": None,
    }
    return plain | changed


def counted(period: str, *rows: Row) -> Report:
    found = Report(period=period)
    for each in rows:
        count_certificate(found, each, month_of(period))
    return found


def test_a_month_has_what_was_issued_revoked_and_stood_at_its_end() -> None:
    april, may = counted("2026-04", row(**LISTED)), counted("2026-05", row(**LISTED))
    assert (april.issued["authentication"], april.revoked, april.valid["authentication"]) == (1, {}, 1)
    assert april.municipalities == {"131016": {"authentication": 1}}
    assert (may.issued["authentication"], may.valid["authentication"]) == (0, 0)
    assert may.revoked == {"authentication": {"superseded": 1}}
    assert april.differences == may.differences == []


def test_what_is_over_is_not_valid() -> None:
    assert counted("2031-01", row()).valid["authentication"] == 1
    assert counted("2031-02", row()).valid["authentication"] == 0


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"serial": 78}, "the certificate says authentication 77"),
        ({"der": der("signature")}, "the certificate says signature 77"),
        ({"not_after": datetime.date(2031, 2, 18)}, "until 2031-02-17"),
        ({"der": b"no certificate"}, "no certificate that can be read"),
        ({"state": "intent"}, "yet signed or revoked"),
        (LISTED | {"state": "valid"}, "the lists say revoked"),
        (LISTED | {"listed_reason": None, "listed_ms": None, "entry": None}, "the lists say otherwise"),
        (LISTED | {"listed_reason": "key_compromise"}, "the lists say otherwise"),
        (LISTED | {"entry": crl_entry(78, REVOKED_MS, "superseded")}, "its line of the lists"),
    ],
)
def test_what_does_not_agree_is_told(changed: Row, told: str) -> None:
    (difference,) = counted("2026-04", row(**changed)).differences
    assert told in difference


@pytest.mark.parametrize(
    ("card", "holder", "told"),
    [
        ({}, {"authentication": 2}, "2 valid authentication certificates"),
        ({"state": "suspended"}, {}, "suspended, but its authentication certificate is valid"),
        ({}, None, "that JPKI never issued"),
        (None, {}, "the centre does not know it"),
    ],
)
def test_cards_and_certificates_are_two_halves(card: Row | None, holder: Row | None, told: str) -> None:
    whole: Row = {"card_id": "WRF000000000001", "state": "in_use", "write_id": "x", "has_authentication": True}
    held: Row = {"card_id": "WRF000000000001", "signed": 1, "authentication": 1, "signature": 0}
    found = Report(period="2026-04")
    hold_card(found, whole, held)
    assert (found.differences, found.cards_made) == ([], 1)
    hold_card(found, None if card is None else whole | card, None if holder is None else held | holder)
    (difference,) = found.differences
    assert told in difference


def test_periods() -> None:
    assert month_of("2028-02").last == datetime.date(2028, 2, 29)
    assert month_of("2026-12").last == datetime.date(2026, 12, 31)
    assert day_of("2026-04-01").has(datetime.date(2026, 4, 1))
    for wrong in ("2026", "2026-13", "x"):
        with pytest.raises(ValueError, match=r"isoformat|month"):
            month_of(wrong)
