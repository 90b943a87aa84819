"""Logs: records and files of bounded size."""

import asyncio
import errno
import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from warifu.stack.logs import KEPT_FILES, MAX_FILE_BYTES, MAX_RECORD_BYTES, JsonLog, LineSplitter, RotatingLog

RECORD_DAY_MESSAGES = 715_000
"""Of 29 March 2016, which four relays shared (annex volume of June 2016, material 4)."""
RELAYS = 4


def test_a_record_passes_as_it_is_and_a_plain_line_becomes_one(tmp_path: Path) -> None:
    with closing(RotatingLog(tmp_path, "center")) as log:
        log.write_line(b'{"event":"step","operation_id":"01ARZ3NDEKTSV4RRFFQ69G5FAV"}')
        log.write_line("Fatal Python error: 落ちた".encode())
    first, second = [json.loads(line) for line in log.path.read_text("utf-8").splitlines()]
    assert first == {"event": "step", "operation_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}
    assert (second["process"], second["event"], second["text"]) == ("center", "output", "Fatal Python error: 落ちた")
    assert log.last_text == "Fatal Python error: 落ちた"


def test_the_last_words_are_those_that_say_what_went_wrong(tmp_path: Path) -> None:
    with closing(RotatingLog(tmp_path, "postgres")) as log:
        log.write_line(b'FATAL:  could not write lock file "postmaster.pid": No space left on device')
        log.write_line(b"LOG:  database system is shut down")
        assert log.last_text.endswith("No space left on device")


def test_files_rotate_and_the_oldest_goes(tmp_path: Path) -> None:
    with closing(RotatingLog(tmp_path, "cs", max_bytes=2000, kept=3)) as log:
        for number in range(100):
            log.event("tick", number=number)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cs.1.jsonl", "cs.2.jsonl", "cs.jsonl"]
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    assert json.loads(log.path.read_text("utf-8").splitlines()[-1])["number"] == 99


def test_a_relays_records_of_the_record_day_are_kept(tmp_path: Path) -> None:
    """The inspection of 2016 asks for one day at least; the file that is being written may just have begun."""
    with closing(RotatingLog(tmp_path, "relay-1")) as log:
        log.event(
            "relay.passed", operation_id="01ARZ3NDEKTSV4RRFFQ69G5FAV", step="write:01ARZ3NDEKTSV4RRFFQ69G5FAV:confirm",
            message="center.confirm", service_class="delivery", municipality="141003", code="connection_excess",
        )  # fmt: skip
        record = log.path.stat().st_size
    assert record * RECORD_DAY_MESSAGES / RELAYS < MAX_FILE_BYTES * (KEPT_FILES - 1)


def test_a_line_without_end_is_cut() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == [b"one"]
    assert splitter.feed(b"o\n") == [b"two"]
    assert splitter.feed(b"x" * (MAX_RECORD_BYTES + 1)) == [b"x" * (MAX_RECORD_BYTES + 1)]
    assert splitter.feed(b"rest") == []
    assert splitter.end() == b"rest"


def test_a_full_disk_loses_lines_and_counts_them(tmp_path: Path) -> None:
    (tmp_path / "relay-1.jsonl").symlink_to("/dev/full")
    with closing(RotatingLog(tmp_path, "relay-1")) as log:
        log.event("tick")
        assert log.dropped == 1


class Filling:
    """A file on a disk with so much room: part of what is written, then an error."""

    def __init__(self, log: RotatingLog, room: int) -> None:
        self.room = room
        self._file = log._file

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = self._file.write(data[: self.room])
        self.room -= taken
        return taken

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def test_a_disk_that_fills_in_the_middle_of_a_record_keeps_none_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those before it are whole, the next one once there is room is too, and every other one is counted."""
    with closing(RotatingLog(tmp_path, "relay-1")) as log:
        filling = Filling(log, room=25)
        monkeypatch.setattr(log, "_file", filling)
        log.write_lines([b'{"number": 1}', b'{"number": 2}', b'{"number": 3}'])
        assert log.dropped == 2
        log.write_lines([b'{"number": 4}'])
        assert log.dropped == 3
        filling.room = 100
        log.write_lines([b'{"number": 5}'])
    assert [json.loads(line)["number"] for line in log.path.read_text("utf-8").splitlines()] == [1, 5]


def test_where_no_new_file_can_be_made_the_old_ones_stay(tmp_path: Path) -> None:
    with closing(RotatingLog(tmp_path, "cs", max_bytes=300, kept=3)) as log:
        log.event("first")
        (tmp_path / "cs.new").symlink_to("/dev/null/not-there")
        for _ in range(9):
            log.event("tick")
        assert log.dropped > 0
        (tmp_path / "cs.new").unlink()
        log.event("last")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cs.1.jsonl", "cs.jsonl"]
    (last,) = log.path.read_text("utf-8").splitlines()
    assert json.loads(last)["event"] == "last"
    assert json.loads((tmp_path / "cs.1.jsonl").read_text("utf-8").splitlines()[0])["event"] == "first"


def test_a_node_gathers_records_for_a_moment_and_tells_trouble_at_once(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    async def told() -> bytes:
        log = JsonLog("cs-131016")
        log.info("cs.carried", code="ok")
        log.info("cs.carried", code="ok")
        gathered = capfdbinary.readouterr().out
        log.trouble("relay.limit_passed")
        return gathered

    assert asyncio.run(told()) == b""
    lines = capfdbinary.readouterr().out.splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["cs.carried", "cs.carried", "relay.limit_passed"]


def test_lines_that_come_together_are_kept_in_their_order(tmp_path: Path) -> None:
    with closing(RotatingLog(tmp_path, "cs")) as log:
        log.write_lines([b'{"event":"a"}', b'{"event":"b"}', b"plain text", b"", b'{"event":"c"}'])
    lines = (tmp_path / "cs.jsonl").read_text().splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["a", "b", "output", "c"]
