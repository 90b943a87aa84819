"""Certificates and signatures: what is established, and each way it fails."""

from collections.abc import Callable

import pytest
from verify_testca import (
    ANCHORS,
    AUTH,
    NOW_MS,
    OLD,
    ROOT_VALIDITY,
    SERIAL,
    SIGN,
    VALIDITY,
    authentication_certificate,
    responder_certificate,
    root,
    sealed,
    sign,
    signature_certificate,
)

from warifu.domain.pki.dates import Validity
from warifu.domain.pki.names import REAL_NAMES
from warifu.domain.pki.profile import Authority, assemble
from warifu.kernel.errors import Refused
from warifu.verify import (
    Anchors,
    CertificateExpired,
    CertificateNotYetValid,
    NoTrustAnchor,
    SignatureInvalid,
    Unreadable,
    VerificationFailed,
    WrongKeyUsage,
    WrongPolicy,
    verify_certificate,
    verify_signature,
)
from warifu.verify.reading import load_certificate


def test_a_signature_certificate_names_its_holder() -> None:
    verified = verify_certificate(signature_certificate(), ANCHORS, at_ms=NOW_MS, kind="signature")
    assert (verified.serial, verified.not_after_ms) == (SERIAL, VALIDITY.not_after_ms)
    assert verified.holder is not None
    assert (verified.holder.name, verified.holder.name_substitutes) == ("高橋　花子", "10000")
    assert (verified.holder.birth_date, verified.holder.sex) == ("319800217", "2")
    assert verified.holder.address == "東京都清瀬市１－２－３"
    assert "高橋" not in repr(verified)


def test_an_authentication_certificate_names_nobody() -> None:
    verified = verify_certificate(authentication_certificate(), ANCHORS, at_ms=NOW_MS, kind="authentication")
    assert verified.holder is None


@pytest.mark.parametrize("by", [SIGN, OLD])
def test_the_anchor_is_chosen_by_key_not_by_name(by: Authority) -> None:
    assert SIGN.name == OLD.name
    verified = verify_certificate(signature_certificate(by), ANCHORS, at_ms=NOW_MS, kind="signature")
    assert verified.anchor.key_id == by.key_id


def test_the_other_generation_is_no_anchor() -> None:
    with pytest.raises(NoTrustAnchor):
        verify_certificate(signature_certificate(SIGN), Anchors.of([root(OLD)]), at_ms=NOW_MS, kind="signature")


@pytest.mark.parametrize(
    ("at_ms", "error"),
    [
        (VALIDITY.not_before_ms - 1, CertificateNotYetValid),
        (VALIDITY.not_before_ms, None),
        (VALIDITY.not_after_ms + 999, None),
        (VALIDITY.not_after_ms + 1000, CertificateExpired),
    ],
)
def test_validity_holds_from_its_first_to_its_last_second(at_ms: int, error: type[Exception] | None) -> None:
    def judge() -> None:
        verify_certificate(signature_certificate(), ANCHORS, at_ms=at_ms, kind="signature")

    if error is None:
        judge()
    else:
        with pytest.raises(error):
            judge()


def test_an_expired_anchor_carries_nothing() -> None:
    short = Validity(not_before_ms=ROOT_VALIDITY.not_before_ms, not_after_ms=NOW_MS - 1000)
    with pytest.raises(CertificateExpired):
        verify_certificate(signature_certificate(), Anchors.of([root(SIGN, short)]), at_ms=NOW_MS, kind="signature")


def test_each_kind_has_its_policy() -> None:
    with pytest.raises(WrongPolicy):
        verify_certificate(authentication_certificate(), ANCHORS, at_ms=NOW_MS, kind="signature")
    with pytest.raises(WrongPolicy):
        verify_certificate(signature_certificate(), ANCHORS, at_ms=NOW_MS, kind="signature", naming=REAL_NAMES)
    with pytest.raises(WrongPolicy):
        verify_certificate(responder_certificate(), ANCHORS, at_ms=NOW_MS, kind="signature")


def replaced(certificate: bytes, old: str, new: str, by: Authority = SIGN) -> bytes:
    """The certificate with some octets of its signed part replaced, signed again."""
    tbs = load_certificate(certificate).tbs_certificate_bytes
    assert tbs.count(bytes.fromhex(old)) == 1
    return sealed(by, tbs.replace(bytes.fromhex(old), bytes.fromhex(new)))


def test_a_signature_certificate_must_be_for_non_repudiation() -> None:
    with pytest.raises(WrongKeyUsage):
        verify_certificate(
            replaced(signature_certificate(), "030206c0", "03020780"), ANCHORS, at_ms=NOW_MS, kind="signature"
        )


def test_an_unknown_critical_extension_is_not_passed_over() -> None:
    odd = replaced(authentication_certificate(), "0603551d0f0101ff", "0603551d630101ff", AUTH)
    with pytest.raises(Unreadable):
        verify_certificate(odd, ANCHORS, at_ms=NOW_MS, kind="authentication")


def test_an_authoritys_certificate_is_no_holders() -> None:
    with pytest.raises(NoTrustAnchor):
        verify_certificate(root(SIGN), ANCHORS, at_ms=NOW_MS, kind="signature")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda tbs, signature: assemble(tbs, signature[:-1] + bytes((signature[-1] ^ 1,))),
        lambda tbs, signature: assemble(tbs.replace(b"Kiyose-shi", b"Kiyosa-shi"), signature),
        lambda tbs, _: assemble(tbs, sign("stranger", tbs)),
        lambda tbs, signature: assemble(tbs, signature).replace(
            bytes.fromhex("864886f70d01010b0500038201"), bytes.fromhex("864886f70d01010c0500038201")
        ),
    ],
)
def test_a_forged_certificate_is_noticed(spoil: Callable[[bytes, bytes], bytes]) -> None:
    good = load_certificate(signature_certificate())
    forged = spoil(good.tbs_certificate_bytes, good.signature)
    with pytest.raises(SignatureInvalid):
        verify_certificate(forged, ANCHORS, at_ms=NOW_MS, kind="signature")


def test_the_algorithm_inside_counts_too() -> None:
    """RFC 5280 section 4.1.1.2: the signed part must name the algorithm that signed it."""
    odd = replaced(signature_certificate(), "06092a864886f70d01010b", "06092a864886f70d01010c")
    with pytest.raises(SignatureInvalid):
        verify_certificate(odd, ANCHORS, at_ms=NOW_MS, kind="signature")


def test_a_wrong_octet_never_gives_another_error() -> None:
    good = signature_certificate()
    for position in range(0, len(good), 3):
        spoiled = bytearray(good)
        spoiled[position] ^= 0x55
        with pytest.raises(VerificationFailed):
            verify_certificate(bytes(spoiled), ANCHORS, at_ms=NOW_MS, kind="signature")


def test_only_authorities_are_anchors() -> None:
    with pytest.raises(NoTrustAnchor):
        Anchors.of([signature_certificate()])
    with pytest.raises(Unreadable):
        Anchors.of([b"no certificate"])


def test_a_holders_signature_verifies() -> None:
    verify_signature(signature_certificate(), b"message", sign("holder", b"message"))


@pytest.mark.parametrize(
    ("message", "signature"),
    [
        (b"another", sign("holder", b"message")),
        (b"message", sign("stranger", b"message")),
        (b"message", b""),
        (b"message", bytes(256)),
    ],
)
def test_anything_else_does_not(message: bytes, signature: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        verify_signature(signature_certificate(), message, signature)


def test_an_authoritys_key_signs_no_messages() -> None:
    with pytest.raises(WrongKeyUsage):
        verify_signature(root(SIGN), b"message", sign("signature-3", b"message"))


def test_every_error_is_a_refusal_with_its_own_code() -> None:
    classes = VerificationFailed.__subclasses__()
    assert all(issubclass(one, Refused) for one in classes)
    assert len({one.code for one in classes}) == len(classes)
    assert all(one.code.startswith("verify.") for one in classes)
