"""HTTP with nothing around it, in processes of its own: a client that asks as fast as it can, a server of one answer.

For machines without ``wrk`` and ``nginx``: what is measured then is measured with these, and says so. Run as a child
(``python -m warifu.lab.rigs.bare_http ask|serve``; what to do comes on standard input).
"""

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import msgspec
import uvloop
from msgspec import Struct

from warifu.kernel.errors import Fault

HOST: Final = "127.0.0.1"
START_S: Final = 30.0
_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"(?i)\r\ncontent-length: *([0-9]+)")
_SERIAL_BYTES: Final = 4
_NONCE_BYTES: Final = 16


class Question(Struct, frozen=True, kw_only=True):
    """A request; at the places named, each asking has other octets."""

    path: str
    body: bytes = b""
    """Empty: a GET."""
    media_type: str = ""
    serial_at: int = -1
    """Where four octets of a number between ``first`` and ``first + count`` stand; -1: nowhere."""
    first: int = 0
    count: int = 1
    nonce_at: int = -1
    """Where sixteen octets of chance stand; -1: nowhere."""

    def head(self) -> bytes:
        """What goes before the body."""
        method, more = ("POST", f"content-type: {self.media_type}\r\ncontent-length: {len(self.body)}\r\n")
        if not self.body:
            method, more = ("GET", "")
        return f"{method} {self.path} HTTP/1.1\r\nhost: {HOST}\r\n{more}\r\n".encode()

    def next(self) -> bytes:
        """A body."""
        if self.serial_at < 0 and self.nonce_at < 0:
            return self.body
        body, chance = bytearray(self.body), os.urandom(_SERIAL_BYTES + _NONCE_BYTES)
        if self.serial_at >= 0:
            number = self.first + int.from_bytes(chance[:_SERIAL_BYTES], "big") % self.count
            body[self.serial_at : self.serial_at + _SERIAL_BYTES] = number.to_bytes(_SERIAL_BYTES, "big")
        if self.nonce_at >= 0:
            body[self.nonce_at : self.nonce_at + _NONCE_BYTES] = chance[_SERIAL_BYTES:]
        return bytes(body)


class _Asking(Struct, frozen=True):
    port: int
    question: Question
    connections: int
    seconds: float


class _Client(asyncio.Protocol):
    """One connection: the next request goes when the answer to the last is there."""

    def __init__(self, asking: _Asking, until: float) -> None:
        self.answered = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._question, self._head, self._until = asking.question, asking.question.head(), until
        self._transport: asyncio.Transport | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._data += data
        end = self._data.find(_END)
        if end < 0 or len(self._data) < end + len(_END) + _length(self._data[:end]):
            return
        if not self._data.startswith(b"HTTP/1.1 200"):
            self._finish(Fault("an answer that is none"))
            return
        self._data = b""
        self.answered += 1
        if time.perf_counter() < self._until:
            self._ask()
        else:
            self._finish(None)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        self._finish(Fault("the server ended the connection"))

    def _ask(self) -> None:
        if self._transport is not None:
            self._transport.write(self._head + self._question.next())

    def _finish(self, error: Fault | None) -> None:
        if not self.done.done():
            if error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(error)
        if self._transport is not None:
            self._transport.close()


def _length(head: bytes) -> int:
    found = _LENGTH.search(head)
    if found is None:
        raise Fault("an answer without its length")
    return int(found[1])


async def _asked_here(asking: _Asking) -> float:
    loop, start = asyncio.get_running_loop(), time.perf_counter()
    clients = [
        (await loop.create_connection(lambda: _Client(asking, start + asking.seconds), HOST, asking.port))[1]
        for _ in range(asking.connections)
    ]
    async with asyncio.timeout(asking.seconds + START_S):
        await asyncio.gather(*(client.done for client in clients))
    return sum(client.answered for client in clients) / (time.perf_counter() - start)


class _Server(asyncio.Protocol):
    """The same answer to whatever is asked; requests have no bodies."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        requests = (self._data + data).split(_END)
        self._data = requests.pop()
        if requests and self._transport is not None:
            self._transport.write(self._answer * len(requests))


async def _serve(body: bytes, media_type: str) -> None:
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Server(head + body), HOST, 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await loop.run_in_executor(None, sys.stdin.read)  # until the parent closes it
    server.close()


async def asked(ports: Sequence[int], question: Question, *, connections: int, seconds: float) -> float:
    """Answers a second, every one a 200, from all ports together; each is asked by a process of its own."""
    askings = [_Asking(port, question, connections // len(ports), seconds) for port in ports]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_child("ask", msgspec.json.encode(asking))) for asking in askings]
    return sum(float(task.result()) for task in tasks)


async def _child(what: str, told: bytes) -> bytes:
    process = await _started(what)
    try:
        output, _ = await process.communicate(told)
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise Fault("the client's process failed; its own words are on standard error")
    return output


async def _started(what: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "warifu.lab.rigs.bare_http", what)
    return await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)


@asynccontextmanager
async def serving(body: bytes, media_type: str) -> AsyncIterator[int]:
    """The port of a server that gives this answer to every GET."""
    process = await _started("serve")
    if process.stdin is None or process.stdout is None:
        raise Fault("a child without pipes")
    try:
        process.stdin.write(msgspec.json.encode((body, media_type)) + b"\n")
        async with asyncio.timeout(START_S):
            line = await process.stdout.readline()
        if not line:
            raise Fault("the server did not start")
        yield int(line)
    finally:
        process.stdin.close()
        await process.wait()


def main(arguments: list[str]) -> int:
    """The child."""
    if arguments == ["ask"]:
        asking = msgspec.json.decode(sys.stdin.buffer.read(), type=_Asking)
        sys.stdout.write(f"{uvloop.run(_asked_here(asking))}\n")
        return 0
    told: Any = msgspec.json.decode(sys.stdin.buffer.readline(), type=tuple[bytes, str])
    uvloop.run(_serve(*told))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
