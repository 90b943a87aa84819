"""Where two environments differ, and what a test in one therefore does not show of the other.

The failures of 2016 came where test and production differed: one relay for four, another HSM, fewer connections
(``domain.md`` F8, F11). What is compared is what a topology says, kind by kind, and what the machines
are; names, ports and municipalities are no difference, but how many there are is.
"""

from collections.abc import Callable, Iterator
from typing import Final, get_args

from msgspec import Struct, structs

from warifu.stack.environment import Environment
from warifu.stack.machine import FACTS, UNKNOWN
from warifu.stack.topology import Node, NodeKind, Policies, Supervision, Topology

NONE: Final = "none"


class Difference(Struct, frozen=True):
    """One thing that the environments do not have alike."""

    where: str
    """The part: a kind of node, or ``database``, ``balancer`` ..."""
    what: str
    here: str
    there: str
    not_shown: str
    """What a test here does not show of there."""


def compare(here: Environment, there: Environment) -> tuple[Difference, ...]:
    """All differences, in the order of the parts. Machines are compared if both are told."""
    return (
        *_of_nodes(here.topology, there.topology),
        *_of_rest(here.topology, there.topology),
        *_of_machines(here.machine, there.machine),
    )


def _of_nodes(here: Topology, there: Topology) -> Iterator[Difference]:
    for kind in get_args(NodeKind):
        ours, theirs = (tuple(node for node in each.node if node.kind == kind) for each in (here, there))
        if not ours or not theirs:
            if ours or theirs:
                yield Difference(kind, "processes", _count(ours), _count(theirs), "whatever goes through it")
            continue
        if len(ours) != len(theirs):
            yield Difference(kind, "processes", _count(ours), _count(theirs), _of_counts(len(ours), len(theirs)))
        for what, said, not_shown in _SETTINGS:
            left, right = _said(ours, said), _said(theirs, said)
            if left != right:
                yield Difference(kind, what, left, right, not_shown)


def _count(nodes: tuple[Node, ...]) -> str:
    return str(len(nodes)) if nodes else NONE


def _of_counts(here: int, there: int) -> str:
    if 1 in (here, there):
        return "what others do when one of them fails or is replaced; how much they carry together"
    return "how much they carry together"


def _said(nodes: tuple[Node, ...], said: Callable[[Node], str]) -> str:
    """What nodes of a kind have: each value once."""
    return ", ".join(sorted({said(node) for node in nodes}))


def _hsm(node: Node) -> str:
    return node.hsm.kind if node.hsm else NONE


def _size(node: Node) -> str:
    return f"{node.hsm.workers} on {node.hsm.devices}" if node.hsm else NONE


def _chosen(settings: Policies | Supervision) -> str:
    """What is not as it is when nothing is said."""
    usual = structs.asdict(type(settings)())
    said = ((name, value) for name, value in structs.asdict(settings).items() if value != usual[name])
    return " ".join(f"{name}={value}" for name, value in said) or "as usual"


def _database_of(node: Node) -> str:
    return "its own" if node.database else "the common one"


_SETTINGS: Final[tuple[tuple[str, Callable[[Node], str], str], ...]] = (
    ("HSM", _hsm, "the device's speed, errors and driver"),
    ("HSM workers and devices", _size, "what is left when a worker or a device is away; how much they carry"),
    ("limits", lambda node: _chosen(node.policies), "where work begins to be refused, and what waits"),
    ("database", _database_of, "what it means when one database is away and another is not"),
    ("card reader", lambda node: node.reader, "real readers, their drivers and pulled cards"),
)


def _of_machines(here: dict[str, str], there: dict[str, str]) -> Iterator[Difference]:
    for fact in FACTS if here and there else ():
        left, right = (each.get(fact.name, UNKNOWN) for each in (here, there))
        if left != right:
            yield Difference("machine", fact.name, left, right, fact.not_shown)


def _of_rest(here: Topology, there: Topology) -> Iterator[Difference]:
    for where, what, said, not_shown in _REST:
        left, right = said(here), said(there)
        if left != right:
            yield Difference(where, what, left, right, not_shown)


_REST: Final[tuple[tuple[str, str, Callable[[Topology], str], str], ...]] = (
    (
        "database",
        "server",
        lambda each: "its own" if each.database.url else "embedded",
        "the server's version, settings, failover, and the network on the way to it",
    ),
    (
        "database",
        "connections",
        lambda each: str(each.database.max_connections),
        "how many processes it has room for",
    ),
    ("database", "memory in MB", lambda each: str(each.database.shared_buffers_mb), "its speed with many records"),
    ("balancer", "kind", lambda each: each.balancer.kind, "how a sick relay leaves the rotation, and drained ones"),
    ("admission", "policy", lambda each: each.admission.policy, "who is refused when more is asked than is carried"),
    (
        "admission",
        "connections",
        lambda each: str(each.admission.connections) if each.admission.policy == "legacy" else "-",
        "when a relay refuses",
    ),
    (
        "supervision",
        "times",
        lambda each: _chosen(each.supervision),
        "how soon what hangs or fails is started anew",
    ),
    ("certificates", "names", lambda each: each.certificate_names, "programs that look for one service's names"),
)
