"""Signatures that wait together go together; each asker gets its own, and nobody waits for company."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nodes_parts import EngineFactory, MemoryDevice, run

from warifu.kernel.errors import Unavailable
from warifu.lab.simulation.keys import Deal
from warifu.nodes.hsm_answers import NoSuchKey
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.signing_together import AT_ONCE, WAITING, SigningTogether
from warifu.ports.hsm import SignMany

LABELS = ("a", "b")


class Rig:
    def __init__(self, workers: int) -> None:
        self.factory = EngineFactory(MemoryDevice(Deal()))
        for label in LABELS:
            self.factory.create(label, "sign")
        self.pool = HsmPool(self.factory, "test/hsm", workers)
        self.signing = SigningTogether(self.pool, 10_000)

    def sizes(self) -> list[int]:
        """Texts of each command."""
        return [len(command.data) for command in self.factory.commands if isinstance(command, SignMany)]

    def expected(self, label: str, text: bytes) -> bytes:
        return self.factory.device.sign(self.factory.device.find(label, "sign"), text)


@asynccontextmanager
async def rig(workers: int = 2) -> AsyncIterator[Rig]:
    made = Rig(workers)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(made.pool.run()), group.create_task(made.signing.run())]
        try:
            yield made
        finally:
            for task in tasks:
                task.cancel()


def test_each_gets_the_signature_of_its_own_text_by_its_own_key() -> None:
    async def story() -> None:
        async with rig() as made:
            asked = [(LABELS[number % 3 % 2], b"text %d" % number) for number in range(40)]
            signed = await asyncio.gather(*(made.signing.sign(label, text) for label, text in asked))
            assert signed == [made.expected(label, text) for label, text in asked]

    run(story())


def test_one_alone_is_signed_for_at_once_and_many_share_the_workers() -> None:
    async def story() -> None:
        async with rig(workers=2) as made:
            await made.signing.sign("a", b"alone")
            await asyncio.gather(*(made.signing.sign("a", b"%d" % number) for number in range(6)))
            assert made.sizes() == [1, 3, 2, 1]
            made.factory.commands.clear()
            await asyncio.gather(*(made.signing.sign("a", b"%d" % number) for number in range(10 * AT_ONCE)))
            assert max(made.sizes()) == AT_ONCE

    run(story())


def test_one_who_goes_away_takes_no_signature_from_the_others() -> None:
    async def story() -> None:
        async with rig(workers=1) as made, asyncio.TaskGroup() as group:
            asking = [group.create_task(made.signing.sign("a", b"%d" % number)) for number in range(5)]
            await asyncio.sleep(0)
            asking[0].cancel()
            asking[3].cancel()
            assert [await asking[number] for number in (1, 2, 4)] == [
                made.expected("a", b"%d" % number) for number in (1, 2, 4)
            ]

    run(story())


def test_what_a_device_refuses_for_one_key_does_not_touch_the_others() -> None:
    async def story() -> None:
        async with rig(workers=1) as made:
            answers = await asyncio.gather(
                *(made.signing.sign(label, b"text") for label in ("a", "none", "none", "b")), return_exceptions=True
            )
            assert [answers[0], answers[3]] == [made.expected("a", b"text"), made.expected("b", b"text")]
            assert [type(each) for each in answers[1:3]] == [NoSuchKey, NoSuchKey]

    run(story())


def test_more_than_may_wait_are_refused_and_who_waits_at_the_end_hears_so() -> None:
    async def story() -> None:
        made = Rig(1)  # nobody runs it yet
        waiting = [asyncio.ensure_future(made.signing.sign("a", b"%d" % number)) for number in range(WAITING)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await made.signing.sign("a", b"one more")
        running = asyncio.ensure_future(made.signing.run())
        await asyncio.sleep(0)
        running.cancel()
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert {type(end) for end in ends} == {Unavailable}
        with pytest.raises(Unavailable):
            await made.signing.sign("a", b"late")

    run(story())
