"""Looks at the register, watched: an answer holds all that stood when it was asked for, and is read after that.

The register itself is the second book: it is looked into at the instant of a question, whatever the way there costs.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from warifu.adapters.store.memory import MemoryStore
from warifu.domain.certificates.records import Certificate, ListRevision
from warifu.domain.pki.ocsp import Revoked
from warifu.nodes.status_look import Key, Known, Looks
from warifu.ports.store import Find, Get, Record, RequestKey, Snapshot

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

LATER: Final = "a look begins after its question"
CURRENT: Final = "what is told of a certificate is the register's as it stood or later"


class StatusBook:
    """Watches one responder's looks, as long as its process lives.

    Args:
        world: where it lives.
        looks: its looks; they are told from now on.
        register: the authority's store, read without delay.
    """

    def __init__(self, world: "World", looks: Looks, register: MemoryStore) -> None:
        self._world = world
        self._register = register
        self._turn = 0
        self._read: dict[Get, int] = {}
        """When each record's last reading began, in turns."""
        self._statuses, self._look = looks.statuses, looks._look  # noqa: SLF001 - who joins which reading shows there
        self._reading = looks._register.read  # noqa: SLF001
        looks._register.read = self.read  # type: ignore[method-assign]  # noqa: SLF001
        looks._look = self.look  # type: ignore[method-assign]  # noqa: SLF001
        looks.statuses = self.statuses  # type: ignore[method-assign]

    async def read(self, *reads: Get | Find, request: RequestKey | None = None) -> Snapshot:
        """As the register's own; its beginning is noted."""
        self._turn += 1
        self._read |= {read: self._turn for read in reads if isinstance(read, Get)}
        return await self._reading(*reads, request=request)

    async def look(self, reads: Sequence[Get]) -> dict[Get, Record | None]:
        """As the looks' own: everything was read after it was asked for."""
        self._turn += 1
        asked = self._turn
        found = await self._look(reads)
        early = [read for read in reads if self._read.get(read, 0) < asked]
        if early:
            self._world.violated(LATER, f"{early[0].table.__name__} {early[0].key} was being read before")
        return found

    async def statuses(self, keys: Sequence[Key]) -> tuple[Known, ...]:
        """As the looks' own, compared with the register at the instant of the question."""
        before = [self._stands(key) for key in keys]
        told = await self._statuses(keys)
        for key, known, (revoked, revision) in zip(keys, told, before, strict=True):
            now_revoked, _ = self._stands(key)
            if revoked and now_revoked and not isinstance(known.status, Revoked):
                self._world.violated(CURRENT, f"{key} is revoked, and told to be {type(known.status).__name__}")
            if known.revision is not None and known.revision < revision:
                self._world.violated(CURRENT, f"{key} is told as of revision {known.revision}, it was {revision}")
        return told

    def _stands(self, key: Key) -> tuple[bool, int]:
        """Whether it is revoked, and its list's revision."""
        rows = self._register._state.rows  # noqa: SLF001 - the register as it stands
        certificate = rows[Certificate.TABLE].records.get(key)
        if not isinstance(certificate, Certificate):
            return False, 0
        revision = rows[ListRevision.TABLE].records.get((key[0], certificate.municipality))
        return certificate.state == "revoked", revision.version if revision is not None else 0
