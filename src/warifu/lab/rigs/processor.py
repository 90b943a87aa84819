"""Processor time by part: this process, its HSM workers, the database. What a figure is made of, whoever else is busy.

Read from ``/proc``, in ticks of 10 ms: for measurements of a second and more.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PARENT, _OWN, _WAITED_FOR = 1, slice(11, 13), slice(11, 15)


class Spent(Struct, frozen=True):
    """Seconds of processor time."""

    node: float = 0.0
    """This process."""
    workers: float = 0.0
    """Of the HSM."""
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


def spent(workers: Sequence[int]) -> Spent:
    """Until now.

    Args:
        workers: process ids of the HSM's workers.
    """
    fields = {process: found for process in _processes() if (found := _fields(process))}
    children = {process for process, found in fields.items() if int(found[_PARENT]) == os.getpid()}
    servers = {process for process in children if _program(process) == "postgres"}
    backends = {process for process, found in fields.items() if int(found[_PARENT]) in servers}
    return Spent(
        node=_seconds(fields[os.getpid()][_OWN]),
        workers=sum(_seconds(fields[process][_OWN]) for process in workers if process in fields),
        database=sum(_seconds(fields[process][_WAITED_FOR]) for process in servers)
        + sum(_seconds(fields[process][_OWN]) for process in backends),
    )


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


def _seconds(ticks: Sequence[str]) -> float:
    return sum(map(int, ticks)) / _TICKS
