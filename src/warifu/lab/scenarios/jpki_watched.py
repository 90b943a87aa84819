"""Parts of the ``jpki`` scenario, watched: what is done there at the same time is in no history."""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from warifu.adapters.shelf import MemoryShelf
from warifu.contract.authority import SerialStatus
from warifu.contract.values import CertificateKind
from warifu.lab.simulation.loop import PROCESS, Process
from warifu.lab.simulation.world import Ports
from warifu.nodes import front

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World


class WatchedFront(front.Front):
    """Asks on behalf of no more requests of one verifier at a time than it may have at work (one verifier a kind)."""

    def __init__(self, ports: Ports, lab: "World") -> None:
        super().__init__(ports.world, ports.store)
        self._lab = lab
        self._asking: Counter[str] = Counter()

    @contextmanager
    def _one_more(self, ca: CertificateKind) -> Iterator[None]:
        self._asking[ca] += 1
        if self._asking[ca] > front.AT_ONCE:
            self._lab.violated("bounded queues", f"{self._asking[ca]} requests about {ca} are at work")
        try:
            yield
        finally:
            self._asking[ca] -= 1

    async def _asked_jpki(self, ca: CertificateKind, serials: Sequence[int]) -> dict[int, SerialStatus]:
        with self._one_more(ca):
            return await super()._asked_jpki(ca, serials)

    async def _list(self, ca: CertificateKind, municipality: str) -> bytes:
        with self._one_more(ca):
            return await super()._list(ca, municipality)


class WatchedShelf(MemoryShelf):
    """On which a process writes each list once at a time: whoever else wants it waits, and shares it."""

    def __init__(self, world: "World") -> None:
        super().__init__()
        self._world = world
        self._writing: Counter[tuple[Process | None, str]] = Counter()

    async def put(self, name: str, pieces: AsyncIterator[bytes]) -> None:
        """See ``ports.shelf.Shelf``."""
        place = (PROCESS.get(), name.partition("/")[0])
        self._writing[place] += 1
        if self._writing[place] > 1:
            self._world.violated("a list is built once at a time", f"{self._writing[place]} of {place[1]}")
        try:
            await super().put(name, pieces)
        finally:
            self._writing[place] -= 1
