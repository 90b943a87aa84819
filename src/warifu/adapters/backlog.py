"""Two backlogs (``ports.backlog``): a file that is only appended to, and its memory twin.

A record is 4 bytes length (big-endian), 4 bytes CRC-32, and a MessagePack array: ``[number, entry]``, or ``[number]``
when it is settled. A record that a crash left half written ends the file: nothing of it was promised. Entries that come
while the disk is at work share its next sync. What a full disk took half of is cut off again: what is written once
there is room must not stand behind it, where nobody would read it.
"""

import asyncio
import os
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import Final

import msgspec

from warifu.adapters.disk import is_full
from warifu.kernel.errors import DiskFull, Unavailable

MOST: Final = 10_000
"""Unsettled entries; with more of them the centre is away, and nothing new is taken on."""
COMPACT_BYTES: Final = 1 << 22
QUICK_S: Final = 0.001
"""A disk that syncs so quickly is waited for; a thread would take longer. A slower disk has a thread."""
_HEAD: Final = Struct(">II")
_Fields = list[int | bytes]
_decoder: Final = msgspec.msgpack.Decoder(list[int | bytes])


class FileBacklog:
    """In a file of its own. Close it with ``close``.

    Args:
        path: made with mode 0600 if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[int, bytes] = {}
        self._last = 0
        self._bytes = 0
        """Of the file, as far as it is known to be written."""
        self._ragged = False
        """Something may stand behind that."""
        self._buffer: list[_Fields] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._syncing: asyncio.Task[None] | None = None
        self._usual_s = 1.0
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="backlog")
        self._read()
        self._descriptor = self._opened()

    async def keep(self, entry: bytes) -> int:
        """See ``ports.backlog``."""
        if len(self._entries) >= MOST:
            raise Unavailable(f"{MOST} messages wait for the centre already")
        self._last += 1
        number = self._last
        self._entries[number] = entry
        self._buffer.append([number, entry])
        synced: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(synced)
        if self._syncing is None:
            self._syncing = asyncio.get_running_loop().create_task(self._sync())
        try:
            await synced
        except Unavailable:
            del self._entries[number]  # it is not in the file
            raise
        except BaseException:
            self.settle(number)
            raise
        return number

    def settle(self, number: int) -> None:
        """See ``ports.backlog``. Written with the next entry that is kept."""
        if self._entries.pop(number, None) is not None:
            self._buffer.append([number])

    def unsettled(self) -> tuple[tuple[int, bytes], ...]:
        """See ``ports.backlog``."""
        return tuple(self._entries.items())

    def close(self) -> None:
        """Write what is settled, and end. What a full disk does not take is delivered once more another day."""
        self._disk.shutdown()
        with suppress(OSError):
            self._append_and_sync(b"".join(map(_record, self._buffer)))
        os.close(self._descriptor)

    async def _sync(self) -> None:
        """Until nobody waits: everything that came meanwhile in one go."""
        while self._waiting:
            batch, self._buffer = self._buffer, []
            waiting, self._waiting = self._waiting, []
            error = await self._written(b"".join(map(_record, batch)))
            if error is not None:
                self._buffer[:0] = [fields for fields in batch if len(fields) == 1]  # these stay settled
            for synced in waiting:
                if synced.done():
                    continue
                if error is None:
                    synced.set_result(None)
                else:
                    synced.set_exception(_refusal(error))
        self._syncing = None
        if self._bytes > COMPACT_BYTES and not self._entries:
            os.ftruncate(self._descriptor, 0)
            self._bytes = 0
            self._buffer.clear()

    async def _written(self, data: bytes) -> OSError | None:
        try:
            if self._usual_s < QUICK_S:
                took = self._append_and_sync(data)
            else:
                loop = asyncio.get_running_loop()
                took = await loop.run_in_executor(self._disk, self._append_and_sync, data)
        except OSError as error:
            return error
        self._usual_s += (took - self._usual_s) / 4
        return None

    def _append_and_sync(self, data: bytes) -> float:
        """Behind what is known to be written; when it fails, nothing of it stays.

        Returns:
            The seconds the disk took: those of a busy loop, or of waking a thread, say nothing about it.
        """
        began = time.perf_counter()
        if self._ragged:
            os.ftruncate(self._descriptor, self._bytes)
        self._ragged = True
        try:
            _write(self._descriptor, data)
            os.fdatasync(self._descriptor)
        except OSError:
            with suppress(OSError):  # before the next one it is tried again
                os.ftruncate(self._descriptor, self._bytes)
            raise
        self._bytes += len(data)
        self._ragged = False
        return time.perf_counter() - began

    def _read(self) -> None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        at = 0
        while at + _HEAD.size <= len(data):
            length, check = _HEAD.unpack_from(data, at)
            body = data[at + _HEAD.size : at + _HEAD.size + length]
            if len(body) < length or zlib.crc32(body) != check:
                return
            self._take(_decoder.decode(body))
            at += _HEAD.size + length
            self._bytes = at

    def _take(self, fields: list[int | bytes]) -> None:
        number, *entry = fields
        if not isinstance(number, int):
            return
        self._last = max(self._last, number)
        if entry and isinstance(entry[0], bytes):
            self._entries[number] = entry[0]
        else:
            self._entries.pop(number, None)

    def _opened(self) -> int:
        """The file with what is unsettled and nothing else; on a full disk the file as it is, up to what is whole."""
        try:
            return self._rewritten()
        except OSError as error:
            if not is_full(error):
                raise
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise _refusal(error) from error
        os.ftruncate(descriptor, self._bytes)
        return descriptor

    def _rewritten(self) -> int:
        draft = self._path.with_suffix(".new")
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        content = b"".join(_record([number, entry]) for number, entry in self._entries.items())
        try:
            _write(descriptor, content)
            os.fdatasync(descriptor)
            draft.replace(self._path)
        except BaseException:
            os.close(descriptor)
            draft.unlink(missing_ok=True)  # on a full disk its part is needed
            raise
        self._bytes = len(content)
        return descriptor


class MemoryBacklog:
    """The twin: what is kept lives as long as this object."""

    def __init__(self) -> None:
        self._entries: dict[int, bytes] = {}
        self._last = 0

    async def keep(self, entry: bytes) -> int:
        """See ``ports.backlog``."""
        if len(self._entries) >= MOST:
            raise Unavailable(f"{MOST} messages wait for the centre already")
        self._last += 1
        self._entries[self._last] = entry
        return self._last

    def settle(self, number: int) -> None:
        """See ``ports.backlog``."""
        self._entries.pop(number, None)

    def unsettled(self) -> tuple[tuple[int, bytes], ...]:
        """See ``ports.backlog``."""
        return tuple(self._entries.items())


def _record(fields: _Fields) -> bytes:
    body = msgspec.msgpack.encode(fields)
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def _refusal(error: OSError) -> Unavailable:
    if is_full(error):
        return DiskFull("no space left for what the CS takes on: free some; nothing of this was sent")
    return Unavailable(f"the CS cannot record what it takes on: {error.strerror or type(error).__name__}")


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
