"""The status of a running stack, on a disk that has room for it and on one that has none."""

import errno
import os
from pathlib import Path

import msgspec
import pytest

from warifu.stack import status
from warifu.stack.home import Home
from warifu.stack.status import ROOM, Board, ProcessStatus, StackStatus


def told(topology: str) -> StackStatus:
    """One that is told apart by its topology, and taken for a running stack's."""
    supervisor = ProcessStatus(name="supervisor", kind="supervisor", pid=os.getpid())
    return StackStatus(
        state="running", topology=topology, home="/home", started_ms=1, balancer="none", processes=(supervisor,)
    )


def put_up(board: Board, topology: str) -> None:
    board.put_up(msgspec.json.encode(told(topology)))


@pytest.fixture
def board(home: Home) -> Board:
    return Board(home)


def fill(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on no new file finds room; ``undo`` makes room."""

    def refuse(path: Path, _content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(status, "write_file", refuse)


def test_on_a_full_disk_the_status_is_still_the_newest(
    home: Home, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(monkeypatch)
    with home.held():
        for topology in ("first", "second longer", "third"):
            put_up(board, topology)
            assert status.read(home) == told(topology)
        monkeypatch.undo()
        put_up(board, "fourth")
        assert status.read(home) == told("fourth")


def test_whoever_has_begun_to_read_reads_what_was_there(
    home: Home, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(monkeypatch)
    put_up(board, "first")
    with home.status.open("rb") as begun:
        put_up(board, "second")
        assert msgspec.json.decode(begun.read(), type=StackStatus) == told("first")


def test_no_more_is_put_up_than_there_is_room_put_by(home: Home, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch)
    put_up(board, "first")
    with pytest.raises(OSError, match="No space left"):
        put_up(board, "x" * ROOM)
    with home.held():
        assert status.read(home) == told("first")


def test_taken_down_nothing_is_left_of_it(home: Home, board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch)
    put_up(board, "first")
    board.take_down()
    assert [path.name for path in home.run.iterdir()] == ["nodes"]
