"""An environment: a topology and the machine it runs on, kept as a record so that another machine can be compared."""

from pathlib import Path

import msgspec
from msgspec import Struct, structs

from warifu.stack import machine
from warifu.stack.errors import TopologyInvalid
from warifu.stack.topology import Database, Topology, load


class Environment(Struct, frozen=True, forbid_unknown_fields=True):
    """What is compared."""

    topology: Topology
    machine: dict[str, str] = {}
    """``stack.machine.facts``; empty: only the topology is known."""


def here(name_or_path: str) -> Environment:
    """A topology on this machine. A record of it holds no password: a database's address is left out."""
    return Environment(topology=_without_secrets(load(name_or_path)), machine=machine.facts())


def told(name_or_path: str) -> Environment:
    """A record (a file that ends in ``.json``), or a topology alone, as ``stack.topology.load`` takes it.

    Raises:
        TopologyInvalid: it cannot be read, or is not right.
    """
    path = Path(name_or_path)
    if path.suffix != ".json":
        return Environment(topology=load(name_or_path))
    try:
        return msgspec.json.decode(path.read_bytes(), type=Environment)
    except (OSError, msgspec.MsgspecError) as error:
        text = f"{path} is no record of an environment: {error}: make one with `warifu topology record`"
        raise TopologyInvalid(text) from error


def encoded(environment: Environment) -> bytes:
    """As a file."""
    return msgspec.json.format(msgspec.json.encode(environment), indent=1) + b"\n"


def _without_secrets(topology: Topology) -> Topology:
    nodes = tuple(structs.replace(node, database=ELSEWHERE if node.database else "") for node in topology.node)
    database: Database = topology.database
    return structs.replace(
        topology, node=nodes, database=structs.replace(database, url=ELSEWHERE if database.url else "")
    )


ELSEWHERE = "elsewhere"
"""In the place of a database's address."""
