"""A client's connections through a balancer lead to several servers, where there are several."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from net_kit import HOST, Certificates, RecordingLog, calling, request, serving

from warifu.adapters.net import client
from warifu.adapters.net.client import NetTransport
from warifu.adapters.net.handling import Handler, Peer
from warifu.adapters.net.variety import crowded, relieves
from warifu.contract.envelope import Envelope, Reply
from warifu.kernel.errors import Unreachable

NAMES = ("relay-1", "relay-2", "relay-3")


@given(peers=st.lists(st.sampled_from(NAMES), max_size=8))
def test_a_server_is_crowded_when_another_has_two_fewer(peers: list[str]) -> None:
    led = Counter({name: peers.count(name) for name in NAMES})
    crowd = crowded(peers, NAMES)
    assert (crowd is not None) == (max(led.values()) - min(led.values()) >= 2)
    assert crowd is None or led[crowd] == max(led.values())


@given(peers=st.lists(st.sampled_from(NAMES), min_size=1, max_size=8), newcomer=st.sampled_from(NAMES))
def test_what_relieves_makes_them_more_even(peers: list[str], newcomer: str) -> None:
    crowd = crowded(peers, NAMES)
    if crowd is None or not relieves(newcomer, peers, crowd):
        return
    led = Counter({name: peers.count(name) for name in NAMES})
    moved = led - Counter([crowd]) + Counter([newcomer])
    assert sum(count**2 for count in moved.values()) < sum(count**2 for count in led.values())


def named(name: str) -> Handler:
    async def handle(_envelope: Envelope, _peer: Peer) -> Reply:
        return Reply(body=name.encode())

    return handle


class Balancer:
    """Leads each connection to the port that is next in its list, and the last one's for ever; 0: to a dead server."""

    def __init__(self, ports: Iterable[int]) -> None:
        self.ports = list(ports)
        self.led: list[int] = []
        self.came = asyncio.Event()
        """So many as are in the list."""

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[int]:
        server = await asyncio.start_server(self._lead, HOST, 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()

    async def _lead(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = self.ports[min(len(self.led), len(self.ports) - 1)]
        self.led.append(port)
        if len(self.led) >= len(self.ports):
            self.came.set()
        if not port:
            writer.close()
            return
        there, back = await asyncio.open_connection(HOST, port)
        await asyncio.gather(_pipe(reader, back), _pipe(there, writer))


async def _pipe(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(1 << 16):
            target.write(data)
            await target.drain()
    except ConnectionError:
        pass
    finally:
        target.close()


async def both(transport: NetTransport) -> set[bytes]:
    """Who answers two requests at once."""
    replies = await asyncio.gather(*(transport.call("relay", request()) for _ in range(2)))
    return {reply.body or b"" for reply in replies}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(client, "LONGEST_PAUSE_S", 0.02)


async def test_a_connection_too_many_is_tried_elsewhere_until_it_leads_there(
    certificates: Certificates, log: RecordingLog
) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(serving(named("relay-1"), certificates.relay, log))
        two = await stack.enter_async_context(serving(named("relay-2"), certificates.second_relay, log))
        balancer = Balancer([one.port, one.port, one.port, two.port])
        port = await stack.enter_async_context(balancer.serving())
        transport = await stack.enter_async_context(
            calling(port, tls=certificates.cs, accepted=("relay-1", "relay-2"), accepted_kind="relay")
        )
        while await both(transport) != {b"relay-1", b"relay-2"}:
            pass
        assert balancer.led == [one.port, one.port, one.port, two.port]


async def test_a_server_that_is_not_there_is_tried_in_vain_and_nothing_is_lost(
    certificates: Certificates, log: RecordingLog
) -> None:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(serving(named("relay-1"), certificates.relay, log))
        balancer = Balancer([one.port] * 6)
        port = await stack.enter_async_context(balancer.serving())
        transport = await stack.enter_async_context(
            calling(port, tls=certificates.cs, accepted=("relay-1", "relay-2"), accepted_kind="relay")
        )
        while not balancer.came.is_set():
            assert await both(transport) == {b"relay-1"}


async def test_without_a_balancer_nothing_is_tried(
    certificates: Certificates, log: RecordingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr(client, "crowded", lambda peers, _known: asked.append(peers))
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(serving(named("relay-1"), certificates.relay, log))
        for kind, port in (("", one.port), ("relay", one.port)):
            ports = (port,) if not kind else (port, port)
            transport = await stack.enter_async_context(
                calling(*ports, tls=certificates.cs, accepted=("relay-1", "relay-2"), accepted_kind=kind)
            )
            assert await both(transport) == {b"relay-1"}
    assert asked == []


async def test_callers_wait_while_a_balancer_leads_to_a_server_that_has_just_died(
    certificates: Certificates, log: RecordingLog
) -> None:
    """Another one is healthy: each of many callers is served in the end, and none has to be told to try again."""
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(serving(named("relay-1"), certificates.relay, log))
        balancer = Balancer([0, 0, 0, one.port])
        port = await stack.enter_async_context(balancer.serving())
        transport = await stack.enter_async_context(
            calling(port, tls=certificates.cs, accepted=("relay-1", "relay-2"), accepted_kind="relay")
        )
        replies = await asyncio.gather(*(transport.call("relay", request()) for _ in range(20)))
        assert {reply.body for reply in replies} == {b"relay-1"}
        assert balancer.led[:4] == [0, 0, 0, one.port]


async def test_when_no_server_is_left_callers_are_told_soon_and_later_ones_at_once(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE_S", 0.2)
    async with AsyncExitStack() as stack:
        balancer = Balancer([0])
        port = await stack.enter_async_context(balancer.serving())
        transport = await stack.enter_async_context(calling(port, tls=certificates.cs, accepted_kind="relay"))
        for _ in range(2):
            with pytest.raises(Unreachable):
                await transport.call("relay", request())
        tried = len(balancer.led)
        assert tried > 1
        with pytest.raises(Unreachable):
            await transport.call("relay", request())
        assert len(balancer.led) <= tried + 1
