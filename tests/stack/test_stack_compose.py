"""A node is built as the topology wants it: limits that a large municipality asked for are its own (F5)."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack

import pytest

from warifu.contract.center import OpenOperation
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.contract.values import ChipStatus
from warifu.kernel.errors import WarifuError
from warifu.kernel.ids import card_id, new_ulid
from warifu.nodes.base import Node
from warifu.nodes.cs import CommunicationServer
from warifu.nodes.relay import Relay
from warifu.stack import addresses, compose, config, links, topology
from warifu.stack.home import Home
from warifu.stack.logs import JsonLog

LARGE, USUAL = "141003", "131016"
CHAIN = f"""
name = "chain"
node = [
  {{ name = "center", kind = "center" }},
  {{ name = "relay-1", kind = "relay", service = "relay", hsm = {{ workers = 1 }}, policies = {{ total = 96 }} }},
  {{ name = "cs-{LARGE}", kind = "cs", municipality = "{LARGE}", policies = {{ waiting = 5 }} }},
  {{ name = "cs-{USUAL}", kind = "cs", municipality = "{USUAL}", policies = {{ waiting = 2 }} }},
]
"""
AT_ONCE = 7


@pytest.fixture
def chain(home: Home) -> Home:
    """What the supervisor has written before it starts a node."""
    small = topology.parse(CHAIN, "chain.toml")
    links.make_certificates(home, small)
    config.write(home, small, addresses.assign(small, home), "postgresql://nobody@127.0.0.1:1/none", balanced=False)
    return home


async def built(home: Home, name: str, resources: AsyncExitStack) -> Node:
    log = JsonLog(name)
    resources.callback(log.flush)
    return await compose.build(home, config.read(home, name), log, resources)


def opening(number: int, place: str) -> Envelope:
    card = card_id(number)
    ask = OpenOperation(kind="setup", card_id=card, chip=ChipStatus(card_id=card, life_state="made"))
    return Envelope(
        name=ask.NAME, operation_id=new_ulid(number, bytes(10)), step="open", sender=f"terminal-{place}",
        ordering_key=card, remaining_ms=100, service_class="setup", body=encode(ask),
    )  # fmt: skip


async def asked_at_once(cs: Node, place: str) -> Counter[str]:
    """So many terminals; no relay is there, so each message stays in the CS until its time is over."""

    async def ask(number: int) -> str:
        try:
            await cs.handle(opening(number, place))
        except WarifuError as error:
            return error.code
        return "ok"

    return Counter(await asyncio.gather(*map(ask, range(1, AT_ONCE + 1))))


@pytest.mark.parametrize(("place", "limit"), [(LARGE, 5), (USUAL, 2)])
def test_as_many_messages_are_in_a_cs_at_once_as_its_municipality_has(chain: Home, place: str, limit: int) -> None:
    async def story() -> None:
        async with AsyncExitStack() as resources:
            cs = await built(chain, f"cs-{place}", resources)
            assert isinstance(cs, CommunicationServer)
            answers = await asked_at_once(cs, place)
            assert answers["connection_excess"] == AT_ONCE - limit
            assert answers["ok"] == 0

    asyncio.run(story())


def test_a_relay_admits_as_many_operations_as_its_topology_says(chain: Home) -> None:
    async def story() -> None:
        async with AsyncExitStack() as resources:
            relay = await built(chain, "relay-1", resources)
            assert isinstance(relay, Relay)
            assert relay.leases.limits.total == 96

    asyncio.run(story())
