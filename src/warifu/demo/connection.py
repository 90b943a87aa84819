"""A driver's connection to a running stack, for commands that ask its nodes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from warifu.adapters.clock import SystemClock
from warifu.adapters.entropy import SystemEntropy
from warifu.adapters.net.client import NetTransport
from warifu.demo.asking import Asker
from warifu.demo.errors import WrongStack
from warifu.demo.facts import SCHEMAS
from warifu.stack import config, links
from warifu.stack.config import NodeConfig
from warifu.stack.home import Home
from warifu.stack.status import StackStatus


def any_config(home: Home, status: StackStatus) -> NodeConfig:
    """The configuration of the stack's registry: topology, addresses, database. ``WrongStack`` when it has none."""
    name = next((node.name for node in status.nodes if node.kind == "registry"), None)
    if name is None:
        raise WrongStack("the running stack has no registry: `warifu down`, then run this again")
    return config.read(home, name)


def database_urls(home: Home, own: NodeConfig) -> dict[str, str]:
    """Where each node kind's records are, by schema. Secret."""
    urls = {}
    for schema in SCHEMAS:
        node = next((node for node in own.topology.node if node.kind == schema), None)
        urls[schema] = config.read(home, node.name).database_url if node else own.database_url
    return urls


@asynccontextmanager
async def connected(home: Home, own: NodeConfig, actor: str = links.DRIVER) -> AsyncIterator[Asker]:
    """Ask nodes as ``driver``, on behalf of a staff member."""
    transport = NetTransport(links.destinations(own.topology, own.book), links.tls_of(home, links.DRIVER))
    try:
        yield Asker(transport, SystemClock(), SystemEntropy(), actor=actor)
    finally:
        await transport.aclose()
