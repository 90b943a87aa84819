"""How fast nodes reach each other: our frames beside a bare hop, interleaved in one run.

The bare hop has the same TLS, loop, processes, connections, bodies and number of requests in flight; it has a length
and an id before each body and nothing else: no envelope, no validation, no limits, no deadlines, no handler task on the
last hop. What lies between the two is what the promises of ``adapters.net`` cost.
"""

import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from struct import Struct
from typing import Any, cast

import uvloop

from warifu.adapters.net.client import Destination, NetTransport
from warifu.adapters.net.handling import Peer
from warifu.adapters.net.server import serve
from warifu.adapters.net.tls import (
    NodeTls,
    client_context,
    issue_node_certificate,
    make_authority,
    server_context,
)
from warifu.contract.envelope import Envelope, Reply
from warifu.kernel.errors import Fault

HOST = "127.0.0.1"
IN_FLIGHT = 64
CONNECTIONS = 2
BODY = bytes(1024)
RATIOS = 9
START_S = 10.0
HOPS = (1, 3)

_HEADER = Struct(">IQ")
_OPERATION = "0" * 26
_NODE, _CALLER = "bench-server", "bench-caller"

Call = Callable[[bytes], Awaitable[bytes]]


async def bench_net(seconds: float) -> list[dict[str, Any]]:
    """Requests per second through one hop and through three, and the median of nine ratios to the bare hop.

    Args:
        seconds: for all of it; each slice lasts ``seconds / 36``, at least a tenth of a second.
    """
    slice_s = max(seconds / (2 * RATIOS * len(HOPS)), 0.1)
    with tempfile.TemporaryDirectory(prefix="warifu-bench-") as name:
        folder = Path(name)
        make_authority(folder)
        for node in (_NODE, _CALLER):
            issue_node_certificate(folder, node)
        return [await _compare(folder, hops, slice_s) for hops in HOPS]


async def _compare(folder: Path, hops: int, slice_s: float) -> dict[str, Any]:
    async with _chain("frames", folder, hops) as ours, _chain("bare", folder, hops) as bare:
        for call in (ours, bare):
            await _rate(call, 0.2)
        pairs = [(await _rate(ours, slice_s), await _rate(bare, slice_s)) for _ in range(RATIOS)]
    runs = [ours_rate / bare_rate for ours_rate, bare_rate in pairs]
    return {
        "name": f"net.{hops}_hop",
        "value": statistics.median(rate for rate, _ in pairs),
        "unit": f"requests/s, {IN_FLIGHT} in flight, 1 kB each way, mutual TLS, generator included",
        "limit": "the same without envelope, validation, limits and deadlines",
        "limit_value": statistics.median(rate for _, rate in pairs),
        "ratio": statistics.median(runs),
        "runs": runs,
        "loop": type(asyncio.get_running_loop()).__module__.partition(".")[0],
    }


async def _rate(call: Call, slice_s: float) -> float:
    """Requests per second of ``IN_FLIGHT`` callers, each reply compared with what was sent."""
    start = time.perf_counter()
    end = start + slice_s

    async def caller() -> int:
        count = 0
        while time.perf_counter() < end:
            if await call(BODY) != BODY:
                raise Fault("a reply is not what was sent")
            count += 1
        return count

    counts = await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return sum(counts) / (time.perf_counter() - start)


@asynccontextmanager
async def _chain(kind: str, folder: Path, hops: int) -> AsyncIterator[Call]:
    """So many servers, each in a process of its own, each calling the one before it; and a way to call the last."""
    async with AsyncExitStack() as stack:
        port = 0
        for _ in range(hops):
            port = await stack.enter_async_context(_server(kind, folder, port))
        yield await stack.enter_async_context(_KINDS[kind][1](folder, _CALLER, port))


@asynccontextmanager
async def _server(kind: str, folder: Path, next_port: int) -> AsyncIterator[int]:
    """A child that serves until its standard input ends."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "warifu.lab.benches.net",
        kind,
        str(folder),
        str(next_port),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert child.stdin is not None  # noqa: S101 - asked for above
    assert child.stdout is not None  # noqa: S101 - likewise
    try:
        async with asyncio.timeout(START_S):
            port = int(await child.stdout.readline())
        yield port
    finally:
        child.stdin.close()
        await child.wait()


# ---- our frames ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _frames_caller(folder: Path, name: str, port: int) -> AsyncIterator[Call]:
    destination = Destination(addresses=((HOST, port),), accepted=frozenset({_NODE}), connections=CONNECTIONS)
    transport = NetTransport({_NODE: destination}, _tls(folder, name))

    async def call(body: bytes) -> bytes:
        envelope = Envelope(
            name="bench.echo", operation_id=_OPERATION, step="1", sender=name, remaining_ms=30_000, body=body
        )
        reply = await transport.call(_NODE, envelope)
        if reply.body is None:
            raise Fault("an error instead of an echo")
        return reply.body

    try:
        yield call
    finally:
        await transport.aclose()


@asynccontextmanager
async def _frames_server(folder: Path, forward: Call | None) -> AsyncIterator[int]:
    async def handle(envelope: Envelope, _peer: Peer) -> Reply:
        return Reply(body=await forward(envelope.body) if forward else envelope.body)

    server = await serve(handle, HOST, 0, _tls(folder, _NODE), log=_Errors())
    try:
        yield server.port
    finally:
        await server.stop(grace_s=0.2)


class _Errors:
    """A log on standard error."""

    def info(self, event: str, **fields: str | float) -> None:
        """Write it."""
        sys.stderr.write(f"{event} {fields}\n")

    trouble = info


# ---- the bare hop ----------------------------------------------------------------------------------------------------


class _Bare(asyncio.Protocol):
    """A length and an id before each body, written once a turn."""

    def __init__(self, receive: Callable[["_Bare", int, bytes], None]) -> None:
        self._receive = receive
        self._rest = b""
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        at = 0
        while len(data) - at >= _HEADER.size:
            length, number = _HEADER.unpack_from(data, at)
            end = at + _HEADER.size + length
            if end > len(data):
                break
            self._receive(self, number, data[at + _HEADER.size : end])
            at = end
        self._rest = data[at:]

    def send(self, number: int, body: bytes) -> None:
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out += (_HEADER.pack(len(body), number), body)

    def close(self) -> None:
        self._transport.close()

    def _flush(self) -> None:
        self._transport.write(b"".join(self._out))
        self._out.clear()


@asynccontextmanager
async def _bare_caller(folder: Path, name: str, port: int) -> AsyncIterator[Call]:
    loop = asyncio.get_running_loop()
    context = client_context(_tls(folder, name))
    waiting: dict[int, asyncio.Future[bytes]] = {}
    numbers = itertools.count()
    connections = [
        (await loop.create_connection(
            lambda: _Bare(lambda _, number, body: waiting.pop(number).set_result(body)),
            HOST, port, ssl=context, server_hostname="bare",
        ))[1]
        for _ in range(CONNECTIONS)
    ]  # fmt: skip

    async def call(body: bytes) -> bytes:
        number = next(numbers)
        waiting[number] = loop.create_future()
        connections[number % CONNECTIONS].send(number, body)
        return await waiting[number]

    try:
        yield call
    finally:
        for connection in connections:
            connection.close()


@asynccontextmanager
async def _bare_server(folder: Path, forward: Call | None) -> AsyncIterator[int]:
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[None]] = set()

    async def pass_on(call: Call, connection: _Bare, number: int, body: bytes) -> None:
        connection.send(number, await call(body))

    def receive(connection: _Bare, number: int, body: bytes) -> None:
        if forward is None:
            connection.send(number, body)
            return
        task = loop.create_task(pass_on(forward, connection, number, body))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await loop.create_server(lambda: _Bare(receive), HOST, 0, ssl=server_context(_tls(folder, _NODE)))
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


_KINDS = {"frames": (_frames_server, _frames_caller), "bare": (_bare_server, _bare_caller)}


def _tls(folder: Path, name: str) -> NodeTls:
    return NodeTls(folder / f"{name}.pem", folder / f"{name}.key", folder / "node-ca.pem")


async def _serve_child(kind: str, folder: Path, next_port: int) -> None:
    make_server, make_caller = _KINDS[kind]
    async with AsyncExitStack() as stack:
        forward: Call | None = None
        if next_port:
            forward = await stack.enter_async_context(make_caller(folder, _NODE, next_port))
        port = await stack.enter_async_context(make_server(folder, forward))
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(_serve_child(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
