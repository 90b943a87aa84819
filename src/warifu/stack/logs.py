"""Logs: JSON lines of bounded size, in files of bounded size.

A record is one object: ``time`` (UTC), ``process``, ``level``, ``event`` and the event's own fields. What a child
writes that is not such an object (PostgreSQL's lines, a crash dump) becomes the ``text`` of one.
"""

import asyncio
import atexit
import datetime
import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from warifu.adapters.disk import is_full
from warifu.stack.errors import disk_errors

MAX_RECORD_BYTES = 4096
"""A longer line is cut (F3: records never grow)."""
MAX_FILE_BYTES = 8 << 20
KEPT_FILES = 8
"""More than a day of a relay's records at the load of 29 March 2016: a day at least is what the documents ask for."""
GATHER_S = 0.05
"""How long a record may wait for others before a node writes it."""
_MAX_VALUE = 1000
NO_SPACE = "No space left on device"
"""What programs say of a full disk (``strerror`` of ENOSPC)."""
_REMARKS = ("LOG:", "DETAIL:", "HINT:", "CONTEXT:")
"""How PostgreSQL begins lines that do not say what went wrong."""


class RotatingLog:
    """One process's log file and its predecessors (``name.jsonl``, ``name.1.jsonl`` ...).

    A full disk must not end the supervisor: lines that cannot be written are counted in ``dropped``, and those that
    are written are whole.
    """

    def __init__(self, folder: Path, process: str, *, max_bytes: int = MAX_FILE_BYTES, kept: int = KEPT_FILES) -> None:
        self.dropped = 0
        self.last_text = ""
        """The last plain line that may say what went wrong."""
        self.full_s: float | None = None
        """When a line last could not be written, or said itself, that there is no space; of the monotonic clock."""
        self._folder = folder
        self._process = process
        self._max_bytes = max_bytes
        self._kept = kept
        with disk_errors(folder):
            self._file: BinaryIO = self.path.open("ab", buffering=0)

    @property
    def path(self) -> Path:
        """The file written now."""
        return self._path(0)

    def write_lines(self, lines: Sequence[bytes]) -> None:
        """Keep several lines; those that are records already in one go."""
        records: list[bytes] = []
        for line in lines:
            if is_record(line):
                records += (line.rstrip(), b"\n")
                continue
            self._write(b"".join(records))
            records.clear()
            self.write_line(line)
        self._write(b"".join(records))

    def write_line(self, line: bytes) -> None:
        """Keep one line of a child's output."""
        if is_record(line):
            self._write(line.rstrip() + b"\n")
            return
        text = line.decode("utf-8", "replace").rstrip()
        if not text:
            return
        if not text.startswith(_REMARKS):
            self.last_text = text[:400]
        if NO_SPACE in text:
            self.full_s = time.monotonic()
        self.event("output", text=text[: MAX_RECORD_BYTES // 2])

    def event(self, event: str, *, level: str = "info", **fields: Any) -> None:  # noqa: ANN401 - JSON values
        """Write a record of the supervisor's own."""
        record = {"time": _now(), "process": self._process, "level": level, "event": event, **fields}
        self._write(json.dumps(record, ensure_ascii=False).encode() + b"\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _path(self, age: int) -> Path:
        return self._folder / (f"{self._process}.{age}.jsonl" if age else f"{self._process}.jsonl")

    def _write(self, records: bytes) -> None:
        if not records:
            return
        taken = 0
        try:
            if self._file.tell() + len(records) > self._max_bytes:
                self._rotate()
            while taken < len(records):
                taken += self._file.write(records[taken:])
        except OSError as error:
            self._cut(records, taken)
            if is_full(error):
                self.full_s = time.monotonic()

    def _cut(self, records: bytes, taken: int) -> None:
        """Leave whole records: half of one, which is what a disk takes that fills, would spoil the next as well."""
        whole = records.rfind(b"\n", 0, taken) + 1
        self.dropped += records.count(b"\n", whole)
        if whole < taken:
            self._file.seek(self._file.truncate(self._file.tell() - (taken - whole)))

    def _rotate(self) -> None:
        """The new file first: where a disk has no room for one, the old ones stay as they are."""
        draft = self._folder / f"{self._process}.new"
        fresh = draft.open("ab", buffering=0)
        for age in range(self._kept - 1, 0, -1):
            if self._path(age - 1).exists():
                self._path(age - 1).replace(self._path(age))
        draft.replace(self.path)
        self._file.close()
        self._file = fresh


def is_record(line: bytes) -> bool:
    """Whether a child's line is a record as it stands."""
    return line.startswith(b"{") and len(line) <= MAX_RECORD_BYTES and line.rstrip().endswith(b"}")


class JsonLog:
    """A node's own log (``ports.log.Log``): records on standard output, which the supervisor keeps.

    Values are cut, so that a record stays below ``MAX_RECORD_BYTES`` whatever is given. What is worth knowing leaves
    within ``GATHER_S`` together with what came meanwhile; what is trouble leaves at once. A node that is killed takes
    what it had gathered with it.
    """

    def __init__(self, process: str) -> None:
        self._process = process
        self._gathered: list[bytes] = []
        atexit.register(self.flush)

    def info(self, event: str, **fields: str | float) -> None:
        """Something worth knowing happened."""
        self._write("info", event, fields)

    def trouble(self, event: str, **fields: str | float) -> None:
        """Something went wrong that a person should look at."""
        self._write("error", event, fields)
        self.flush()

    def flush(self) -> None:
        """Write what was gathered."""
        lines, self._gathered = self._gathered, []
        if lines:
            sys.stdout.buffer.write(b"".join(lines))
            sys.stdout.buffer.flush()

    def _write(self, level: str, event: str, fields: Mapping[str, str | float]) -> None:
        record = {"time": _now(), "process": self._process, "level": level, "event": event}
        cut = {name: value[:_MAX_VALUE] if isinstance(value, str) else value for name, value in fields.items()}
        line = msgspec.json.encode(record | cut)
        if len(line) >= MAX_RECORD_BYTES:
            line = msgspec.json.encode(record | {"cut": True})
        self._gathered.append(line + b"\n")
        if len(self._gathered) == 1:
            self._flush_soon()

    def _flush_soon(self) -> None:
        try:
            asyncio.get_running_loop().call_later(GATHER_S, self.flush)
        except RuntimeError:  # before or after the loop
            self.flush()


class LineSplitter:
    """Cuts a stream of bytes into lines; a line without an end is cut at ``MAX_RECORD_BYTES``."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_RECORD_BYTES:
            lines.append(self._rest)
            self._rest = b""
        return lines

    def end(self) -> bytes:
        """What was left when the stream ended."""
        rest, self._rest = self._rest, b""
        return rest


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
