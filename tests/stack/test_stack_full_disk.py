"""A whole stack on a disk that is really full, twice: while its database serves, and when that ends for want of room.

What is refused says so (``disk.full``), is nowhere half done, and goes through under the same key once there is room.
Nothing is started anew by hand.
"""

import asyncio
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import date

import asyncpg
import pytest
from stack_dummies import until_async

from small_disk import SmallDisk, on_a_small_disk
from warifu.adapters.net.client import NetTransport
from warifu.adapters.store.connections import FAILURES
from warifu.contract.center import OpenOperation
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.contract.registry import Register
from warifu.contract.values import ChipStatus
from warifu.kernel.ids import card_id, new_ulid
from warifu.stack import config, control, links, status
from warifu.stack.home import Home
from warifu.synthetic.residents import resident

pytestmark = pytest.mark.real
PLACE = "131016"
CHAIN = f"""
name = "small"
database = {{ max_connections = 40, shared_buffers_mb = 16 }}
supervision = {{ probe_every_s = 0.1 }}
balancer = {{ kind = "none" }}
node = [
  {{ name = "registry", kind = "registry", hsm = {{ workers = 1 }} }},
  {{ name = "numbering", kind = "numbering", hsm = {{ workers = 1 }} }},
  {{ name = "intake", kind = "intake", hsm = {{ workers = 1 }} }},
  {{ name = "center", kind = "center", hsm = {{ workers = 1 }} }},
  {{ name = "relay-1", kind = "relay", service = "relay", hsm = {{ workers = 1 }} }},
  {{ name = "cs-{PLACE}", kind = "cs", municipality = "{PLACE}" }},
  {{ name = "terminal-{PLACE}", kind = "terminal", municipality = "{PLACE}" }},
]
"""
TODAY = date(2026, 11, 22)
MANY = 1000
"""More than fit into the pages that a database and a backlog have begun already."""
NEW_SEGMENT = "SELECT pg_switch_wal()::text"
TAKEN_ON = "record.not_found"
"""What the centre answers of a card that nobody has; it came through the CS's backlog."""


class Outside:
    """A municipality's own system, which enters residents, and its counter."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._own = config.read(home, "registry")
        self._system = self._transport(links.DRIVER)
        self._counter = self._transport(f"terminal-{PLACE}")
        self.numbers = itertools.count(1)
        self.entered: set[int] = set()
        self.refused: set[int] = set()

    async def aclose(self) -> None:
        await self._system.aclose()
        await self._counter.aclose()

    async def enter(self, number: int) -> str:
        """The code of the answer. The same number is the same request under the same key."""
        ask = Register(resident_id=resident_id(number), person=resident(0, number, TODAY).person)
        envelope = Envelope(
            name=ask.NAME, operation_id=operation_id(number), step="driver", sender=links.DRIVER, actor=links.DRIVER,
            remaining_ms=5000, body=encode(ask),
        )  # fmt: skip
        reply = await self._system.call("registry", envelope)
        (self.refused if reply.error else self.entered).add(number)
        self.refused -= self.entered
        return reply.error.code if reply.error else "ok"

    async def open(self, number: int) -> str:
        """The code of the answer to a delivery of a card that nobody has."""
        card = card_id(number)
        ask = OpenOperation(kind="delivery", card_id=card, chip=ChipStatus(card_id=card, life_state="set_up"))
        envelope = Envelope(
            name=ask.NAME, operation_id=operation_id(number), step="open", sender=f"terminal-{PLACE}",
            ordering_key=card, remaining_ms=5000, service_class="delivery", body=encode(ask),
        )  # fmt: skip
        reply = await self._counter.call(f"cs-{PLACE}", envelope)
        return reply.error.code if reply.error else "ok"

    async def until(self, code: str, ask: Callable[[int], Awaitable[str]], *others: str) -> None:
        """Ask for more and more until the answer has this code; every other one before it is expected."""
        for number in itertools.islice(self.numbers, MANY):
            if (found := await ask(number)) == code:
                return
            assert found in others, found
        raise AssertionError(f"{MANY} answers without {code}")

    async def asked(self, query: str) -> set[str]:
        """What the database itself says."""
        connection = await asyncpg.connect(self._own.database_url)
        try:
            return {row[0] for row in await connection.fetch(query)}
        finally:
            connection.terminate()

    async def found(self) -> tuple[set[str], ...]:
        """Residents, remembered answers, journal and audit entries: what a registration writes in one statement."""
        return (
            await self.asked("SELECT resident_id FROM registry.resident"),
            await self.asked("SELECT operation_id FROM registry.requests WHERE step = 'driver'"),
            await self.asked("SELECT operation_id FROM registry.journal"),
            await self.asked("SELECT operation_id FROM registry.audit WHERE operation_id <> ''"),
        )

    def expected(self) -> tuple[set[str], ...]:
        """The same, of those that were confirmed and of nobody else."""
        operations = set(map(operation_id, self.entered))
        return set(map(resident_id, self.entered)), operations, operations, operations

    def _transport(self, name: str) -> NetTransport:
        return NetTransport(links.destinations(self._own.topology, self._own.book), links.tls_of(self._home, name))


def resident_id(number: int) -> str:
    return new_ulid(number, b"resident..")


def operation_id(number: int) -> str:
    return new_ulid(number, b"operation.")


@asynccontextmanager
async def outside(home: Home) -> AsyncIterator[Outside]:
    opened = Outside(home)
    try:
        yield opened
    finally:
        await opened.aclose()


async def told(home: Home, *who: str) -> str:
    """What ``warifu status`` says of the disk, once these are among those that it has to say it of."""
    await until_async(lambda: all(name in status.read(home).disk_full for name in who))
    command = (sys.executable, "-P", "-m", "warifu.cli", "status")
    environment = os.environ | {"WARIFU_HOME": str(home.root)}
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=asyncio.subprocess.PIPE)
    words = (await process.communicate())[0].decode()
    lines = [line for line in words.splitlines() if line.startswith("disk.full: no space left for ")]
    assert lines, words
    return lines[0]


def state_of(home: Home, name: str) -> str:
    found = status.read(home).find(name)
    assert found is not None
    return found.state


async def full_while_it_serves(disk: SmallDisk, home: Home, people: Outside) -> None:
    await people.asked(NEW_SEGMENT)  # room enough in its log: this time it serves on
    for number in itertools.islice(people.numbers, 5):
        assert await people.enter(number) == "ok"
        assert await people.open(number) == TAKEN_ON
    disk.fill()
    for _ in range(5):
        await people.until("disk.full", people.enter, "ok")
        await people.until("disk.full", people.open, TAKEN_ON)
    assert len(people.refused) >= 5
    assert await people.found() == people.expected()
    words = await told(home, "postgres", f"cs-{PLACE}")
    assert f"cs-{PLACE}" in words
    assert f" in {home.root}: free some" in words
    disk.make_room()
    await goes_on(home, people)


async def full_until_the_database_ends(disk: SmallDisk, home: Home, people: Outside) -> None:
    """Its log goes on in a new segment, for which there is no room: PostgreSQL gives up, and again at each start."""
    disk.fill()
    with suppress(*FAILURES):  # others' sessions may meet its end at once, and this one with them
        await people.asked(NEW_SEGMENT)
    await people.until("part.unavailable", people.enter, "ok", "disk.full")
    await until_async(lambda: state_of(home, "postgres") == "crashing")
    assert "postgres" in await told(home, "postgres")
    disk.make_room()
    await until_async(lambda: status.read(home).healthy)
    await goes_on(home, people)


async def goes_on(home: Home, people: Outside) -> None:
    """Each that was refused goes through under its key, new ones do, and what waited follows: a number for each."""
    for number in sorted(people.refused):
        assert await people.enter(number) == "ok"
    number = next(people.numbers)
    assert await people.enter(number) == "ok"
    assert await people.open(number) == TAKEN_ON
    assert await people.found() == people.expected()
    residents = set(map(resident_id, people.entered))
    async with asyncio.timeout(20):
        while await people.asked("SELECT resident_id FROM numbering.assigned_number") != residents:
            assert status.read(home).state == "running"


def a_stack_on_a_full_disk(disk: SmallDisk) -> None:
    home = Home(disk.folder / "home")
    chain = disk.folder / "chain.toml"
    chain.write_text(CHAIN, "utf-8")
    supervisor = control.start(home, str(chain), leashed=True)

    async def story() -> None:
        async with outside(home) as people:
            before = {node.name: node.pid for node in status.read(home).nodes}
            await full_while_it_serves(disk, home, people)
            assert {node.name: node.pid for node in status.read(home).nodes} == before
            await full_until_the_database_ends(disk, home, people)
            after = {node.name: node.pid for node in status.read(home).nodes}
            assert {name for name in after if after[name] != before[name]} == {"postgres"}

    try:
        asyncio.run(story())
    finally:
        control.stop(home)
        assert supervisor.wait(20) == 0
    for log in home.logs.glob("*.jsonl"):
        assert all(map(json.loads, log.read_text("utf-8").splitlines())), "a record was left half written"


def test_a_full_disk_refuses_loses_nothing_and_is_over_when_there_is_room() -> None:
    on_a_small_disk(a_stack_on_a_full_disk, megabytes=160)
