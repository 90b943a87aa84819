"""A relay lets callers go elsewhere when the supervisor asks, and nobody else."""

import asyncio

import pytest
from nodes_parts import EngineFactory, ListLog, LoopClock, MemoryDevice, run

from warifu.adapters.net.local import LocalTransport
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.contract.errors import open_reply
from warifu.contract.relay import AskedToGo, LetGo
from warifu.domain.admission.leases import MOVED_REST_MS, Asking
from warifu.domain.admission.rules import Limits
from warifu.kernel.errors import NotAllowed
from warifu.lab.simulation.keys import Deal, SeededEntropy
from warifu.nodes.base import World
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.relay import Relay

LOOK = Asking("center.card", "op-2", "setup", "131016")
A_MOMENT_MS = 10_000


class Ten:
    """Ten connections."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, str]] = []

    def let_go(self, most: int, sparing: str) -> int:
        self.asked.append((most, sparing))
        return min(most, 10)


def relay() -> Relay:
    log = ListLog()
    world = World("relay-1", LocalTransport({}, "relay-1", log), LoopClock(), SeededEntropy(3, "relay"), log)
    return Relay(world, HsmPool(EngineFactory(MemoryDevice(Deal())), "relay-1/hsm", 1), Limits())


def asks(sender: str) -> Envelope:
    return Envelope(
        name=LetGo.NAME,
        operation_id="0" * 26,
        step="let_go",
        sender=sender,
        remaining_ms=1000,
        body=encode(LetGo(connections=12)),
    )


def test_as_many_callers_are_let_go_as_the_supervisor_asks_and_its_own_connections_stay() -> None:
    async def story() -> None:
        node = relay()
        callers = node.callers = Ten()
        answer = open_reply(await node.handle(asks("supervisor")), AskedToGo)
        assert answer.connections == 10
        assert callers.asked == [(12, "supervisor")]
        with pytest.raises(NotAllowed):
            await node.handle(asks("cs-131016"))
        assert len(callers.asked) == 1

    run(story())


def test_operations_that_move_away_do_not_hold_their_places_for_long() -> None:
    async def story() -> None:
        node = relay()
        node.callers = Ten()
        now_ms = int(asyncio.get_running_loop().time() * 1000)
        opening = Asking("center.open", "op-1", "setup", "131016")
        node.leases.leave("op-1", node.leases.enter(opening, now_ms, 0), now_ms, over=False)
        await node.handle(asks("supervisor"))
        node.leases.enter(LOOK, now_ms + MOVED_REST_MS - 1, 0)
        assert len(node.leases) == 1
        node.leases.enter(LOOK, now_ms + MOVED_REST_MS + A_MOMENT_MS, 0)
        assert len(node.leases) == 0

    run(story())


def test_a_relay_that_nobody_serves_yet_has_nobody_to_let_go() -> None:
    async def story() -> None:
        assert open_reply(await relay().handle(asks("supervisor")), AskedToGo).connections == 0

    run(story())
