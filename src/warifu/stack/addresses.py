"""Which node listens where, and who reaches whom through what.

A port the topology leaves open is chosen once and kept in WARIFU_HOME, and chosen anew only when something else sits on
it. Chosen ports lie outside the range from which the kernel takes ports for outgoing connections: otherwise a node that
restarts could find its port taken by a connection of our own.
"""

import random
import socket
from pathlib import Path

import msgspec
from msgspec import Struct

from warifu.kernel.decoding import NOT_DECODED
from warifu.stack.errors import PortTaken, disk_errors
from warifu.stack.home import Home, write_file
from warifu.stack.topology import Topology

HOST = "127.0.0.1"
BALANCER = "haproxy"
DATABASE = "postgres"
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LOWEST, _HIGHEST = 15_000, 65_000
_TRIES = 200


class Address(Struct, frozen=True):
    """Where something listens."""

    host: str
    port: int

    def __str__(self) -> str:
        """As in URLs."""
        return f"{self.host}:{self.port}"


class Addresses(Struct, frozen=True):
    """Every listener of a stack."""

    ports: dict[str, int]
    """By node, and ``postgres`` and ``haproxy``."""

    def of(self, name: str) -> Address:
        """Where a node listens."""
        return Address(HOST, self.ports[name])

    def book(self, topology: Topology, *, balanced: bool) -> dict[str, tuple[Address, ...]]:
        """Who is reached where, by node name and by service name.

        Args:
            topology: the nodes and services.
            balanced: HAProxy stands before the balanced service; otherwise callers get all of its nodes' addresses and
                balance by themselves.
        """
        book: dict[str, tuple[Address, ...]] = {}
        for node in topology.node:
            book[node.name] = (self.of(node.name),)
            book[node.service_name] = tuple(self.of(other.name) for other in topology.serving(node.service_name))
        if balanced:
            book[topology.balancer.service] = (self.of(BALANCER),)
        return book


def assign(topology: Topology, home: Home) -> Addresses:
    """A port for every listener: the topology's, else the one kept from before if it is free, else a new one.

    Raises:
        PortTaken: another program listens on a port that the topology fixes.
    """
    path = home.run / "ports.json"
    kept = _read(path)
    ports: dict[str, int] = {}
    for name, fixed in _wanted(topology).items():
        if fixed and not is_free(fixed):
            raise PortTaken(
                f"{name}: port {fixed} is taken: end what listens there, or set its port to 0 for a free one"
            )
        ports[name] = fixed or _reuse(kept.get(name, 0), ports) or _choose(ports)
    with disk_errors(path):
        write_file(path, msgspec.json.encode(ports))
    return Addresses(ports)


def with_one_more(addresses: Addresses, name: str, home: Home) -> Addresses:
    """The same with a free port for a node that joins a running stack."""
    ports = dict(addresses.ports)
    ports[name] = _choose(ports)
    path = home.run / "ports.json"
    with disk_errors(path):
        write_file(path, msgspec.json.encode(ports))
    return Addresses(ports)


def http_name(node: str) -> str:
    """Under which a node's HTTP face has its port."""
    return f"{node}/http"


def is_free(port: int) -> bool:
    """Whether one could listen on the port now."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
            listener.listen(1)
        except OSError:
            return False
    return True


def _wanted(topology: Topology) -> dict[str, int]:
    wanted = {node.name: node.port for node in topology.node}
    wanted |= {http_name(node.name): node.http_port for node in topology.node if node.has_http}
    return {DATABASE: topology.database.port, BALANCER: topology.balancer.port} | wanted


def _reuse(port: int, taken: dict[str, int]) -> int:
    return port if port and port not in taken.values() and is_free(port) else 0


def _choose(taken: dict[str, int]) -> int:
    for _ in range(_TRIES):
        port = random.choice(_open_range())  # noqa: S311 - no secret
        if port not in taken.values() and is_free(port):
            return port
    raise PortTaken("no free port was found: end programs that listen on this machine")


def _open_range() -> range:
    """Ports that outgoing connections do not use."""
    try:
        low, high = (int(word) for word in _EPHEMERAL.read_text("ascii").split())
    except (OSError, ValueError):
        return range(_LOWEST, 32_768)
    return range(_LOWEST, low) if low > _LOWEST + 1000 else range(min(high + 1, _HIGHEST - 1000), _HIGHEST)


def _read(path: Path) -> dict[str, int]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, int])
    except (OSError, *NOT_DECODED):
        return {}  # only a memory of ports: new ones are chosen
