"""Relays come, go and are replaced while counters ask: nothing is lost. Real nodes, real HAProxy."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from msgspec import structs

from warifu.adapters.net.client import NetTransport
from warifu.contract.center import OpenOperation
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.contract.values import ChipStatus
from warifu.kernel.errors import Malformed, NotAllowed, NotFound
from warifu.kernel.ids import card_id, new_ulid
from warifu.stack import config, control, links, status, topology
from warifu.stack.canary import CanaryFailed
from warifu.stack.errors import NotRunning
from warifu.stack.home import Home
from warifu.stack.orders import Done, Order, give, serving
from warifu.stack.topology import Hsm, Node

PLACE = "131016"
CHAIN = f"""
name = "chain"
database = {{ max_connections = 40, shared_buffers_mb = 16 }}
supervision = {{ probe_every_s = 0.1 }}
balancer = {{ kind = "BALANCER" }}
node = [
  {{ name = "center", kind = "center", hsm = {{ workers = 1 }} }},
  {{ name = "relay-1", kind = "relay", service = "relay", hsm = {{ workers = 1 }} }},
  {{ name = "relay-2", kind = "relay", service = "relay", hsm = {{ workers = 1 }} }},
  {{ name = "cs-{PLACE}", kind = "cs", municipality = "{PLACE}", count = 2 }},
  {{ name = "terminal-{PLACE}", kind = "terminal", municipality = "{PLACE}" }},
]
"""
CALLERS = 8


@contextmanager
def running(home: Home, balancer: str) -> Iterator[None]:
    file = home.root / "chain.toml"
    file.write_text(CHAIN.replace("BALANCER", balancer), "utf-8")
    supervisor = control.start(home, str(file), leashed=True)
    try:
        yield
    finally:
        control.stop(home)
        assert supervisor.wait(20) == 0


class Counters:
    """Terminals that open deliveries of cards nobody has; each must come back with just that answer."""

    def __init__(self, home: Home) -> None:
        own = config.read(home, f"terminal-{PLACE}")
        self._name = own.name
        self._transport = NetTransport(links.destinations(own.topology, own.book), links.tls_of(home, own.name))
        self.answers: Counter[str] = Counter()
        self._open = True

    async def during(self, story: Awaitable[None]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(CALLERS):
                    group.create_task(self._ask_on(number))
                try:
                    await story
                finally:
                    self._open = False
        finally:
            await self._transport.aclose()

    async def _ask_on(self, number: int) -> None:
        for turn in itertools.count(1):
            if not self._open:
                return
            card = card_id(number * 1_000_000 + turn)
            ask = OpenOperation(kind="delivery", card_id=card, chip=ChipStatus(card_id=card, life_state="set_up"))
            envelope = Envelope(
                name=ask.NAME,
                operation_id=new_ulid(turn, number.to_bytes(10, "big")),
                step="open",
                sender=self._name,
                ordering_key=card,
                remaining_ms=30_000,
                service_class="delivery",
                body=encode(ask),
            )
            reply = await self._transport.call(f"cs-{PLACE}", envelope)
            self.answers[reply.error.code if reply.error else "ok"] += 1


def at_the_counters(home: Home, story: Callable[[], Awaitable[None]]) -> Counter[str]:
    async def main() -> Counter[str]:
        counters = Counters(home)
        await counters.during(story())
        return counters.answers

    return asyncio.run(main())


async def order(home: Home, verb: str, name: str = "") -> Done:
    return await give(home, Order(verb, name), lambda _text: None)  # type: ignore[arg-type]  # one of three


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
