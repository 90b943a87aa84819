"""The CS's backlog: what was kept is there after a kill, wherever the kill fell; one suite for file and memory twin."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from warifu.adapters.backlog import QUICK_S, FileBacklog, MemoryBacklog
from warifu.kernel.errors import DiskFull, Unavailable
from warifu.ports.backlog import Backlog

KEEPER = """
import asyncio, sys
from pathlib import Path
from warifu.adapters.backlog import FileBacklog

async def main():
    backlog = FileBacklog(Path(sys.argv[1]))
    for number in range(10_000):
        kept = await backlog.keep(b"entry %d" % number)
        print(kept, flush=True)
        if number % 2:
            backlog.settle(kept)

asyncio.run(main())
"""


@pytest.fixture(params=["file", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Backlog]:
    if request.param == "memory":
        return MemoryBacklog
    return lambda: FileBacklog(tmp_path / "cs.log")


def test_entries_are_there_in_order_until_they_are_settled(make: Callable[[], Backlog]) -> None:
    async def main() -> None:
        backlog = make()
        numbers = await asyncio.gather(*(backlog.keep(b"%d" % number) for number in range(20)))
        assert [entry for _, entry in backlog.unsettled()] == [b"%d" % number for number in range(20)]
        assert len(set(numbers)) == 20
        for number in numbers[::2]:
            backlog.settle(number)
            backlog.settle(number)
        assert [number for number, _ in backlog.unsettled()] == numbers[1::2]

    asyncio.run(main())


def test_what_was_kept_is_read_back_and_numbers_go_on(tmp_path: Path) -> None:
    async def first() -> int:
        backlog = FileBacklog(tmp_path / "cs.log")
        kept = [await backlog.keep(b"%d" % number) for number in range(5)]
        backlog.settle(kept[0])
        backlog.close()
        return kept[-1]

    async def second(last: int) -> None:
        backlog = FileBacklog(tmp_path / "cs.log")
        assert [entry for _, entry in backlog.unsettled()] == [b"1", b"2", b"3", b"4"]
        assert await backlog.keep(b"5") > last
        backlog.close()

    asyncio.run(second(asyncio.run(first())))
    assert (tmp_path / "cs.log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_record_cut_by_a_crash_was_never_promised(tmp_path: Path, cut: int) -> None:
    async def fill() -> None:
        backlog = FileBacklog(tmp_path / "cs.log")
        await backlog.keep(b"whole entry")
        await backlog.keep(b"half written")
        backlog.close()

    asyncio.run(fill())
    data = (tmp_path / "cs.log").read_bytes()
    (tmp_path / "cs.log").write_bytes(data[:-cut])
    backlog = FileBacklog(tmp_path / "cs.log")
    entries = [entry for _, entry in backlog.unsettled()]
    assert entries in ([b"whole entry"], []), entries
    assert entries or cut > 20
    backlog.close()


def test_a_disk_that_fails_takes_nothing_on(tmp_path: Path) -> None:
    async def main() -> None:
        backlog = FileBacklog(tmp_path / "cs.log")
        os.close(backlog._descriptor)
        with pytest.raises(Unavailable):
            await backlog.keep(b"entry")
        assert backlog.unsettled() == ()

    asyncio.run(main())


def test_a_slow_disk_has_a_thread_and_a_quick_one_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Judged by the disk alone: a loop that is busy, or a thread that is late to wake, is no slow disk."""
    disk = {"now": 0.0, "sync": 0.0}
    threads: list[str] = []

    def sync(_descriptor: int) -> None:
        disk["now"] += disk["sync"]
        threads.append(threading.current_thread().name.partition("_")[0])

    async def keep(sync_s: float) -> str:
        disk["sync"] = sync_s
        for _ in range(30):
            backlog.settle(await backlog.keep(b"entry"))
        return threads[-1]

    backlog = FileBacklog(tmp_path / "cs.log")
    monkeypatch.setattr("time.perf_counter", lambda: disk["now"])
    monkeypatch.setattr("os.fdatasync", sync)
    kept_by = [asyncio.run(keep(seconds)) for seconds in (QUICK_S / 2, 2 * QUICK_S, QUICK_S / 2)]
    assert kept_by == ["MainThread", "backlog", "MainThread"]
    backlog.close()


class Disk:
    """Takes so many bytes and no more, as a full one does: half of what is written, then an error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = 1 << 30
        self._write = os.write
        monkeypatch.setattr("warifu.adapters.backlog.os.write", self.write)

    def write(self, descriptor: int, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = self._write(descriptor, data[: self.room])
        self.room -= taken
        return taken


@pytest.mark.parametrize("room", [0, 3, 17])
def test_a_full_disk_takes_nothing_on_and_spoils_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """What is promised before and after it was full is there after a kill, and what was settled meanwhile is not."""
    disk = Disk(monkeypatch)

    async def main() -> None:
        backlog = FileBacklog(tmp_path / "cs.log")
        first, _ = [await backlog.keep(entry) for entry in (b"settled", b"before")]
        disk.room = room
        backlog.settle(first)
        for _ in range(3):
            with pytest.raises(DiskFull):
                await backlog.keep(b"refused")
        assert [entry for _, entry in backlog.unsettled()] == [b"before"]
        disk.room = 1 << 30
        await backlog.keep(b"after")

    asyncio.run(main())
    backlog = FileBacklog(tmp_path / "cs.log")  # the first was never closed: as after a kill
    assert [entry for _, entry in backlog.unsettled()] == [b"before", b"after"]
    backlog.close()


def test_a_cs_starts_on_a_full_disk_and_goes_on_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)

    async def first() -> None:
        await FileBacklog(tmp_path / "cs.log").keep(b"before")

    async def second() -> None:
        disk.room = 5
        backlog = FileBacklog(tmp_path / "cs.log")
        with pytest.raises(DiskFull):
            await backlog.keep(b"refused")
        disk.room = 1 << 30
        await backlog.keep(b"after")

    asyncio.run(first())
    with (tmp_path / "cs.log").open("ab") as file:
        file.write(b"half")  # of a record
    asyncio.run(second())
    backlog = FileBacklog(tmp_path / "cs.log")
    assert [entry for _, entry in backlog.unsettled()] == [b"before", b"after"]
    assert [path.name for path in tmp_path.iterdir()] == ["cs.log"]
    backlog.close()


@pytest.mark.real
def test_nothing_that_was_promised_is_lost_by_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "cs.log"
    with subprocess.Popen([sys.executable, "-c", KEEPER, str(path)], stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        promised = [int(keeper.stdout.readline()) for _ in range(100)]
        keeper.send_signal(signal.SIGKILL)
        promised += [int(line) for line in keeper.stdout.read().split()]
    backlog = FileBacklog(path)
    kept = dict(backlog.unsettled())
    lost = [number for number in promised if number % 2 and number not in kept]
    assert lost == []
    backlog.close()
