"""What is done under a lock is done under that lock, from its beginning to its end, and by one task at a time.

A lock that is given back early, or taken around too little, does harm only in the instant in which two meet. Here it is
told which work of a node stands under which lock, a second time; whoever does it otherwise is seen at once, alone too.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from warifu.domain.certificates.records import IssueBlock
from warifu.nodes.authority.bulk import BulkIssuer
from warifu.nodes.authority.lists import Lists
from warifu.nodes.authority.signing import Signer
from warifu.nodes.cs import CommunicationServer
from warifu.nodes.issuance import Issuance
from warifu.nodes.responder import Responder

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

NAME: Final = "what stands under a lock is done under it"


class Guarded(NamedTuple):
    """Methods, and the lock that is held while one of them runs, by its arguments.

    ``when``: whether it stands under the lock at all with these arguments.
    """

    kind: type
    methods: tuple[str, ...]
    lock: Callable[..., asyncio.Lock | None]
    when: Callable[..., bool] = lambda *_: True


def _list_lock(lists: Lists, _call: object, request: Any, generation: Any) -> asyncio.Lock | None:  # noqa: ANN401
    return lists._building.get((request.ca, generation.generation, request.municipality))  # noqa: SLF001 - a second book


def _is_choice(_issuer: BulkIssuer, _call: object, block: IssueBlock, _writes: object) -> bool:
    """The commit that takes the key pairs that were chosen; not the one that keeps the signatures."""
    return block.state == "intent"


TABLE: Final = (
    Guarded(Responder, ("_prepare",), lambda node, *_: node._preparing),  # noqa: SLF001 - as above
    Guarded(Lists, ("_newest",), _list_lock),
    Guarded(Signer, ("_load",), lambda signer, *_: signer._first),  # noqa: SLF001
    Guarded(BulkIssuer, ("_certificates",), lambda issuer, *_: issuer._reserving),  # noqa: SLF001
    Guarded(BulkIssuer, ("_commit",), lambda issuer, *_: issuer._reserving, _is_choice),  # noqa: SLF001
    Guarded(CommunicationServer, ("_relay_key",), lambda node: node._agreeing),  # noqa: SLF001
    Guarded(Issuance, ("_tell_all", "_make_ordered", "_ship"), lambda node, *_: node._running),  # noqa: SLF001
)


@contextmanager
def guarded(world: "World") -> Iterator[None]:
    """Watch every one of them during a run."""
    before = [(each.kind, name, getattr(each.kind, name)) for each in TABLE for name in each.methods]
    try:
        for each in TABLE:
            for name in each.methods:
                setattr(each.kind, name, _watched(world, each, name))
        yield
    finally:
        for kind, name, method in before:
            setattr(kind, name, method)


def _watched(world: "World", each: Guarded, name: str) -> Callable[..., Any]:
    method, inside = getattr(each.kind, name), Counter[int]()

    def look(lock: asyncio.Lock | None, when: str) -> None:
        if lock is None or not lock.locked() or inside[id(lock)] > 1:
            world.violated(NAME, f"{each.kind.__name__}.{name} {when} without it")

    async def watched(self: object, *arguments: object) -> object:
        if not each.when(self, *arguments):
            return await method(self, *arguments)
        lock = each.lock(self, *arguments)
        inside[id(lock)] += 1
        look(lock, "began")
        try:
            return await method(self, *arguments)
        finally:
            look(lock, "ended")
            inside[id(lock)] -= 1

    return watched
