"""A stack for a load run: its own, in a folder of its own, filled with synthetic residents and virtual cards."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib import resources
from pathlib import Path
from typing import Final, Literal

import msgspec

from warifu.adapters.clock import SystemClock
from warifu.adapters.reader.memory import CardBox
from warifu.domain.residents.records import Resident
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import Refused, Unavailable
from warifu.kernel.municipalities import MUNICIPALITIES
from warifu.lab.load.cards import Blank, CardMaker
from warifu.lab.load.counters import Counters, LabCard, Shelf
from warifu.lab.load.data import Wanted, load
from warifu.lab.load.meter import Meter, Moment, moment
from warifu.lab.load.room import while_there_is_room
from warifu.stack import config, control, status
from warifu.stack.config import NodeConfig
from warifu.stack.home import Home, write_file
from warifu.stack.processes import settle_memory
from warifu.stack.topology import built_in
from warifu.stack.topology import load as load_topology

GENERATOR: Final = "generator"
SEED: Final = 0
"""Whose residents: a stack of a run's own has no others."""
_LOOK_S: Final = 0.1
CALM_S: Final = 120.0
"""After faults the stack has so long to be whole again."""
Say = Callable[[str], None]


class WrongTopology(Refused):
    """The topology has not what a load run needs: centre, authority, registry, intake and a CS."""

    code = "lab.wrong_topology"


class Stack:
    """A running stack and what it costs."""

    def __init__(self, home: Home, own: NodeConfig) -> None:
        self.home = home
        self.own = own
        self._residents = 0

    def next_residents(self, count: int) -> int:
        """The number of the first of so many residents that nobody has had yet."""
        self._residents += count
        return self._residents - count

    def processes(self) -> dict[str, int]:
        """Process ids by name, as of now, this process (the generator) included."""
        found = {one.name: one.pid for one in status.read(self.home).processes if one.pid}
        return found | {GENERATOR: os.getpid()}

    def look(self, at_s: float, *, count_sockets: bool = False) -> Moment:
        """What every process has used so far."""
        return moment(at_s, self.processes(), count_sockets=count_sockets)


class Limited(msgspec.Struct, frozen=True, kw_only=True):
    """Limits to run a topology with in the place of its own."""

    policy: str = "modern"
    total: int = 400
    """Operations that one relay admits."""
    connections: int = 94
    """Messages at once in one relay, under policy ``legacy``."""

    def topology(self, source: str) -> str:
        """The topology's text with these limits. ``WrongTopology`` when it has such limits of its own."""
        if "policies" in source or "[admission]" in source:
            raise WrongTopology("the topology sets limits of its own: take them out, this run chooses them")
        policies = f"policies = {{ total = {self.total}, setup_and_bulk = {self.total} }}"
        text = source.replace('kind = "relay"\n', f'kind = "relay"\n{policies}\n')
        admission = f'\n[admission]\npolicy = "{self.policy}"\nconnections = {self.connections}\n'
        head, mark, rest = text.partition("[[node]]")
        return head + admission.lstrip() + "\n" + mark + rest


def source_of(topology: str) -> str:
    """The text of a topology, by name or path. ``TopologyInvalid`` when there is none."""
    load_topology(topology)
    if topology in built_in():
        return (resources.files("warifu.stack") / "topologies" / f"{topology}.toml").read_text("utf-8")
    return Path(topology).read_text("utf-8")


@asynccontextmanager
async def own_stack(topology: str, say: Say = lambda _: None, limited: Limited | None = None) -> AsyncIterator[Stack]:
    """Start a stack in a temporary folder, and end it. It does not outlive this process.

    Args:
        topology: by name or path.
        say: told how far it is.
        limited: limits to run it with.

    Raises:
        WarifuError: why it did not start.
    """
    with tempfile.TemporaryDirectory(prefix="warifu-lab-") as folder, _all_of_it(Home(Path(folder) / "home")) as home:
        if limited is not None:
            changed = Path(folder) / "limited.toml"
            changed.write_text(limited.topology(source_of(topology)), "utf-8")
            topology = str(changed)
        say("starting the stack")
        process = await _started(home, topology, say)
        try:
            yield Stack(home, config.read(home, _registry(home)))
        finally:
            say("ending the stack")
            await asyncio.to_thread(control.stop, home)
            process.wait()


@contextmanager
def _all_of_it(home: Home) -> Iterator[Home]:
    """A home that can be cleared away whole: what PostgreSQL could only keep outside of it is removed as well."""
    home.root.parent.chmod(0o711)  # its user may pass: then nothing of it lies outside
    try:
        yield home
    finally:
        data = home.root / "postgres"
        if data.is_symlink():
            shutil.rmtree(data.resolve(), ignore_errors=True)


async def _started(home: Home, topology: str, say: Say) -> "subprocess.Popen[bytes]":
    """Start it; given up half-way, it is ended before anybody goes on."""
    starting = asyncio.ensure_future(asyncio.to_thread(control.start, home, topology, leashed=True, progress=say))
    try:
        return await asyncio.shield(starting)
    except asyncio.CancelledError:
        while not starting.done():
            await asyncio.to_thread(control.stop, home)
            await asyncio.wait({starting}, timeout=_LOOK_S)
        if starting.exception() is None:
            await asyncio.to_thread(control.stop, home)
            starting.result().wait()
        raise


def _registry(home: Home) -> str:
    kinds = {node.kind: node.name for node in status.read(home).nodes}
    missing = {"registry", "intake", "center", "authority", "cs"} - set(kinds)
    if missing:
        raise WrongTopology(f"the topology has no {', '.join(sorted(missing))}: use quarter")
    return kinds["registry"]


async def whole(stack: Stack, gone: AbstractSet[int] = frozenset()) -> None:
    """Wait until every part does its work again. ``Unavailable`` when that takes too long.

    Args:
        stack: some of its programs were ended.
        gone: their process ids, while the supervisor may not have noticed.
    """
    deadline = time.monotonic() + CALM_S
    while time.monotonic() < deadline:
        now = status.read(stack.home)
        if now.healthy and not gone & {one.pid for one in now.processes}:
            return
        await asyncio.sleep(_LOOK_S)
    ill = [
        f"{node.name} {node.state} {node.last_error}"
        for node in status.read(stack.home).nodes
        if node.state != "serving"
    ]
    raise Unavailable(f"the stack is not whole {CALM_S:.0f} s after programs were ended: {'; '.join(ill)}")


async def change_policy(stack: Stack, policy: Literal["modern", "legacy"], connections: int) -> None:
    """Relays and CSs are started anew with other rules of admission (``Limited``); returns when all do their work."""
    nodes = [node.name for node in stack.own.topology.node if node.kind in {"relay", "cs"}]
    for name in nodes:
        own = config.read(stack.home, name)
        admission = msgspec.structs.replace(own.topology.admission, policy=policy, connections=connections)
        topology = msgspec.structs.replace(own.topology, admission=admission)
        write_file(stack.home.node_config(name), msgspec.json.encode(msgspec.structs.replace(own, topology=topology)))
    processes = stack.processes()
    for name in nodes:
        os.kill(processes[name], signal.SIGKILL)
    await whole(stack, {processes[name] for name in nodes})


def times_logged(home: Home, event: str) -> int:
    """How many records of this event the programs of a stack have written so far."""
    mark = f'"{event}"'.encode()
    return sum(path.read_bytes().count(mark) for path in home.logs.glob("*.jsonl"))


class Prepared(msgspec.Struct, frozen=True):
    """What a run works with."""

    stack: Stack
    counters: Counters
    box: CardBox
    cards: tuple[LabCard, ...]
    spare: tuple[Resident, ...]
    """Residents whose cards nobody works on: for the traffic beside ours."""


@asynccontextmanager
async def prepared(
    stack: Stack, cards: int, meter: Meter, say: Say = lambda _: None, *, spare: int = 500
) -> AsyncIterator[Prepared]:
    """Residents, cards and counters.

    Args:
        stack: running.
        cards: how many virtual cards.
        meter: what the counters tell.
        say: told how far it is.
        spare: residents without a virtual card.

    Raises:
        DiskFull: at any time: the stack has no more room to write.
    """
    say("residents and cards")
    codes = {node.municipality for node in stack.own.topology.node if node.kind == "cs"}
    now_ms = SystemClock().now_ms()
    wanted = Wanted(
        seed=SEED,
        count=cards + spare,
        first=stack.next_residents(cards + spare),
        today=jst_date(now_ms),
        places=tuple(place for place in MUNICIPALITIES if place.code in codes),
        now_ms=now_ms,
    )
    people: list[tuple[LabCard, Resident]] = []
    async with while_there_is_room(stack.home), AsyncExitStack() as opened:
        await load(stack.own.database_url, wanted, lambda batch: people.extend((
            LabCard(Blank(one.card.card_id, one.card.write_id), one.card.municipality), one.resident
        ) for one in batch))  # fmt: skip
        mine, rest = people[:cards], people[cards:]
        box = CardBox()
        async with CardMaker(stack.home, stack.own.topology) as maker:
            await maker.make([card.blank for card, _ in mine], box, lambda done: say(f"{done:,} of {cards:,} cards"))
        cards_made = tuple(card for card, _ in mine)
        counters = Counters(stack.home, stack.own, box, Shelf(list(cards_made)), meter)
        await opened.enter_async_context(counters)
        settle_memory()
        yield Prepared(stack, counters, box, cards_made, tuple(resident for _, resident in rest))
