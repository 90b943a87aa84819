"""``topology.toml``: which nodes there are, how many of each, and by which rules they work.

Every error names the file, the key and what to do, under the one code ``topology.invalid``.
"""

import difflib
import re
import tomllib
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from warifu.domain.admission.places import place_of
from warifu.stack.errors import TopologyInvalid

NodeKind = Literal[
    "registry",
    "numbering",
    "intake",
    "issuance",
    "authority",
    "responder",
    "portal",
    "front",
    "center",
    "relay",
    "cs",
    "terminal",
]
NodeName = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
PortNumber = Annotated[int, Meta(ge=0, le=65535)]
"""0: choose a free one and keep it."""

LOCAL_KINDS = frozenset({"cs", "terminal"})
"""Kinds of nodes that stand in a municipality."""
RESERVED_NAMES = frozenset({"postgres", "haproxy", "supervisor"})


class Hsm(Struct, frozen=True, forbid_unknown_fields=True):
    """A node's tamper-resistant devices."""

    kind: Literal["software", "softhsm"] = "software"
    workers: Annotated[int, Meta(ge=1, le=16)] = 2
    """Processes, each with one session to a device: two, so that one may be fenced while the other works (F1)."""
    devices: Annotated[int, Meta(ge=1, le=2)] = 1
    """With two, every second worker speaks to a copy of the device with the same keys: a relay's stay open when one is
    gone. For relays only: other nodes make keys later, which no copy would have."""
    library: str = ""
    """PKCS#11 library, for ``softhsm``; empty: where SoftHSM2 usually is."""
    token: str = ""
    """Name of the device's token; empty: the node's service name, so that nodes of one service share their keys."""


class Policies(Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds that may be chosen. The first four are a relay's: operations it has admitted (``domain.admission``)."""

    total: Annotated[int, Meta(ge=1, le=10_000)] = 128
    setup_and_bulk: Annotated[int, Meta(ge=1, le=10_000)] = 80
    """Set-ups and bulk work together; the rest is left for deliveries."""
    change_reserve: Annotated[int, Meta(ge=0, le=10_000)] = 16
    """A share of its own, above the total, for residents who move."""
    lease_s: Annotated[float, Meta(ge=1, le=3_600)] = 30.0
    """An operation that rests so long gives its place back; its steps pass all the same."""
    waiting: Annotated[int, Meta(ge=1, le=10_000)] = 512
    """A CS's: messages in it at once; the next is told when to come back."""
    key_pairs: Annotated[int, Meta(ge=0, le=1_000_000)] = 64
    """An authority's: free subscriber key pairs kept in stock; one takes about 80 ms of a core to make."""
    accepts: bool = False
    """A portal's: accept applications that the checks let through without a person's look, in demonstrations."""


class Node(Struct, frozen=True, forbid_unknown_fields=True):
    """One node, a process of its own."""

    name: NodeName
    kind: NodeKind
    count: Annotated[int, Meta(ge=1, le=64)] = 1
    """How many processes: more than one are called ``<name>-1``, ``<name>-2`` ... and are reached under ``<name>``.

    Those of a CS are its workers: each has the lanes of some residents' cards, by hash.
    """
    service: str = ""
    """Name under which others call it when several nodes serve the same; empty: its own name."""
    municipality: Annotated[str, Meta(pattern=r"^([0-9]{6})?$")] = ""
    """Code of the municipality with its check digit, for ``cs`` and ``terminal``."""
    port: PortNumber = 0
    http_port: PortNumber = 0
    """Where relying parties ask a responder over HTTP, registered verifiers a front over HTTPS, residents a portal, and
    where a terminal's screens are."""
    database: str = ""
    """URL of this node's own PostgreSQL; empty: the topology's."""
    reader: Literal["files", "pcsc"] = "files"
    """A terminal's: the cards of this home as files, or whatever lies in the machine's PC/SC readers."""
    hsm: Hsm | None = None
    policies: Policies = Policies()

    @property
    def service_name(self) -> str:
        """The name to call it by."""
        return self.service or self.name

    @property
    def has_http(self) -> bool:
        """Whether it has an HTTP face (``adapters.net.relying``, ``.net.checking``, ``.portal``, ``.screens``)."""
        return self.kind in {"responder", "front", "portal", "terminal"}

    @property
    def http_scheme(self) -> str:
        """What its HTTP face speaks: what a responder says is signed and public; a front is told secrets."""
        return "https" if self.kind == "front" else "http"

    @property
    def token_name(self) -> str:
        """The name of its HSM's token."""
        return (self.hsm.token if self.hsm else "") or self.service_name


class Database(Struct, frozen=True, forbid_unknown_fields=True):
    """Where records are kept."""

    url: str = ""
    """An existing PostgreSQL (``postgresql://user:password@host:port/name``); empty: the embedded one."""
    port: PortNumber = 0
    max_connections: Annotated[int, Meta(ge=20, le=2000)] = 200
    shared_buffers_mb: Annotated[int, Meta(ge=16, le=65_536)] = 128


class Balancer(Struct, frozen=True, forbid_unknown_fields=True):
    """What stands before the relays."""

    kind: Literal["auto", "haproxy", "none"] = "auto"
    """``auto``: HAProxy when it is on the machine; otherwise each CS balances by itself."""
    service: str = "relay"
    port: PortNumber = 0


class Admission(Struct, frozen=True, forbid_unknown_fields=True):
    """By which policy relays and CSs take work."""

    policy: Literal["modern", "legacy"] = "modern"
    """``legacy``: as in 2016 (``nodes.legacy``), to be measured beside ``modern``."""
    connections: Annotated[int, Meta(ge=1, le=10_000)] = 94
    """``legacy``: messages at once in one relay; 70, later 94."""


class Supervision(Struct, frozen=True, forbid_unknown_fields=True):
    """How the supervisor watches. All in seconds."""

    probe_every_s: Annotated[float, Meta(gt=0, le=60)] = 1.0
    hang_after_s: Annotated[float, Meta(gt=0, le=600)] = 10.0
    """A node that gave no health answer for so long is killed and started anew."""
    start_within_s: Annotated[float, Meta(gt=0, le=600)] = 60.0
    """After so long without a first health answer a starting node counts as failed."""
    stop_within_s: Annotated[float, Meta(gt=0, le=60)] = 5.0
    """A process asked to end is killed after so long."""


class Topology(Struct, frozen=True, forbid_unknown_fields=True):
    """A whole stack."""

    name: NodeName
    node: tuple[Node, ...]
    database: Database = Database()
    balancer: Balancer = Balancer()
    supervision: Supervision = Supervision()
    certificate_names: Literal["test", "real"] = "test"
    """Names and policies in certificates: ``test`` says plainly that this is not the real service. ``real`` has the
    real service's, for testing programs that insist on them (keys stay ours: nothing chains to a real authority)."""
    admission: Admission = Admission()
    demo_staff: bool = False
    """Make staff accounts for a demonstration at every counter (``warifu staff code`` tells their passwords)."""

    def find(self, name: str) -> Node | None:
        """The node of this name."""
        return next((node for node in self.node if node.name == name), None)

    def serving(self, service: str) -> tuple[Node, ...]:
        """The nodes that are called by this name."""
        return tuple(node for node in self.node if node.service_name == service)


def built_in() -> tuple[str, ...]:
    """Names of the topologies that come with the program."""
    folder = resources.files("warifu.stack") / "topologies"
    return tuple(sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml")))


def load(name_or_path: str) -> Topology:
    """A topology by the name of a built-in one or by the path of a file. ``TopologyInvalid`` if it is not right."""
    if name_or_path in built_in():
        entry = resources.files("warifu.stack") / "topologies" / f"{name_or_path}.toml"
        return parse(entry.read_text("utf-8"), f"{name_or_path}.toml")
    path = Path(name_or_path)
    if "/" not in name_or_path and path.suffix != ".toml":
        raise TopologyInvalid(
            f"there is no topology {name_or_path!r}: built in are {', '.join(built_in())}; a file's name ends in .toml"
        )
    try:
        return parse(path.read_text("utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise TopologyInvalid(f"{path} cannot be read: {error}: give the path of a TOML file in UTF-8") from error


def parse(text: str, source: str) -> Topology:
    """A topology from TOML.

    Args:
        text: the content.
        source: the file's name, for errors.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TopologyInvalid(f"{source}: not TOML: {error}: correct that line") from error
    try:
        topology = _expanded(msgspec.convert(content, Topology))
    except msgspec.ValidationError as error:
        raise TopologyInvalid(f"{source}: {_explain(str(error), content)}") from error
    problem = _problem(topology)
    if problem:
        raise TopologyInvalid(f"{source}: {problem}")
    return topology


def _expanded(topology: Topology) -> Topology:
    """Every process a node of its own."""
    nodes = [one for node in topology.node for one in _processes_of(node)]
    return msgspec.structs.replace(topology, node=tuple(nodes))


def _processes_of(node: Node) -> tuple[Node, ...]:
    if node.count == 1:
        return (node,)
    return tuple(
        msgspec.structs.replace(node, name=f"{node.name}-{number + 1}", service=node.service_name, count=1)
        for number in range(node.count)
    )


_TABLES: dict[str, type[Struct]] = {
    "": Topology,
    "node": Node,
    "node.hsm": Hsm,
    "node.policies": Policies,
    "database": Database,
    "balancer": Balancer,
    "supervision": Supervision,
    "admission": Admission,
}


def _explain(message: str, content: dict[str, Any]) -> str:
    """Say msgspec's message with the node's name instead of its number, and what to do."""
    what, _, where = message.partition(" - at `$")
    where = where.rstrip("`").lstrip(".")
    table = re.sub(r"\[[^]]*\]", "", where)
    place = _place(where, content)
    unknown = re.fullmatch(r"Object contains unknown field `(.+)`", what)
    if unknown:
        return f"{place}: unknown key {unknown[1]!r}: {_suggest(unknown[1], table)}"
    missing = re.fullmatch(r"Object missing required field `(.+)`", what)
    if missing:
        return f"{place}: key {missing[1]!r} is missing: add it"
    what = what.replace("`array`", "a list of tables").replace("`object`", "a table").replace("`", "")
    return f"{place}: {what[:1].lower()}{what[1:]}: {_expectation(table)}"


def _place(where: str, content: dict[str, Any]) -> str:
    """``node[3].hsm.workers`` as ``node "relay-1", key "hsm.workers"``."""
    match = re.fullmatch(r"node\[(\d+)\]\.?(.*)", where)
    if not match:
        return f"key {where!r}" if where else "top level"
    entry = content["node"][int(match[1])]
    name = entry.get("name") if isinstance(entry, dict) else None
    node = f"node {name!r}" if isinstance(name, str) else f"node number {int(match[1]) + 1}"
    return f"{node}, key {match[2]!r}" if match[2] else node


def _suggest(key: str, table: str) -> str:
    known = sorted(_TABLES[table].__struct_fields__) if table in _TABLES else []
    near = difflib.get_close_matches(key, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"remove it (known: {', '.join(known)})"


def _expectation(table: str) -> str:
    if table == "node.kind":
        return f"use one of {', '.join(get_args(NodeKind))}"
    return "correct the value"


def _problem(topology: Topology) -> str | None:
    """The first thing that cannot be, although each value by itself could."""
    checks = (_no_nodes, _names, _ports, _municipalities, _databases, _tokens, _limits, _balancer)
    return next((problem for check in checks if (problem := check(topology))), None)


def _no_nodes(topology: Topology) -> str | None:
    return None if topology.node else "there is no node: add a [[node]] table"


def _names(topology: Topology) -> str | None:
    seen: set[str] = set()
    for node in topology.node:
        if node.name in seen:
            return f"node {node.name!r}: duplicate name: give each node a name of its own"
        if node.name in RESERVED_NAMES:
            return f"node {node.name!r}: the name is the supervisor's own: choose another"
        if node.name.partition("-")[0] != node.kind:
            return f"node {node.name!r}: its kind is {node.kind!r}: begin the name with it, as in {node.kind}-1"
        seen.add(node.name)
    taken = next((node for node in topology.node if node.service in seen and node.service != node.name), None)
    return f"node {taken.name!r}, key 'service': {taken.service!r} is a node's name: choose another" if taken else None


def _ports(topology: Topology) -> str | None:
    seen: dict[int, str] = {}
    fixed = [(f"node {node.name!r}", node.port) for node in topology.node]
    fixed += [("database", topology.database.port), ("balancer", topology.balancer.port)]
    for owner, port in fixed:
        if port and port in seen:
            return f"{owner}, key 'port': {port} is already {seen[port]}'s: choose another, or 0 for a free one"
        seen[port] = owner
    return None


def _municipalities(topology: Topology) -> str | None:
    served = {node.municipality for node in topology.node if node.kind == "cs"}
    for node in topology.node:
        if node.kind in LOCAL_KINDS and not node.municipality:
            return f"node {node.name!r}: key 'municipality' is missing: a {node.kind} stands in one, give its code"
        if node.kind in LOCAL_KINDS and place_of(node.name) != node.municipality:
            return f"node {node.name!r}: its name says where it stands: call it {node.kind}-{node.municipality}"
        if node.kind == "terminal" and node.municipality not in served:
            return f"node {node.name!r}: no cs has municipality {node.municipality}: add a cs node for it"
    return None


def _databases(topology: Topology) -> str | None:
    urls = [("key 'database.url'", topology.database.url)]
    urls += [(f"node {node.name!r}, key 'database'", node.database) for node in topology.node]
    for owner, url in urls:
        if url and not re.fullmatch(r"postgres(ql)?://[^/?#]+(:[0-9]{1,5})?/[^/]+", url):
            return f"{owner}: not a PostgreSQL URL: write postgresql://user:password@host:port/name"
    return None


def _tokens(topology: Topology) -> str | None:
    devices: dict[str, tuple[Node, Hsm]] = {}
    for node in topology.node:
        if node.hsm is None:
            continue
        other, shared = devices.setdefault(node.token_name, (node, node.hsm))
        if node.hsm.devices > 1 and node.kind != "relay":
            return f"node {node.name!r}, key 'hsm.devices': only a relay has two: leave it out"
        if node.hsm.devices > node.hsm.workers:
            return f"node {node.name!r}, key 'hsm.devices': each wants a worker: raise 'hsm.workers'"
        mine, theirs = ((each.kind, each.library, each.devices) for each in (node.hsm, shared))
        if mine != theirs or other.kind != node.kind:
            return (
                f"node {node.name!r}, key 'hsm': {other.name!r} has another device under token {node.token_name!r}: "
                "give both the same kind, library and number of devices, or one of them a token of its own"
            )
    return None


def _limits(topology: Topology) -> str | None:
    greedy = next((node.name for node in topology.node if node.policies.setup_and_bulk > node.policies.total), None)
    if greedy:
        return f"node {greedy!r}, key 'policies.setup_and_bulk': it exceeds 'policies.total': lower it"
    return None


def _balancer(topology: Topology) -> str | None:
    if topology.balancer.kind == "none" or topology.serving(topology.balancer.service):
        return None
    return f"key 'balancer.service': no node serves {topology.balancer.service!r}: name a service, or set kind = 'none'"
