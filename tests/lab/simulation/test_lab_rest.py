"""A node at rest holds nothing."""

import asyncio
from collections.abc import Iterator

import pytest

from warifu.adapters.store.memory import MemoryStore
from warifu.lab.scenarios.core import injected
from warifu.lab.simulation.loop import SimulatedLoop
from warifu.lab.simulation.order import Deviating
from warifu.lab.simulation.plan import Plan
from warifu.lab.simulation.rest import held
from warifu.lab.simulation.world import World
from warifu.nodes.base import KeepingNode
from warifu.nodes.under_way import UnderWay
from warifu.ports.store import OutboxMessage, Pending


class Part:
    """Of a node's own, as if it stood beside it."""

    def __init__(self) -> None:
        self.turns = {"a": asyncio.Lock(), "b": asyncio.Lock()}


Part.__module__ = "warifu.nodes.part"


@pytest.fixture
def node() -> Iterator[KeepingNode]:
    loop = SimulatedLoop(Deviating({}), 1_000)
    world = World(loop, Plan(scenario="tally", seed=0, faults=()), ())
    yield KeepingNode(injected(world, "registry-1"), MemoryStore(()))
    loop.close()


def test_a_lock_that_is_not_given_back_is_found_however_deep_it_lies(node: KeepingNode) -> None:
    part = Part()
    node.part = part  # type: ignore[attr-defined]
    assert held(node, outbox_empty=True) == ""

    asyncio.run(part.turns["b"].acquire())

    assert "part.turns.1" in held(node, outbox_empty=True)


def test_room_that_is_taken_for_an_empty_outbox_is_found(node: KeepingNode) -> None:
    node.under_way = UnderWay()
    node.under_way.take(Pending(1, OutboxMessage("m", "intake", "intake.notify", b"", "o", "")))

    assert held(node, outbox_empty=False) == ""
    assert "1 messages under way" in held(node, outbox_empty=True)
