"""The ``looks`` scenario: a responder's looks at the register alone, many at once, while certificates are revoked.

A whole responder has two or three at a time; here what is gathered takes several reads, so that what is read first and
what afterwards matters. The register itself is the second book (``status_book``).
"""

import asyncio
import datetime
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from msgspec import structs

from warifu.adapters.store.memory import MemoryStore
from warifu.domain.certificates.records import Certificate, ListRevision
from warifu.kernel.errors import Stale, Unavailable
from warifu.kernel.ids import card_id, new_ulid
from warifu.lab.scenarios.small import small
from warifu.lab.scenarios.status_book import StatusBook
from warifu.lab.simulation.keys import EPOCH_MS
from warifu.lab.simulation.world import World
from warifu.nodes import status_look
from warifu.nodes.status_look import Looks
from warifu.ports.store import Change, Find, Get, Insert, RequestKey, Snapshot, Update, Write

ASKERS: Final = 120
CERTIFICATES: Final = 10
REVOKED_EVERY: Final = (2, 3, CERTIFICATES)
"""Half of them are revoked, or one: the first of its list is as any other."""
PLACES: Final = ("131016", "132217")
LASTS_MS: Final = (60, 300)
AWAY: Final = 40
"""The register is away for one look in so many."""
GONE: Final = 6
"""One asker in so many goes away."""
WAYS_MS: Final = ((1, 1), (1, 9), (5, 20))
ENDS_MS: Final = 1_000


class _Register(MemoryStore):
    """The register, some milliseconds away."""

    def __init__(self, world: World) -> None:
        super().__init__((Certificate, ListRevision))
        self._world = world
        self._way = WAYS_MS[world.pick(len(WAYS_MS))]

    async def read(self, *reads: Get | Find, request: RequestKey | None = None) -> Snapshot:
        await asyncio.sleep(self._world.delay_ms(*self._way) / 1000)
        if not self._world.pick(AWAY):
            raise Unavailable("the register does not answer")
        found = await super().read(*reads, request=request)
        await asyncio.sleep(self._world.delay_ms(*self._way) / 1000)
        return found


async def drive(world: World, size: int) -> None:
    """Askers and revocations, all within some milliseconds; then the responder ends, and whoever waits is told."""
    status_look.HALF = 1 + world.pick(3)  # type: ignore[misc]  # a run's own limit: small_limits puts it back
    register = _Register(world)
    await register.commit(Change(now_ms=EPOCH_MS, writes=tuple(Insert(_certificate(n)) for n in range(CERTIFICATES))))
    looks = Looks(register, remembered=(4, 100, 100)[world.pick(3)])
    StatusBook(world, looks, register)
    running = asyncio.create_task(looks.run())
    lasts_ms = LASTS_MS[world.pick(len(LASTS_MS))]
    asking = [asyncio.create_task(_asked(world, looks, lasts_ms, goes=not n % GONE)) for n in range(size)]
    serials = range(1, CERTIFICATES + 1, REVOKED_EVERY[world.pick(len(REVOKED_EVERY))])
    revoking = [asyncio.create_task(_revoked(world, register, serial, lasts_ms)) for serial in serials]
    world.later(lasts_ms // 2, _send_away, asking[::GONE])
    if world.pick(2):
        await asyncio.wait({*asking, *revoking})
        await _all_once_more(looks)
    else:
        await asyncio.sleep(lasts_ms / 1000)
    running.cancel()
    await asyncio.wait({running, *revoking})
    _, waiting = await asyncio.wait(asking, timeout=ENDS_MS / 1000)
    if waiting:
        world.violated("who waits for a part that ends is told", f"{len(waiting)} wait {ENDS_MS} ms later")


async def _all_once_more(looks: Looks) -> None:
    """What is remembered of each: the book compares it with the register."""
    for serial in range(1, CERTIFICATES + 1):
        with suppress(Unavailable):
            await looks.statuses([("signature", serial)])


def _send_away(asking: Sequence[asyncio.Task[None]]) -> None:
    for task in asking:
        task.cancel()


async def _asked(world: World, looks: Looks, lasts_ms: int, *, goes: bool) -> None:
    await asyncio.sleep(world.delay_ms(0, lasts_ms) / 1000)
    keys = sorted({("signature", 1 + world.pick(CERTIFICATES)) for _ in range(1 + world.pick(3))})
    try:
        await looks.statuses(keys)
    except Unavailable:
        return
    except asyncio.CancelledError:
        if not goes:
            world.violated("who goes away ends nobody else's request", f"an asker of {keys} was cancelled")
        raise


async def _revoked(world: World, register: MemoryStore, serial: int, lasts_ms: int) -> None:
    """A certificate is revoked for good; its list's revision moves in the same commit."""
    await asyncio.sleep(world.delay_ms(0, lasts_ms) / 1000)
    rows = register._state.rows  # noqa: SLF001 - as it stands, without a way there
    found = rows[Certificate.TABLE].records["signature", serial]
    if not isinstance(found, Certificate):
        return
    ended = structs.replace(found, state="revoked", revoked_ms=EPOCH_MS, reason="superseded")
    revision = rows[ListRevision.TABLE].records.get(("signature", found.municipality))
    write: Write = Update(revision) if revision is not None else Insert(_revision(found.municipality))
    try:
        await register.commit(Change(now_ms=EPOCH_MS, writes=(Update(ended), write)))
    except Stale:
        await _revoked(world, register, serial, 1)


def _revision(municipality: str) -> ListRevision:
    return ListRevision(ca="signature", municipality=municipality, changed_ms=EPOCH_MS)


def _certificate(number: int) -> Certificate:
    return Certificate(
        ca="signature",
        serial=number + 1,
        generation=1,
        card_id=card_id(number + 1),
        resident_id=new_ulid(EPOCH_MS, bytes([number + 1] * 10)),
        municipality=PLACES[number % len(PLACES)],
        key_pair_id=new_ulid(EPOCH_MS, bytes([number + 101] * 10)),
        state="valid",
        not_after=datetime.date(2031, 1, 1),
        tbs=b"",
        changed_ms=EPOCH_MS,
    )


LOOKS: Final = small("looks", drive, ASKERS)
