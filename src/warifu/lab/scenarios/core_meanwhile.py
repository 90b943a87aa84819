"""The core of what happens meanwhile: a card write, as another centre is told of a death, or an old confirmation comes.

What ended stays ended, whatever a chip was told before; nothing is begun on a card that has ended; and a confirmation
settles the write that it names.
"""

import asyncio
import datetime
from contextlib import suppress
from typing import Final

from warifu.adapters.store.memory import MemoryStore, StoreHooks
from warifu.contract.center import ConfirmWrite
from warifu.contract.codec import encode
from warifu.contract.message import Request
from warifu.contract.registry import ResidentChanged
from warifu.contract.values import ChipStatus
from warifu.domain.cards.records import Card, CardWrite
from warifu.kernel.errors import Refused, TryAgain
from warifu.kernel.ids import new_ulid
from warifu.lab.scenarios.core import envelope, injected
from warifu.lab.scenarios.core_card import CARD, PLACE, Chip, NoWorkers, Run, Scripts, received
from warifu.lab.simulation.cards import Drawings
from warifu.lab.simulation.keys import EPOCH_MS
from warifu.lab.simulation.world import World
from warifu.nodes.center.node import RECORDS, Center
from warifu.nodes.hsm_pool import HsmPool
from warifu.ports.store import Change, Insert, Update

AT_MS: Final = (0, 1, 1, 1, 2, 2, 2, 3, 4, 6)
"""When it happens: a whole run takes about as long, and most of it is between opening and script."""
MEANWHILE_VARIANTS: Final = 2 * len(AT_MS)
_DAY: Final = datetime.date(2026, 4, 1)
_EARLIER: Final = new_ulid(EPOCH_MS - 1, bytes(10))
"""A card write that is long over."""


class _Watch(StoreHooks):
    """Looks at each commit as it stands."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.ended = False

    async def after_commit(self, change: Change) -> None:
        """See the module."""
        for write in change.writes:
            record = write.record
            if isinstance(write, Insert) and isinstance(record, CardWrite) and self.ended:
                self._world.violated("nothing is begun on a card that has ended", record.step_name)
            if isinstance(write, Update) and isinstance(record, Card):
                if self.ended and record.state != "abolished":
                    self._world.violated("what has ended stays ended", f"the card is {record.state}")
                self.ended = self.ended or record.state == "abolished"


class _Hurried(Run):
    """A clerk who is told that the card has ended goes home."""

    async def work(self) -> bool:
        """Whether the write was finished."""
        with suppress(Refused):
            return await super().work()
        return False


async def meanwhile(world: World, variant: int) -> None:
    """See the module."""
    watch = _Watch(world)
    store = MemoryStore(RECORDS, hooks=watch)
    await store.commit(Change(now_ms=EPOCH_MS, writes=(Insert(received()),)))
    centers = [_center(world, f"center-{number}", store) for number in (1, 2)]
    chip = Chip()
    chip.holder = 1
    run = _Hurried(world, centers[0], chip, 1, variant, strict=variant < len(AT_MS))
    dies, at_ms = variant >= len(AT_MS), AT_MS[variant % len(AT_MS)]
    request = _death() if dies else _late(chip.status(1))
    async with asyncio.TaskGroup() as group:
        group.create_task(_told(centers[1], request, at_ms))
        done = group.create_task(run.work())
    await run.over()
    writes = [row for row in store.records(CardWrite) if isinstance(row, CardWrite)]
    finished = [write.write_id for write in writes if write.state == "finished"]
    if chip.write_id and (chip.write_id not in finished or len(finished) > 1):
        world.violated("chip equals record", f"{finished} finished, the chip has {chip.write_id}")
    if not dies and not done.result():
        world.violated("no card ever needs reissue", "a late confirmation stood in its way")


def _center(world: World, name: str, store: MemoryStore) -> Center:
    center = Center(injected(world, name), store, HsmPool(NoWorkers(), f"{name}/hsm", 0), Drawings())
    center.scripts = Scripts()  # type: ignore[assignment]  # what is looked at does not depend on what it makes
    return center


def _death() -> Request:
    return ResidentChanged(
        resident_id=received().resident_id, event="death", resident_version=2, municipality_before=PLACE,
        municipality_after=PLACE, occurred_on=_DAY,
    )  # fmt: skip


def _late(before: ChipStatus) -> Request:
    return ConfirmWrite(card_id=CARD, write_id=_EARLIER, chip=before)


async def _told(center: Center, request: Request, at_ms: int) -> None:
    sender = "registry-1" if isinstance(request, ResidentChanged) else "relay-1"
    asked = envelope(request.NAME, encode(request), number=1, step="0.late", sender=sender, municipality=PLACE)
    await asyncio.sleep(at_ms / 1000)
    with suppress(Refused, TryAgain):
        await center.handle(asked)
