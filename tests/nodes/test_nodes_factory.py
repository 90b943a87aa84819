"""The factory: orders that cannot be made do not hold up the others."""

import datetime

import msgspec
import pytest
from nodes_house import HERE, PERSON, House
from nodes_parts import run

from warifu.adapters.net.handling import Peer
from warifu.adapters.store.memory import StoreHooks
from warifu.contract.authority import IssueBatch, IssueCertificates
from warifu.contract.center import AskOrders, CardsShipped
from warifu.contract.envelope import Envelope, Reply
from warifu.contract.issuance import Produced, RunProduction
from warifu.contract.values import Person
from warifu.domain.cards.records import Card
from warifu.domain.certificates.records import AppletWrite, Certificate, IssueBlock, KeyUse
from warifu.domain.production.rules import BATCH_MAX
from warifu.kernel.errors import Stale, Unavailable
from warifu.kernel.ids import card_id
from warifu.ports.store import Change, Insert

LEAVING = msgspec.structs.replace(PERSON, stay_until=datetime.date(2026, 3, 1))
"""Whose period of stay is over: there is no day left for a certificate."""

CHILD = msgspec.structs.replace(PERSON, birth_date=datetime.date(2015, 2, 17))


async def ordered(house: House, *people: Person) -> None:
    for person in people:
        await house.apply(await house.register(person))


def made(house: House) -> list[bool]:
    """Of each order, the oldest first."""
    cards = [card for card in house.stores["center"].records(Card) if isinstance(card, Card)]
    return [card.state != "ordered" for card in sorted(cards, key=lambda card: card.card_id)]


async def production(house: House, limit: int) -> tuple[int, int]:
    produced = await house.ask("issuance", RunProduction(limit=limit), Produced)
    await house.settled()
    return produced.made, produced.failed


def test_orders_that_cannot_be_made_do_not_hide_the_others() -> None:
    async def past_them() -> None:
        async with House().running() as house:
            await ordered(house, LEAVING, LEAVING, PERSON, PERSON)
            assert await production(house, 1) == (1, 2)
            assert made(house) == [False, False, True, False]
            assert await production(house, 1) == (1, 2)
            assert made(house) == [False, False, True, True]
            assert await production(house, 1) == (0, 2)

    run(past_them())


def test_a_run_makes_no_more_than_it_was_told_to() -> None:
    async def two_of_three() -> None:
        async with House().running() as house:
            await ordered(house, PERSON, LEAVING, PERSON, PERSON)
            assert await production(house, 2) == (2, 1)
            assert made(house) == [True, False, True, False]

    run(two_of_three())


def test_attempts_that_broke_are_undone_once_the_card_is_made() -> None:
    async def third_time() -> None:
        async with House().running() as house:
            await ordered(house, PERSON)
            for command in (20, 40):
                house.reader.pull(command, after=False)
                assert await production(house, 1) == (0, 1)
            assert await production(house, 1) == (1, 0)
            writes = [row for row in house.stores["authority"].records(AppletWrite) if isinstance(row, AppletWrite)]
            assert sorted(write.state for write in writes) == ["finished", "undone", "undone"]

    run(third_time())


def test_a_run_ends_when_a_part_that_all_orders_need_is_away() -> None:
    async def away() -> None:
        async with House().running() as house:
            await ordered(house, PERSON, PERSON, PERSON)

            async def unreachable(_envelope: Envelope, _peer: Peer) -> Reply:
                raise Unavailable("JPKI is away")

            there = house.handlers["authority"]
            house.handlers["authority"] = unreachable
            house.lose(-1, replies=False)
            assert await production(house, 1) == (0, 1)
            assert [envelope.name for _, envelope in house.calls].count(AskOrders.NAME) == 1
            house.handlers["authority"] = there
            assert await production(house, 3) == (3, 0)

    run(away())


def asked(house: House, name: str) -> int:
    return [envelope.name for _, envelope in house.calls].count(name)


def certificates(house: House) -> list[Certificate]:
    return [row for row in house.stores["authority"].records(Certificate) if isinstance(row, Certificate)]


def test_the_certificates_of_a_runs_cards_are_asked_for_together() -> None:
    async def together() -> None:
        async with House().running() as house:
            await ordered(house, PERSON, PERSON, CHILD)
            assert await production(house, 3) == (3, 0)
            assert (asked(house, IssueBatch.NAME), asked(house, IssueCertificates.NAME)) == (1, 0)
            assert sorted((row.ca, row.state) for row in certificates(house)) == [
                *[("authentication", "issued")] * 3,
                *[("signature", "issued")] * 2,
            ]

    run(together())


def test_a_card_that_was_begun_or_cannot_be_certified_asks_for_itself_and_is_told_why() -> None:
    async def apart() -> None:
        async with House().running() as house:
            await ordered(house, PERSON)
            house.reader.pull(20, after=False)
            assert await production(house, 1) == (0, 1)
            await ordered(house, LEAVING, PERSON)
            house.lose(-1, replies=False)
            assert await production(house, 3) == (2, 1)
            assert (asked(house, IssueBatch.NAME), asked(house, IssueCertificates.NAME)) == (1, 2)
            assert len(certificates(house)) == 4

    run(apart())


class LoseSignatures(StoreHooks):
    """The commit that makes a part's intents certificates does not go through, once."""

    def __init__(self) -> None:
        self.recorded = self.lost = False

    async def before_commit(self, change: Change) -> None:
        if self.recorded and not self.lost:
            self.lost = True
            raise Unavailable("lost")
        self.recorded |= any(
            isinstance(write, Insert) and isinstance(write.record, IssueBlock) for write in change.writes
        )


def test_what_a_part_that_broke_intended_is_signed_card_by_card() -> None:
    async def broken() -> None:
        async with House(key_pairs=0).running() as house:
            await ordered(house, PERSON, PERSON)
            house.stores["authority"]._hooks = LoseSignatures()
            assert await production(house, 2) == (0, 2)
            assert asked(house, IssueCertificates.NAME) == 0  # nodes do not retry: the next run does
            assert await production(house, 2) == (2, 0)
            assert asked(house, IssueCertificates.NAME) == 2
            assert [row.state for row in certificates(house)] == ["issued"] * 4
            assert len(house.stores["authority"].records(KeyUse)) == 4

    run(broken())


class LateRecord(StoreHooks):
    """The first record of a card write is still on its way when whoever asked for it has given up."""

    def __init__(self) -> None:
        self.late: Change | None = None

    async def before_commit(self, change: Change) -> None:
        records = [write.record for write in change.writes if isinstance(write, Insert)]
        if self.late is None and any(isinstance(record, AppletWrite) for record in records):
            self.late = change
            raise Unavailable("no answer")


def test_a_card_write_that_is_recorded_late_is_not_left_open_once_the_card_is_made() -> None:
    """Seed factory:8793."""

    async def late() -> None:
        async with House().running() as house:
            await ordered(house, PERSON)
            store = house.stores["authority"]
            store._hooks = hooks = LateRecord()
            assert await production(house, 1) == (0, 1)
            assert await production(house, 1) == (1, 0)
            assert hooks.late is not None
            with pytest.raises(Stale):
                await store.commit(hooks.late)
            writes = [row for row in store.records(AppletWrite) if isinstance(row, AppletWrite)]
            assert [write.state for write in writes] == ["finished"]

    run(late())


def _made(number: int) -> Card:
    name = card_id(number)
    return Card(
        card_id=name, application_id=f"{number:023}", resident_id=f"R{number}", live_resident_id=f"R{number}",
        municipality=HERE, state="made", wants_signature=False, wants_authentication=False, changed_ms=0,
    )  # fmt: skip


def test_a_full_box_leaves_the_factory_and_a_fuller_one_is_refused() -> None:
    async def two_boxes() -> None:
        async with House().running() as house:
            cards = [_made(number) for number in range(1, BATCH_MAX + 1)]
            await house.stores["center"].commit(Change(now_ms=0, writes=tuple(map(Insert, cards))))
            names = tuple(card.card_id for card in cards)
            box = CardsShipped(batch_id=house.new_id(), municipality=HERE, card_ids=names)
            answered = await house.send("center", house.envelope(box, sender="issuance"))
            assert answered.error is None
            assert {card.state for card in house.stores["center"].records(Card) if isinstance(card, Card)} == {
                "shipped"
            }
            fuller = msgspec.structs.replace(box, card_ids=(*names, card_id(BATCH_MAX + 1)))
            refused = await house.send("center", house.envelope(fuller, sender="issuance"))
            assert refused.error is not None
            assert refused.error.code == "request.malformed"

    run(two_boxes())
