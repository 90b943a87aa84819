"""Parts of the ``jpki`` scenario, watched: what is done there at the same time is in no history."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from warifu.adapters.shelf import MemoryShelf
from warifu.contract.authority import BatchOrder, SerialStatus
from warifu.contract.values import CertificateKind
from warifu.domain.certificates.records import Certificate
from warifu.domain.verifiers.records import StoredVerifier
from warifu.kernel.errors import ConnectionExcess
from warifu.lab.simulation.loop import PROCESS, Process
from warifu.lab.simulation.world import Ports
from warifu.nodes import front
from warifu.nodes.authority.bulk import BulkIssuer, Standing
from warifu.nodes.base import Call
from warifu.ports.clock import Clock

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

AWAITED_MS: Final = 4_000


class _Remembering:
    """A node's clock, which jumps; and when it was read."""

    def __init__(self, clock: Clock, lab: "World") -> None:
        self._clock = clock
        self._lab = lab
        self.read_ms: dict[int, int] = {}
        """By what it said: the simulation's own time when it said so first."""

    def now_ms(self) -> int:
        """See ``ports.clock.Clock``."""
        said = self._clock.now_ms()
        self.read_ms.setdefault(said, self._lab.loop.now_ms)
        return said


class WatchedFront(front.Front):
    """Asks on behalf of no more requests of one verifier at a time than it may have at work."""

    def __init__(self, ports: Ports, lab: "World") -> None:
        self._clock = _Remembering(ports.world.clock, lab)
        super().__init__(replace(ports.world, clock=self._clock), ports.store)
        self._lab = lab
        self._asking: Counter[str] = Counter()
        self._inside: Counter[str] = Counter()
        """Requests at work, by verifier."""
        self._asked_ms: dict[asyncio.Task[object] | None, int] = {}
        """When each request asked JPKI first."""
        self._verifiers: dict[asyncio.Task[object] | None, str] = {}
        """Whose each request is."""

    @contextmanager
    def _one_more(self) -> Iterator[None]:
        who = self._verifiers[asyncio.current_task()]
        self._asking[who] += 1
        if self._asking[who] > front.AT_ONCE:
            self._lab.violated("bounded queues", f"{self._asking[who]} requests of {who} are at work")
        try:
            yield
        finally:
            self._asking[who] -= 1

    async def fetch(self, credential: front.Credential, ca: CertificateKind, municipality: str = "") -> bytes:
        """As the front's own."""
        task = asyncio.current_task()
        self._verifiers[task] = credential.verifier_id
        try:
            return await super().fetch(credential, ca, municipality)
        finally:
            del self._verifiers[task]

    @asynccontextmanager
    async def _admitted(self, credential: front.Credential, ca: CertificateKind) -> AsyncIterator[StoredVerifier]:
        is_in, name = False, credential.verifier_id
        try:
            async with super()._admitted(credential, ca) as verifier:
                is_in = True
                self._inside[name] += 1
                try:
                    yield verifier
                finally:
                    self._inside[name] -= 1
        except ConnectionExcess:
            if not is_in and self._inside[name] < front.AT_ONCE:
                text = f"{name} is refused beside {self._inside[name]} of {front.AT_ONCE}"
                self._lab.violated("a place is refused when all are taken, and not before", text)
            raise

    async def check(self, credential: front.Credential, ca: CertificateKind, serials: Sequence[int]) -> front.Checked:
        """As the front's own; what it says of the instant is so."""
        task = asyncio.current_task()
        self._verifiers[task] = credential.verifier_id
        try:
            checked = await super().check(credential, ca, serials)
            said_ms = self._clock.read_ms[checked.as_of_ms]
            if said_ms > self._asked_ms.get(task, said_ms):
                text = f"it says {said_ms} ms, JPKI was asked at {self._asked_ms[task]}"
                self._lab.violated("a check is of no later instant than it says", text)
            return checked
        finally:
            self._asked_ms.pop(task, None)
            del self._verifiers[task]

    async def _asked_jpki(self, ca: CertificateKind, serials: Sequence[int]) -> dict[int, SerialStatus]:
        self._asked_ms.setdefault(asyncio.current_task(), self._lab.loop.now_ms)
        with self._one_more():
            return await super()._asked_jpki(ca, serials)

    async def _list(self, ca: CertificateKind, municipality: str) -> bytes:
        with self._one_more():
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


class Moments:
    """Of an issue in bulk: the moments in which somebody else's word matters most. Who waits for one speaks then."""

    def __init__(self) -> None:
        self._read, self._signing = asyncio.Event(), asyncio.Event()

    def watch(self, bulk: BulkIssuer) -> None:
        """From now on this one tells, too."""
        standing, signed = bulk._standing, bulk._signed  # noqa: SLF001 - these moments show nowhere else

        async def read(orders: Sequence[BatchOrder]) -> Standing:
            found = await standing(orders)
            self._read.set()
            return found

        async def signing(call: Call, intents: Sequence[Certificate]) -> list[Certificate]:
            self._signing.set()
            return await signed(call, intents)

        bulk._standing, bulk._signed = read, signing  # type: ignore[method-assign]  # noqa: SLF001

    async def read(self, world: "World") -> None:
        """Residents were looked at, and nothing is recorded yet."""
        await self._awaited(world, self._read)

    async def signing(self, world: "World") -> None:
        """Intents are recorded, and nothing is signed yet."""
        await self._awaited(world, self._signing)

    @staticmethod
    async def _awaited(world: "World", moment: asyncio.Event) -> None:
        """Or until it was waited for long enough."""
        with suppress(TimeoutError):
            async with asyncio.timeout(world.delay_ms(0, AWAITED_MS) / 1000):
                await moment.wait()
