"""Lent cards are cards: their chips, certificates, lists and answers hold before those who verify them."""

import hashlib
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.ocsp import OCSPCertStatus, OCSPResponseStatus, load_der_ocsp_response
from lend_kit import Desk, run

from warifu.adapters.reader.files import list_cards, read_image
from warifu.chip import client, layout
from warifu.chip.errors import CardRefused, PinBlocked, WrongPin
from warifu.domain.cards.chip_names import PIN_PLACES
from warifu.domain.pki import ocsp
from warifu.domain.pki.errors import AlreadyRevoked
from warifu.lend.authority import KINDS, MANAGEMENT_KEY, LendingAuthority
from warifu.lend.errors import BadPin, NotLent
from warifu.lend.maker import CardMaker, Manner
from warifu.lend.personas import PERSONAS
from warifu.verify import (
    CertificateExpired,
    CertificateRevoked,
    open_list,
    verify_certificate,
    verify_response,
    verify_signature,
)

SOUND = [name for name in PERSONAS if name not in {"expired", "revoked"}]
SHA256_INFO = bytes.fromhex("3031300D060960864801650304020105000420")


def answer(desk: Desk, kind: str, certificate: bytes, nonce: bytes = b"12345678") -> bytes:
    """The OCSP answer about a certificate."""
    authority = desk.authority.authority("signature" if kind == "signature" else "authentication")
    serial = x509.load_der_x509_certificate(certificate).serial_number
    request = ocsp.request([ocsp.cert_id(authority, serial)], nonce)
    return desk.authority.ocsp_response(request, desk.now_ms)


@pytest.mark.parametrize("persona", SOUND)
def test_certificates_verify_and_are_good(desk: Desk, persona: str) -> None:
    kinds = [each.ca for each in desk.card(persona).certificates]
    assert kinds == (["authentication"] if persona == "child" else ["authentication", "signature"])
    for kind in kinds:
        if persona == "blocked" and kind == "signature":
            continue  # nobody can read it any more
        certificate = desk.certificate(persona, kind)
        assert certificate == next(each.der for each in desk.card(persona).certificates if each.ca == kind)
        verify_certificate(certificate, desk.anchors, at_ms=desk.now_ms, kind=kind)
        verify_response(
            answer(desk, kind, certificate), certificate, desk.anchors, at_ms=desk.now_ms, nonce=b"12345678"
        )
        open_list(desk.authority.revocation_list(kind, desk.now_ms), desk.anchors, at_ms=desk.now_ms).check(certificate)


def test_the_expired_card_has_expired_certificates_that_were_good_on_their_last_day(desk: Desk) -> None:
    desk.card("expired")
    for kind in KINDS:
        certificate = desk.certificate("expired", kind)
        with pytest.raises(CertificateExpired):
            verify_certificate(certificate, desk.anchors, at_ms=desk.now_ms, kind=kind)
        verify_certificate(certificate, desk.anchors, at_ms=desk.now_ms - 2 * 365 * 86_400_000, kind=kind)


def test_the_revoked_cards_certificates_are_on_the_lists_and_answered_revoked(desk: Desk) -> None:
    desk.card("revoked")
    for kind in KINDS:
        certificate = desk.certificate("revoked", kind)
        verify_certificate(certificate, desk.anchors, at_ms=desk.now_ms, kind=kind)
        response = answer(desk, kind, certificate)
        with pytest.raises(CertificateRevoked):
            verify_response(response, certificate, desk.anchors, at_ms=desk.now_ms, nonce=b"12345678")
        for municipality in ("", desk.card("revoked").certificates[0].municipality):
            der = desk.authority.revocation_list(kind, desk.now_ms, municipality)
            with pytest.raises(CertificateRevoked):
                open_list(der, desk.anchors, at_ms=desk.now_ms).check(certificate)


def test_both_keys_sign_after_their_pins(desk: Desk) -> None:
    made = desk.card("adult")
    message = b"two halves of one tally"

    async def sign(slot: layout.Slot) -> bytes:
        card = await desk.connect("adult")
        try:
            aid, reference = PIN_PLACES[slot][0]
            await client.verify_pin(card.transmit, aid, reference, made.pins[slot])
            return await client.sign_digest(card.transmit, slot, SHA256_INFO + hashlib.sha256(message).digest())
        finally:
            await card.close()

    for slot in KINDS:
        verify_signature(desk.certificate("adult", slot), message, run(sign(slot)))


def test_numbers_a_and_b_and_the_birth_key_open_what_they_should(desk: Desk) -> None:
    made = desk.card("adult")

    async def read() -> None:
        card = await desk.connect("adult")
        try:
            for aid, reference, value, fid in (
                (layout.TEXT, layout.TEXT_NUMBER_A, made.individual_number, 0x0001),
                (layout.TEXT, layout.TEXT_NUMBER_B, made.verification_number_b, 0x0002),
                (layout.FACE, layout.FACE_NUMBER_B, made.verification_number_b, 0x0002),
                (layout.FACE, layout.FACE_BIRTH, made.birth_key, 0x0001),
            ):
                await client.verify_pin(card.transmit, aid, reference, value)
                assert await client.read_ef(card.transmit, None, fid)
        finally:
            await card.close()

    run(read())


def test_the_blocked_card_has_no_tries_left_where_it_says_so(desk: Desk) -> None:
    desk.card("blocked")

    async def tries() -> dict[str, int]:
        card = await desk.connect("blocked")
        try:
            with pytest.raises(PinBlocked):
                await client.verify_pin(card.transmit, *PIN_PLACES["authentication"][0], "1234")
            return {name: await client.tries_left(card.transmit, *places[0]) for name, places in PIN_PLACES.items()}
        finally:
            await card.close()

    assert run(tries()) == {"signature": 0, "authentication": 0, "text": 3, "juki": 3}


def test_a_childs_card_has_no_signature_certificate_key_or_password(desk: Desk) -> None:
    made = desk.card("child")
    assert set(made.pins) == {"authentication", "text", "juki"}

    async def look() -> None:
        card = await desk.connect("child")
        try:
            with pytest.raises(PinBlocked):
                await client.verify_pin(card.transmit, *PIN_PLACES["signature"][0], "ABC123")
            with pytest.raises(CardRefused):
                await client.sign_digest(card.transmit, "signature", b"x")
            assert await client.read_ef(card.transmit, layout.JPKI, 0x0008) == b"\x00\x8f\x00"
        finally:
            await card.close()

    run(look())


def test_a_former_surname_and_a_substitute_stand_in_the_signature_certificate(desk: Desk) -> None:
    for persona in ("former-surname", "rare-characters"):
        desk.card(persona)
        verified = verify_certificate(
            desk.certificate(persona, "signature"), desk.anchors, at_ms=desk.now_ms, kind="signature"
        )
        assert verified.holder is not None
        assert ("［" in verified.holder.name) == (persona == "former-surname")
        assert ("1" in verified.holder.name_substitutes) == (persona == "rare-characters")


def test_the_cards_own_key_is_certified(desk: Desk) -> None:
    desk.card("adult")

    async def prove() -> None:
        card = await desk.connect("adult")
        try:
            key = await client.read_card_key(card.transmit, desk.authority.device.public_key(MANAGEMENT_KEY))
            await client.prove_card(card.transmit, key, b"challenge")
            assert key.card_id == desk.card("adult").card_id
        finally:
            await card.close()

    run(prove())


def test_other_pins_can_be_asked_for_and_bad_ones_are_refused_before_anything_is_made(desk: Desk) -> None:
    cards = list_cards(desk.home / "cards")
    for bad in ({"text": "12345"}, {"signature": "ABCDEF"}, {"signature": "abc123"}, {"puk": "1234"}):
        with pytest.raises(BadPin):
            run(desk.maker.make(PERSONAS["adult"], pins=bad))  # type: ignore[arg-type]
    assert list_cards(desk.home / "cards") == cards
    made = run(desk.maker.make(PERSONAS["adult"], pins={"text": "0000"}))

    async def verify() -> None:
        card = await desk.reader.connect(made.card_id)
        try:
            with pytest.raises(WrongPin):
                await client.verify_pin(card.transmit, *PIN_PLACES["text"][0], "5678")
            await client.verify_pin(card.transmit, *PIN_PLACES["text"][0], "0000")
        finally:
            await card.close()

    run(verify())


def test_a_card_can_be_made_for_a_contactless_reader_and_for_pyjpki(desk: Desk) -> None:
    manner = Manner(interface="contactless", contact_atr=layout.CONTACT_ATRS[3], clear_on_reselect=False)
    made = run(desk.maker.make(PERSONAS["child"], manner=manner))

    async def look() -> None:
        card = await desk.reader.connect(made.card_id)
        try:
            assert card.atr == layout.CONTACTLESS_ATR
            assert await card.transmit(bytes.fromhex("00CA5F5100")) == layout.CONTACT_ATRS[3][1:] + b"\x90\x00"
            await client.verify_pin(card.transmit, *PIN_PLACES["text"][0], made.pins["text"])
            assert await client.read_ef(card.transmit, layout.TEXT, 0x0002)
        finally:
            await card.close()

    run(look())


def test_a_move_revokes_the_signature_certificate_alone_and_a_second_reason_is_refused(desk: Desk) -> None:
    made = run(desk.maker.make(PERSONAS["adult"], seed=7))
    (changed,) = desk.authority.revoke(made.card_id, "move", desk.now_ms)
    assert (changed.ca, changed.reason) == ("signature", "affiliation_changed")
    with pytest.raises(AlreadyRevoked):
        desk.authority.revoke(made.card_id, "death", desk.now_ms)
    with pytest.raises(NotLent):
        desk.authority.revoke("WRF000000000001", "move", desk.now_ms)


def test_serials_that_were_never_given_are_unknown(desk: Desk) -> None:
    request = ocsp.request([ocsp.cert_id(desk.authority.authority("authentication"), 0x7FFFFFFF)])
    response = load_der_ocsp_response(desk.authority.ocsp_response(request, desk.now_ms))
    assert response.certificate_status is OCSPCertStatus.UNKNOWN


def test_what_is_no_request_gets_an_ocsp_error(desk: Desk) -> None:
    response = load_der_ocsp_response(desk.authority.ocsp_response(b"what?", desk.now_ms))
    assert response.response_status is OCSPResponseStatus.MALFORMED_REQUEST


def test_list_numbers_rise_and_the_folder_is_found_again(desk: Desk) -> None:
    again = LendingAuthority(desk.home / "lend", desk.now_ms)
    assert again.register().roots == desk.authority.register().roots
    first, second = (again.revocation_list("signature", desk.now_ms) for _ in range(2))
    assert first != second
    assert again.register().list_number >= 2


def test_cards_and_keys_are_their_owners_alone(desk: Desk) -> None:
    made = desk.card("adult")
    paths = [desk.home / "cards" / f"{made.card_id}.card", desk.home / "lend" / "pin", desk.home / "lend/register.json"]
    assert [path.stat().st_mode & 0o077 for path in paths] == [0, 0, 0]


def test_a_card_that_is_not_finished_leaves_no_file(desk: Desk, tmp_path: Path) -> None:
    maker = CardMaker(desk.authority, tmp_path / "cards", desk.now_ms)
    making = run(maker.make_unset(PERSONAS["adult"]))
    assert making.card_id
    assert not (tmp_path / "cards").exists()
    assert not list(tmp_path.iterdir())


def test_what_is_shown_by_accident_has_no_secrets(desk: Desk) -> None:
    made = desk.card("adult")
    text = repr(made) + repr(made.certificates)
    assert not any(secret in text for secret in (*made.pins.values(), made.individual_number, made.name))
    assert read_image(desk.home / "cards", made.card_id).life == "in_use"
