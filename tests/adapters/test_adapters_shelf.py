"""Shelves keep one contract, on disk and in memory."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from warifu.adapters.shelf import FolderShelf, MemoryShelf
from warifu.kernel.errors import Fault, Unavailable

AnyShelf = FolderShelf | MemoryShelf


@pytest.fixture(params=["folder", "memory"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> AnyShelf:
    return FolderShelf(tmp_path / "shelf") if request.param == "folder" else MemoryShelf()


async def pieces(*parts: bytes, broken: bool = False) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    if broken:
        raise Unavailable("the pieces break off")


def test_a_file_is_its_pieces_joined(shelf: AnyShelf) -> None:
    async def story() -> None:
        await shelf.put("a/1", pieces(b"one ", b"", b"two" * 100_000))
        assert await shelf.get("a/1") == b"one " + b"two" * 100_000
        assert (await shelf.has("a/1"), await shelf.has("a/2")) == (True, False)

    asyncio.run(story())


def test_there_is_nothing_until_the_last_piece_has_come(shelf: AnyShelf) -> None:
    async def story() -> None:
        with pytest.raises(Unavailable):
            await shelf.put("a/1", pieces(b"one", broken=True))
        assert await shelf.get("a/1") is None
        assert await shelf.names("a") == ()

    asyncio.run(story())


def test_names_are_of_one_folder_in_order_and_removing_twice_is_no_error(shelf: AnyShelf) -> None:
    async def story() -> None:
        for name in ("a/2", "a/1", "b/1"):
            await shelf.put(name, pieces(b"x"))
        assert await shelf.names("a") == ("a/1", "a/2")
        await shelf.remove("a/1")
        await shelf.remove("a/1")
        assert (await shelf.names("a"), await shelf.names("none")) == (("a/2",), ())

    asyncio.run(story())


@pytest.mark.parametrize("name", ["a", "../a", "a/../b", "a/.b", "a/b/c", "/a", "a/"])
def test_what_is_no_name_is_a_fault(shelf: AnyShelf, name: str) -> None:
    with pytest.raises(Fault):
        asyncio.run(shelf.put(name, pieces(b"x")))


def test_a_draft_left_by_a_killed_writer_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".draft-1-1").write_bytes(b"half")
    assert asyncio.run(FolderShelf(tmp_path).names("a")) == ()


def test_a_disk_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a file where the folder should be")
    with pytest.raises(Unavailable):
        asyncio.run(FolderShelf(tmp_path).put("a/1", pieces(b"x")))
