"""The server for people: it waits for nobody for ever, keeps little, and logs no text of anybody's."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace
from net_kit import HOST, RecordingLog
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from warifu.adapters.net.web import WebLimits, WebServer, serve_web

QUICK = WebLimits(keep_alive_s=0.2, head_s=0.2, body_s=0.2, unread_s=0.2, head_bytes=4096)
LONG = b"x" * 8_000_000
HEAD = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"


async def hello(_: Request) -> Response:
    return PlainTextResponse("hello")


async def long(_: Request) -> Response:
    return Response(LONG)


async def measured(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


async def unread(_: Request) -> Response:
    return PlainTextResponse("no", 413)


async def broken(_: Request) -> Response:
    raise RuntimeError("山田　花子")


APP = Starlette(
    routes=[
        Route("/", hello),
        Route("/long", long),
        Route("/measured", measured, methods=["POST"]),
        Route("/unread", unread, methods=["POST"]),
        Route("/broken", broken),
    ]
)


@asynccontextmanager
async def serving(
    limits: WebLimits = QUICK, log: RecordingLog | None = None, app: Any = APP
) -> AsyncIterator[WebServer]:
    server = await serve_web(app, HOST, 0, log=log or RecordingLog(), limits=limits)
    try:
        yield server
    finally:
        await server.stop(0)


async def said(server: WebServer, data: bytes) -> bytes:
    """Everything that comes back for these bytes, until the server ends the connection."""
    reader, writer = await asyncio.open_connection(HOST, server.port)
    writer.write(data)
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


async def test_a_page_is_answered() -> None:
    async with serving() as server:
        assert (await said(server, HEAD)).endswith(b"hello")


@pytest.mark.parametrize("begun", [b"", b"\r\n\r\n", b"GET / HTT", b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: "])
async def test_who_does_not_finish_asking_is_sent_away_and_counted(begun: bytes) -> None:
    log = RecordingLog()
    async with serving(log=log) as server:
        assert (await said(server, begun)).startswith(b"HTTP/1.1 408 ")
    assert log.of("web.refused") == [{"status": "408", "count": 1}]


async def test_empty_lines_after_an_answer_hold_no_connection() -> None:
    async with serving() as server:
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(HEAD)
        await reader.readuntil(b"hello")
        writer.write(b"\r\n\r\n")
        assert b" 408 " in await reader.read()
        writer.transport.abort()


async def test_a_body_that_does_not_come_ends_the_connection_and_is_no_fault() -> None:
    log = RecordingLog()
    async with serving(log=log) as server:
        assert await said(server, b"POST /measured HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nbegun") == b""
    assert log.of("web.refused") == [{"status": "408", "count": 1}]
    assert log.of("web.handler_fault") == []


async def test_a_body_that_comes_after_its_refusal_leaves_no_connection_open() -> None:
    async with serving(replace(QUICK, body_s=20)) as server:
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(b"POST /unread HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\n")
        await reader.readuntil(b"no")
        writer.write(b"late")
        assert b" 408 " in await reader.read()
        writer.transport.abort()


@pytest.mark.parametrize("line", [b"x-long: " + b"a" * 100_000, b"".join(b"x-%d: a\r\n" % n for n in range(9_000))])
async def test_a_head_without_end_is_refused(line: bytes) -> None:
    async with serving(replace(QUICK, head_s=20)) as server:
        assert (await said(server, b"GET / HTTP/1.1\r\nhost: a\r\n" + line)).startswith(b"HTTP/1.1 431 ")


async def test_what_is_no_http_is_refused() -> None:
    async with serving() as server:
        assert (await said(server, b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_an_answer_that_nobody_reads_is_given_up() -> None:
    done = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await APP(scope, receive, send)
        done.set()

    async with serving(replace(QUICK, keep_alive_s=20), app=app) as server:
        _, writer = await asyncio.open_connection(HOST, server.port, limit=1024)
        writer.write(HEAD.replace(b"/ ", b"/long "))
        await done.wait()
        writer.transport.abort()


async def test_connections_above_the_limit_are_told_to_come_back() -> None:
    async with serving(WebLimits(connections=3)) as server:
        held = [await asyncio.open_connection(HOST, server.port) for _ in range(2)]
        for reader, writer in held:
            writer.write(HEAD)
            await reader.readuntil(b"hello")
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(HEAD)
        assert b" 503 " in await reader.readuntil(b"\r\n")
        for _, each in (*held, (reader, writer)):
            each.transport.abort()


async def test_an_error_that_escapes_is_logged_without_its_text(capfd: pytest.CaptureFixture[str]) -> None:
    log = RecordingLog()
    async with serving(log=log) as server:
        assert b" 500 " in await said(server, HEAD.replace(b"/ ", b"/broken "))
    assert log.records == [("web.handler_fault", {"error": "RuntimeError"})]
    assert "山田" not in "".join(capfd.readouterr())
