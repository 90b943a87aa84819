"""Connections that are asked to move: made anew first, given up then, and nothing waits or is lost in between."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from net_kit import Certificates, Gate, RawPeer, RecordingLog, calling, raw_client, raw_server, request, serving

from warifu.adapters.net.codec import decode_envelope, encode_reply
from warifu.adapters.net.frames import GOAWAY, ONCE_ELSEWHERE, PING, REPLY, REQUEST, Frame
from warifu.contract.envelope import Reply
from warifu.kernel.errors import Unavailable


class Relays:
    """A balancer's port: the first connection leads to the old relay, every later one to the new."""

    def __init__(self) -> None:
        self.peers: list[RawPeer] = []
        self.came = asyncio.Event()
        """The second connection."""
        self.greets = asyncio.Event()
        """The new relay may greet."""
        self.refuses = False
        self.held: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        """The slow request, which the old relay has and does not answer."""
        self.left = asyncio.Event()
        """The old connection has ended."""

    async def __call__(self, peer: RawPeer) -> None:
        self.peers.append(peer)
        if len(self.peers) == 1:
            peer.send(Frame(0, PING, b""))
            await self._answer(peer, b"old")
            self.left.set()
            return
        self.came.set()
        if self.refuses:
            peer.close()
            return
        await self.greets.wait()
        peer.send(Frame(0, PING, b""))
        await self._answer(peer, b"new")

    async def _answer(self, peer: RawPeer, word: bytes) -> None:
        while (frame := await peer.receive(REQUEST)) is not None:
            if decode_envelope(frame.payload).body == b"slow":
                self.held.set_result(frame)
            else:
                answer(peer, frame, word)

    def ask_to_move(self) -> None:
        self.peers[0].send(Frame(ONCE_ELSEWHERE, GOAWAY, b""))


def answer(peer: RawPeer, frame: Frame, word: bytes) -> None:
    peer.send(Frame(frame.request_id, REPLY, encode_reply(Reply(body=word))))


async def test_who_is_asked_to_move_goes_on_until_it_has_another_connection_and_then_leaves(
    certificates: Certificates,
) -> None:
    relays = Relays()
    async with (
        raw_server(relays, certificates.relay, greet=False) as port,
        calling(port, tls=certificates.cs, connections=1, affinity="operation") as transport,
    ):
        assert (await transport.call("relay", request())).body == b"old"
        relays.ask_to_move()
        await relays.came.wait()
        for _ in range(3):
            assert (await transport.call("relay", request())).body == b"old"
        relays.greets.set()
        await relays.left.wait()
        assert (await transport.call("relay", request())).body == b"new"
        assert len(relays.peers) == 2


async def test_what_is_in_flight_is_answered_where_it_was_sent(certificates: Certificates) -> None:
    relays = Relays()
    relays.greets.set()
    async with (
        raw_server(relays, certificates.relay, greet=False) as port,
        calling(port, tls=certificates.cs, connections=1) as transport,
        asyncio.TaskGroup() as group,
    ):
        slow = group.create_task(transport.call("relay", request(b"slow")))
        frame = await relays.held
        relays.ask_to_move()
        while (await transport.call("relay", request())).body != b"new":
            pass
        assert not relays.left.is_set()
        answer(relays.peers[0], frame, b"old")
        assert (await slow).body == b"old"
        await relays.left.wait()


async def test_who_finds_no_other_connection_stays(certificates: Certificates) -> None:
    relays = Relays()
    relays.refuses = True
    async with (
        raw_server(relays, certificates.relay, greet=False) as port,
        calling(port, tls=certificates.cs, connections=1) as transport,
    ):
        assert (await transport.call("relay", request())).body == b"old"
        relays.ask_to_move()
        await relays.came.wait()
        for _ in range(3):
            assert (await transport.call("relay", request())).body == b"old"
        assert not relays.left.is_set()
        relays.refuses = False
        relays.greets.set()
        relays.ask_to_move()
        await relays.left.wait()
        assert (await transport.call("relay", request())).body == b"new"


async def test_a_closed_transport_ends_connections_that_were_leaving(certificates: Certificates) -> None:
    relays = Relays()
    relays.greets.set()
    async with raw_server(relays, certificates.relay, greet=False) as port, AsyncExitStack() as stack:
        transport = await stack.enter_async_context(calling(port, tls=certificates.cs, connections=1))
        slow = asyncio.create_task(transport.call("relay", request(b"slow")))
        await relays.held
        relays.ask_to_move()
        while (await transport.call("relay", request())).body != b"new":
            pass
        await transport.aclose()
        await relays.left.wait()
        with pytest.raises(Unavailable):
            await slow


async def test_a_server_asks_as_many_as_it_is_told_and_the_same_ones_again(
    certificates: Certificates, log: RecordingLog
) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(Gate(), certificates.relay, log))
        town = [await stack.enter_async_context(raw_client(server.port, certificates.cs)) for _ in range(3)]
        other = await stack.enter_async_context(raw_client(server.port, certificates.second_relay))
        for peer in (*town, other):
            assert await peer.receive(PING) is not None
        assert server.let_go(2, "relay-2") == 2
        asked = await asked_of(town, 2)
        assert server.let_go(2, "relay-2") == 2
        assert await asked_of([peer for peer in town if peer in asked], 2) == asked
        assert server.let_go(9, "relay-2") == 3
        assert server.let_go() == 4


async def test_those_with_most_connections_give_one_first(certificates: Certificates, log: RecordingLog) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(Gate(), certificates.relay, log))
        many = [await stack.enter_async_context(raw_client(server.port, certificates.cs)) for _ in range(2)]
        few = await stack.enter_async_context(raw_client(server.port, certificates.second_relay))
        for peer in (*many, few):
            assert await peer.receive(PING) is not None
        server.let_go(1)
        assert len(await asked_of(many, 1)) == 1


async def asked_of(peers: list[RawPeer], number: int) -> list[RawPeer]:
    """Those of them who are asked, once so many have been."""
    waiting = {asyncio.create_task(peer.receive(GOAWAY)): peer for peer in peers}
    asked: list[RawPeer] = []
    while len(asked) < number:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            assert task.result() == Frame(ONCE_ELSEWHERE, GOAWAY, b"")
            asked.append(waiting.pop(task))
    for task in waiting:
        task.cancel()
    if waiting:
        await asyncio.wait(waiting)
    return [peer for peer in peers if peer in asked]
