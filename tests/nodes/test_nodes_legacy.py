"""Policy ``legacy``: what the relays and CSs of 2016 did, for comparison (F4, F5)."""

import asyncio

import pytest
from nodes_parts import run
from test_nodes_path import HERE, OK, Gate, Path, failing, opened, outer, session

from warifu.contract.envelope import Envelope, Reply
from warifu.contract.errors import open_reply
from warifu.contract.message import Done
from warifu.domain.admission.rules import Limits
from warifu.kernel.errors import ConnectionExcess, DeadlinePassed, NotAllowed, TryAgain, Unavailable
from warifu.nodes.hsm_pool import HsmPool
from warifu.nodes.legacy import BLOCK_MS, LegacyCs, LegacyRelay

HELD_S = 3.5
"""A message's time in a relay of 2016, by the documents' own two figures: 70 connections, 12,000 messages in 600 s."""
HSM_S = 0.01
"""Of it, for the HSM (whose fixture takes no time): a connection is held meanwhile."""


def legacy_path() -> Path:
    path = Path()
    path.cs = LegacyCs(path.world(f"cs-{HERE}"), path.crypto, HERE, path.backlog)
    pool = HsmPool(path.device, "relay-1/hsm", 1)
    path.relays = {"relay-1": LegacyRelay(path.world("relay-1"), pool, Limits(), connections=1)}
    return path


def test_a_relay_of_2016_refuses_whatever_exceeds_its_connections_steps_too() -> None:
    async def main() -> None:
        async with legacy_path().running() as path:
            mine = await session(path)
            gate = path.center = Gate("held")
            relay = path.relays["relay-1"]
            async with asyncio.TaskGroup() as group:
                group.create_task(relay.handle(outer(path, mine, path.envelope(step="held"), counter=1)))
                await gate.reached.wait()
                refused = await relay.handle(outer(path, mine, path.envelope(step="step"), counter=2))
                gate.opened.set()
            with pytest.raises(ConnectionExcess):
                open_reply(opened(mine, refused, 2), Done)
            assert set(relay.under_way.values()) == {0}
            assert isinstance(relay, LegacyRelay)
            assert relay.held == 0

    run(main())


@pytest.mark.parametrize("trouble", [ConnectionExcess(), DeadlinePassed("search")])
def test_a_cs_of_2016_discards_everything_and_shuts_itself_for_a_minute(trouble: Exception) -> None:
    async def main() -> None:
        async with legacy_path().running() as path:
            relay = path.relays["relay-1"]
            assert isinstance(relay, LegacyRelay)
            relay.connections = 9
            gate = path.center = Gate("held")
            async with asyncio.TaskGroup() as group:
                held = group.create_task(blocked(path, "held", key="WRF000000000002"))
                await gate.reached.wait()
                path.center = failing(trouble)  # type: ignore[arg-type]  # both are ours
                with pytest.raises(TryAgain):
                    await path.cs.handle(path.envelope())
            assert held.done()
            sent = len(path.forwarded)
            with pytest.raises(Unavailable):
                await path.cs.handle(path.envelope())
            assert len(path.forwarded) == sent
            await asyncio.sleep(BLOCK_MS / 1000)  # the loop's own clock, which jumps
            assert await path.cs.handle(path.envelope()) == OK

    run(main())


async def blocked(path: Path, step: str, key: str) -> None:
    with pytest.raises(Unavailable):
        await path.cs.handle(path.envelope(step=step, key=key))


def test_a_refusal_blocks_no_cs_even_in_2016() -> None:
    async def main() -> None:
        async with legacy_path().running() as path:
            path.center = failing(NotAllowed("no"))
            await path.cs.handle(path.envelope())
            assert await path.cs.handle(path.envelope()) == OK

    run(main())


async def carried_in_ten_minutes(connections: int) -> float:
    """Offered far more than it takes, what a relay lets through once all its connections are in use."""
    async with legacy_path().running() as path:
        mine = await session(path)
        relay = path.relays["relay-1"]
        assert isinstance(relay, LegacyRelay)
        relay.connections = connections
        answered = 0

        async def held(_envelope: Envelope) -> Reply:
            await asyncio.sleep(HELD_S - HSM_S)
            return OK

        async def one(counter: int) -> None:
            nonlocal answered
            reply = await relay.handle(outer(path, mine, path.envelope(step=str(counter)), counter=counter))
            answered += open_reply(opened(mine, reply, counter), Done) == Done()

        path.center = held
        holds = 4
        async with asyncio.TaskGroup() as group:
            for turn in range(holds):
                for number in range(connections):
                    group.create_task(one(turn * connections + number + 1))
                await asyncio.sleep(HELD_S)
        return answered / (holds * HELD_S) * 600


def test_94_connections_carry_a_third_more_than_70() -> None:
    """Material 3, table 4, note 4: 12,000 messages in ten minutes, and 16,000 by the estimate."""
    before, after = run(carried_in_ten_minutes(70)), run(carried_in_ten_minutes(94))
    assert before == pytest.approx(12_000)
    assert after == pytest.approx(16_000, rel=0.01)
