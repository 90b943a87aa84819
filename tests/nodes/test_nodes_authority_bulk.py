"""Issue in bulk: each card's certificates exactly once, whatever breaks in the middle."""

import asyncio

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from nodes_house import HERE, PERSON, House
from nodes_parts import run

from warifu.adapters.store.memory import StoreHooks
from warifu.contract.authority import (
    AskCertificates,
    BatchIssued,
    BatchOrder,
    Certificates,
    IssueBatch,
    IssueCertificates,
)
from warifu.contract.errors import open_reply
from warifu.contract.values import CertificateKind
from warifu.domain.certificates.records import Certificate, KeyBlock, KeyUse, KnownResident, StoredKeyPair
from warifu.kernel.errors import KeyReused, Malformed, Stale, Unavailable
from warifu.kernel.ids import card_id
from warifu.ports.store import Change, Insert, Record, Update

BATCH = "01KN3FQJZ44G9WM4NKF40TFVNT"
CHILD = msgspec.structs.replace(PERSON, birth_date=PERSON.birth_date.replace(year=2015))


def order(house: House, number: int, **change: object) -> BatchOrder:
    until = house.clock.today().replace(year=house.clock.today().year + 10)
    plain = BatchOrder(
        card_id=card_id(number),
        resident_id=f"01KN3FQJZ44G9WM4NKF40{number:05}",
        person=PERSON,
        municipality=HERE,
        card_expires_on=until,
    )
    return msgspec.structs.replace(plain, **change)


def batch(*orders: BatchOrder, position: int = 0) -> IssueBatch:
    return IssueBatch(batch_id=BATCH, position=position, orders=orders)


async def issue(house: House, request: IssueBatch, operation_id: str = "") -> BatchIssued:
    envelope = house.envelope(request, sender="issuance", operation_id=operation_id)
    return open_reply(await house.send("authority", envelope), BatchIssued)


def rows(house: House, table: type[Record]) -> list[Record]:
    return list(house.stores["authority"].records(table))


def _kind(row: Certificate) -> CertificateKind:
    return "signature" if row.ca == "signature" else "authentication"


def certificates(house: House) -> list[Certificate]:
    return [row for row in rows(house, Certificate) if isinstance(row, Certificate)]


def test_a_part_is_issued_once_and_what_it_issued_is_right() -> None:
    async def issued() -> None:
        async with House().running() as house:
            part = batch(*(order(house, number) for number in range(1, 6)), order(house, 6, person=CHILD))
            told = BatchIssued(issued=11, refused=(), finished=tuple(each.card_id for each in part.orders))
            assert await issue(house, part) == told
            assert await issue(house, part) == told
            found = certificates(house)
            assert sorted(row.card_id for row in found if row.ca == "signature") == [card_id(n) for n in range(1, 6)]
            assert {row.state for row in found} == {"issued"}
            assert len({(row.ca, row.serial) for row in found}) == 11
            for row in found:
                root = (await house.authority.signer.generations(_kind(row)))[-1].der
                x509.load_der_x509_certificate(row.der).verify_directly_issued_by(x509.load_der_x509_certificate(root))

    run(issued())


def test_key_pairs_are_used_once_and_the_log_says_for_what() -> None:
    async def issued() -> None:
        async with House().running() as house:
            await house.authority.pool.make_block(4)
            await issue(house, batch(*(order(house, number) for number in (1, 2, 3))))
            used = {(row.key_pair_id, row.ca, row.serial) for row in rows(house, KeyUse) if isinstance(row, KeyUse)}
            assert used == {(row.key_pair_id, row.ca, row.serial) for row in certificates(house)}
            assert rows(house, KeyBlock) == []
            pairs = {row.key_pair_id: row for row in rows(house, StoredKeyPair) if isinstance(row, StoredKeyPair)}
            for row in certificates(house):
                certified = x509.load_der_x509_certificate(row.der).public_key()
                spki = certified.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
                assert pairs[row.key_pair_id].public_key == spki

    run(issued())


def test_what_is_left_of_a_block_goes_back_to_the_counters() -> None:
    async def issued() -> None:
        async with House(key_pairs=0).running() as house:
            await house.authority.pool.make_block(5)
            await issue(house, batch(order(house, 1)))
            states = [row.state for row in rows(house, StoredKeyPair) if isinstance(row, StoredKeyPair)]
            assert sorted(states) == ["free", "free", "free", "stocked", "stocked"]

    run(issued())


def test_small_parts_take_free_pairs_as_long_as_there_are_and_leave_the_blocks_whole() -> None:
    async def issued() -> None:
        async with House(key_pairs=0).running() as house:
            await house.authority.pool.make_block(5)
            await house.authority.pool.make_many(3)
            await issue(house, batch(order(house, 1)))
            states = [row.state for row in rows(house, StoredKeyPair) if isinstance(row, StoredKeyPair)]
            assert sorted(states) == ["free", "reserved", "reserved", *["stocked"] * 5]
            assert len(rows(house, KeyBlock)) == 1
            await issue(house, batch(order(house, 2), position=1))  # one free pair is too few
            assert rows(house, KeyBlock) == []
            assert len(rows(house, KeyUse)) == 4

    run(issued())


class Break(StoreHooks):
    """Loses the connection at one commit, before or after it stands."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.left, self.after = at, after

    def _now(self, change: Change) -> bool:
        if not change.writes:
            return False
        self.left -= 1
        return self.left == -1

    async def before_commit(self, change: Change) -> None:
        if not self.after and self._now(change):
            raise Unavailable("lost")

    async def after_commit(self, change: Change) -> None:
        if self.after and self._now(change):
            raise Unavailable("lost")


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("after", [False, True])
def test_a_break_anywhere_leaves_what_the_same_part_finishes(at: int, *, after: bool) -> None:
    async def broken() -> None:
        house = House(key_pairs=0)
        pool = house.authority.hsm
        supervised = asyncio.ensure_future(pool.run())
        await house.authority.pool.make_block(6)
        await house.authority.signer.newest("signature")
        await house.authority.signer.newest("authentication")
        house.stores["authority"]._hooks = Break(at, after=after)
        part = batch(*(order(house, number) for number in (1, 2, 3)))
        with pytest.raises(Unavailable):
            await issue(house, part)
        before = {(row.ca, row.serial): row.tbs for row in certificates(house) if row.state == "intent"}
        assert (await issue(house, part)).issued == 6
        found = certificates(house)
        assert (len(found), {row.state for row in found}) == (6, {"issued"})
        for row in found:
            if before:
                assert x509.load_der_x509_certificate(row.der).tbs_certificate_bytes == before[row.ca, row.serial]
        assert len(rows(house, KeyUse)) == 6
        supervised.cancel()

    run(broken())


class Abandon(StoreHooks):
    """Between the two commits of a part a change is told of, and ends one card's intents."""

    def __init__(self, house: House, card: str) -> None:
        self.house, self.card = house, card

    async def after_commit(self, change: Change) -> None:
        for row in certificates(self.house):
            if (row.card_id, row.state) == (self.card, "intent"):
                ended = msgspec.structs.replace(row, state="abandoned")
                await self.house.stores["authority"].commit(Change(now_ms=change.now_ms, writes=(Update(ended),)))


def test_a_card_whose_certificate_ended_before_it_was_signed_is_not_said_to_be_finished() -> None:
    async def ended() -> None:
        async with House().running() as house:
            part = batch(*(order(house, number) for number in (1, 2, 3)))
            house.stores["authority"]._hooks = Abandon(house, card_id(2))
            answer = await issue(house, part)
            assert answer.finished == (card_id(1), card_id(3))
            assert await issue(house, part) == answer
            assert {row.card_id for row in certificates(house) if row.state == "issued"} == {card_id(1), card_id(3)}

    run(ended())


def test_the_same_place_never_stands_for_other_orders() -> None:
    async def reused() -> None:
        async with House().running() as house:
            await issue(house, batch(order(house, 1)))
            with pytest.raises(KeyReused):
                await issue(house, batch(order(house, 2)))

    run(reused())


def test_who_is_in_a_part_twice_gets_nobody_a_certificate() -> None:
    async def twice() -> None:
        async with House().running() as house:
            with pytest.raises(Malformed):
                await issue(house, batch(order(house, 1), order(house, 2, resident_id=order(house, 1).resident_id)))
            assert certificates(house) == []

    run(twice())


def test_what_stands_is_left_alone_and_what_cannot_be_is_named() -> None:
    async def mixed() -> None:
        async with House().running() as house:
            await issue(house, batch(order(house, 1, kinds=("authentication",)), order(house, 2)))
            expired = house.clock.today().replace(year=house.clock.today().year - 1)
            again = batch(
                order(house, 1), order(house, 2), order(house, 3), order(house, 4, card_expires_on=expired), position=1
            )
            answer = await issue(house, again)
            assert answer.issued == 3  # the first card's missing one, and the third's two
            assert [(each.card_id, each.code) for each in answer.refused] == [(card_id(4), "pki.card_expired")]
            assert answer.finished == (card_id(3),)  # what the others have, ``authority.issue`` tells
            assert await issue(house, again) == answer

    run(mixed())


def test_the_counter_finds_what_was_issued_in_bulk() -> None:
    async def single() -> None:
        async with House().running() as house:
            wanted = order(house, 1)
            await issue(house, batch(wanted))
            request = IssueCertificates(
                card_id=wanted.card_id,
                resident_id=wanted.resident_id,
                person=wanted.person,
                municipality=HERE,
                card_expires_on=wanted.card_expires_on,
                kinds=("authentication", "signature"),
            )
            found = await house.send("authority", house.envelope(request, sender="issuance"))
            assert len(open_reply(found, Certificates).certificates) == 2
            assert len(certificates(house)) == 2
            shown = await house.ask("authority", AskCertificates(card_id=wanted.card_id), Certificates)
            assert {each.state for each in shown.certificates} == {"issued"}

    run(single())


def test_who_looked_at_a_resident_before_its_certificates_were_intended_must_look_again() -> None:
    """Else a change told of in that instant ends what it found, and the new certificate says what is no longer so."""

    async def skewed() -> None:
        async with House().running() as house:
            part = batch(order(house, 1))
            known = KnownResident(resident_id=part.orders[0].resident_id, resident_version=3, changed_ms=1)
            store = house.stores["authority"]
            await store.commit(Change(now_ms=1, writes=(Insert(known),)))
            looked_at = msgspec.structs.replace(known, version=1)
            assert (await issue(house, part)).issued == 2
            with pytest.raises(Stale):
                await store.commit(Change(now_ms=2, writes=(Update(looked_at),)))

    run(skewed())
