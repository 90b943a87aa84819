"""The only place that injects: builds each kind of node from its configuration and the real adapters."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from warifu.adapters.artwork import PillowArtwork
from warifu.adapters.backlog import FileBacklog
from warifu.adapters.clock import SystemClock
from warifu.adapters.crypto import SystemCrypto
from warifu.adapters.entropy import SystemEntropy
from warifu.adapters.hsm.process import ProcessHsmFactory, SeveralDevices
from warifu.adapters.net.client import NetTransport
from warifu.adapters.reader.files import FileChipFactory, FileReader
from warifu.adapters.reader.key_stock import KeyStock
from warifu.adapters.reader.pcsc import PcscReader
from warifu.adapters.reader.tray import TrayReader
from warifu.adapters.screens.terminal import CounterTerminal
from warifu.adapters.shelf import FolderShelf
from warifu.adapters.store.postgres import open_postgres
from warifu.domain.admission.rules import Limits
from warifu.domain.counter.records import RECORDS as COUNTER_RECORDS
from warifu.domain.pki.names import REAL_NAMES, WARIFU_TEST
from warifu.domain.pki.profile import Profile
from warifu.nodes import center, front, intake, issuance, numbering, portal, registry
from warifu.nodes.authority import node as authority
from warifu.nodes.base import KeepingNode, Node, World
from warifu.nodes.card_trust import CardTrust
from warifu.nodes.center.scripts import SIGNING_KEY
from warifu.nodes.cs import CommunicationServer
from warifu.nodes.hsm_pool import Dump, HsmPool
from warifu.nodes.legacy import LegacyCs, LegacyRelay
from warifu.nodes.relay import Relay
from warifu.nodes.responder import Responder
from warifu.nodes.sealing import HeadSigner
from warifu.nodes.with_hsm import WithHsm
from warifu.ports.log import Log
from warifu.ports.reader import Reader
from warifu.ports.store import Record, Store
from warifu.stack import anchors, keys, staff
from warifu.stack.config import NodeConfig
from warifu.stack.errors import ConfigInvalid
from warifu.stack.home import Home
from warifu.stack.links import destinations, tls_of
from warifu.stack.topology import Topology

CENTER = "center"
OPERATIONS_TOLD = 32
"""Of those that a fenced worker worked for: a log's value has room for so many."""


@dataclass(frozen=True)
class Context:
    """What a builder builds from. What it opens is closed when the node ends."""

    home: Home
    config: NodeConfig
    world: World
    crypto: SystemCrypto
    resources: AsyncExitStack

    async def store(self, records: Sequence[type[Record]], schema: str = "") -> Store:
        """The node kind's own schema, or that of another kind (the responder reads the authority's)."""
        opening = open_postgres(self.config.database_url, schema or self.config.node.kind, records)
        return await self.resources.enter_async_context(opening)

    def hsm(self) -> HsmPool:
        """The node's pool of workers; each worker that is fenced is told in the log."""
        node = self.config.node
        factory = SeveralDevices([ProcessHsmFactory(device) for device in keys.devices(self.home, node)])
        size = node.hsm.workers if node.hsm else 0
        return HsmPool(factory, f"{node.name}/hsm", size, on_fence=lambda dump: _tell(self.world.log, dump))

    def reader(self) -> Reader:
        """The terminal's card reader: the cards of this home."""
        return FileReader(self.home.cards)


def profile_of(topology: Topology) -> Profile:
    """The certificates' names, as the topology has them."""
    return Profile(naming=REAL_NAMES if topology.certificate_names == "real" else WARIFU_TEST)


def _tell(log: Log, dump: Dump) -> None:
    """What a fenced worker did last, and for which operations (F1, F10); bounded by the pool and here."""
    commands = " ".join(f"{one.kind}:{one.label}:{one.took_ms:.0f}" for one in dump.commands[-16:])
    operations = " ".join(dump.operations()[:OPERATIONS_TOLD])
    log.trouble(
        "hsm.fenced", worker=dump.worker, pid=dump.pid, reason=dump.reason, commands=commands, operations=operations
    )


Builder = Callable[[Context], Awaitable[Node]]


async def _registry(context: Context) -> Node:
    return registry.Registry(context.world, await context.store(registry.RECORDS))


async def _numbering(context: Context) -> Node:
    return numbering.Numbering(context.world, await context.store(numbering.RECORDS), context.hsm())


async def _intake(context: Context) -> Node:
    return intake.Intake(context.world, await context.store(intake.RECORDS), PillowArtwork())


async def _center(context: Context) -> Node:
    return center.Center(context.world, await context.store(center.RECORDS), context.hsm(), PillowArtwork())


async def _authority(context: Context) -> Node:
    node = authority.Authority(
        context.world,
        await context.store(authority.RECORDS),
        context.hsm(),
        context.crypto,
        profile=profile_of(context.config.topology),
        key_pairs=context.config.node.policies.key_pairs,
        shelf=FolderShelf(context.home.lists),
    )
    node.signer.told = partial(anchors.install, context.home, context.world.log)
    return node


async def _responder(context: Context) -> Node:
    register = await context.store(authority.RECORDS, authority.Authority.KIND)
    return Responder(
        context.world, register, context.hsm(), profile_of(context.config.topology), FolderShelf(context.home.lists)
    )


async def _front(context: Context) -> Node:
    return front.Front(context.world, await context.store(front.RECORDS))


async def _portal(context: Context) -> Node:
    return portal.Portal(context.world, portal.PortalRules(accepts=context.config.node.policies.accepts))


async def _issuance(context: Context) -> Node:
    stock = KeyStock(context.crypto)
    context.resources.push_async_callback(stock.close)
    return issuance.Issuance(
        context.world,
        await context.store(issuance.RECORDS),
        context.hsm(),
        artwork=PillowArtwork(),
        chips=FileChipFactory(context.home.cards, stock),
        reader=context.reader(),
    )


async def _relay(context: Context) -> Node:
    policies = context.config.node.policies
    limits = Limits(
        policies.total, policies.setup_and_bulk, policies.change_reserve, lease_ms=round(policies.lease_s * 1000)
    )
    admission = context.config.topology.admission
    if admission.policy == "legacy":
        return LegacyRelay(context.world, context.hsm(), limits, admission.connections)
    return Relay(context.world, context.hsm(), limits)


async def _cs(context: Context) -> Node:
    legacy = context.config.topology.admission.policy == "legacy"
    kind = LegacyCs if legacy else CommunicationServer
    backlog = FileBacklog(context.home.backlogs / f"{context.config.name}.log")
    context.resources.callback(backlog.close)
    server = kind(context.world, context.crypto, context.config.node.municipality, backlog)
    server.max_waiting = context.config.node.policies.waiting
    return server


async def _terminal(context: Context) -> Node:
    here = context.config.node.municipality
    cs = next(node for node in context.config.topology.node if node.kind == "cs" and node.municipality == here)
    management = next(node for node in context.config.topology.node if node.kind == CENTER)
    certifying = keys.public_key(context.home, management.token_name, SIGNING_KEY)
    store = await context.resources.enter_async_context(
        open_postgres(context.config.database_url, staff.SCHEMA, COUNTER_RECORDS)
    )
    reader = PcscReader() if context.config.node.reader == "pcsc" else TrayReader(context.reader())
    return CounterTerminal(
        context.world,
        reader,
        cs.service_name,
        certifying,
        CardTrust(partial(anchors.read, context.home), profile_of(context.config.topology).naming),
        municipality=here,
        store=store,
        key=staff.key_of(context.home),
    )


BUILDERS: dict[str, Builder] = {
    "registry": _registry,
    "numbering": _numbering,
    "intake": _intake,
    "center": _center,
    "authority": _authority,
    "issuance": _issuance,
    "responder": _responder,
    "front": _front,
    "portal": _portal,
    "relay": _relay,
    "cs": _cs,
    "terminal": _terminal,
}
"""By kind of node."""


async def build(home: Home, config: NodeConfig, log: Log, resources: AsyncExitStack) -> Node:
    """The node, ready to be served and run.

    Args:
        home: where the stack lives.
        config: the node's.
        log: its log.
        resources: takes what must be closed when the node ends.
    """
    builder = BUILDERS.get(config.node.kind)
    if builder is None:
        raise ConfigInvalid(f"node {config.name!r}: there is no program for kind {config.node.kind!r} yet")
    transport = NetTransport(destinations(config.topology, config.book), tls_of(home, config.name))
    resources.push_async_callback(transport.aclose)
    crypto = SystemCrypto()
    resources.callback(crypto.close)
    world = World(name=config.name, transport=transport, clock=SystemClock(), entropy=SystemEntropy(), log=log)
    context = Context(home, config, world, crypto, resources)
    return _signing_heads(context, await builder(context))


def _signing_heads(context: Context, node: Node) -> Node:
    """A node that keeps an audit trail signs its heads with its own device, or one that is for this alone."""
    own = context.config.node
    if isinstance(node, KeepingNode) and own.hsm is not None:
        supervised = isinstance(node, WithHsm)
        pool = node.hsm if isinstance(node, WithHsm) else context.hsm()
        node.head_signer = HeadSigner(pool, own.kind, supervised=supervised)
    return node
