"""``NetTransport``: over real connections, against servers that fail."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from net_kit import (
    Certificates,
    Gate,
    RawPeer,
    RecordingLog,
    calling,
    cancel_at,
    echo,
    raw_server,
    request,
    serving,
)

from warifu.adapters.net.client import NetTransport
from warifu.adapters.net.codec import decode_envelope, encode_reply
from warifu.adapters.net.frames import GOAWAY, REPLY, REQUEST, Frame
from warifu.adapters.net.handling import Handler, Peer
from warifu.adapters.net.limits import Limits
from warifu.contract.envelope import Envelope, Reply
from warifu.kernel.errors import DeadlinePassed, Fault, Malformed, Unavailable, Unreachable


def in_flight(transport: NetTransport) -> int:
    """Everything the transport still holds for somebody."""
    route = transport._routes["relay"]
    connections = [slot.connection for slot in route._slots if slot.connection is not None]
    return sum(connection.in_flight for connection in connections) + len(route._waiting)


async def test_a_thousand_calls_at_once_each_get_their_own_reply(certificates: Certificates, log: RecordingLog) -> None:
    bodies = [f"{number}".encode() * (number % 50 + 1) for number in range(1000)]
    async with serving(echo, certificates.relay, log) as server, calling(server.port, tls=certificates.cs) as transport:
        replies = await asyncio.gather(*(transport.call("relay", request(body)) for body in bodies))
        assert [reply.body for reply in replies] == bodies
        assert in_flight(transport) == 0
        assert len(server._connections) == 2
    assert log.records == []


async def test_bodies_of_the_greatest_length_pass_both_ways(certificates: Certificates, log: RecordingLog) -> None:
    body = bytes(range(256)) * 4096
    async with serving(echo, certificates.relay, log) as server, calling(server.port, tls=certificates.cs) as transport:
        replies = await asyncio.gather(*(transport.call("relay", request(body)) for _ in range(12)))
        assert all(reply.body == body for reply in replies)


async def test_a_body_that_is_too_long_is_not_sent(certificates: Certificates, log: RecordingLog) -> None:
    async with serving(echo, certificates.relay, log) as server, calling(server.port, tls=certificates.cs) as transport:
        with pytest.raises(Malformed):
            await transport.call("relay", request(bytes((1 << 20) + 1)))
        assert (await transport.call("relay", request())).body == b"body"


async def test_callers_above_the_limit_wait_for_room(certificates: Certificates, log: RecordingLog) -> None:
    limits, gate = Limits(max_in_flight=2), Gate()
    async with (
        serving(gate, certificates.relay, log, limits) as server,
        calling(server.port, tls=certificates.cs, limits=limits, connections=1) as transport,
        asyncio.TaskGroup() as group,
    ):
        calls = [group.create_task(transport.call("relay", request())) for _ in range(9)]
        for _ in range(2):
            await gate.entered.acquire()
        assert (gate.begun, in_flight(transport)) == (2, 9)
        gate.opened.set()
    assert all(call.result().body == b"body" for call in calls)


async def test_the_time_left_falls_and_never_rises(certificates: Certificates, log: RecordingLog) -> None:
    async def tell(envelope: Envelope, _peer: Peer) -> Reply:
        return Reply(body=str(envelope.remaining_ms).encode())

    async with serving(tell, certificates.relay, log) as server, calling(server.port, tls=certificates.cs) as transport:
        reply = await transport.call("relay", request(remaining_ms=5000))
        assert 0 < int(reply.body or b"0") <= 5000


async def test_an_unknown_destination_is_unreachable(certificates: Certificates) -> None:
    async with calling(tls=certificates.cs) as transport:
        for name in ("relay", "center"):
            with pytest.raises(Unreachable):
                await transport.call(name, request())


@pytest.mark.parametrize("fault", ["server of another authority", "client of another authority", "another node"])
async def test_nothing_is_sent_unless_both_know_who_the_other_is(
    certificates: Certificates, log: RecordingLog, fault: str
) -> None:
    gate = Gate()
    server_tls = certificates.strange_relay if fault.startswith("server") else certificates.relay
    client_tls = certificates.strange_cs if fault.startswith("client") else certificates.cs
    accepted = ("relay-2",) if fault == "another node" else ("relay-1",)
    async with (
        serving(gate, server_tls, log) as server,
        calling(server.port, tls=client_tls, accepted=accepted) as transport,
    ):
        with pytest.raises(Unreachable):
            await transport.call("relay", request())
    assert gate.begun == 0


async def test_behind_a_balancer_any_of_the_accepted_names_will_do(
    certificates: Certificates, log: RecordingLog
) -> None:
    async with (
        serving(echo, certificates.second_relay, log) as server,
        calling(server.port, tls=certificates.cs, accepted=("relay-1", "relay-2")) as transport,
    ):
        assert (await transport.call("relay", request())).body == b"body"


async def test_an_address_that_refuses_is_passed_over(certificates: Certificates, log: RecordingLog) -> None:
    async with serving(echo, certificates.relay, log) as gone:
        refusing = gone.port
    async with (
        serving(echo, certificates.relay, log) as server,
        calling(refusing, server.port, tls=certificates.cs) as transport,
    ):
        replies = await asyncio.gather(*(transport.call("relay", request()) for _ in range(50)))
        assert len(replies) == 50


async def test_several_addresses_share_the_load(certificates: Certificates, log: RecordingLog) -> None:
    gates = [Gate(), Gate()]
    async with (
        serving(gates[0], certificates.relay, log) as first,
        serving(gates[1], certificates.relay, log) as second,
        calling(first.port, second.port, tls=certificates.cs) as transport,
    ):
        for gate in gates:
            gate.opened.set()
        while len(first._connections) + len(second._connections) < 4:
            await asyncio.gather(*(transport.call("relay", request()) for _ in range(4)))
        for gate in gates:
            gate.begun = 0
            gate.opened.clear()
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(transport.call("relay", request())) for _ in range(40)]
            while sum(gate.begun for gate in gates) < 40:
                await asyncio.wait(calls, timeout=0.01)
            assert [gate.begun for gate in gates] == [20, 20]
            for gate in gates:
                gate.opened.set()


async def test_when_every_address_refuses_calls_fail_at_once_until_the_backoff_is_over(
    certificates: Certificates, log: RecordingLog
) -> None:
    async with serving(echo, certificates.relay, log) as gone:
        port = gone.port
    limits = Limits(backoff_first_ms=30_000, backoff_most_ms=30_000)
    async with calling(port, tls=certificates.cs, limits=limits) as transport:
        for _ in range(5):
            with pytest.raises(Unreachable):
                await transport.call("relay", request())
        async with serving(echo, certificates.relay, log, port=port) as server:
            with pytest.raises(Unreachable):
                await transport.call("relay", request())
            assert len(server._connections) == 0


async def test_a_server_that_comes_back_is_found_again(certificates: Certificates, log: RecordingLog) -> None:
    limits = Limits(backoff_first_ms=1, backoff_most_ms=1)
    async with serving(echo, certificates.relay, log) as first:
        port = first.port
        stack = AsyncExitStack()
        transport = await stack.enter_async_context(calling(port, tls=certificates.cs, limits=limits))
        assert (await transport.call("relay", request())).body == b"body"
    async with stack, serving(echo, certificates.relay, log, port=port):
        while True:
            try:
                reply = await transport.call("relay", request())
            except (Unreachable, Unavailable):
                continue
            assert reply.body == b"body"
            break


async def die(peer: RawPeer) -> None:
    await peer.receive(REQUEST)
    peer.close()


async def close(peer: RawPeer) -> None:
    await peer.receive(REQUEST)
    peer.writer.close()


async def half(peer: RawPeer) -> None:
    await peer.receive(REQUEST)
    peer.writer.write(b"\0\0\0\x40\0\0")
    peer.writer.close()


async def oversize(peer: RawPeer) -> None:
    await peer.receive(REQUEST)
    peer.writer.write(b"\xff" * 13)
    await peer.receive()


async def unasked(peer: RawPeer) -> None:
    await peer.receive(REQUEST)
    peer.send(Frame(99, REPLY, b""))
    await peer.receive()


async def asking(peer: RawPeer) -> None:
    await peer.receive(REQUEST)
    peer.send(Frame(99, REQUEST, b""))
    await peer.receive()


async def deaf(peer: RawPeer) -> None:
    while await peer.receive() is not None:
        pass


@pytest.mark.parametrize("behaviour", [die, close, half, oversize, unasked, asking])
async def test_a_connection_that_ends_after_sending_leaves_the_effect_unknown(
    certificates: Certificates, behaviour: object
) -> None:
    async with (
        raw_server(behaviour, certificates.relay) as port,  # type: ignore[arg-type]
        calling(port, tls=certificates.cs) as transport,
    ):
        with pytest.raises(Unavailable) as caught:
            await transport.call("relay", request())
        assert not isinstance(caught.value, Unreachable)
        assert in_flight(transport) == 0


async def test_a_server_that_ends_before_it_greets_got_nothing(certificates: Certificates) -> None:
    async def leave(peer: RawPeer) -> None:
        peer.writer.close()

    async with (
        raw_server(leave, certificates.relay, greet=False) as port,
        calling(port, tls=certificates.cs) as transport,
    ):
        with pytest.raises(Unreachable):
            await transport.call("relay", request())


async def test_a_server_that_never_greets_is_given_up(certificates: Certificates) -> None:
    limits = Limits(connect_ms=50)
    async with (
        raw_server(deaf, certificates.relay, greet=False) as port,
        calling(port, tls=certificates.cs, limits=limits) as transport,
    ):
        with pytest.raises(Unreachable):
            await transport.call("relay", request())


async def test_a_server_that_answers_no_ping_is_given_up(certificates: Certificates) -> None:
    async with (
        raw_server(deaf, certificates.relay) as port,
        calling(port, tls=certificates.cs, limits=Limits(ping_ms=30)) as transport,
    ):
        with pytest.raises(Unavailable, match="ping"):
            await transport.call("relay", request())


async def test_pings_keep_a_quiet_connection_open(certificates: Certificates, log: RecordingLog) -> None:
    """Its handler works four times as long as silence is allowed, and the server still answers pings."""
    limits = Limits(ping_ms=20, idle_ms=60)

    async def slow(envelope: Envelope, peer: Peer) -> Reply:
        try:
            async with asyncio.timeout(0.16):
                await asyncio.Event().wait()
        except TimeoutError:
            return await echo(envelope, peer)
        raise AssertionError

    async with (
        serving(slow, certificates.relay, log, limits) as server,
        calling(server.port, tls=certificates.cs, limits=limits) as transport,
    ):
        assert (await transport.call("relay", request())).body == b"body"
    assert log.records == []


async def test_what_is_no_reply_is_a_fault_of_ours(certificates: Certificates) -> None:
    async def babble(peer: RawPeer) -> None:
        frame = await peer.receive(REQUEST)
        assert frame is not None
        peer.send(Frame(frame.request_id, REPLY, b"\xc1"))
        await peer.receive(REQUEST)

    async with raw_server(babble, certificates.relay) as port, calling(port, tls=certificates.cs) as transport:
        with pytest.raises(Fault):
            await transport.call("relay", request())


async def test_a_server_that_asks_to_go_gets_nothing_new_and_loses_nothing(
    certificates: Certificates, log: RecordingLog
) -> None:
    left: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def going(peer: RawPeer) -> None:
        frame = await peer.receive(REQUEST)
        assert frame is not None
        reply = encode_reply(Reply(body=decode_envelope(frame.payload).body))
        peer.send(Frame(0, GOAWAY, b""), Frame(frame.request_id, REPLY, reply))
        left.set_result(await peer.receive(REQUEST) is None)

    async with (
        raw_server(going, certificates.relay) as old,
        serving(echo, certificates.relay, log) as new,
        calling(old, new.port, tls=certificates.cs, connections=1) as transport,
    ):
        assert (await transport.call("relay", request())).body == b"body"
        for _ in range(5):
            assert (await transport.call("relay", request())).body == b"body"
        assert await left


async def test_a_deadline_that_passes_says_so_and_leaves_nothing(certificates: Certificates) -> None:
    async with raw_server(deaf, certificates.relay) as port, calling(port, tls=certificates.cs) as transport:
        with pytest.raises(DeadlinePassed):
            await transport.call("relay", request(remaining_ms=30))
        (connection,) = [slot.connection for slot in transport._routes["relay"]._slots if slot.connection]
        assert not connection._pending


async def test_a_late_reply_is_dropped_and_the_connection_goes_on(
    certificates: Certificates, log: RecordingLog
) -> None:
    gate = Gate()
    async with (
        serving(gate, certificates.relay, log) as server,
        calling(server.port, tls=certificates.cs, connections=1) as transport,
    ):
        call = asyncio.ensure_future(transport.call("relay", request(b"first")))
        await gate.entered.acquire()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert in_flight(transport) == 1  # the server still works for it
        gate.opened.set()
        assert (await transport.call("relay", request(b"second"))).body == b"second"
        assert in_flight(transport) == 0
        assert len(server._connections) == 1


async def test_a_caller_cancelled_at_any_await_leaves_nothing_behind(
    certificates: Certificates, log: RecordingLog
) -> None:
    """First on a fresh transport, then on one whose only connection is full: every await of the call is tried."""
    limits = Limits(max_in_flight=1)
    tried = 0
    for crowd in (0, 3):
        for point in range(50):
            if await finishes_when_cancelled_at(point, crowd, certificates, log, limits):
                break
            tried += 1
        else:
            raise AssertionError("a call awaits more often than we tried")
    assert tried >= 4


async def finishes_when_cancelled_at(
    point: int, crowd: int, certificates: Certificates, log: RecordingLog, limits: Limits
) -> bool:
    gate = Gate()
    async with (
        serving(gate, certificates.relay, log, limits) as server,
        calling(server.port, tls=certificates.cs, limits=limits, connections=1) as transport,
        asyncio.TaskGroup() as group,
    ):
        others = [group.create_task(transport.call("relay", request())) for _ in range(crowd)]
        if crowd:
            await gate.entered.acquire()
        else:
            gate.opened.set()
        call = group.create_task(caught(cancel_at(transport.call("relay", request()), point)))
        if crowd:
            group.create_task(opened_by(gate, call))
        finished = await call
        gate.opened.set()
        assert (await transport.call("relay", request(b"after"))).body == b"after"
        await asyncio.gather(*others)
        assert in_flight(transport) == 0
    assert gate.begun == gate.ended
    return finished


async def caught(call: object) -> bool:
    """Whether the call finished; False when it was cancelled."""
    try:
        reply = await call  # type: ignore[misc]
    except asyncio.CancelledError:
        return False
    assert reply.body == b"body"
    return True


async def opened_by(gate: Gate, call: "asyncio.Task[bool]") -> None:
    """Open the gate once the call has had a turn, unless it is over by then."""
    turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turn.set_result, None)
    await turn
    gate.opened.set()
    await asyncio.wait({call})


async def test_callers_who_give_up_waiting_leave_no_place_in_the_line(
    certificates: Certificates, log: RecordingLog
) -> None:
    gate, limits = Gate(), Limits(max_in_flight=1)
    async with (
        serving(gate, certificates.relay, log, limits) as server,
        calling(server.port, tls=certificates.cs, limits=limits, connections=1) as transport,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(transport.call("relay", request()))
        await gate.entered.acquire()
        waiting = [group.create_task(transport.call("relay", request())) for _ in range(5)]
        await asyncio.wait(waiting, timeout=0.01)
        for call in waiting:
            call.cancel()
        await asyncio.wait(waiting)
        assert in_flight(transport) == 1
        gate.opened.set()


async def test_the_room_meant_for_a_caller_who_is_cancelled_goes_to_the_next(
    certificates: Certificates, log: RecordingLog
) -> None:
    """The cancellation comes between the reply that makes room and the turn of the caller it wakes."""
    gate, limits = Gate(), Limits(max_in_flight=1)
    async with (
        serving(gate, certificates.relay, log, limits) as server,
        calling(server.port, tls=certificates.cs, limits=limits, connections=1) as transport,
        asyncio.TaskGroup() as group,
    ):
        group.create_task(transport.call("relay", request()))
        await gate.entered.acquire()
        next_one, last = (group.create_task(transport.call("relay", request())) for _ in range(2))
        await asyncio.wait({next_one, last}, timeout=0.01)
        (connection,) = [slot.connection for slot in transport._routes["relay"]._slots if slot.connection]
        (reply,) = connection._pending.values()
        reply.add_done_callback(lambda _: next_one.cancel())
        gate.opened.set()
        assert (await last).body == b"body"
        assert next_one.cancelled()


async def test_a_closed_transport_ends_its_calls_and_takes_no_more(
    certificates: Certificates, log: RecordingLog
) -> None:
    gate = Gate()
    async with (
        serving(gate, certificates.relay, log) as server,
        calling(server.port, tls=certificates.cs) as transport,
        asyncio.TaskGroup() as group,
    ):
        call = group.create_task(unavailable(transport))
        await gate.entered.acquire()
        await transport.aclose()
        await call
        with pytest.raises(Unreachable):
            await transport.call("relay", request())
        gate.opened.set()


async def unavailable(transport: NetTransport) -> None:
    with pytest.raises(Unavailable):
        await transport.call("relay", request())


# ---- which connection --------------------------------------------------------------------------------------------


async def test_an_operation_keeps_to_one_relay_and_moves_only_when_that_is_gone(
    certificates: Certificates, log: RecordingLog
) -> None:
    took: dict[str, list[str]] = {}

    def taking(name: str) -> Handler:
        async def take(envelope: Envelope, _peer: Peer) -> Reply:
            took.setdefault(envelope.operation_id, []).append(name)
            return Reply(body=b"")

        return take

    operations = [f"{number:026}" for number in range(1, 41)]
    async with (
        serving(taking("relay-1"), certificates.relay, log) as first,
        serving(taking("relay-2"), certificates.second_relay, log) as second,
        calling(
            first.port, second.port, tls=certificates.cs, accepted=("relay-1", "relay-2"), affinity="operation"
        ) as transport,
    ):
        await both_open(transport, 4)
        took.clear()
        for _ in range(3):
            for operation in operations:
                await transport.call("relay", request(operation_id=operation))
        assert all(len(set(names)) == 1 for names in took.values())
        of_second = [operation for operation in operations if took[operation][0] == "relay-2"]
        assert 0 < len(of_second) < len(operations)
        await first.stop(0.1)
        for operation in operations:
            await transport.call("relay", request(operation_id=operation))
        assert all(names[-1] == "relay-2" for names in took.values())


async def test_an_order_has_one_worker_and_waits_for_no_other(certificates: Certificates, log: RecordingLog) -> None:
    took: dict[str, set[str]] = {"relay-1": set(), "relay-2": set()}

    def taking(name: str) -> Handler:
        async def take(envelope: Envelope, _peer: Peer) -> Reply:
            took[name].add(envelope.ordering_key)
            return Reply(body=b"")

        return take

    keys = [f"WRF{number:012}" for number in range(30)]
    async with (
        serving(taking("relay-1"), certificates.relay, log) as first,
        serving(taking("relay-2"), certificates.second_relay, log) as second,
        calling(
            first.port, second.port, tls=certificates.cs, accepted=("relay-1", "relay-2"), affinity="order"
        ) as transport,
    ):
        for key in keys * 2:
            await transport.call("relay", request(ordering_key=key))
        assert all(took.values())
        assert not took["relay-1"] & took["relay-2"]
        await first.stop(0.1)
        with pytest.raises(Unreachable):
            await transport.call("relay", request(ordering_key=min(took["relay-1"])))
        await transport.call("relay", request(ordering_key=min(took["relay-2"])))


async def both_open(transport: NetTransport, connections: int) -> None:
    """Until every connection is there: before that an operation has fewer to choose from."""
    route = transport._routes["relay"]
    while sum(slot.connection is not None for slot in route._slots) < connections:
        await transport.call("relay", request())
