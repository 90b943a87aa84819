"""``warifu lab prove chain-faults``: faults strike a running stack under load, and nothing is lost, doubled or torn.

Topology ``quarter`` with a proxy on every way: terminal to CS, CS to balancer, relay to centre, centre to JPKI and
registry, and each of them to the database. Counters set up, hand over and reset cards without a pause. After each batch
everything is healed, what was left is taken up again, and the independent checker (``warifu.lab.checking``) holds the
terminals' histories, the centre's and JPKI's records and the chips against each other.
"""

import asyncio
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import msgspec

from warifu.adapters.store.audit import AuditBroken
from warifu.kernel.errors import Unavailable
from warifu.lab import checking
from warifu.lab.benches.chain import one_operation
from warifu.lab.load.counters import Clerk, Counters
from warifu.lab.load.meter import Meter
from warifu.lab.load.proxy import HOST, Address, Hop
from warifu.lab.load.records import chips, outboxes_empty, records
from warifu.lab.load.room import while_there_is_room
from warifu.lab.load.stack import Prepared, Stack, own_stack, prepared, whole
from warifu.lab.proofs.catalog import Part, Violation
from warifu.lab.proofs.chain_faults import Storm
from warifu.stack import audit_export, config, keys
from warifu.stack.addresses import Address as StackAddress
from warifu.stack.audit_export import read_trails
from warifu.stack.home import write_file
from warifu.stack.postgres import address_of

TOPOLOGY: Final = "quarter"
BATCH: Final = 25
"""Faults between two looks of the checker."""
CARDS: Final = 150
"""New ones for each batch."""
COUNTERS: Final = 8
GAP_S: Final = (0.05, 0.55)
"""Between two faults."""
WORK_S: Final = 15.0
LEFT_ROUNDS: Final = 12
CLERK: Final = Clerk(patience_s=60.0, tries=8, operation_ms=10_000)
AFTER: Final = Clerk(patience_s=60.0, tries=8, operation_ms=20_000)
WAYS: Final = {"cs": ("relay",), "relay": ("center",), "center": ("authority", "registry")}
"""Who reaches whom on an operation's way."""
AUDITED: Final = ("center", "authority", "registry")
WITH_DATABASE: Final = ("center", "authority", "registry")
_LOOK_S: Final = 0.2


def run(count: int, first: int) -> Iterator[Part]:
    """The proof, batch by batch, on a stack of its own."""
    with asyncio.Runner() as runner:
        opened = AsyncExitStack()
        try:
            field = runner.run(_open(opened))
            done = 0
            while done < count:
                size = min(BATCH, count - done)
                yield runner.run(_batch(field, size, first + done))
                done += size
        finally:
            runner.run(opened.aclose())


class Field(msgspec.Struct, frozen=True):
    """Where storms take place."""

    stack: Stack
    hops: dict[str, Hop]


async def _open(opened: AsyncExitStack) -> Field:
    stack = await opened.enter_async_context(own_stack(TOPOLOGY))
    async with while_there_is_room(stack.home):
        hops = await _rewire(stack, opened)
    own = stack.own
    book = dict(own.book)
    for service in dict.fromkeys(node.service_name for node in own.topology.node if node.kind == "cs"):
        found = []
        for number, target in enumerate(own.book[service], 1):  # its workers
            hop = await _hop(opened, hops, f"terminal to {service} {number}", (target.host, target.port))
            found.append(StackAddress(HOST, hop.port))
        book[service] = tuple(found)
    return Field(Stack(stack.home, msgspec.structs.replace(own, book=book)), hops)


async def _rewire(stack: Stack, opened: AsyncExitStack) -> dict[str, Hop]:
    """Put a proxy on every way: each node gets another address book, and is started anew with it."""
    hops: dict[str, Hop] = {}
    nodes = [node for node in stack.own.topology.node if node.kind in WAYS or node.kind in WITH_DATABASE]
    for node in nodes:
        own = config.read(stack.home, node.name)
        book = dict(own.book)
        for name in WAYS.get(node.kind, ()):
            found = []
            for number, target in enumerate(own.book[name], 1):
                way = f"{node.kind} to {name} {number}"
                hop = hops.get(way) or await _hop(opened, hops, way, (target.host, target.port))
                found.append(StackAddress(HOST, hop.port))
            book[name] = tuple(found)
        url = own.database_url
        if node.kind in WITH_DATABASE:
            url = await _database(opened, hops, node.kind, url)
        changed = msgspec.structs.replace(own, book=book, database_url=url)
        write_file(stack.home.node_config(node.name), msgspec.json.encode(changed))
    processes = stack.processes()
    for node in nodes:
        os.kill(processes[node.name], signal.SIGKILL)
    await whole(stack, {processes[node.name] for node in nodes})
    return hops


async def _database(opened: AsyncExitStack, hops: dict[str, Hop], kind: str, url: str) -> str:
    way = f"{kind} to database"
    parts, target = urlsplit(url), address_of(url)
    hop = hops.get(way) or await _hop(opened, hops, way, (target.host, target.port))
    login = parts.netloc.rpartition("@")[0]
    return urlunsplit(parts._replace(netloc=f"{login}@{HOST}:{hop.port}"))


async def _hop(opened: AsyncExitStack, hops: dict[str, Hop], way: str, target: Address) -> Hop:
    hops[way] = await opened.enter_async_context(Hop(way, target))
    return hops[way]


# ---- a batch ---------------------------------------------------------------------------------------------------------


async def _batch(field: Field, size: int, seed: int) -> Part:
    """A storm of so many faults, then calm, then the checker."""
    meter = Meter()
    dice = random.Random(seed)  # noqa: S311 - which faults, no secrets
    async with prepared(field.stack, CARDS, meter, spare=0) as ready:
        counters = ready.counters
        counters.clerk = CLERK
        storm = Storm(field.stack, counters, field.hops, dice)
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for number in range(COUNTERS):
                group.create_task(_counter(counters, over, random.Random(seed * 1000 + number)))  # noqa: S311
            try:
                for _ in range(size):
                    await asyncio.sleep(dice.uniform(*GAP_S))
                    await storm.strike()
                await _worked(meter, size)
            finally:
                over.set()
                await storm.calm()
        problems = await _settled(field, ready)
        problems += await _checked(ready, meter)
    notes = {f"fault: {kind}": float(times) for kind, times in storm.struck.items()}
    done = sum(sample.outcome == "ok" for sample in meter.operations)
    notes |= {"operations done": float(done), "messages": float(len(meter.messages))}
    told = tuple(f"{kind}: {whom}" for kind, whom in storm.told)
    return Part(size, tuple(Violation(seed, text, told) for text in problems), notes)


async def _worked(meter: Meter, more_than: int) -> None:
    """Counters go on among the last faults until so much work is done, or time is up: faults alone prove nothing."""
    deadline = time.monotonic() + WORK_S
    while time.monotonic() < deadline:
        if sum(sample.outcome == "ok" for sample in meter.operations) > more_than:
            return
        await asyncio.sleep(_LOOK_S)


async def _counter(counters: Counters, over: asyncio.Event, dice: random.Random) -> None:
    while not over.is_set():
        await one_operation(counters, dice)


async def _settled(field: Field, ready: Prepared) -> list[str]:
    """Healed: the stack is whole again, and every operation that was left can be finished."""
    try:
        await whole(field.stack)
    except Unavailable as error:
        return [str(error)]
    ready.counters.clerk = AFTER
    for _ in range(LEFT_ROUNDS):
        if not await ready.counters.finish_left():
            return []
        await asyncio.sleep(_LOOK_S)
    return [
        f"{one.kind} {name} of {one.card.blank.card_id} cannot be finished" for name, one in ready.counters.left.items()
    ]


async def _checked(ready: Prepared, meter: Meter) -> list[str]:
    url = ready.stack.own.database_url
    waiting = await outboxes_empty(url)
    cards = [card.blank.card_id for card in ready.cards]
    operations = list({event.operation_id for event in meter.history})
    rows = await records(url, cards, operations)
    found = checking.check([*meter.history, *rows, *chips(ready.box, cards)])
    texts = [f"{one.promise}: {one.text}" for one in found]
    if waiting:
        texts.append(f"{waiting} messages still wait in an outbox")
    return texts + await _trails(ready.stack)


async def _trails(stack: Stack) -> list[str]:
    """The audit trails, which several nodes seal over one database: whole, sealed to the end, signed by a device."""
    urls = dict.fromkeys(AUDITED, stack.own.database_url)
    export = await read_trails(urls, keys.audit_keys(stack.home, stack.own.topology))
    try:
        verified = audit_export.verify(export, {})
    except AuditBroken as broken:
        return [f"the audit trail is whole: {broken}"]
    return [
        f"the audit trail is sealed: {one.report.unsealed} entries of {schema} are not"
        for schema, one in verified.items()
        if one.report.unsealed
    ]
