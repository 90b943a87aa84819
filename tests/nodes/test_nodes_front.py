"""The front: two people register a verifier, it asks within its right, and what it hears is what JPKI knows now."""

import hashlib
from typing import TypeVar

import msgspec
import pytest
from cryptography import x509
from nodes_house import HERE, PERSON, House
from nodes_parts import run

from warifu.contract.authority import AskListPart, Certificates, ListPart, RevokeCertificates
from warifu.contract.errors import open_reply
from warifu.contract.front import (
    ApproveVerifier,
    AskVerifiers,
    AskVerifierUse,
    RegisterVerifier,
    SuspendVerifier,
    Verifier,
    Verifiers,
    VerifierUses,
)
from warifu.contract.message import Answer, Request
from warifu.contract.values import CertificateKind
from warifu.domain.verifiers.errors import AlreadyProposed, NotAdmitted, OutOfRight, SamePerson
from warifu.domain.verifiers.records import FinalStatus
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import ConnectionExcess, Malformed, NotAllowed, NotFound, Stale, Unavailable
from warifu.nodes import list_parts
from warifu.nodes.front import AT_ONCE, MAX_SERIALS, Credential

A = TypeVar("A", bound=Answer)
SECRET = bytes(range(32))
BANK = "town-bank"


async def tell(house: House, request: Request, answer: type[A], person: str = "alice", sender: str = "driver") -> A:
    envelope = msgspec.structs.replace(house.envelope(request, sender=sender), actor=person)
    return open_reply(await house.send(f"{request.NAME.partition('.')[0]}", envelope), answer)


async def registered(house: House, kind: CertificateKind = "authentication", verifier_id: str = BANK) -> Credential:
    proposal = RegisterVerifier(verifier_id=verifier_id, kind=kind, name="Town Bank", approval="MIC 2016-3")
    await tell(house, proposal, Verifier, "alice")
    approval = ApproveVerifier(verifier_id=verifier_id, credential=hashlib.sha256(SECRET).digest())
    await tell(house, approval, Verifier, "bob")
    return Credential(verifier_id, SECRET)


async def with_card(house: House) -> tuple[str, int]:
    """A card at the counter, and the serial number of its user-authentication certificate."""
    card_id = await house.card_at_counter()
    (mine,) = [view for view in await house.certificates(card_id) if view.kind == "authentication"]
    return card_id, mine.serial


async def compromised(house: House, card_id: str) -> None:
    """Revoke a card's certificates for good."""
    await tell(house, RevokeCertificates(card_id=card_id, event="key_compromise"), Certificates, sender="center")


def test_registration_takes_two_people_and_suspension_one() -> None:
    async def story() -> None:
        house = House()
        proposal = RegisterVerifier(verifier_id=BANK, kind="signature", name="Town Bank", approval="MIC 2016-3")
        proposed = (await tell(house, proposal, Verifier)).verifier
        assert (proposed.state, proposed.proposed_by) == ("proposed", "driver/alice")
        with pytest.raises(AlreadyProposed):
            await tell(house, proposal, Verifier)
        approval = ApproveVerifier(verifier_id=BANK, credential=hashlib.sha256(SECRET).digest())
        with pytest.raises(NotAdmitted):
            await house.front.check(Credential(BANK, SECRET), "signature", (1,))
        with pytest.raises(SamePerson):
            await tell(house, approval, Verifier, "alice")
        assert (await tell(house, approval, Verifier, "bob")).verifier.approved_by == "driver/bob"
        with pytest.raises(NotAllowed):
            await tell(house, approval, Verifier, "carol")
        suspension = SuspendVerifier(verifier_id=BANK, reason="request")
        assert (await tell(house, suspension, Verifier, "bob")).verifier.state == "suspended"
        with pytest.raises(NotAdmitted):
            await house.front.check(Credential(BANK, SECRET), "signature", (1,))
        with pytest.raises(SamePerson):
            await tell(house, approval, Verifier, "bob")
        assert (await tell(house, approval, Verifier, "carol")).verifier.state == "approved"
        listed = (await tell(house, AskVerifiers(), Verifiers)).verifiers
        assert [view.verifier_id for view in listed] == [BANK]
        with pytest.raises(NotFound):
            await tell(house, SuspendVerifier(verifier_id="nobody", reason="request"), Verifier)

    run(story())


def test_a_verifier_hears_what_was_revoked_before_it_asked() -> None:
    async def story() -> None:
        house = House()
        async with house.running():
            credential = await registered(house)
            card_id, serial = await with_card(house)
            before = await house.front.check(credential, "authentication", (serial, serial + 999))
            assert [each.status for each in before.statuses] == ["good", "unknown"]
            held = RevokeCertificates(card_id=card_id, event="suspension")
            await tell(house, held, Certificates, sender="center")
            (status,) = (await house.front.check(credential, "authentication", (serial,))).statuses
            assert (status.status, status.reason) == ("revoked", "certificate_hold")
            await compromised(house, card_id)
            (status,) = (await house.front.check(credential, "authentication", (serial,))).statuses
            assert (status.status, status.reason) == ("revoked", "key_compromise")

    run(story())


def test_the_front_keeps_what_is_final_and_nothing_else() -> None:
    async def story() -> None:
        house = House()
        async with house.running():
            credential = await registered(house)
            card_id, serial = await with_card(house)
            await compromised(house, card_id)
            await house.front.check(credential, "authentication", (serial, 7))
            (kept,) = house.stores["front"].records(FinalStatus)
            assert isinstance(kept, FinalStatus)
            assert (kept.ca, kept.serial, kept.reason) == ("authentication", serial, "key_compromise")

            async def away(*_: object) -> None:
                raise Unavailable("JPKI does not answer")

            house.handlers["authority"] = away  # type: ignore[assignment]
            (status,) = (await house.front.check(credential, "authentication", (serial,))).statuses
            assert status.status == "revoked"
            with pytest.raises(Unavailable):
                await house.front.check(credential, "authentication", (serial, 7))

    run(story())


def test_each_asks_about_its_own_kind_with_its_own_secret_and_not_too_much() -> None:
    async def story() -> None:
        house = House()
        credential = await registered(house, "signature")
        with pytest.raises(OutOfRight):
            await house.front.check(credential, "authentication", (1,))
        for wrong in (Credential(BANK, bytes(32)), Credential("nobody", SECRET), Credential(BANK, b"")):
            with pytest.raises(NotAdmitted):
                await house.front.check(wrong, "signature", (1,))
        for serials in ((), (1, 1), tuple(range(MAX_SERIALS + 1))):
            with pytest.raises(Malformed):
                await house.front.check(credential, "signature", serials)
        house.front._at_work[BANK] = AT_ONCE
        with pytest.raises(ConnectionExcess):
            await house.front.check(credential, "signature", (1,))
        assert "Credential(town-bank)" in repr(credential)

    run(story())


def test_thousands_are_answered_in_their_order_and_logged() -> None:
    async def story() -> None:
        house = House()
        async with house.running():
            credential = await registered(house)
            _, serial = await with_card(house)
            asked = tuple(range(serial + 2_500, serial - 1, -1))
            statuses = (await house.front.check(credential, "authentication", asked)).statuses
            assert [each.serial for each in statuses] == list(asked)
            assert statuses[-1].status == "good"
            since = jst_date(house.clock.now_ms())
            (use,) = (await tell(house, AskVerifierUse(verifier_id=BANK, since=since), VerifierUses)).uses
            assert (use.what, use.requests, use.certificates) == ("status", 1, len(asked))
            assert "verifier/town-bank" in {row.entry.actor for row in house.stores["front"].audit()}

    run(story())


def test_a_list_is_fetched_whole_and_current(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_parts, "PART_BYTES", 100)

    async def story() -> None:
        house = House()
        async with house.running():
            credential = await registered(house)
            card_id, serial = await with_card(house)
            await tell(
                house, RevokeCertificates(card_id=card_id, event="key_compromise"), Certificates, sender="center"
            )
            for municipality in ("", HERE):
                found = x509.load_der_x509_crl(await house.front.fetch(credential, "authentication", municipality))
                assert found.get_revoked_certificate_by_serial_number(serial) is not None
            gone = AskListPart(ca="authentication", offset=100, digest=bytes(32))
            with pytest.raises(Stale):
                await tell(house, gone, ListPart, sender="front")
            with pytest.raises(OutOfRight):
                await house.front.fetch(credential, "signature")

    run(story())


def test_nothing_personal_stands_in_the_front() -> None:
    async def story() -> None:
        house = House()
        async with house.running():
            credential = await registered(house)
            card_id, serial = await with_card(house)
            await house.front.check(credential, "authentication", (serial,))
            everything = repr(vars(house.stores["front"]._state))
            assert all(word not in everything for word in (card_id, PERSON.name, PERSON.address))

    run(story())
