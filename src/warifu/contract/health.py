"""Health: does the node do its work? Every node answers ``node.health``."""

from typing import ClassVar

from msgspec import Struct

from warifu.contract.message import Answer, Request


class Part(Struct, frozen=True, kw_only=True):
    """One thing the work needs: database, HSM, the path to another node."""

    ok: bool
    detail: str = ""
    warning: bool = False
    """A trouble of this part is for people to see; the node does its work with it."""


class ChildProcess(Struct, frozen=True, kw_only=True):
    """A process of the node's own, for ``status``."""

    name: str
    pid: int


class Work(Struct, frozen=True, kw_only=True):
    """What a node has done since it started. Two of one node tell what it did in between."""

    done: int = 0
    """Requests that were answered, well or not."""
    refused: int = 0
    """Of these: told to come back later."""
    failed: int = 0
    """Of these: not done for a reason of ours: a fault, something not reached, no time left."""
    busy_ms: int = 0
    """From each request to its answer, all of them together."""


class Health(Answer, frozen=True, kw_only=True):
    """The node's word on itself, after really exercising its parts."""

    ok: bool
    """Whether every part is, warnings aside."""
    parts: dict[str, Part] = {}
    processes: tuple[ChildProcess, ...] = ()
    work: Work | None = None
    """Of a node that counts it (a relay): what a canary is held against."""


class AskHealth(Request, frozen=True, kw_only=True):
    """Exercise the parts and report."""

    NAME: ClassVar[str] = "node.health"
    ANSWER: ClassVar[type[Answer]] = Health
    CHANGES: ClassVar[bool] = False
