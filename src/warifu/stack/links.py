"""The wires of a stack: certificates made at first start, who is reached where, and the supervisor's own questions."""

import datetime
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from warifu.adapters.clock import SystemClock
from warifu.adapters.entropy import SystemEntropy
from warifu.adapters.net.client import Affinity, Destination, NetTransport
from warifu.adapters.net.limits import Limits
from warifu.adapters.net.tls import NodeTls, issue_node_certificate, make_authority
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.contract.errors import open_reply
from warifu.contract.health import AskHealth, Health
from warifu.contract.message import Request
from warifu.contract.relay import AskedToGo, LetGo
from warifu.kernel.ids import ULID_RANDOM_BYTES, new_ulid
from warifu.stack.addresses import Address, Addresses
from warifu.stack.errors import ConfigInvalid, disk_errors
from warifu.stack.home import Home
from warifu.stack.keeper import Probe
from warifu.stack.topology import NodeKind, Topology

SUPERVISOR = "supervisor"
DRIVER = "driver"
"""Whoever drives the nodes from outside: the demo, the laboratory."""
RENEW_BEFORE = datetime.timedelta(days=30)
AFFINITY: Final[dict[NodeKind, Affinity]] = {"relay": "operation", "center": "operation", "cs": "order"}
"""How messages are spread over the processes of one service: a relay holds an operation's lease, a centre what it
wrote last of it, a CS's worker a card's lane."""
HEALTH_MS = 2_800
"""A node exercises its parts for 2 s at most."""


def make_certificates(home: Home, topology: Topology) -> None:
    """A certificate for every node, the supervisor and the driver, unless there is one that lasts.

    Raises:
        DiskFull, HomeUnusable: they cannot be written.
    """
    with disk_errors(home.tls):
        authority = x509.load_pem_x509_certificate(make_authority(home.tls).read_bytes())
        for name in (*(node.name for node in topology.node), SUPERVISOR, DRIVER):
            if not _lasts(home, name, authority):
                issue_node_certificate(home.tls, name)


def tls_of(home: Home, name: str) -> NodeTls:
    """Where a node's certificate is. ``ConfigInvalid`` when none was made."""
    files = NodeTls(home.tls / f"{name}.pem", home.tls / f"{name}.key", home.tls / "node-ca.pem")
    if not (files.certificate.exists() and files.key.exists() and files.authority.exists()):
        raise ConfigInvalid(f"{name} has no certificate in {home.tls}: `warifu up` makes them")
    return files


def destinations(topology: Topology, book: Mapping[str, tuple[Address, ...]]) -> dict[str, Destination]:
    """What ``NetTransport`` needs to call every node and service; the balanced service by any node of its kind."""
    found = {}
    for name, addresses in book.items():
        serving = topology.serving(name)
        found[name] = Destination(
            addresses=tuple((one.host, one.port) for one in addresses),
            accepted=frozenset(node.name for node in serving) or frozenset({name}),
            accepted_kind=serving[0].kind if serving and name == topology.balancer.service else "",
            affinity=AFFINITY.get(serving[0].kind, "none") if serving else "none",
        )
    return found


@asynccontextmanager
async def probing(home: Home, topology: Topology, addresses: Addresses) -> AsyncIterator[dict[str, Probe]]:
    """By node: asks it for its health, over the wire that everybody uses."""
    places = {
        node.name: Destination(
            addresses=((addresses.of(node.name).host, addresses.of(node.name).port),),
            accepted=frozenset({node.name}),
            connections=1,
        )
        for node in topology.node
    }
    eager = Limits(connect_ms=2_000, backoff_most_ms=200)
    transport = NetTransport(places, tls_of(home, SUPERVISOR), eager)
    try:
        yield {name: health_probe(transport, name) for name in places}
    finally:
        await transport.aclose()


def health_probe(transport: NetTransport, name: str) -> Probe:
    """Asks one node for its health."""

    async def ask() -> Health:
        return open_reply(await transport.call(name, _envelope(AskHealth(), "health")), Health)

    return ask


async def let_go(home: Home, name: str, address: Address, connections: int) -> int:
    """Ask a relay to let so many of its callers' connections go elsewhere; how many it asks.

    Raises:
        WarifuError: as it answered, or as it could not be reached.
    """
    place = Destination(addresses=((address.host, address.port),), accepted=frozenset({name}), connections=1)
    transport = NetTransport({name: place}, tls_of(home, SUPERVISOR))
    try:
        reply = await transport.call(name, _envelope(LetGo(connections=connections), "let_go"))
        return open_reply(reply, AskedToGo).connections
    finally:
        await transport.aclose()


def _envelope(request: Request, step: str) -> Envelope:
    """A question of the supervisor's own."""
    return Envelope(
        name=request.NAME,
        operation_id=new_ulid(SystemClock().now_ms(), SystemEntropy().random_bytes(ULID_RANDOM_BYTES)),
        step=step,
        sender=SUPERVISOR,
        remaining_ms=HEALTH_MS,
        body=encode(request),
    )


def _lasts(home: Home, name: str, authority: x509.Certificate) -> bool:
    """Whether the certificate is there, is our authority's, and is valid for a while."""
    try:
        own = x509.load_pem_x509_certificate((home.tls / f"{name}.pem").read_bytes())
        own.verify_directly_issued_by(authority)
    except (FileNotFoundError, ValueError, InvalidSignature):
        return False
    key_is_there = (home.tls / f"{name}.key").exists()
    return key_is_there and own.not_valid_after_utc > datetime.datetime.now(datetime.UTC) + RENEW_BEFORE
