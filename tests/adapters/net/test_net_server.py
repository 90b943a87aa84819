"""The server against peers that do not behave."""

import asyncio
import contextlib
import ssl
import struct

import msgspec
import pytest
from net_kit import HOST, Certificates, Gate, RawPeer, RecordingLog, echo, raw_client, request, serving

from warifu.adapters.net.codec import decode_reply
from warifu.adapters.net.frames import GOAWAY, HEADER, PING, PONG, REPLY, REQUEST, Frame
from warifu.adapters.net.handling import Peer
from warifu.adapters.net.limits import Limits
from warifu.adapters.net.strangers import Strangers
from warifu.adapters.net.telling import MOST, Telling
from warifu.contract.envelope import Envelope, ErrorBody, Reply
from warifu.kernel.errors import Fault, NotFound


async def error_of(peer: RawPeer) -> ErrorBody:
    frame = await peer.receive(REPLY)
    assert frame is not None
    error = decode_reply(frame.payload).error
    assert error is not None
    return error


async def ended(peer: RawPeer) -> bool:
    return await peer.receive(REPLY) is None


async def test_the_server_greets_and_answers_pings(certificates: Certificates, log: RecordingLog) -> None:
    async with serving(echo, certificates.relay, log) as server, raw_client(server.port, certificates.cs) as peer:
        assert await peer.receive() == Frame(0, PING, b"")
        peer.send(Frame(3, PING, b""))
        assert await peer.receive() == Frame(3, PONG, b"")


@pytest.mark.parametrize(
    "payload",
    [b"\xc1", b"\x81\xa5actor\xa2\xff\xff", b"\x81\xa4more" + b"\x91" * 30_000 + b"\xc0"],
    ids=["nothing", "text that is not UTF-8", "nested without end"],
)
async def test_a_payload_that_is_no_envelope_is_answered_and_the_connection_goes_on(
    certificates: Certificates, log: RecordingLog, payload: bytes
) -> None:
    async with serving(echo, certificates.relay, log) as server, raw_client(server.port, certificates.cs) as peer:
        peer.send(Frame(1, REQUEST, payload))
        assert (await error_of(peer)).code == "request.malformed"
        peer.ask(2, request())
        assert await peer.receive(REPLY) is not None


async def test_an_unknown_version_is_answered_as_that(certificates: Certificates, log: RecordingLog) -> None:
    async with serving(echo, certificates.relay, log) as server, raw_client(server.port, certificates.cs) as peer:
        peer.send(Frame(1, REQUEST, b"\x81\xa7version\x02"))
        assert (await error_of(peer)).code == "request.unknown_version"


async def test_nobody_sends_under_anothers_name(certificates: Certificates, log: RecordingLog) -> None:
    async with serving(echo, certificates.relay, log) as server, raw_client(server.port, certificates.cs) as peer:
        peer.ask(1, request(sender="cs-2"))
        assert (await error_of(peer)).code == "request.not_allowed"


async def test_an_oversize_frame_is_answered_then_closed_and_logged_once(
    certificates: Certificates, log: RecordingLog
) -> None:
    async with serving(echo, certificates.relay, log) as server, raw_client(server.port, certificates.cs) as peer:
        peer.writer.write(HEADER.pack(1 << 30, 9, REQUEST))
        assert (await error_of(peer)).code == "request.malformed"
        assert await ended(peer)
    assert [record["peer"] for record in log.of("net.malformed")] == ["cs-1"]


@pytest.mark.parametrize(
    "frames",
    [
        [Frame(5, REQUEST, b""), Frame(5, REQUEST, b"")],
        [Frame(5, REQUEST, b""), Frame(4, REQUEST, b"")],
        [Frame(0, REQUEST, b"")],
        [Frame(1, REPLY, b"")],
        [Frame(1, GOAWAY, b"")],
        [Frame(1, 77, b"")],
    ],
    ids=["replayed id", "falling id", "id 0", "a reply", "goaway", "unknown kind"],
)
async def test_a_frame_that_no_client_sends_ends_the_connection(
    certificates: Certificates, log: RecordingLog, frames: list[Frame]
) -> None:
    async with serving(echo, certificates.relay, log) as server, raw_client(server.port, certificates.cs) as peer:
        peer.send(*frames)
        while await peer.receive() is not None:
            pass
    assert len(log.of("net.malformed")) == 1


async def test_a_replayed_request_is_not_handled_twice(certificates: Certificates, log: RecordingLog) -> None:
    gate = Gate()
    gate.opened.set()
    async with serving(gate, certificates.relay, log) as server, raw_client(server.port, certificates.cs) as peer:
        peer.ask(5, request())
        peer.ask(5, request())
        while await peer.receive() is not None:
            pass
    assert gate.begun == 1


@pytest.mark.parametrize("begun", [b"\0", struct.pack(">I", 100), HEADER.pack(100, 1, REQUEST) + b"half"])
async def test_a_frame_that_is_begun_and_not_finished_ends_the_connection(
    certificates: Certificates, log: RecordingLog, begun: bytes
) -> None:
    limits = Limits(frame_ms=40)
    async with (
        serving(echo, certificates.relay, log, limits) as server,
        raw_client(server.port, certificates.cs) as peer,
    ):
        peer.writer.write(begun)
        assert "not finished" in str((await log.wait_for("net.connection_aborted"))["reason"])
        assert await ended(peer)


async def test_a_client_that_does_not_read_is_cut_off(certificates: Certificates, log: RecordingLog) -> None:
    limits = Limits(stall_ms=60, max_in_flight=64)
    async with (
        serving(echo, certificates.relay, log, limits) as server,
        raw_client(server.port, certificates.cs) as peer,
    ):
        assert await peer.receive() is not None
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for number in range(1, 41):
            peer.ask(number, request(bytes(1 << 20)))
        assert "does not read" in str((await log.wait_for("net.connection_aborted"))["reason"])


async def test_a_connection_without_work_is_closed_in_the_end(certificates: Certificates, log: RecordingLog) -> None:
    async with (
        serving(echo, certificates.relay, log, Limits(idle_ms=40)) as server,
        raw_client(server.port, certificates.cs) as peer,
    ):
        assert await ended(peer)
    assert log.records == []


async def test_requests_above_the_limit_wait_unread_and_none_is_lost(
    certificates: Certificates, log: RecordingLog
) -> None:
    gate = Gate()
    async with (
        serving(gate, certificates.relay, log, Limits(max_in_flight=3)) as server,
        raw_client(server.port, certificates.cs) as peer,
    ):
        for number in range(1, 11):
            peer.ask(number, request())
        for _ in range(3):
            await gate.entered.acquire()
        assert server.handling == 3
        gate.opened.set()
        replies = [await peer.receive(REPLY) for _ in range(10)]
    assert sorted(frame.request_id for frame in replies if frame) == list(range(1, 11))


async def test_above_the_limit_the_server_stops_reading(certificates: Certificates, log: RecordingLog) -> None:
    gate = Gate()
    async with (
        serving(gate, certificates.relay, log, Limits(max_in_flight=1)) as server,
        raw_client(server.port, certificates.cs) as peer,
    ):
        for number in range(1, 49):
            peer.ask(number, request(bytes(1 << 20)))
        await gate.entered.acquire()
        (connection,) = server._connections
        await asyncio.wait({connection.closed}, timeout=0.3)
        assert connection._parser._have < 4 << 20  # of 47 MiB
        gate.opened.set()


async def test_handlers_above_the_servers_limit_are_refused_unhandled(
    certificates: Certificates, log: RecordingLog
) -> None:
    gate = Gate()
    async with (
        serving(gate, certificates.relay, log, Limits(max_handlers=1)) as server,
        raw_client(server.port, certificates.cs) as peer,
    ):
        peer.ask(1, request())
        await gate.entered.acquire()
        peer.ask(2, request())
        assert (await error_of(peer)).code == "part.unavailable"
        gate.opened.set()
        assert await peer.receive(REPLY) is not None
    assert gate.begun == 1


async def test_a_connection_above_the_limit_is_not_served(certificates: Certificates, log: RecordingLog) -> None:
    async with (
        serving(echo, certificates.relay, log, Limits(max_connections=1)) as server,
        raw_client(server.port, certificates.cs) as first,
    ):
        assert await first.receive() is not None
        async with raw_client(server.port, certificates.cs) as second:
            assert await second.receive() is None
        first.ask(1, request())
        assert await first.receive(REPLY) is not None


async def test_what_a_client_began_is_ended_when_the_client_goes_away(
    certificates: Certificates, log: RecordingLog
) -> None:
    gate = Gate()
    async with serving(gate, certificates.relay, log) as server:
        async with raw_client(server.port, certificates.cs) as peer:
            peer.ask(1, request())
            await gate.entered.acquire()
        async with raw_client(server.port, certificates.cs) as peer:
            peer.ask(1, request())
            await gate.entered.acquire()
            gate.opened.set()
            assert await peer.receive(REPLY) is not None
    assert gate.ended == 2


async def test_a_handler_has_no_more_time_than_its_envelope(certificates: Certificates, log: RecordingLog) -> None:
    async with serving(Gate(), certificates.relay, log) as server, raw_client(server.port, certificates.cs) as peer:
        peer.ask(1, request(remaining_ms=20))
        assert (await error_of(peer)).code == "deadline.passed"


async def test_an_error_of_the_tree_is_the_reply(certificates: Certificates, log: RecordingLog) -> None:
    async def refuse(_envelope: Envelope, _peer: Peer) -> Reply:
        raise NotFound("no such card")

    async with serving(refuse, certificates.relay, log) as server, raw_client(server.port, certificates.cs) as peer:
        peer.ask(1, request())
        assert await error_of(peer) == ErrorBody(code="record.not_found", text="no such card", kind="refused")
    assert log.records == []


@pytest.mark.parametrize(
    "error", [KeyError("山田太郎"), TimeoutError("山田太郎"), Fault("broken")], ids=lambda each: type(each).__name__
)
async def test_a_fault_is_logged_with_its_place_and_without_its_text(
    certificates: Certificates, log: RecordingLog, error: Exception
) -> None:
    async def fail(_envelope: Envelope, _peer: Peer) -> Reply:
        raise error

    async with serving(fail, certificates.relay, log) as server, raw_client(server.port, certificates.cs) as peer:
        peer.ask(1, request())
        body = await error_of(peer)
    assert (body.code, body.kind) == ("internal.fault", "fault")
    assert "山田" not in body.text
    (record,) = log.of("net.handler_fault")
    assert record["operation_id"] == "0" * 26
    assert str(record["place"]).startswith("test_net_server.py:")
    assert "山田" not in str(record)


@pytest.mark.parametrize("reply", [Reply(), Reply(body=bytes((1 << 20) + 1))], ids=["neither", "too long"])
async def test_a_reply_that_cannot_be_sent_is_a_fault(
    certificates: Certificates, log: RecordingLog, reply: Reply
) -> None:
    async def answer(_envelope: Envelope, _peer: Peer) -> Reply:
        return reply

    async with serving(answer, certificates.relay, log) as server, raw_client(server.port, certificates.cs) as peer:
        peer.ask(1, request())
        assert (await error_of(peer)).code == "internal.fault"
    assert len(log.of("net.reply_fault")) == 1


async def test_a_stopping_server_says_so_finishes_what_is_in_flight_and_takes_no_one_new(
    certificates: Certificates, log: RecordingLog
) -> None:
    gate = Gate()
    async with serving(gate, certificates.relay, log) as server, asyncio.TaskGroup() as group:
        port = server.port
        async with raw_client(port, certificates.cs) as peer:
            peer.ask(1, request())
            await gate.entered.acquire()
            stopping = group.create_task(server.stop(grace_s=20))
            assert await peer.receive(GOAWAY) is not None
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
            gate.opened.set()
            assert await peer.receive(REPLY) is not None
        await stopping
    assert log.records == []


async def test_a_handler_that_outlives_the_grace_is_ended(certificates: Certificates, log: RecordingLog) -> None:
    gate = Gate()
    async with serving(gate, certificates.relay, log) as server, raw_client(server.port, certificates.cs) as peer:
        peer.ask(1, request())
        await gate.entered.acquire()
        await server.stop(grace_s=0.02)
        assert server.handling == 0
        assert await ended(peer)
    assert (gate.begun, gate.ended) == (1, 0)
    assert len(log.of("net.stopped_in_flight")) == 1


async def turned_away(port: int, context: ssl.SSLContext | None, first: bytes = b"") -> None:
    """Connect so, and read until the server ends it."""
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
        try:
            writer.write(first)
            while await reader.read(4096):
                pass
        finally:
            writer.close()


async def test_whoever_is_not_let_in_is_counted_and_told_once_in_a_while(
    certificates: Certificates, log: RecordingLog
) -> None:
    """No certificate, one of another authority, and a greeting that is not gone on with."""
    bare, strange = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context in (bare, strange):
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    strange.load_cert_chain(certificates.strange_cs.certificate, certificates.strange_cs.key)
    unheard, greeting = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        bare.wrap_bio(unheard, greeting).do_handshake()
    async with serving(echo, certificates.relay, log, Limits(connect_ms=300)) as server:
        async with raw_client(server.port, certificates.cs) as friend, asyncio.TaskGroup() as strangers:
            strangers.create_task(turned_away(server.port, bare))
            strangers.create_task(turned_away(server.port, strange))
            strangers.create_task(turned_away(server.port, None, greeting.read()))
            friend.ask(1, request())
            assert await friend.receive(REPLY) is not None
        first = await log.wait_for("net.not_admitted")
        assert first == {"count": 1}
        assert log.of("net.not_admitted") == [first]


@pytest.mark.parametrize(
    ("first", "event"),
    [
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", "net.not_tls"),
        (b"\x00\xff\x13noise" * 10, "net.not_tls"),
        (bytes.fromhex("160301002a0100002603030000") + bytes(34), "net.not_tls"),  # a greeting of TLS 1.2
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03half a greeting", "net.unfinished"),
        (b"", "net.unfinished"),
    ],
)
async def test_what_is_no_tls_and_what_is_never_finished_leaves_a_record(
    certificates: Certificates, log: RecordingLog, first: bytes, event: str
) -> None:
    async with serving(echo, certificates.relay, log, Limits(connect_ms=300)) as server:
        await turned_away(server.port, None, first)
        assert await log.wait_for(event) == {"count": 1}


async def test_who_only_looks_at_the_port_leaves_none(certificates: Certificates, log: RecordingLog) -> None:
    """A balancer's check connects and goes; what came before and after it shows that it was not counted."""
    async with serving(echo, certificates.relay, log, Limits(connect_ms=300)) as server:
        for _ in range(3):
            _, writer = await asyncio.open_connection(HOST, server.port)
            writer.close()
            await writer.wait_closed()
        await turned_away(server.port, None, b"GET / HTTP/1.1\r\n\r\n")
        await log.wait_for("net.not_tls")
        async with raw_client(server.port, certificates.cs) as friend:
            friend.ask(1, request())
            assert await friend.receive(REPLY) is not None
    assert log.of("net.unfinished") == log.of("net.not_admitted") == []


async def test_strangers_that_come_meanwhile_are_told_together() -> None:
    log = RecordingLog()
    strangers = Strangers(Telling(log, every_s=0.01), within_s=5)
    for number in range(1000):
        strangers.failed(greeted=number % 2 > 0)
    while len(log.of("net.not_admitted")) < 1 or len(log.of("net.not_tls")) < 2:
        log.changed.clear()
        await log.changed.wait()
    assert log.of("net.not_tls") == [{"count": 1}, {"count": 499}]
    assert log.of("net.not_admitted") == [{"count": 500}]


async def test_what_a_node_may_not_ask_or_cannot_say_is_counted_by_peer_and_code(
    certificates: Certificates, log: RecordingLog
) -> None:
    """Two hundred envelopes of a version of tomorrow: each is refused by its code, and two records tell of them."""
    async with serving(echo, certificates.relay, log) as server, raw_client(server.port, certificates.cs) as client:
        forged = msgspec.msgpack.encode(msgspec.to_builtins(request(), builtin_types=(bytes,)) | {"version": 9})
        for number in range(1, 201):
            client.send(Frame(number, REQUEST, forged))
            assert (await error_of(client)).code == "request.unknown_version"
        server._telling._tell()
    told = log.of("net.refused")
    assert [{**record, "count": 0} for record in told] == [
        {"peer": "cs-1", "code": "request.unknown_version", "count": 0}
    ] * 2
    assert [record["count"] for record in told] == [1, 199]


async def test_records_of_a_while_are_few_however_many_are_named() -> None:
    log = RecordingLog()
    telling = Telling(log, every_s=60)
    for number in range(1000):
        telling.count("net.refused", peer=f"cs-{number}", code="request.malformed")
    telling._tell()
    told = log.of("net.refused")
    assert len(told) == 1 + MOST + 1
    assert sum(int(record["count"]) for record in told) == 1000
