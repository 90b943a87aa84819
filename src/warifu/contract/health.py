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


class Health(Answer, frozen=True, kw_only=True):
    """The node's word on itself, after really exercising its parts."""

    ok: bool
    """Whether every part is, warnings aside."""
    parts: dict[str, Part] = {}
    processes: tuple[ChildProcess, ...] = ()


class AskHealth(Request, frozen=True, kw_only=True):
    """Exercise the parts and report."""

    NAME: ClassVar[str] = "node.health"
    ANSWER: ClassVar[type[Answer]] = Health
    CHANGES: ClassVar[bool] = False
