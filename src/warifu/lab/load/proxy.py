"""A hop that can be cut, slowed and frozen: a small TCP proxy that passes TLS through as it is."""

import asyncio
from contextlib import suppress
from typing import Final, Self

_CHUNK: Final = 1 << 16
HOST: Final = "127.0.0.1"

Address = tuple[str, int]


class Hop:
    """One way to one address. Use as an async context manager.

    Args:
        name: who reaches whom, for people.
        target: where it leads.
    """

    def __init__(self, name: str, target: Address) -> None:
        self.name = name
        self.port = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._pipes: set[asyncio.Task[None]] = set()
        self._delay_s = 0.0
        self._open = asyncio.Event()
        self._open.set()

    async def __aenter__(self) -> Self:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, HOST, 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        self.heal()
        self.cut()
        for pipe in self._pipes:
            pipe.cancel()
        if self._pipes:
            await asyncio.wait(self._pipes)

    def cut(self) -> int:
        """Break every connection, at once; how many."""
        count = len(self._writers)
        for writer in self._writers:
            writer.transport.abort()
        return count

    def slow(self, delay_s: float) -> None:
        """From now on every piece takes so much longer."""
        self._delay_s = delay_s

    def freeze(self) -> None:
        """From now on nothing passes, and nobody is told."""
        self._open.clear()

    def heal(self) -> None:
        """As it should be."""
        self._delay_s = 0.0
        self._open.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        for source, sink in ((reader, back), (there, writer)):
            pipe = asyncio.create_task(self._pipe(source, sink))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(_CHUNK):
                if self._delay_s:
                    await asyncio.sleep(self._delay_s)
                await self._open.wait()
                sink.write(data)
                await sink.drain()
        except OSError:
            sink.transport.abort()
        finally:
            sink.close()
            with suppress(OSError):
                await sink.wait_closed()
            self._writers.discard(sink)
