"""A run whose disk fills is ended at once, under one code, whatever else goes wrong because of it."""

import asyncio
from pathlib import Path

import pytest

from warifu.kernel.errors import DiskFull, Unavailable
from warifu.lab.load import room
from warifu.lab.load.room import while_there_is_room, without_room
from warifu.stack import status
from warifu.stack.errors import NotRunning
from warifu.stack.home import Home
from warifu.stack.status import StackStatus

FULL = "no space left for postgres in /run: free some; whatever waits goes on by itself"


class Told:
    """What the stack says of itself."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.disk_full = ""
        monkeypatch.setattr(status, "read", self.read)
        monkeypatch.setattr(room, "LOOK_EVERY_S", 0.001)

    def read(self, home: Home) -> StackStatus:
        return StackStatus(
            state="running",
            topology="quarter",
            home=str(home.root),
            started_ms=0,
            balancer="",
            disk_full=self.disk_full,
        )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.prepare()
    return home


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    return Told(monkeypatch)


def test_work_that_would_go_on_for_ever_is_ended_and_clears_up(home: Home, told: Told) -> None:
    cleared: list[bool] = []

    async def main() -> None:
        async with while_there_is_room(home):
            told.disk_full = FULL
            try:
                await asyncio.Event().wait()
            finally:
                cleared.append(True)

    with pytest.raises(DiskFull, match=r"no space left for postgres in /run, .*free some"):
        asyncio.run(main())
    assert cleared == [True]


def test_what_goes_wrong_because_of_it_does_not_hide_it(home: Home, told: Told) -> None:
    async def main() -> None:
        async with while_there_is_room(home):
            told.disk_full = FULL
            raise Unavailable("the database does not answer")

    with pytest.raises(DiskFull, match="in the middle of the run"):
        asyncio.run(main())


@pytest.mark.parametrize("error", [Unavailable("another reason"), KeyboardInterrupt()])
def test_other_ends_stay_what_they_are(home: Home, told: Told, error: BaseException) -> None:
    async def main() -> None:
        async with while_there_is_room(home):
            raise error

    with pytest.raises(type(error)) as found:
        asyncio.run(main())
    assert found.value is error
    assert not told.disk_full


def test_work_that_ends_well_is_not_disturbed(home: Home, told: Told) -> None:
    async def main() -> str:
        async with while_there_is_room(home):
            return "done"

    assert asyncio.run(main()) == "done"
    assert not told.disk_full


def test_a_status_that_cannot_be_written_any_more_is_no_comfort(
    home: Home, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(room, "write_file", full)
    assert "no space left" in without_room(home)
    assert not told.disk_full


def test_a_stack_that_does_not_run_has_nothing_to_write(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_home: Home) -> StackStatus:
        raise NotRunning("no stack runs")

    monkeypatch.setattr(status, "read", nothing)
    assert without_room(home) == ""
