"""Key ceremonies: two holders or none; the old generation's certificates stand, new ones are the new generation's."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from nodes_house import House
from nodes_parts import run
from test_nodes_authority_bulk import batch, certificates, issue, order

from warifu.contract.authority import (
    AskAuthorities,
    Authorities,
    EnrolHolder,
    GenerationMade,
    HolderApproval,
    MakeGeneration,
    PublishList,
    RevocationList,
)
from warifu.contract.errors import open_reply
from warifu.contract.message import Done
from warifu.domain.certificates.ceremony import enrolment_statement, generation_statement
from warifu.domain.certificates.errors import DualControl, NotNextGeneration

KEYS = {name: Ed25519PrivateKey.from_private_bytes(name[:1].encode() * 32) for name in ("alice", "bob", "carol")}


def approved(statement: bytes, *names: str) -> tuple[HolderApproval, ...]:
    return tuple(HolderApproval(holder=name, signature=KEYS[name].sign(statement)) for name in names)


def public(name: str) -> bytes:
    return KEYS[name].public_key().public_bytes_raw()


async def enrol(house: House, name: str, *approvals: HolderApproval) -> None:
    await house.ask("authority", EnrolHolder(holder=name, public_key=public(name), approvals=approvals), Done)


def ceremony(at_ms: int, *names: str, generation: int = 2, signed: int | None = None) -> MakeGeneration:
    statement = generation_statement("signature", signed or generation, at_ms)
    return MakeGeneration(
        ca="signature", generation=generation, active_from_ms=at_ms, approvals=approved(statement, *names)
    )


async def make(house: House, request: MakeGeneration) -> GenerationMade:
    return await house.ask("authority", request, GenerationMade)


def test_a_new_generation_issues_from_its_time_on_and_the_old_ones_certificates_stand() -> None:
    async def held() -> None:
        async with House().running() as house:
            await enrol(house, "alice")
            await enrol(house, "bob")
            later = house.clock.now_ms() + 3_600_000
            made = await make(house, ceremony(later, "alice", "bob"))
            root = x509.load_der_x509_certificate(made.der)
            root.public_key().verify(made.signature, made.minutes, PKCS1v15(), SHA256())  # type: ignore[union-attr,call-arg,arg-type]
            assert b"approved by: alice" in made.minutes
            await issue(house, batch(order(house, 1)))
            house.clock.days = 1
            await issue(house, batch(order(house, 2), position=1))
            generations = {(row.ca, row.card_id[-1]): row.generation for row in certificates(house)}
            assert generations == {
                ("authentication", order(house, 1).card_id[-1]): 1,
                ("authentication", order(house, 2).card_id[-1]): 1,
                ("signature", order(house, 1).card_id[-1]): 1,
                ("signature", order(house, 2).card_id[-1]): 2,
            }
            anchors = (await house.ask("authority", AskAuthorities(ca="signature"), Authorities)).certificates
            roots = [x509.load_der_x509_certificate(der) for der in anchors]
            assert roots[0].subject == roots[1].subject == root.subject
            for row in certificates(house):
                if row.ca == "signature":
                    leaf = x509.load_der_x509_certificate(row.der)
                    leaf.verify_directly_issued_by(roots[row.generation - 1])
                    named = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
                    own = roots[row.generation - 1].extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
                    assert named == own.value.digest
            for generation in (1, 2):
                wanted = PublishList(ca="signature", generation=generation)
                found = await house.send("authority", house.envelope(wanted, sender="responder"))
                crl = x509.load_der_x509_crl(open_reply(found, RevocationList).der)
                assert crl.is_signature_valid(roots[generation - 1].public_key())  # type: ignore[arg-type]

    run(held())


@pytest.mark.parametrize(
    ("request_of", "error"),
    [
        (lambda at: ceremony(at, "alice"), DualControl),
        (lambda at: ceremony(at, "alice", "alice"), DualControl),
        (lambda at: ceremony(at, "alice", "carol"), DualControl),
        (lambda at: ceremony(at, "alice", "bob", signed=3), DualControl),
        (lambda at: ceremony(at, "alice", "bob", generation=3), NotNextGeneration),
    ],
)
def test_without_two_holders_approval_of_just_this_nothing_is_made(request_of: object, error: type[Exception]) -> None:
    async def refused() -> None:
        async with House().running() as house:
            await enrol(house, "alice")
            await enrol(house, "bob")
            with pytest.raises(error):
                await make(house, request_of(house.clock.now_ms()))  # type: ignore[operator]
            assert len((await house.ask("authority", AskAuthorities(ca="signature"), Authorities)).certificates) == 1

    run(refused())


def test_a_third_holder_is_enrolled_by_two_and_nobody_takes_anothers_name() -> None:
    async def enrolled() -> None:
        async with House().running() as house:
            await enrol(house, "alice")
            await enrol(house, "bob")
            await enrol(house, "bob")
            statement = enrolment_statement("carol", public("carol"))
            with pytest.raises(DualControl):
                await enrol(house, "carol", *approved(statement, "alice"))
            with pytest.raises(DualControl):
                await house.ask("authority", EnrolHolder(holder="bob", public_key=public("carol")), Done)
            await enrol(house, "carol", *approved(statement, "alice", "bob"))
            await make(house, ceremony(house.clock.now_ms(), "bob", "carol"))

    run(enrolled())


def test_a_ceremony_is_held_once() -> None:
    async def twice() -> None:
        async with House().running() as house:
            await enrol(house, "alice")
            await enrol(house, "bob")
            request = ceremony(house.clock.now_ms(), "alice", "bob")
            await make(house, request)
            with pytest.raises(NotNextGeneration):
                await make(house, request)

    run(twice())
