"""The HTTP edge: what it takes, what it refuses, and that it waits for nobody for ever."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from net_kit import HOST, RecordingLog

from warifu.adapters.net.http import (
    HttpLimits,
    HttpRequest,
    HttpResponse,
    HttpServer,
    RequestReader,
    _HttpConnection,
    render,
    serve_http,
)
from warifu.kernel.errors import ConnectionExcess, Fault, Malformed, NotFound, Unavailable, WarifuError

Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


async def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(
        headers={"content-type": "text/plain", "x-target": f"{request.path}|{request.query}"}, body=request.body
    )


@asynccontextmanager
async def edge(
    handler: Handler = echo, limits: HttpLimits | None = None, log: RecordingLog | None = None
) -> AsyncIterator[HttpServer]:
    server = await serve_http(handler, HOST, 0, log=log or RecordingLog(), limits=limits)
    try:
        yield server
    finally:
        await server.stop(grace_s=0.5)


class Browser:
    """A client's end, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        content = await self.reader.readexactly(int(headers["content-length"])) if body else b""
        return int(head[0].split()[1]), headers, content

    async def ended(self) -> bool:
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True


@asynccontextmanager
async def browsing(server: HttpServer) -> AsyncIterator[Browser]:
    browser = Browser(*await asyncio.open_connection(HOST, server.port))
    try:
        yield browser
    finally:
        browser.writer.transport.abort()


async def status_of(data: bytes, limits: HttpLimits | None = None) -> int:
    """The answer to these bytes, after which the connection must end."""
    async with edge(limits=limits) as server, browsing(server) as browser:
        browser.send(data)
        status, headers, _ = await browser.receive()
        assert headers["connection"] == "close"
        assert await browser.ended()
        return status


async def test_requests_follow_each_other_on_one_connection() -> None:
    async with edge() as server, browsing(server) as browser:
        browser.send(b"GET /lists/a%20b?full=1 HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, body = await browser.receive()
        assert (status, headers["x-target"], body) == (200, "/lists/a b|full=1", b"")
        assert headers["date"].endswith("GMT")
        browser.send(b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        assert (await browser.receive())[2] == b"abc"


async def test_requests_sent_together_are_answered_in_their_order() -> None:
    async with edge() as server, browsing(server) as browser:
        browser.send(b"".join(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n%d" % n for n in range(9)))
        assert [(await browser.receive())[2] for _ in range(9)] == [b"%d" % n for n in range(9)]


async def test_a_body_in_chunks_is_put_together() -> None:
    async with edge() as server, browsing(server) as browser:
        browser.send(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n")
        assert (await browser.receive())[2] == b"abc"


async def test_head_is_get_without_the_body() -> None:
    async def page(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(body=b"12345")

    async with edge(page) as server, browsing(server) as browser:
        browser.send(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await browser.receive(body=False))[1]["content-length"] == "5"
        assert (await browser.receive())[2] == b"12345"


async def test_a_client_that_wants_to_close_is_closed() -> None:
    for head in (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"):
        assert await status_of(head) == 200


async def test_a_long_body_arrives_whole() -> None:
    content = bytes(range(256)) * 20_000

    async def page(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(body=content)

    async with edge(page) as server, browsing(server) as browser:
        browser.send(b"GET /list HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await browser.receive())[2] == content


async def test_other_methods_are_not_taken() -> None:
    async with edge() as server, browsing(server) as browser:
        browser.send(b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, _ = await browser.receive()
        assert (status, headers["allow"]) == (405, "GET, HEAD, POST")


SMALL = HttpLimits(max_head_bytes=200, max_headers=5, max_body_bytes=10, max_pipelined=2)


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n01234567890\r\n", 413),
        (b"GET /" + b"a" * 300 + b" HTTP/1.1\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: " + b"a" * 300, 431),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"a%d: b\r\n" % n for n in range(6)) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3, 429),
        (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: y\r\nConnection: upgrade\r\n\r\n", 501),
    ],
)
async def test_what_is_beyond_the_limits_is_refused_and_closed(data: bytes, status: int) -> None:
    assert await status_of(data, SMALL) == status


async def test_what_is_refused_before_a_handler_sees_it_is_counted_by_its_status() -> None:
    log = RecordingLog()
    async with edge(limits=SMALL, log=log) as server:
        for _ in range(2):
            async with browsing(server) as browser:
                browser.send(b"nonsense\r\n\r\n")
                assert await browser.receive()
                assert await browser.ended()
        server.telling._tell()
    assert log.of("http.refused") == [{"status": "400", "count": 1}] * 2


@pytest.mark.parametrize("begun", [b"G", b"GET / HTTP/1.1\r\nHo", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc"])
async def test_a_request_that_is_begun_and_not_finished_is_refused(begun: bytes) -> None:
    assert await status_of(begun, HttpLimits(request_ms=40)) == 408


async def test_a_connection_without_requests_is_closed() -> None:
    async with edge(limits=HttpLimits(keep_alive_ms=40)) as server, browsing(server) as browser:
        assert await browser.ended()


class SlowTransport(asyncio.Transport):
    """Asks for a pause at each write."""

    def __init__(self, protocol: _HttpConnection) -> None:
        super().__init__()
        self.protocol = protocol
        self.written: list[int] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(len(data))
        self.protocol.pause_writing()

    def is_closing(self) -> bool:
        return False


async def test_a_long_body_is_written_as_fast_as_it_is_read() -> None:
    connection = _HttpConnection(HttpServer(echo, RecordingLog(), HttpLimits()))
    connection._transport = transport = SlowTransport(connection)
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(connection._write(HttpResponse(body=bytes(1 << 20)), with_body=True))
        for pieces in range(1, 5):
            await asyncio.wait({writing}, timeout=0.01)
            assert len(transport.written) == pieces
            connection.resume_writing()


async def test_a_client_that_does_not_read_is_cut_off() -> None:
    entered, content = asyncio.Event(), bytes(64 << 20)

    async def page(_request: HttpRequest) -> HttpResponse:
        entered.set()
        return HttpResponse(body=content)

    async with edge(page, HttpLimits(stall_ms=60)) as server, browsing(server) as browser:
        browser.writer.transport.pause_reading()  # type: ignore[attr-defined]
        browser.send(b"GET /list HTTP/1.1\r\nHost: x\r\n\r\n")
        await entered.wait()
        (connection,) = server.connections
        await connection.closed
    assert not server.connections


async def test_a_connection_above_the_limit_is_closed() -> None:
    async with edge(limits=HttpLimits(max_connections=1)) as server, browsing(server) as first:
        first.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await first.receive()
        async with browsing(server) as second:
            assert await second.ended()


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("no such list"), 404),
        (Malformed("not DER"), 400),
        (Unavailable("no database"), 503),
        (ConnectionExcess(retry_after_ms=1500), 503),
        (Fault("broken"), 500),
        (KeyError("山田太郎"), 500),
    ],
)
async def test_an_error_of_the_handler_has_its_status_and_its_code(error: Exception, status: int) -> None:
    async def fail(_request: HttpRequest) -> HttpResponse:
        raise error

    log = RecordingLog()
    async with edge(fail, log=log) as server, browsing(server) as browser:
        browser.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answered, _, body = await browser.receive()
    assert answered == status
    assert body.decode() == f"{error.code if isinstance(error, WarifuError) else Fault.code}\n"
    assert len(log.of("http.handler_fault")) == (status == 500)
    assert "山田" not in str(log.records)


def test_when_to_come_back_is_told_in_whole_seconds() -> None:
    assert render(ConnectionExcess(retry_after_ms=1500)).headers["retry-after"] == "2"


async def test_a_handler_has_so_much_time() -> None:
    async def never(_request: HttpRequest) -> HttpResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with edge(never, HttpLimits(handler_ms=20)) as server, browsing(server) as browser:
        browser.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        status, _, body = await browser.receive()
        assert (status, body) == (503, b"deadline.passed\n")


@pytest.mark.parametrize("response", [HttpResponse(headers={"x": "a\r\nx-evil: b"}), HttpResponse(status=799)])
async def test_an_answer_that_cannot_be_sent_is_a_fault(response: HttpResponse) -> None:
    async def page(_request: HttpRequest) -> HttpResponse:
        return response

    async with edge(page) as server, browsing(server) as browser:
        browser.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        status, headers, _ = await browser.receive()
        assert status == 500
        assert "x-evil" not in headers


async def test_a_stopping_server_answers_the_request_at_work() -> None:
    entered, opened = asyncio.Event(), asyncio.Event()

    async def gated(_request: HttpRequest) -> HttpResponse:
        entered.set()
        await opened.wait()
        return HttpResponse(body=b"done")

    async with edge(gated) as server, browsing(server) as browser, asyncio.TaskGroup() as group:
        browser.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await entered.wait()
        stopping = group.create_task(server.stop(grace_s=20))
        opened.set()
        status, headers, body = await browser.receive()
        assert (status, headers["connection"], body) == (200, "close", b"done")
        await stopping


@given(st.lists(st.integers(0, 200), max_size=6))
def test_any_cutting_of_the_stream_gives_the_same_requests(cuts: list[int]) -> None:
    stream = b"POST /a?b HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbodyGET /c HTTP/1.1\r\nHost: y\r\n\r\n"
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    reader = RequestReader(HttpLimits())
    found = [each for a, b in pairwise(bounds) for each in reader.feed(stream[a:b])]
    assert [(request.method, request.path, request.query, request.body) for request, _ in found] == [
        ("POST", "/a", "b", b"body"),
        ("GET", "/c", "", b""),
    ]
    assert not reader.begun
