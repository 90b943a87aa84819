"""OCSP answers: who may give them, about what, how fresh."""

import pytest
from verify_testca import (
    ANCHORS,
    AUTH,
    DAY_MS,
    NOW_MS,
    OLD,
    SERIAL,
    SIGN,
    answer,
    public,
    responder_certificate,
    root,
    sign,
    signature_certificate,
)

from warifu.domain.pki import ocsp
from warifu.domain.pki.errors import OcspError
from warifu.domain.pki.profile import Profile
from warifu.domain.pki.revocation import REASON_CODES, Reason
from warifu.verify import (
    Anchors,
    AnswerMismatch,
    CertificateRevoked,
    NonceMismatch,
    NoTrustAnchor,
    ResponderNotAuthorized,
    ResponderRefused,
    SignatureInvalid,
    StaleData,
    StatusUnknown,
    Unreadable,
    VerificationFailed,
    verify_response,
)

NONCE = bytes(range(32))


def judge(response: bytes, *, nonce: bytes | None = None, at_ms: int = NOW_MS, anchors: Anchors = ANCHORS) -> None:
    verify_response(response, signature_certificate(), anchors, at_ms=at_ms, nonce=nonce)


@pytest.mark.parametrize("name", ["sha1", "sha256"])
def test_good_is_good(name: ocsp.HashName) -> None:
    judge(answer(asked=ocsp.cert_id(SIGN, SERIAL, name), nonce=NONCE), nonce=NONCE)


@pytest.mark.parametrize("reason", sorted(REASON_CODES))
def test_revoked_says_why_and_since_when(reason: Reason) -> None:
    with pytest.raises(CertificateRevoked) as caught:
        judge(answer(ocsp.Revoked(NOW_MS - DAY_MS, reason)))
    assert (caught.value.reason, caught.value.revoked_ms) == (reason, NOW_MS - DAY_MS)


def test_unknown_is_not_good() -> None:
    with pytest.raises(StatusUnknown):
        judge(answer(ocsp.Unknown()))


@pytest.mark.parametrize("status", ["malformed_request", "internal_error", "try_later", "unauthorized"])
def test_an_error_answer_establishes_nothing(status: OcspError) -> None:
    with pytest.raises(ResponderRefused) as caught:
        judge(ocsp.error_response(status))
    assert caught.value.status == status


@pytest.mark.parametrize("given", [None, b"another nonce of the same length"])
def test_the_nonce_must_come_back(given: bytes | None) -> None:
    with pytest.raises(NonceMismatch):
        judge(answer(nonce=given), nonce=NONCE)


@pytest.mark.parametrize(
    "asked",
    [ocsp.cert_id(SIGN, SERIAL + 1), ocsp.cert_id(OLD, SERIAL), ocsp.cert_id(AUTH, SERIAL, "sha256")],
)
def test_an_answer_about_another_certificate_is_none(asked: ocsp.CertId) -> None:
    with pytest.raises(AnswerMismatch):
        judge(answer(asked=asked))


@pytest.mark.parametrize("produced_ms", [NOW_MS + 61_000, NOW_MS - DAY_MS - 61_000])
def test_an_answer_of_another_time_is_stale(produced_ms: int) -> None:
    with pytest.raises(StaleData):
        judge(answer(produced_ms=produced_ms))


@pytest.mark.parametrize("produced_ms", [NOW_MS + 59_000, NOW_MS - DAY_MS - 59_000])
def test_clocks_may_differ_a_little(produced_ms: int) -> None:
    judge(answer(produced_ms=produced_ms))


def test_the_authority_itself_may_answer() -> None:
    judge(answer(signer="signature-3", attached=root(SIGN)))


@pytest.mark.parametrize(
    "attached",
    [
        responder_certificate(OLD),  # another generation delegated it
        responder_certificate(AUTH),  # the other authority did
        responder_certificate(profile=Profile(responder_extensions=("key_usage", "no_check", "authority_key"))),
        responder_certificate(
            profile=Profile(responder_extensions=("key_usage", "extended_key_usage", "authority_key"))
        ),
        responder_certificate(
            profile=Profile(responder_extensions=("extended_key_usage", "no_check", "authority_key"))
        ),
        responder_certificate(name="another responder"),
        signature_certificate(),
    ],
)
def test_a_responder_must_be_delegated_by_the_issuing_key_for_this(attached: bytes) -> None:
    with pytest.raises(ResponderNotAuthorized):
        judge(answer(attached=attached))


def test_a_holder_cannot_answer() -> None:
    with pytest.raises(ResponderNotAuthorized):
        judge(answer(signer="holder", attached=signature_certificate()))


def test_a_responders_certificate_ends() -> None:
    at_ms = NOW_MS + 31 * DAY_MS
    with pytest.raises(ResponderNotAuthorized):
        judge(answer(produced_ms=at_ms), at_ms=at_ms)


def test_a_forged_answer_is_noticed() -> None:
    line = ocsp.CertStatus(
        cert_id=ocsp.cert_id(SIGN, SERIAL), status=ocsp.Good(), this_update_ms=NOW_MS, next_update_ms=NOW_MS + 1000
    )
    tbs = ocsp.response_tbs(public("responder"), NOW_MS, [line])
    forged = ocsp.assemble_response(tbs, sign("stranger", tbs), responder_certificate())
    with pytest.raises(SignatureInvalid):
        judge(forged)


def test_the_certificates_issuer_must_be_trusted() -> None:
    with pytest.raises(NoTrustAnchor):
        judge(answer(), anchors=Anchors.of([root(OLD)]))


@pytest.mark.parametrize("data", [b"", b"\x30\x00", b"\x0a\x01\x00"])
def test_what_is_no_answer_is_unreadable(data: bytes) -> None:
    with pytest.raises(Unreadable):
        judge(data)


def test_a_wrong_octet_never_gives_another_error() -> None:
    good = answer(nonce=NONCE)
    signed = len(good) - len(responder_certificate())
    for position in range(0, signed, 3):
        spoiled = bytearray(good)
        spoiled[position] ^= 0x55
        with pytest.raises(VerificationFailed):
            judge(bytes(spoiled), nonce=NONCE)


def test_an_unknown_reason_is_no_good_answer() -> None:
    line = ocsp.CertStatus(
        cert_id=ocsp.cert_id(SIGN, SERIAL),
        status=ocsp.Revoked(NOW_MS, "superseded"),
        this_update_ms=NOW_MS,
        next_update_ms=NOW_MS + 1000,
    )
    tbs = ocsp.response_tbs(public("responder"), NOW_MS, [line]).replace(b"\x0a\x01\x04", b"\x0a\x01\x0c")
    with pytest.raises(Unreadable):
        judge(ocsp.assemble_response(tbs, sign("responder", tbs), responder_certificate()))
