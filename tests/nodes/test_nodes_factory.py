"""The factory: orders that cannot be made do not hold up the others."""

import datetime

import msgspec
from nodes_house import PERSON, House
from nodes_parts import run

from warifu.adapters.net.handling import Peer
from warifu.contract.center import AskOrders
from warifu.contract.envelope import Envelope, Reply
from warifu.contract.issuance import Produced, RunProduction
from warifu.contract.values import Person
from warifu.domain.cards.records import Card
from warifu.domain.certificates.records import AppletWrite
from warifu.kernel.errors import Unavailable

LEAVING = msgspec.structs.replace(PERSON, stay_until=datetime.date(2026, 3, 1))
"""Whose period of stay is over: there is no day left for a certificate."""


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
