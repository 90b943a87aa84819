"""The parent's side of a worker: a process behind a socket pair, on the event loop, without threads.

``asyncio``'s own subprocess support starts a thread per child on Python 3.11 (``ThreadedChildWatcher``) to learn of
its end. The socket tells us the same, so ``subprocess.Popen`` is used directly; it blocks for the fork only.
"""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Final, cast

from warifu.adapters.hsm import frames
from warifu.adapters.hsm.config import HsmConfig, SoftwareConfig
from warifu.kernel.decoding import NOT_DECODED
from warifu.kernel.errors import Fault, Malformed, Unavailable
from warifu.ports.hsm import HsmCommand, HsmFactory, HsmReply, HsmWorker

START_DEADLINE_MS: Final = 30_000
REAP_DEADLINE_MS: Final = 2_000
_LONGEST_PAUSE_S: Final = 0.05


class ProcessHsmFactory:
    """Implements ``ports.hsm.HsmFactory``.

    Args:
        config: the device.
        start_deadline_ms: how long a worker may take until it is logged in.
    """

    def __init__(self, config: HsmConfig, *, start_deadline_ms: int = START_DEADLINE_MS) -> None:
        self._config = config
        self._start_deadline_ms = start_deadline_ms

    async def spawn(self, name: str) -> "ProcessHsmWorker":
        """A new worker, logged in and ready.

        Raises:
            Unavailable: the device is not there, or did not answer in time.
        """
        worker = await self._start(name)
        try:
            async with asyncio.timeout(self._start_deadline_ms / 1000):
                await worker.greet(self._config)
        except TimeoutError:
            await worker.kill()
            raise Unavailable("the HSM worker did not start in time") from None
        except BaseException:
            await worker.kill()
            raise
        return worker

    async def _start(self, name: str) -> "ProcessHsmWorker":
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = _popen(self._config, theirs.fileno())
        except OSError as error:
            ours.close()
            raise Unavailable(f"no HSM worker process: {type(error).__name__}") from None
        return await _connect(name, process, ours)


class SeveralDevices:
    """Implements ``ports.hsm.HsmFactory`` over devices with the same keys: each worker's name keeps to one of them.

    Args:
        devices: one or more; the worker whose name ends in ``-N`` speaks to the one at ``N`` modulo their number.
    """

    def __init__(self, devices: Sequence[HsmFactory]) -> None:
        self._devices = tuple(devices)

    async def spawn(self, name: str) -> HsmWorker:
        """See ``HsmFactory``."""
        number = int(name.rpartition("-")[2])
        return await self._devices[number % len(self._devices)].spawn(name)


class ProcessHsmWorker:
    """Implements ``ports.hsm.HsmWorker``. Made by ``ProcessHsmFactory.spawn``."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], link: "_Link") -> None:
        self._name = name
        self._process = process
        self._link = link

    @property
    def name(self) -> str:
        """For logs and ``status``."""
        return self._name

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    async def greet(self, config: HsmConfig) -> None:
        """Tell it its device and wait until it is logged in."""
        greeting = frames.decode_greeting(await self._link.ask(frames.encode(frames.Hello(self._name, config))))
        if isinstance(greeting, frames.Failed):
            raise Unavailable(f"HSM worker {self._name}: {greeting.text}")

    async def call(self, command: HsmCommand) -> HsmReply:
        """Do one command.

        Raises:
            Unavailable: the worker is dead or dies meanwhile.
            Malformed: the command is longer than a frame.
        """
        body = frames.encode(command)
        if len(body) > frames.MAX_BODY_BYTES:
            raise Malformed("the command is longer than a frame")
        reply = await self._answer(body)
        if isinstance(reply, frames.Replies):
            raise Unavailable("the HSM worker answered several at once")
        return reply

    async def call_all(self, commands: Sequence[HsmCommand]) -> Sequence[HsmReply]:
        """Do several message commands; in one frame, unless they are too long for it."""
        body = frames.encode(frames.Messages(tuple(commands)))  # type: ignore[arg-type]  # as the port says
        if len(body) > frames.MAX_BODY_BYTES:
            return [await self.call(command) for command in commands]
        reply = await self._answer(body)
        if not isinstance(reply, frames.Replies):
            raise Unavailable("the HSM worker did not answer several at once")
        return reply.replies

    async def _answer(self, body: bytes) -> HsmReply | frames.Replies:
        try:
            reply: HsmReply | frames.Replies = frames.decode_reply(await self._link.ask(body))
        except NOT_DECODED:
            raise Unavailable("the HSM worker answered what cannot be read") from None
        return reply

    async def kill(self) -> None:
        """SIGKILL, and reap. A process that even so does not end (a driver that hangs) is left to the kernel."""
        self._process.kill()
        self._link.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REAP_DEADLINE_MS / 1000):
                await self._reap()

    async def _reap(self) -> None:
        pause = 0.0005
        try:
            while self._process.poll() is None:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
        except asyncio.CancelledError:
            # Nobody comes here again: a moment without the loop rather than a process nobody has reaped.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LONGEST_PAUSE_S)
            raise


class _Link(asyncio.Protocol):
    """Frames to and from one worker, one at a time. An answer under an old number is dropped."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._number = -1
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport | None = None

    async def ask(self, body: bytes) -> bytes:
        """Send a frame and wait for the answer under its number."""
        if self._answer is not None:
            raise Fault("an HSM worker does one command at a time")
        if self._transport is None or self._transport.is_closing() or self._number == frames.MAX_NUMBER:
            raise Unavailable("the HSM worker is gone")
        self._number += 1
        self._answer = asyncio.get_running_loop().create_future()
        try:
            self._transport.write(frames.frame(self._number, body))
            return await self._answer
        finally:
            self._answer = None

    def close(self) -> None:
        """Drop the connection; who waits gets ``Unavailable``."""
        if self._transport is not None:
            self._transport.abort()
        self._fail()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        """Called by the loop with whatever has come."""
        self._buffer += data
        try:
            while len(self._buffer) >= frames.HEAD_BYTES and self._take_frame():
                pass
        except ValueError:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter: it is gone
        """Called by the loop."""
        self._fail()

    def _take_frame(self) -> bool:
        length, number = frames.head(self._buffer)
        end = frames.HEAD_BYTES + length
        if len(self._buffer) < end:
            return False
        body = bytes(self._buffer[frames.HEAD_BYTES : end])
        del self._buffer[:end]
        if number == self._number and self._answer is not None and not self._answer.done():
            self._answer.set_result(body)
        return True

    def _fail(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Unavailable("the HSM worker died"))


def _popen(config: HsmConfig, descriptor: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "warifu.adapters.hsm.worker"]
    command += ["--fd", str(descriptor), "--parent", str(os.getpid())]
    extra = {} if isinstance(config, SoftwareConfig) else config.environment
    return subprocess.Popen(  # noqa: S603 - our own program
        command,
        pass_fds=(descriptor,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env=os.environ | extra,
    )


async def _connect(name: str, process: subprocess.Popen[bytes], ours: socket.socket) -> ProcessHsmWorker:
    link = _Link()
    try:
        ours.setblocking(False)  # noqa: FBT003 - the library's signature
        await asyncio.get_running_loop().create_unix_connection(lambda: link, sock=ours)
    except BaseException:
        process.kill()
        process.wait()
        ours.close()
        raise
    return ProcessHsmWorker(name, process, link)
