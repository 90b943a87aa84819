"""Broken on purpose, each fault once: the operation is taken up at any terminal, and chip and record end equal.

At length: ``./warifu lab prove screens-breaks``.
"""

import asyncio
import random
from contextlib import closing
from itertools import chain, repeat

import pytest
from screens_kit import HERE, Quiet, Stack
from screens_life import Beside

from warifu.adapters.reader.files import FileReader
from warifu.demo.broken_life import BrokenLife, Outside
from warifu.demo.connection import connected, database_urls
from warifu.demo.counters import Counters
from warifu.demo.facts import Database
from warifu.demo.faults import Fault, Faults
from warifu.demo.waiting import cards_on_their_way
from warifu.stack import status
from warifu.stack.staff import DemoAccount

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]
SEED = 7
PLAN: tuple[Fault, ...] = ("terminal killed", "card pulled", "centre killed", "network cut", "network frozen")


def test_a_box_a_set_up_a_delivery_and_new_certificates_end_right_whatever_strikes(stack: Stack) -> None:
    beside = Beside(stack)
    more = asyncio.run(cards_on_their_way(stack.home, status.read(stack.home), 2, Quiet()))
    holder = next(one for one in more if one.municipality == HERE)
    faults = Faults(stack.home, random.Random(SEED), chain(PLAN, repeat("none")))  # noqa: S311 - the same every time
    roles = {"clerk": "counter", "manager": "manager"}

    def account(place: str, role: str) -> DemoAccount:
        return stack.new_staff(roles[role], place)

    counters = Counters(stack.home, faults, account)

    async def live() -> None:
        async with connected(beside.home, beside.config) as asker:
            database = Database(database_urls(beside.home, beside.config), asker.patience)
            outside = Outside(asker, database, FileReader(stack.home.cards))
            life = BrokenLife(counters, outside, holder, faults.dice)
            try:
                counters.receive(HERE)
                await life.operation("setup", "set_up")
                await life.operation("delivery", "in_use")
                await life.operation("certificate_renewal", "in_use")
            finally:
                await database.close()

    with closing(counters):
        asyncio.run(live())
    assert set(faults.struck) == set(PLAN), faults.told
