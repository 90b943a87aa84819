"""Processor time by part: this process, its workers, the database. What a figure is made of, whoever else is busy.

Read from ``/proc``, in ticks of 10 ms: for measurements of a second and more.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_HSM: Final = b"warifu.adapters.hsm.worker"
_PARENT, _OWN = 1, slice(11, 13)


class Spent(Struct, frozen=True):
    """Seconds of processor time."""

    node: float = 0.0
    """This process, and other nodes below it."""
    workers: float = 0.0
    """The HSM's, of all of them."""
    database: float = 0.0
    """PostgreSQL, all its processes."""

    @property
    def total(self) -> float:
        """All of it."""
        return self.node + self.workers + self.database

    def __add__(self, other: "Spent") -> "Spent":
        """Both together."""
        return Spent(self.node + other.node, self.workers + other.workers, self.database + other.database)

    def __sub__(self, earlier: "Spent") -> "Spent":
        """Since then."""
        return Spent(self.node - earlier.node, self.workers - earlier.workers, self.database - earlier.database)


class Costs:
    """Processor time and what it was spent for, over all slices of one kind."""

    def __init__(self) -> None:
        self._spent = Spent()
        self._count = 0.0

    def end(self, before: Spent, count: float) -> None:
        """So many were made since ``before``, which is what ``spent`` said."""
        self._spent += spent() - before
        self._count += count

    def each(self) -> Spent:
        """Microseconds for each."""
        scale = 1e6 / self._count if self._count else 0.0
        return Spent(self._spent.node * scale, self._spent.workers * scale, self._spent.database * scale)


def ratio(ours: Costs, raw: Costs) -> float:
    """The limit's work beside ours, in processor time: what the ratio is when nothing else runs and no core waits."""
    total = ours.each().total
    return raw.each().total / total if total else 0.0


def spent() -> Spent:
    """Until now, by this process and what lives below it."""
    fields = {process: found for process in _processes() if (found := _fields(process))}
    ours = _below({os.getpid()}, fields)
    servers = {process for process in ours if _program(process) == "postgres"}
    database = servers | _below(servers, fields)
    workers = {process for process in ours - database if _HSM in _command(process)}
    nodes = {os.getpid()} | ours - database - workers

    def seconds(processes: set[int]) -> float:
        return sum(_seconds(fields[process][_OWN]) for process in processes)

    return Spent(node=seconds(nodes), workers=seconds(workers), database=seconds(database))


def _below(tops: set[int], fields: Mapping[int, Sequence[str]]) -> set[int]:
    """Every process below these."""
    found: set[int] = set()
    level = tops
    while level:
        level = {process for process, of in fields.items() if int(of[_PARENT]) in level}
        found |= level
    return found


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _fields(process: int) -> list[str]:
    """What the kernel tells of a process behind its name (proc(5), from ``state`` on); nothing when it has ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    except OSError:
        return []


def _program(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text("ascii", "replace").strip()
    except OSError:
        return ""


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _seconds(ticks: Sequence[str]) -> float:
    return sum(map(int, ticks)) / _TICKS
