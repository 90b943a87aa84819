"""Starts a stack in order, keeps every process of it alive, tells what is so, and ends it in order."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import msgspec

from warifu.adapters.store.migrate import migrate
from warifu.contract.health import Health, Work
from warifu.kernel.errors import DiskFull, WarifuError
from warifu.stack import addresses, balancer, config, keys, links, orders, postgres, room, rotation, staff, status
from warifu.stack.errors import StartFailed, error_line, first_error
from warifu.stack.home import Home
from warifu.stack.keeper import Keeper, Probe, Report
from warifu.stack.logs import NO_SPACE, RotatingLog
from warifu.stack.processes import ProcessSpec
from warifu.stack.topology import Node, Topology

STATUS_EVERY_S = 0.2
DATABASE_STOP_S = 30.0
"""A database writes a checkpoint before it ends; killed in the middle of it, its next start is a recovery."""
STOP_ORDER = (("terminal",), ("cs",), ("balancer",), ("relay",), ("center", "issuance", "intake"))
"""From the counters inwards, then everything else, the database last: what is being worked on can still finish."""

Program = Callable[[Home, Node], ProcessSpec]
"""How a node is run."""
Probing = Callable[[Home, Topology, addresses.Addresses], AbstractAsyncContextManager[Mapping[str, Probe]]]
"""How nodes are asked for their health."""
LettingGo = Callable[[Home, str, addresses.Address, int], Awaitable[int]]
"""How a node is asked to let connections go."""
Preparation = Callable[[Home, Topology], Awaitable[None]]
Staffing = Callable[[Home, Topology, str], Awaitable[None]]
"""Makes what people need to sign in, given the database's URL."""


def node_program(home: Home, node: Node) -> ProcessSpec:
    """The real program of a node."""
    return ProcessSpec(
        name=node.name,
        argv=(sys.executable, "-P", "-m", "warifu.stack.node", node.name, "--home", str(home.root)),
        cwd=home.run,
    )


@dataclass(frozen=True)
class Parts:
    """What a supervisor is made of; tests put small programs in the place of nodes."""

    program: Program = node_program
    probing: Probing = links.probing
    certify: Callable[[Home, Topology], None] = links.make_certificates
    make_keys: Preparation = keys.make_keys
    migrate: Callable[[str, Callable[[str], None]], Awaitable[None]] = migrate
    staff: Staffing = staff.prepare
    let_go: LettingGo = links.let_go


class Supervisor:
    """One stack in one home, which the caller holds (``Home.held``)."""

    def __init__(self, home: Home, topology: Topology, report: Report, parts: Parts | None = None) -> None:
        self._home = home
        self._topology = topology
        self._screen = report
        self._parts = parts or Parts()
        self._log = RotatingLog(home.logs, "supervisor")
        self._board = status.Board(home)
        self._stop = asyncio.Event()
        self._started_ms = time.time_ns() // 1_000_000
        self._state: status.StackState = "starting"
        self._notes: list[str] = []
        self._disk_full = ""
        self._balancer = ""
        self._urls: dict[str, str] = {}
        self._addresses = addresses.Addresses({})
        self._keepers: dict[str, Keeper] = {}
        self._kinds: dict[str, str] = {}
        self._external_database: status.MemberStatus | None = None
        self._resources = contextlib.AsyncExitStack()
        self._published: bytes = b""
        self._group: asyncio.TaskGroup | None = None
        self._database_url = ""
        self._program: str | None = None
        self._agent: addresses.Address | None = None
        self._rotation = rotation.Rotation(self, None)
        self._spreading: asyncio.Task[None] | None = None

    # ---- from outside --------------------------------------------------------------------------------------------

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Start everything, call ``ready`` once every part does its work, serve until ``request_stop``, end in order.

        Raises:
            WarifuError: why it did not start; by then everything that had started has been ended.
        """
        try:
            async with asyncio.TaskGroup() as group:
                publishing = group.create_task(self._publish_for_ever(), name="status")
                try:
                    await self._serve(group, ready)
                finally:
                    await self._end()
                    publishing.cancel()
        except BaseExceptionGroup as errors:
            raise first_error(errors) from errors
        finally:
            self._log.close()

    def request_stop(self) -> None:
        """End in order; asking twice changes nothing."""
        self._stop.set()

    # ---- starting ------------------------------------------------------------------------------------------------

    async def _serve(self, group: asyncio.TaskGroup, ready: Callable[[], None]) -> None:
        await self._unless_stopped(self._start(group))
        if not self._stop.is_set():
            self._state = "running"
            self._publish()
            self._report("stack.running", f"{len(self._keepers)} processes do their work")
            ready()
        await self._stop.wait()

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Do the work, but leave it as soon as a stop is asked for."""
        working = asyncio.create_task(work)
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not self._stop.is_set():
                working.result()
        finally:
            stopping.cancel()
            working.cancel()
            await asyncio.wait({working})
            if self._stop.is_set() and not working.cancelled() and (error := working.exception()):
                self._log.event("start.abandoned", error=error_line(first_error(error)))

    async def _start(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        program = balancer.find_program(self._topology.balancer)
        self._addresses = addresses.assign(self._topology, self._home)
        self._report("start.certificates", "certificates")
        await asyncio.to_thread(self._parts.certify, self._home, self._topology)
        self._report("start.database", "PostgreSQL")
        url = await self._start_database(group)
        self._report("start.schema", "schema")
        await self._parts.migrate(url, lambda line: self._log.event("schema.applied", text=line))
        self._database_url = url
        self._program = program
        await self._parts.staff(self._home, self._topology, url)
        self._write_configuration()
        await self._start_balancer(group, program)
        self._report("start.keys", "HSM keys")
        await self._parts.make_keys(self._home, self._topology)
        for node in self._topology.node:
            if node.has_http:
                self._urls[node.name] = f"{node.http_scheme}://{self._addresses.of(addresses.http_name(node.name))}"
        probing = self._parts.probing(self._home, self._topology, self._addresses)
        probes = await self._resources.enter_async_context(probing)
        for node in self._topology.node:
            self._keep(group, node.kind, self._parts.program(self._home, node), probes[node.name])
        await self._all_healthy()
        await self._resources.enter_async_context(orders.serving(self._home, self._obey))
        self._spreading = group.create_task(self._rotation.keep_spread(), name="spreading")

    async def _start_database(self, group: asyncio.TaskGroup) -> str:
        """The URL of a database that answers."""
        settings = self._topology.database
        if settings.url:
            await postgres.check(settings.url)
            self._external_database = postgres.external_status(settings.url)
            return settings.url
        port = self._addresses.of(addresses.DATABASE).port
        server, notes = await postgres.prepare(self._home, port, settings)
        self._notes.extend(notes)
        probe = postgres.DatabaseProbe(server.url("postgres"))
        self._resources.callback(probe.close)
        keeper = self._keep(group, "database", server.spec(), probe)
        keeper.prepare = lambda: postgres.end_orphan(server.data)
        await self._healthy(keeper)
        await postgres.ensure_database(server)
        self._urls["database"] = f"postgresql://{postgres.ROLE}@{addresses.HOST}:{port}/{postgres.DATABASE_NAME}"
        return server.url()

    async def _start_balancer(self, group: asyncio.TaskGroup, program: str | None) -> None:
        service = self._topology.balancer.service
        if program is None:
            self._balancer = f"none: each cs balances over the nodes of {service} itself"
            return
        agent = await balancer.serve_agent(self.does_its_work, lambda name: name in self._rotation.draining)
        self._resources.callback(agent.close)
        host, port = agent.sockets[0].getsockname()[:2]
        self._agent = addresses.Address(host, port)
        self._rotation = rotation.Rotation(self, balancer.Runtime(self._home.run, self._agent))
        await self.settled()
        listen = self._addresses.of(addresses.BALANCER)
        self._keep(group, "balancer", balancer.spec(program, self._home.run), balancer.probe(listen))

    def _keep(self, group: asyncio.TaskGroup, kind: str, spec: ProcessSpec, probe: Probe) -> Keeper:
        log = RotatingLog(self._home.logs, spec.name)
        supervision = self._topology.supervision
        if kind == "database":
            patience_s = max(supervision.stop_within_s, DATABASE_STOP_S)
            supervision = msgspec.structs.replace(supervision, stop_within_s=patience_s)
        keeper = Keeper(spec, log, supervision, probe, self._report)
        self._keepers[spec.name] = keeper
        self._kinds[spec.name] = kind
        group.create_task(keeper.run(), name=f"keeper of {spec.name}")
        return keeper

    async def _all_healthy(self) -> None:
        healthy: list[str] = []

        async def count_in(keeper: Keeper) -> None:
            await self._healthy(keeper)
            healthy.append(keeper.spec.name)
            self._report("start.nodes", f"{len(healthy)} of {len(self._keepers)} processes")

        async with asyncio.TaskGroup() as group:
            for keeper in self._keepers.values():
                group.create_task(count_in(keeper))

    async def _healthy(self, keeper: Keeper) -> None:
        try:
            await keeper.until_healthy()
        except StartFailed as error:
            if NO_SPACE in str(error):
                raise DiskFull(f"no space left for {keeper.spec.name} in {self._home.root}: free some") from error
            raise

    def _write_configuration(self) -> None:
        """The file of every node."""
        balanced = self._program is not None
        config.write(self._home, self._topology, self._addresses, self._database_url, balanced=balanced)

    # ---- the rotation (``rotation.Members``) ---------------------------------------------------------------------

    async def _obey(self, order: orders.Order, say: orders.Say) -> orders.Done:
        self._report(f"relay.{order.verb}", f"{order.verb} {order.name}".strip())
        done = await self._rotation.obey(order, say)
        self._publish()
        self._report(f"relay.{order.verb}.done", f"{done.name}: in rotation are {', '.join(done.rotation)}")
        return done

    def serving(self) -> tuple[Node, ...]:
        """The nodes of the balanced service."""
        return self._topology.serving(self._topology.balancer.service)

    def address(self, name: str) -> addresses.Address:
        """Where a node listens."""
        return self._addresses.of(name)

    def does_its_work(self, name: str) -> bool:
        """Whether the last health answer of a node was good."""
        keeper = self._keepers.get(name)
        return keeper is not None and keeper.healthy

    def let_go(self, name: str) -> None:
        """Ask the node's callers to connect anew; one that only just starts has none."""
        keeper = self._keepers[name]
        if keeper.healthy and keeper.child is not None:
            keeper.child.send(signal.SIGUSR1)

    async def shed(self, name: str, connections: int) -> int:
        """Ask so many of a node's callers' connections to move; a node that cannot is asked again later."""
        try:
            asked = await self._parts.let_go(self._home, name, self.address(name), connections)
        except WarifuError as error:
            self._log.event("relay.spread", level="warning", node=name, wanted=connections, error=error.code)
            return 0
        self._log.event("relay.spread", node=name, wanted=connections, asked=asked)
        return asked

    async def join(self, node: Node) -> None:
        """Start a node that is new to the stack; it is gone again when it does not come up."""
        before = self._topology
        self._addresses = addresses.with_one_more(self._addresses, node.name, self._home)
        self._topology = msgspec.structs.replace(before, node=(*before.node, node))
        try:
            await asyncio.to_thread(self._parts.certify, self._home, self._topology)
            self._write_configuration()
            await self._parts.make_keys(self._home, self._topology)
            await self._healthy(await self._keep_node(node))
        except BaseException:
            await self.leave(node.name)
            raise

    async def restart(self, node: Node) -> None:
        """End the node of this name in order and start it anew with these settings."""
        await self._keepers[node.name].stop()
        others = {one.name: one for one in self._topology.node} | {node.name: node}
        self._topology = msgspec.structs.replace(self._topology, node=tuple(others.values()))
        self._write_configuration()
        await self._healthy(await self._keep_node(node))

    def work(self, name: str) -> Work:
        """What a node has done, by its last health answer."""
        health = self._keepers[name].health
        return (health.work if health else None) or Work()

    async def leave(self, name: str) -> None:
        """End a node in order and forget it."""
        keeper = self._keepers.pop(name, None)
        if keeper is not None:
            await keeper.stop()
        kept = tuple(node for node in self._topology.node if node.name != name)
        self._topology = msgspec.structs.replace(self._topology, node=kept)
        self._write_configuration()

    async def settled(self) -> None:
        """Write HAProxy's configuration with the nodes that are in rotation: it is read when HAProxy starts anew."""
        if self._agent is None or self._program is None:
            return
        servers = {node.name: self._addresses.of(node.name) for node in self.serving()}
        listen = self._addresses.of(addresses.BALANCER)
        text = balancer.configuration(listen, servers, self._agent)
        await balancer.write_configuration(self._program, self._home.run, text)
        self._balancer = f"HAProxy on {listen} before {', '.join(servers)}"

    async def _keep_node(self, node: Node) -> Keeper:
        """A keeper for one node that joins a stack which runs already."""
        if self._group is None:
            raise StartFailed("the stack does not run")
        alone = msgspec.structs.replace(self._topology, node=(node,))
        probes = await self._resources.enter_async_context(self._parts.probing(self._home, alone, self._addresses))
        return self._keep(self._group, node.kind, self._parts.program(self._home, node), probes[node.name])

    # ---- ending --------------------------------------------------------------------------------------------------

    async def _end(self) -> None:
        self._stop.set()
        self._state = "stopping"
        self._report("stack.stopping", "ending every process")
        if self._spreading is not None:
            self._spreading.cancel()
        rest = set(self._keepers)
        for kinds in STOP_ORDER:
            names = {name for name in rest if self._kinds[name] in kinds}
            await self._end_these(names)
            rest -= names
        await self._end_these({name for name in rest if self._kinds[name] != "database"})
        await self._end_these({name for name in rest if self._kinds[name] == "database"})
        await self._resources.aclose()
        self._board.take_down()

    async def _end_these(self, names: set[str]) -> None:
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(self._keepers[name].stop())

    # ---- telling -------------------------------------------------------------------------------------------------

    def _report(self, event: str, text: str) -> None:
        self._log.event(event, text=text)
        self._screen(event, text)

    async def _publish_for_ever(self) -> None:
        while True:
            self._look_for_room()
            self._publish()
            await asyncio.sleep(STATUS_EVERY_S)

    def _look_for_room(self) -> None:
        """Say it once when the disk is full; that it no longer is shows in the status."""
        before = self._disk_full
        self._disk_full = room.sentence(room.without_room(self._keepers, time.monotonic()), self._home.root)
        if self._disk_full and not before:
            self._report(DiskFull.code, self._disk_full)

    def _publish(self) -> None:
        content = msgspec.json.encode(self.snapshot())
        if content == self._published:
            return
        try:
            self._board.put_up(content)
        except OSError as error:  # the stack goes on, the next look tries again
            self._log.event("status.not_written", level="error", error=error.strerror)
        else:
            self._published = content

    def snapshot(self) -> status.StackStatus:
        """What is so now."""
        members = [self._member(name) for name in self._keepers]
        if self._external_database is not None:
            members.insert(0, self._external_database)
        return status.StackStatus(
            state=self._state,
            disk_full=self._disk_full,
            topology=self._topology.name,
            home=str(self._home.root),
            started_ms=self._started_ms,
            balancer=self._balancer,
            rotation=tuple(
                status.InRotation(name=name, state=each.state, connections=each.connections)
                for name, each in self._rotation.table.items()
            ),
            notes=tuple(self._notes),
            nodes=tuple(members),
            processes=_processes(members),
            urls=self._urls,
            log_lines_dropped=self._log.dropped + sum(keeper.log.dropped for keeper in self._keepers.values()),
        )

    def _member(self, name: str) -> status.MemberStatus:
        keeper = self._keepers[name]
        where = self._addresses.of(name)
        health = keeper.health or Health(ok=False)
        return status.MemberStatus(
            name=name,
            kind=self._kinds[name],
            state=keeper.state,
            pid=keeper.pid,
            host=where.host,
            port=where.port,
            restarts=keeper.restarts,
            last_error=keeper.last_error,
            parts=health.parts,
            processes=health.processes,
        )


def _processes(members: list[status.MemberStatus]) -> tuple[status.ProcessStatus, ...]:
    found = [status.ProcessStatus(name="supervisor", kind="supervisor", pid=os.getpid())]
    for member in members:
        if member.pid:
            found.append(status.ProcessStatus(name=member.name, kind=member.kind, pid=member.pid))
            found.extend(status.ProcessStatus(name=one.name, kind="hsm", pid=one.pid) for one in member.processes)
    return tuple(found)
