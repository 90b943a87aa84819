"""What a running stack says of itself: a file in WARIFU_HOME, replaced atomically whenever something changed.

Also on a full disk (``Board``), of which it is the place that people ask.
"""

import errno
import os
from typing import Final, Literal

import msgspec
from msgspec import Struct

from warifu.adapters.disk import is_full
from warifu.contract.health import ChildProcess, Part
from warifu.kernel.decoding import NOT_DECODED
from warifu.stack.errors import NotRunning, disk_errors
from warifu.stack.home import Home, write_file

ROOM: Final = 1 << 17
"""Bytes put by, twice, for a status on a full disk; that of topology ``demo`` takes 6,000 when all is well."""

StackState = Literal["starting", "running", "stopping"]


class MemberStatus(Struct, frozen=True, kw_only=True):
    """One supervised process: a node, the database, the balancer."""

    name: str
    kind: str
    state: str
    """``warifu.stack.keeper.State``; ``external`` for a database that is not ours to run."""
    pid: int
    """0 between two lives."""
    host: str
    port: int
    restarts: int = 0
    last_error: str = ""
    parts: dict[str, Part] = {}
    """From its last health answer."""
    processes: tuple[ChildProcess, ...] = ()
    """Its own children: HSM workers."""


class ProcessStatus(Struct, frozen=True, kw_only=True):
    """One process of the stack, whoever started it."""

    name: str
    kind: str
    pid: int


class InRotation(Struct, frozen=True, kw_only=True):
    """A relay behind the balancer, as the balancer had it a second ago."""

    name: str
    state: str
    """In HAProxy's words: ``UP``, ``DOWN (agent)``: it says itself that it does not do its work, ``DRAIN`` ..."""
    connections: int


class StackStatus(Struct, frozen=True, kw_only=True):
    """The whole stack."""

    state: StackState
    topology: str
    home: str
    started_ms: int
    balancer: str
    """In words: what stands before the relays."""
    rotation: tuple[InRotation, ...] = ()
    """Nothing where each cs balances by itself."""
    notes: tuple[str, ...] = ()
    nodes: tuple[MemberStatus, ...] = ()
    processes: tuple[ProcessStatus, ...] = ()
    """Every live process: supervisor, database, balancer, nodes, HSM workers."""
    urls: dict[str, str] = {}
    log_lines_dropped: int = 0
    disk_full: str = ""
    """Who finds no room on the disk now, and what to do; nothing when all do."""

    @property
    def healthy(self) -> bool:
        """Whether every part does its work."""
        return all(node.state in {"serving", "external"} for node in self.nodes)

    def find(self, name: str) -> MemberStatus | None:
        """The member of this name."""
        return next((node for node in self.nodes if node.name == name), None)


class Board:
    """Where a supervisor puts its status up, also when the disk is full: just then people look at it.

    Two files are written while there is room, and overwritten in turn when there is none: the one that readers find
    is not touched. A file system that needs new room for that (copy on write) leaves the last status standing.

    Raises:
        DiskFull, HomeUnusable: they cannot be written.
    """

    def __init__(self, home: Home) -> None:
        self._path = home.status
        self._spares = [home.run / f"status.{number}" for number in range(2)]
        with disk_errors(home.run):
            for spare in self._spares:
                write_file(spare, bytes(ROOM))

    def put_up(self, content: bytes) -> None:
        """Replace what is there. ``OSError`` when that cannot be done."""
        try:
            write_file(self._path, content)
        except OSError as error:
            if not is_full(error) or len(content) > ROOM:
                raise
            self._overwrite(content.ljust(ROOM))

    def take_down(self) -> None:
        """Leave nothing there."""
        for path in (self._path, *self._spares):
            path.unlink(missing_ok=True)

    def _overwrite(self, content: bytes) -> None:
        """JSON may end with blanks. A second name takes no room, and takes the place of the first at once."""
        spare = self._spares[0]
        name = spare.with_suffix(".next")
        descriptor = os.open(spare, os.O_WRONLY)
        try:
            if os.pwrite(descriptor, content, 0) < ROOM:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(descriptor)
        name.unlink(missing_ok=True)
        name.hardlink_to(spare)
        name.replace(self._path)
        self._spares.reverse()


def read(home: Home) -> StackStatus:
    """What the stack in this home says now. ``NotRunning`` when there is none, or it has only just begun."""
    holder = home.holder()
    if holder is None:
        raise NotRunning(f"no stack runs in {home.root}: `warifu up` starts one")
    try:
        found = msgspec.json.decode(home.status.read_bytes(), type=StackStatus)
    except (OSError, *NOT_DECODED) as error:
        raise NotRunning(f"the stack in {home.root} is only just starting: ask again") from error
    if holder not in {process.pid for process in found.processes if process.kind == "supervisor"}:
        raise NotRunning(f"the stack in {home.root} is only just starting: ask again")  # a killed one's last words
    return found
