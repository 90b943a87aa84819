"""What a node's program is told: one file in WARIFU_HOME, written by the supervisor, readable by its owner alone."""

import msgspec
from msgspec import Struct

from warifu.kernel.decoding import NOT_DECODED
from warifu.stack.addresses import Address, Addresses, http_name
from warifu.stack.errors import ConfigInvalid, disk_errors
from warifu.stack.home import Home, write_file
from warifu.stack.topology import Node, Topology


class NodeConfig(Struct, frozen=True, kw_only=True):
    """One node's part of the topology, with everything chosen."""

    name: str
    topology: Topology
    listen: Address
    book: dict[str, tuple[Address, ...]]
    """Where others are reached, by node name and by service name (``Addresses.book``)."""
    http: Address | None = None
    """Where its HTTP face listens, if it has one."""
    database_url: str
    """With its password: never shown, never logged."""

    @property
    def node(self) -> Node:
        """This node in the topology."""
        found = self.topology.find(self.name)
        if found is None:
            raise ConfigInvalid(f"{self.name} is no node of topology {self.topology.name}")
        return found

    def __repr__(self) -> str:
        """Without the URL's password."""
        return f"NodeConfig({self.name})"


def write(home: Home, topology: Topology, addresses: Addresses, database_url: str, *, balanced: bool) -> None:
    """Write the file of every node."""
    book = addresses.book(topology, balanced=balanced)
    with disk_errors(home.run):
        for node in topology.node:
            config = NodeConfig(
                name=node.name,
                topology=topology,
                listen=addresses.of(node.name),
                http=addresses.of(http_name(node.name)) if node.has_http else None,
                book=book,
                database_url=node.database or database_url,
            )
            write_file(home.node_config(node.name), msgspec.json.encode(config))


def read(home: Home, name: str) -> NodeConfig:
    """The configuration of one node. ``ConfigInvalid`` when it is missing or damaged."""
    path = home.node_config(name)
    try:
        return msgspec.json.decode(path.read_bytes(), type=NodeConfig)
    except OSError as error:
        raise ConfigInvalid(f"{path}: {error.strerror}: nodes are started by `warifu up`") from error
    except NOT_DECODED as error:
        raise ConfigInvalid(f"{path}: {error}: start the stack anew") from error
