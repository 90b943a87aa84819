"""Shelves: a folder on disk, and a memory twin for the laboratory and unit tests."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final, TypeVar

from warifu.adapters.disk import is_full
from warifu.kernel.errors import DiskFull, Fault, Unavailable

_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}/[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_DRAFT: Final = ".draft"
"""Begins the names of files that are being written: no name of the shelf begins with a dot."""
_WORTH_BYTES: Final = 1 << 18

T = TypeVar("T")


def check_name(name: str) -> str:
    """The name, if it is one; ``Fault`` otherwise: names are ours, never a client's."""
    if not _NAME.fullmatch(name):
        raise Fault("not the name of a file on a shelf")
    return name


class FolderShelf:
    """Implements ``Shelf`` in a folder. What other writers left half-written has names that no reader asks for.

    Args:
        folder: made when missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drafts = 0

    async def put(self, name: str, pieces: AsyncIterator[bytes]) -> None:
        """See ``Shelf.put``."""
        path = self._folder / check_name(name)
        self._drafts += 1
        draft = path.with_name(f"{_DRAFT}-{os.getpid()}-{self._drafts}")
        descriptor = await _on_disk(lambda: _opened(draft))
        try:
            try:
                async for some in _gathered(pieces):
                    await _on_disk(lambda some=some: _write_all(descriptor, some))  # type: ignore[misc]
                await _on_disk(lambda: os.fsync(descriptor))
            finally:
                os.close(descriptor)
            await _on_disk(lambda: _named(draft, path))
        except BaseException:
            draft.unlink(missing_ok=True)
            raise

    async def get(self, name: str) -> bytes | None:
        """See ``Shelf.get``."""
        path = self._folder / check_name(name)
        try:
            return await _on_disk(path.read_bytes)
        except FileNotFoundError:
            return None

    async def has(self, name: str) -> bool:
        """See ``Shelf.has``."""
        return (self._folder / check_name(name)).is_file()

    async def names(self, folder: str) -> tuple[str, ...]:
        """See ``Shelf.names``."""
        check_name(f"{folder}/x")
        found = await _on_disk(lambda: [path.name for path in (self._folder / folder).glob("[!.]*")])
        return tuple(f"{folder}/{name}" for name in sorted(found))

    async def remove(self, name: str) -> None:
        """See ``Shelf.remove``."""
        path = self._folder / check_name(name)
        await _on_disk(lambda: path.unlink(missing_ok=True))


async def _gathered(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same octets in pieces worth a thread's time."""
    kept: list[bytes] = []
    async for piece in pieces:
        kept.append(piece)
        if sum(map(len, kept)) >= _WORTH_BYTES:
            yield b"".join(kept)
            kept.clear()
    yield b"".join(kept)


async def _on_disk(work: Callable[[], T]) -> T:
    """Blocking work beside the loop; the disk's complaints become ours, a missing file stays what it is."""
    try:
        return await asyncio.to_thread(work)
    except FileNotFoundError:
        raise
    except OSError as error:
        if is_full(error):
            raise DiskFull("no space left for the shelf of lists: free some") from None
        raise Unavailable(f"the shelf: {type(error).__name__} {error.errno}") from None


def _opened(draft: Path) -> int:
    draft.parent.mkdir(parents=True, exist_ok=True)
    draft.unlink(missing_ok=True)
    return os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)


def _write_all(descriptor: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(descriptor, left) :]


def _named(draft: Path, path: Path) -> None:
    draft.replace(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class MemoryShelf:
    """Implements ``Shelf`` in memory; yields before each action, as the store's memory twin does."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def put(self, name: str, pieces: AsyncIterator[bytes]) -> None:
        """See ``Shelf.put``."""
        content = b"".join([piece async for piece in pieces])
        await asyncio.sleep(0)
        self.files[check_name(name)] = content

    async def get(self, name: str) -> bytes | None:
        """See ``Shelf.get``."""
        await asyncio.sleep(0)
        return self.files.get(check_name(name))

    async def has(self, name: str) -> bool:
        """See ``Shelf.has``."""
        await asyncio.sleep(0)
        return check_name(name) in self.files

    async def names(self, folder: str) -> tuple[str, ...]:
        """See ``Shelf.names``."""
        await asyncio.sleep(0)
        return tuple(sorted(name for name in self.files if name.startswith(f"{folder}/")))

    async def remove(self, name: str) -> None:
        """See ``Shelf.remove``."""
        await asyncio.sleep(0)
        self.files.pop(check_name(name), None)
