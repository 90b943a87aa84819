"""Relays come, go and are replaced while counters ask: nothing is lost. Real nodes, real HAProxy."""

import asyncio
from collections.abc import Callable

import pytest
from msgspec import structs
from stack_counters import CALLERS, CHAIN, at_the_counters, order, running

from warifu.kernel.errors import Malformed, NotAllowed, NotFound
from warifu.stack import config, status, topology
from warifu.stack.canary import CanaryFailed
from warifu.stack.errors import NotRunning
from warifu.stack.home import Home
from warifu.stack.orders import Done, Order, give, serving
from warifu.stack.topology import Hsm, Node


@pytest.mark.real
def test_relays_are_added_drained_and_replaced_and_every_counter_gets_its_answers(home: Home) -> None:
    async def story() -> None:
        added = await order(home, "add")
        assert (added.name, added.rotation) == ("relay-3", ("relay-1", "relay-2", "relay-3"))
        drained = await order(home, "drain", "relay-1")
        assert drained.rotation == ("relay-2", "relay-3")
        replaced = await order(home, "replace", "relay-2")
        assert replaced.rotation == ("relay-2", "relay-3")
        with pytest.raises(NotFound, match="relay-1"):
            await order(home, "drain", "relay-1")
        await order(home, "drain", "relay-3")
        with pytest.raises(NotAllowed, match="no relay but relay-2"):
            await order(home, "drain", "relay-2")
        back = await order(home, "add")
        assert back.name == "relay-1"

    with running(home, "haproxy"):
        before = status.read(home).find("relay-2")
        answers = at_the_counters(home, story)
        assert set(answers) == {"record.not_found"}, answers
        assert answers["record.not_found"] > CALLERS
        now = status.read(home)
        after = now.find("relay-2")
        assert before is not None
        assert after is not None
        assert before.pid != after.pid
        assert now.find("relay-3") is None
        assert now.balancer.endswith("before relay-2, relay-1")
        assert "relay-3" not in (home.run / "haproxy.cfg").read_text("utf-8")


def changed(policies: str) -> tuple[Node, ...]:
    """The relays' tables with other policies."""
    text = CHAIN.replace("BALANCER", "haproxy").replace('service = "relay", hsm', f'service = "relay", {policies} hsm')
    return topology.parse(text, "changed.toml").serving("relay")


def relays(home: Home) -> dict[str, int]:
    return {node.name: node.policies.total for node in config.read(home, "relay-1").topology.serving("relay")}


@pytest.mark.real
def test_a_change_goes_to_one_relay_and_to_the_others_when_it_does_well(home: Home) -> None:
    async def roll(policies: str, watch_s: float) -> Done:
        order = Order("roll", "relay-2", watch_s, changed(f"policies = {{ {policies} }},"))
        return await give(home, order, said.append)

    async def story() -> None:
        assert (await roll("total = 99", 2.0)).name == "relay-2"
        assert said.index("ending relay-2 and starting it anew") < said.index("ending relay-1 and starting it anew")
        assert relays(home) == {"relay-1": 99, "relay-2": 99}
        said.clear()
        with pytest.raises(CanaryFailed, match=r"relay-2: .*refused .* of .* messages, the others"):
            await roll("total = 1, setup_and_bulk = 1, change_reserve = 0", 30.0)
        assert "relay-2 goes back" in said
        assert "ending relay-1 and starting it anew" not in said
        assert relays(home) == {"relay-1": 99, "relay-2": 99}
        other = tuple(structs.replace(node, hsm=Hsm(kind="softhsm", workers=1)) for node in changed(""))
        with pytest.raises(NotAllowed, match=r"only policies and hsm\.workers"):
            await give(home, Order("roll", "relay-2", 0.0, other), said.append)

    said: list[str] = []
    with running(home, "haproxy"):
        at_the_counters(home, story)


@pytest.mark.real
def test_without_a_balancer_a_relay_is_replaced_and_none_is_added(home: Home) -> None:
    async def story() -> None:
        with pytest.raises(NotAllowed, match="no balancer runs"):
            await order(home, "add")
        await order(home, "replace", "relay-1")
        assert (await order(home, "drain", "relay-2")).rotation == ("relay-1",)

    with running(home, "none"):
        answers = at_the_counters(home, story)
        assert set(answers) == {"record.not_found"}, answers


def test_where_nothing_runs_no_order_is_taken(home: Home) -> None:
    with pytest.raises(NotRunning):
        asyncio.run(order(home, "add"))


def test_what_is_no_order_is_refused_and_the_next_one_is_taken(home: Home) -> None:
    async def obey(order: Order, say: Callable[[str], None]) -> Done:
        say("working")
        return Done(order.name, ("relay-1",))

    async def main() -> None:
        async with serving(home, obey):
            with pytest.raises(Malformed, match="no order"):
                await order(home, "explode")
            said: list[str] = []
            done = await give(home, Order("drain", "relay-1"), said.append)
            assert (done.name, said) == ("relay-1", ["working"])
        with pytest.raises(NotRunning):
            await order(home, "add")

    asyncio.run(main())
