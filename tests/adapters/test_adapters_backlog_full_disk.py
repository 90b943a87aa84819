"""What a CS takes on, on a disk that is really full: refused by the kernel and not by a test's own hand."""

import asyncio

import pytest

from small_disk import SmallDisk, on_a_small_disk
from warifu.adapters.backlog import FileBacklog
from warifu.kernel.errors import DiskFull

pytestmark = pytest.mark.real
AT_ONCE = 5


def entry(number: int) -> bytes:
    """Of no size that fits a page: the disk takes part of one before it refuses."""
    return f"{number:06}".encode() * 500


async def keep(backlog: FileBacklog, first: int) -> dict[int, bytes]:
    """Keep several at once, which share a sync; those that were promised."""
    wanted = [entry(first + each) for each in range(AT_ONCE)]
    ended = await asyncio.gather(*map(backlog.keep, wanted), return_exceptions=True)
    wrong = [each for each in ended if isinstance(each, BaseException) and not isinstance(each, DiskFull)]
    assert not wrong, wrong
    return {number: kept for number, kept in zip(ended, wanted, strict=True) if isinstance(number, int)}


async def fill_up(backlog: FileBacklog, first: int) -> dict[int, bytes]:
    """Keep until nothing is taken any more; what was promised until then."""
    promised: dict[int, bytes] = {}
    while more := await keep(backlog, first):
        promised |= more
        first += AT_ONCE
    return promised


def a_cs_on_a_full_disk(disk: SmallDisk) -> None:
    """Twice: filled by others, and by what it takes on itself. Each new object on the file is a CS after a kill."""
    path = disk.folder / "cs.log"

    async def filled_by_others() -> dict[int, bytes]:
        backlog = FileBacklog(path)
        before = await keep(backlog, 0)
        assert len(before) == AT_ONCE
        disk.fill()
        before |= await fill_up(backlog, 100)
        settled = next(iter(before))
        backlog.settle(settled)
        assert not await keep(backlog, 200)
        assert dict(backlog.unsettled()) == {number: kept for number, kept in before.items() if number != settled}
        disk.make_room()
        after = await keep(backlog, 300)
        assert len(after) == AT_ONCE, "there is room, and it does not go on"
        del before[settled]
        return before | after

    async def filled_by_itself(before: dict[int, bytes]) -> dict[int, bytes]:
        backlog = FileBacklog(path)
        assert dict(backlog.unsettled()) == before
        return before | await fill_up(backlog, 1000)

    async def begun_on_it(before: dict[int, bytes]) -> None:
        backlog = FileBacklog(path)
        assert dict(backlog.unsettled()) == before
        assert not await keep(backlog, 2000)
        assert dict(backlog.unsettled()) == before
        assert [found.name for found in disk.folder.iterdir()] == ["cs.log"]
        backlog.close()

    promised = asyncio.run(filled_by_others())
    promised = asyncio.run(filled_by_itself(promised))
    assert disk.free() < AT_ONCE * len(entry(0)), "the disk was never full"
    asyncio.run(begun_on_it(promised))


def test_a_really_full_disk_takes_nothing_on_and_spoils_nothing() -> None:
    """Nothing that was promised is lost, nothing that was refused is there, and it goes on when there is room."""
    on_a_small_disk(a_cs_on_a_full_disk, megabytes=1)
