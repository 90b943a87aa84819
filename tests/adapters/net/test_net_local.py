"""``LocalTransport`` keeps the port as ``NetTransport`` does: the same tests on both."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from net_kit import Certificates, Gate, RecordingLog, calling, echo, request, serving

from warifu.adapters.net.handling import Handler, Peer, answer
from warifu.adapters.net.local import LocalTransport
from warifu.contract.envelope import Envelope, Reply
from warifu.kernel.errors import DeadlinePassed, Malformed, NotFound, Unavailable, Unreachable
from warifu.ports.transport import Transport

Open = Callable[[Handler], AbstractAsyncContextManager[Transport]]


@pytest.fixture(params=["net", "local"])
def opening(request: pytest.FixtureRequest, certificates: Certificates, log: RecordingLog) -> Open:
    """A transport of ``cs-1`` with the handler behind the name ``relay``."""

    @asynccontextmanager
    async def net(handler: Handler) -> AsyncIterator[Transport]:
        async with (
            serving(handler, certificates.relay, log) as server,
            calling(server.port, tls=certificates.cs) as transport,
        ):
            yield transport

    @asynccontextmanager
    async def local(handler: Handler) -> AsyncIterator[Transport]:
        transport = LocalTransport({"relay": handler}, "cs-1", log)
        yield transport
        await transport.aclose()

    return net if request.param == "net" else local


async def test_a_request_is_answered(opening: Open) -> None:
    async with opening(echo) as transport:
        assert await transport.call("relay", request(b"x")) == Reply(body=b"x")


async def test_a_name_without_an_address_is_unreachable(opening: Open) -> None:
    async with opening(echo) as transport:
        with pytest.raises(Unreachable):
            await transport.call("center", request())


async def test_an_error_is_a_reply(opening: Open) -> None:
    async def refuse(_envelope: Envelope, _peer: Peer) -> Reply:
        raise NotFound("no such card")

    async with opening(refuse) as transport:
        error = (await transport.call("relay", request())).error
        assert error is not None
        assert (error.code, error.kind) == ("record.not_found", "refused")


async def test_nobody_sends_under_anothers_name(opening: Open) -> None:
    async with opening(echo) as transport:
        error = (await transport.call("relay", request(sender="cs-2"))).error
        assert error is not None
        assert error.code == "request.not_allowed"


async def test_a_body_that_is_too_long_is_not_sent(opening: Open) -> None:
    async with opening(echo) as transport:
        with pytest.raises(Malformed):
            await transport.call("relay", request(bytes((1 << 20) + 1)))


async def test_the_deadline_passes(opening: Open) -> None:
    async with opening(Gate()) as transport:
        try:
            reply = await transport.call("relay", request(remaining_ms=20))
        except DeadlinePassed:
            return
        assert reply.error is not None  # the handler's own deadline was first
        assert reply.error.code == "deadline.passed"


async def test_what_was_begun_is_ended_when_the_caller_goes_away(opening: Open) -> None:
    gate = Gate()
    async with opening(gate) as transport:
        call = asyncio.ensure_future(transport.call("relay", request()))
        await gate.entered.acquire()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        gate.opened.set()
        await transport.call("relay", request())
    assert (gate.begun, gate.ended) == (2, 2)


def test_an_error_out_of_a_group_of_tasks_is_that_error() -> None:
    async def busy(_envelope: Envelope, _peer: Peer) -> Reply:
        raise ExceptionGroup("tasks", [Unavailable("the store")])

    reply = asyncio.run(answer(busy, request(), Peer("cs-1", "here"), RecordingLog()))
    assert reply.error is not None
    assert reply.error.code == "part.unavailable"
