"""What a running stack says of itself: a file in WARIFU_HOME, replaced atomically whenever something changed."""

from typing import Literal

import msgspec
from msgspec import Struct

from warifu.contract.health import ChildProcess, Part
from warifu.kernel.decoding import NOT_DECODED
from warifu.stack.errors import NotRunning
from warifu.stack.home import Home

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
