"""An OCSP answer is signed only if it says exactly what was meant."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pki_testca import NOW_MS, authority, public

from warifu.domain.pki import extensions, ocsp
from warifu.domain.pki.errors import LintFailed
from warifu.domain.pki.lint_answers import lint_answer
from warifu.domain.pki.ocsp import CertStatus, Good, Revoked, Status, Unknown
from warifu.domain.pki.revocation import REASON_CODES

KEY = public("responder")
KEY_ID = extensions.key_identifier(KEY)
NONCE = bytes(range(16))


def line(status: Status, serial: int = 0x01000001, **changes: int) -> CertStatus:
    return CertStatus(
        cert_id=ocsp.cert_id(authority("signature"), serial),
        status=status,
        this_update_ms=changes.get("this_update_ms", NOW_MS),
        next_update_ms=changes.get("next_update_ms", NOW_MS + 60_000),
    )


MEANT = (line(Revoked(NOW_MS, "superseded")), line(Good(), 0x01000002))
TBS = ocsp.response_tbs(KEY, NOW_MS, MEANT, NONCE)


@pytest.mark.parametrize("nonce", [None, NONCE, b"1", bytes(128)])
@pytest.mark.parametrize("status", [Good(), Unknown(), *(Revoked(NOW_MS - 1000, reason) for reason in REASON_CODES)])
def test_what_was_meant_passes(status: Status, nonce: bytes | None) -> None:
    for lines in ([line(status)], [line(status), line(Good(), 5)]):
        lint_answer(ocsp.response_tbs(KEY, NOW_MS, lines, nonce), KEY_ID, NOW_MS, lines, nonce)


@pytest.mark.parametrize(
    "meant",
    [
        (line(Good()), MEANT[1]),
        (line(Unknown()), MEANT[1]),
        (line(Revoked(NOW_MS, "key_compromise")), MEANT[1]),
        (line(Revoked(NOW_MS, "unspecified")), MEANT[1]),
        (line(Revoked(NOW_MS - 1000, "superseded")), MEANT[1]),
        (line(Revoked(NOW_MS, "superseded"), 0x01000003), MEANT[1]),
        (msgspec.structs.replace(MEANT[0], this_update_ms=NOW_MS - 1000), MEANT[1]),
        (msgspec.structs.replace(MEANT[0], next_update_ms=NOW_MS + 61_000), MEANT[1]),
        (msgspec.structs.replace(MEANT[0], cert_id=ocsp.cert_id(authority("authentication"), 0x01000001)), MEANT[1]),
        (MEANT[1], MEANT[0]),
        MEANT[:1],
        (*MEANT, MEANT[0]),
    ],
)
def test_an_answer_that_says_something_else_is_refused(meant: tuple[CertStatus, ...]) -> None:
    with pytest.raises(LintFailed):
        lint_answer(TBS, KEY_ID, NOW_MS, meant, NONCE)


def test_another_responder_instant_or_nonce_is_refused() -> None:
    lint_answer(TBS, KEY_ID, NOW_MS, MEANT, NONCE)
    for key_id, produced_ms, nonce in (
        (bytes(20), NOW_MS, NONCE),
        (KEY_ID, NOW_MS + 1000, NONCE),
        (KEY_ID, NOW_MS, bytes(16)),
        (KEY_ID, NOW_MS, None),
    ):
        with pytest.raises(LintFailed):
            lint_answer(TBS, key_id, produced_ms, MEANT, nonce)


@given(st.integers(0, len(TBS) - 1), st.integers(1, 255))
def test_no_octet_may_differ(place: int, difference: int) -> None:
    """Every one of them is accounted for by one reader or the other."""
    changed = bytearray(TBS)
    changed[place] ^= difference
    with pytest.raises(LintFailed):
        lint_answer(bytes(changed), KEY_ID, NOW_MS, MEANT, NONCE)
