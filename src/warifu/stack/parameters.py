"""Every parameter of a topology: its value, what it is when nothing is said, and what it does (F11)."""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec
from msgspec import UNSET, Struct

from warifu.stack.topology import Node, Topology

_NAMES = frozenset({"name", "kind", "count", "node", "demo_staff"})
"""What says which node it is, not how it works."""


class Parameter(Struct, frozen=True):
    """One parameter."""

    where: str
    """A node's name, or the table of the topology file; ``-`` at its top."""
    name: str
    value: str
    usual: str
    """When nothing is said; empty where something must be."""
    reason: str
    """What it does, as its declaration says; empty where the name says it."""


def parameters(topology: Topology) -> tuple[Parameter, ...]:
    """All, those of the whole stack first, then node by node. A password in a database's address is not told."""
    rest = _of("-", topology, "")
    nodes = (each for node in topology.node for each in _of(node.name, node, ""))
    return (*rest, *nodes)


def _of(where: str, settings: Struct, prefix: str) -> Iterator[Parameter]:
    reasons = _reasons(type(settings))
    for field in msgspec.structs.fields(settings):
        value = getattr(settings, field.name)
        if field.name in _NAMES and isinstance(settings, Topology | Node):
            continue
        if isinstance(value, Struct):
            place = field.name if where == "-" else where
            yield from _of(place, value, "" if where == "-" else f"{field.name}.")
        else:
            reason = reasons.get(field.name, "")
            yield Parameter(where, prefix + field.name, _told(field.name, value), _usual(field), reason)


def _told(name: str, value: object) -> str:
    if name in {"url", "database"} and value:
        return "(an address)"
    return "" if value is None else str(value)


def _usual(field: msgspec.structs.FieldInfo) -> str:
    default: Any = field.default
    return "" if default in {msgspec.NODEFAULT, UNSET, None} else str(default)


@cache
def _reasons(declared: type[Struct]) -> dict[str, str]:
    """The sentence that stands after each field of a declaration."""
    (declaration,) = ast.parse(textwrap.dedent(inspect.getsource(declared))).body
    lines = declaration.body if isinstance(declaration, ast.ClassDef) else []
    found = {}
    for pair in pairwise(lines):
        match pair:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.replace("``", "").split())
    return found
