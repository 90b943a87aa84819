"""What the register says of certificates now: looks gathered into few reads, and remembered only while still true.

A request's look begins after the request came: it joins the next read, never one under way. So an answer holds every
revocation whose commit was acknowledged before the request was received, however many responders there are, without a
word between them and the authority.

Each revocation moves the revision of its CA and municipality in its own commit. What was read of a certificate together
with that revision is therefore still true as long as a later read finds the revision unmoved; one small row that many
certificates share tells of all of them.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, cast

from msgspec import Struct, structs

from warifu.domain.certificates.records import Certificate, ListRevision
from warifu.domain.certificates.rules import UNSIGNED
from warifu.domain.pki.ocsp import Good, Revoked, Status, Unknown
from warifu.domain.pki.revocation import Reason
from warifu.kernel.errors import Fault, Unavailable, WarifuError
from warifu.ports.store import Get, Record, Store

HALF: Final = 32
"""Of one round trip: so many revisions, and so many certificates."""
REMEMBERED: Final = 100_000
"""Certificates whose status is kept."""

Key = tuple[str, int]
"""CA and serial number."""


class Known(Struct, frozen=True):
    """What the register said of a certificate while its list stood at this revision."""

    municipality: str
    status: Status
    revision: int | None
    """None: it was not told together with it, so only where to look is known."""
    moved: bool = False
    """The list stands at another revision now: what was said need not be true any more."""


class Looks:
    """Gathers looks at the register.

    Args:
        register: the authority's store; only read.
        remembered: how many certificates to remember.
    """

    def __init__(self, register: Store, remembered: int = REMEMBERED) -> None:
        self._register = register
        self._remembered = remembered
        self._known: OrderedDict[Key, Known] = OrderedDict()
        self._gathered: Gathered = {}
        self._wanted = asyncio.Event()
        self._closed = False

    async def run(self) -> None:
        """Read what is wanted, one read after another, until cancelled; then whoever waits is told."""
        gathered: Gathered = {}
        try:
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                gathered, self._gathered = self._gathered, {}
                await self._read(gathered)
        finally:
            self._closed = True
            for waiting in (gathered, self._gathered):  # what was being read, and what would have been next
                _fail(waiting, waiting, Unavailable("the responder is closing"))

    async def statuses(self, keys: Sequence[Key]) -> tuple[Known, ...]:
        """What the register says of each certificate at some instant after this call.

        Raises:
            Unavailable: the register does not answer.
        """
        told = await self._asked({key: self._known.get(key) for key in keys})
        moved = {key: structs.replace(entry, revision=None, moved=False) for key, entry in told.items() if entry.moved}
        told |= await self._asked(moved) if moved else {}
        return tuple(told[key] for key in keys)

    async def _asked(self, known: Mapping[Key, Known | None]) -> dict[Key, Known]:
        """``moved`` are those whose revision has moved since. Those without a revision are told for certain."""
        found = await self._look([read for key, entry in known.items() for read in _reads(key, entry)])
        return {key: self._learned(key, entry, found) for key, entry in known.items()}

    async def _look(self, reads: Sequence[Get]) -> dict[Get, Record | None]:
        if self._closed:
            raise Unavailable("the responder is closing")
        waiting: dict[Get, asyncio.Future[Record | None]] = {}
        for read in reads:
            if read not in self._gathered:
                self._gathered[read] = asyncio.get_running_loop().create_future()
            waiting[read] = self._gathered[read]
        self._wanted.set()
        # shielded: others wait for the same future, and one who goes away must not cancel it for them
        return {read: await asyncio.shield(future) for read, future in waiting.items()}

    async def _read(self, gathered: "Gathered") -> None:
        """Revisions before certificates: a certificate read later than its revision is at least as new as it."""
        revisions = [read for read in gathered if read.table is ListRevision]
        certificates = [read for read in gathered if read.table is not ListRevision]
        while revisions or certificates:
            some, revisions = revisions[:HALF], revisions[HALF:]
            others, certificates = ([], certificates) if revisions else (certificates[:HALF], certificates[HALF:])
            asked = [*_padded(some), *_padded(others)]
            try:
                snapshot = await self._register.read(*asked)
            except WarifuError as error:
                _fail(gathered, [*some, *others], error)
                continue
            for position, read in enumerate(asked):
                if not gathered[read].done():
                    gathered[read].set_result(snapshot.one(position, read.table))

    def _learned(self, key: Key, entry: Known | None, found: dict[Get, Record | None]) -> Known:
        revision = _revision(found, key, entry)
        if entry is not None and entry.revision is not None:
            if entry.revision != revision:
                return structs.replace(entry, moved=True)
            self._remember(key, entry)
            return entry
        certificate = found[Get(Certificate, key)]
        if not isinstance(certificate, Certificate) or certificate.state in UNSIGNED:
            return Known("", Unknown(), None)  # may be signed any moment: never remembered
        told = Known(certificate.municipality, _status(certificate), revision)
        self._remember(key, told)
        return told

    def _remember(self, key: Key, told: Known) -> None:
        self._known[key] = told
        self._known.move_to_end(key)
        while len(self._known) > self._remembered:
            self._known.popitem(last=False)


Gathered = dict[Get, "asyncio.Future[Record | None]"]


def _reads(key: Key, entry: Known | None) -> list[Get]:
    """The certificate until it was told together with its list's revision; then the revision alone."""
    if entry is None:
        return [Get(Certificate, key)]
    revision = Get(ListRevision, (key[0], entry.municipality))
    return [revision] if entry.revision is not None else [revision, Get(Certificate, key)]


def _revision(found: dict[Get, Record | None], key: Key, entry: Known | None) -> int | None:
    """None when it was not asked for; 0 before the first revocation there."""
    if entry is None:
        return None
    row = found[Get(ListRevision, (key[0], entry.municipality))]
    return row.version if row is not None else 0


def _padded(reads: Sequence[Get]) -> list[Get]:
    """As many as the next power of two, the last one repeated: a handful of prepared statements serves."""
    count = 1 << (len(reads) - 1).bit_length() if reads else 0
    return [*reads, *[reads[-1]] * (count - len(reads))] if reads else []


def _fail(gathered: Gathered, reads: Iterable[Get], error: WarifuError) -> None:
    for read in reads:
        if not gathered[read].done():
            gathered[read].set_exception(error)
            gathered[read].exception()  # whoever waited may have gone


def _status(certificate: Certificate) -> Status:
    if certificate.state != "revoked":
        return Good()
    if certificate.revoked_ms is None:
        raise Fault("a revoked certificate without its instant")
    return Revoked(revoked_ms=certificate.revoked_ms, reason=cast("Reason", certificate.reason))
