"""Connections to the relays behind the real HAProxy: spread when a relay joins, gone when one is half sick (F14)."""

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import pytest
from stack_counters import Counters, at_patient_counters, at_the_counters, order, running

from warifu.lab.load.proxy import Hop
from warifu.stack import config, status
from warifu.stack.addresses import Address
from warifu.stack.balancer import Runtime
from warifu.stack.home import Home, write_file
from warifu.stack.spreading import Standing

pytestmark = pytest.mark.real

WITHIN_S: Final = 40.0
CONNECTIONS: Final = 4
"""Two of each of the CS's two processes."""


class Balancer:
    """HAProxy's own table of a running chain."""

    def __init__(self, home: Home) -> None:
        self._runtime = Runtime(home.run, Address("127.0.0.1", 0))

    async def until(self, what: Callable[[Mapping[str, Standing]], bool]) -> None:
        async with asyncio.timeout(WITHIN_S):
            while not what(await self._runtime.table()):  # noqa: ASYNC110 - another program
                await asyncio.sleep(0.05)

    async def until_spread(self, *names: str) -> None:
        await self.until(lambda table: spread(table, names))

    async def until_out(self, name: str) -> None:
        """By its agent's word, and nobody is connected to it any more."""
        await self.until(lambda table: table[name].state.startswith("DOWN") and not table[name].connections)


def spread(table: Mapping[str, Standing], names: tuple[str, ...]) -> bool:
    """These are in rotation, and have equal parts of the connections."""
    open_now = [each.connections for each in table.values()]
    return (
        set(table) == set(names)
        and all(each.up for each in table.values())
        and sum(open_now) == CONNECTIONS
        and max(open_now) - min(open_now) <= 1
    )


@pytest.fixture(scope="module")
def chain() -> Iterator[Home]:
    """A running chain with two relays; each test leaves it so. Few joins in all: the more, the longer they pause."""
    folder = Path(tempfile.mkdtemp(prefix="warifu-test-"))
    home = Home(folder)
    home.prepare()
    with running(home, "haproxy"):
        yield home
    shutil.rmtree(folder)


def test_a_relay_that_is_added_gets_its_share_of_the_connections(chain: Home) -> None:
    async def story() -> None:
        balancer = Balancer(chain)
        await balancer.until_spread("relay-1", "relay-2")
        await order(chain, "add")
        await balancer.until_spread("relay-1", "relay-2", "relay-3")
        await order(chain, "drain", "relay-3")
        await balancer.until_spread("relay-1", "relay-2")

    answers = at_the_counters(chain, story)
    assert set(answers) == {"record.not_found"}, answers


def test_a_relay_whose_hsm_is_frozen_leaves_the_rotation_and_is_back_when_it_is_well(chain: Home) -> None:
    async def story(counters: Counters) -> None:
        balancer = Balancer(chain)
        before = pid_of(chain, "relay-2")
        async with asyncio.TaskGroup() as group:
            freezing = group.create_task(freeze_workers(chain, "relay-2"))
            await balancer.until_out("relay-2")
            await counters.until_more()
            freezing.cancel()
        await balancer.until_spread("relay-1", "relay-2")
        assert pid_of(chain, "relay-2") == before

    answers = at_patient_counters(chain, story)
    assert set(answers) == {"record.not_found"}, answers


def test_a_relay_that_was_killed_has_its_share_again_and_leaves_while_its_path_is_frozen(chain: Home) -> None:
    async def story(counters: Counters) -> None:
        balancer = Balancer(chain)
        center = config.read(chain, "relay-1").book["center"][0]
        async with Hop("relay-1 to centre", (center.host, center.port)) as hop:
            lead(chain, "relay-1", Address("127.0.0.1", hop.port))
            os.kill(pid_of(chain, "relay-1"), signal.SIGKILL)
            await balancer.until(lambda table: table["relay-2"].connections == CONNECTIONS)
            await balancer.until_spread("relay-1", "relay-2")
            before = pid_of(chain, "relay-1")
            hop.freeze()
            await balancer.until_out("relay-1")
            await counters.until_more()
            hop.heal()
            await balancer.until_spread("relay-1", "relay-2")
            assert pid_of(chain, "relay-1") == before
            lead(chain, "relay-1", center)
            os.kill(before, signal.SIGKILL)

    answers = at_patient_counters(chain, story)
    assert set(answers) == {"record.not_found"}, answers


def pid_of(home: Home, name: str) -> int:
    return {process.name: process.pid for process in status.read(home).processes}[name]


def lead(home: Home, name: str, center: Address) -> None:
    """From its next start on, this node reaches the centre by another way."""
    own = config.read(home, name)
    write_file(
        home.node_config(name), msgspec.json.encode(msgspec.structs.replace(own, book=own.book | {"center": (center,)}))
    )


async def freeze_workers(home: Home, name: str) -> None:
    """Whatever HSM worker this relay makes is frozen, until this is cancelled."""
    while True:
        node = status.read(home).find(name)
        for worker in node.processes if node else ():
            with suppress(ProcessLookupError):
                os.kill(worker.pid, signal.SIGSTOP)
        await asyncio.sleep(0.1)
