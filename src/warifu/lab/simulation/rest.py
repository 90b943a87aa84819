"""A node at rest: nothing is asked, nothing waits to be sent. Then it holds nothing: no lock, no room, no turn.

What a node gives back too seldom shows in no history: a count that is one too high, a lock that one path forgets. So
everything that hangs from a node is gone through.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator

from warifu.nodes.base import KeepingNode, Node
from warifu.nodes.cs import CommunicationServer
from warifu.nodes.under_way import UnderWay

OURS = ("warifu.nodes.", "warifu.domain.")
"""Rooms whose objects are gone through; what lies behind a port is not the node's."""
PLAIN = (str, bytes, int, float, type(None))
MOST = 64
"""Larger collections hold what is remembered, not what waits for its turn."""


def held(node: Node, *, outbox_empty: bool) -> str:
    """What the node still holds, in one line; empty: nothing. Its outbox is looked at when nothing is left in it."""
    found = [name for name, lock in _locks(node) if lock.locked()]
    if isinstance(node, KeepingNode) and outbox_empty:
        found += _of_outbox(node.under_way)
    if isinstance(node, CommunicationServer) and not node.leftovers:
        gates, lanes = len(node.leftovers._gates), len(node._lanes)  # noqa: SLF001 - a leak shows nowhere else
        found += [f"{gates} gates, {lanes} lanes"] if gates or lanes else []
    return ", ".join(found)


def _of_outbox(under_way: UnderWay) -> list[str]:
    rooms = sum(map(abs, (*under_way._trying.values(), *under_way._resting.values())))  # noqa: SLF001 - as above
    refused = len(under_way._refused)  # noqa: SLF001
    if not (len(under_way) or rooms or refused):
        return []
    return [f"{len(under_way)} messages under way, {rooms} rooms taken, {refused} refused, of an empty outbox"]


def _locks(node: Node) -> Iterator[tuple[str, asyncio.Lock]]:
    seen: set[int] = set()
    waiting: deque[tuple[str, object]] = deque([(type(node).__name__, node)])
    while waiting:
        name, thing = waiting.popleft()
        if isinstance(thing, asyncio.Lock):
            yield name, thing
        elif id(thing) not in seen:
            seen.add(id(thing))
            waiting.extend((f"{name}.{part}", value) for part, value in _parts(thing) if not isinstance(value, PLAIN))


def _parts(thing: object) -> Iterable[tuple[str, object]]:
    if isinstance(thing, dict | list | tuple | deque) and len(thing) > MOST:
        return ()
    if isinstance(thing, dict):
        return ((str(position), value) for position, value in enumerate(thing.values()))
    if isinstance(thing, list | tuple | deque):
        return ((str(position), value) for position, value in enumerate(thing))
    if type(thing).__module__.startswith(OURS):
        return vars(thing).items() if hasattr(thing, "__dict__") else ()
    return ()
