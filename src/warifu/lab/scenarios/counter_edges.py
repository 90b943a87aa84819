"""Cards at the edges of the rules: on their last day, full or nearly so, with certificates that end early."""

import datetime
from typing import TYPE_CHECKING, Final

from msgspec import structs

from warifu.chip.image import decode, encode
from warifu.chip.layout import JUKI, JUKI_PARTICULARS, PARTICULARS_MAX
from warifu.chip.reading import split_records
from warifu.contract.terminal import Performed
from warifu.contract.values import OperationKind
from warifu.domain.cards.errors import NoRoomLeft
from warifu.domain.cards.records import Card
from warifu.domain.certificates.records import Certificate
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import Refused
from warifu.lab.scenarios.nation import Holder, Nation
from warifu.lab.simulation.keys import EPOCH_MS
from warifu.ports.store import Change, Update

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

EDGES: Final = ("", "last day", "full", "", "one line left", "ends early")
"""By the seed: a third of the runs have none."""
EARLY: Final = datetime.date(2027, 1, 1)
ENTRY: Final = b"entry"
ADDING: Final = frozenset({"update", "continuation"})


class Edges:
    """What stands in the records of those who come, before they come; and what they must be told for it."""

    def __init__(self, world: "World", nation: Nation, holders: tuple[Holder, ...]) -> None:
        self._world = world
        self._store, self._register = nation.stores["center"], nation.stores["authority"]
        self._images = nation.cards.images
        self._cards = frozenset(holder.card_id for holder in holders)
        self._edge = EDGES[world.plan.seed % len(EDGES)]

    async def begin(self) -> None:
        """Before anything breaks."""
        if self._edge == "ends early":
            await self._ended_early()
            return
        rows = [row for row in self._store.records(Card) if isinstance(row, Card) and row.card_id in self._cards]
        brought = [self._brought(row) for row in rows] if self._edge else []
        if brought:
            await self._store.commit(Change(now_ms=EPOCH_MS, writes=tuple(map(Update, brought))))
        for card in brought:
            self._images[card.card_id] = filled(self._images[card.card_id], card.entries)

    async def _ended_early(self) -> None:
        """A signature certificate that is issued beside such a one ends with it, though by itself it would last."""
        found = [row for row in self._register.records(Certificate) if isinstance(row, Certificate)]
        mine = [row for row in found if row.card_id in self._cards]
        if mine:
            writes = tuple(Update(structs.replace(row, not_after=EARLY)) for row in mine)
            await self._register.commit(Change(now_ms=EPOCH_MS, writes=writes))

    def _brought(self, card: Card) -> Card:
        today = jst_date(EPOCH_MS)
        match self._edge:
            case "last day":
                return structs.replace(card, expires_on=today, continuation_due=card.continuation_due and today)
            case "full":
                return structs.replace(card, entries=PARTICULARS_MAX)
        return structs.replace(card, entries=PARTICULARS_MAX - 1)

    def over(self, card_id: str, kind: OperationKind, found: Performed | Refused) -> bool:
        """Whether this ends a clerk's work: no entry is added where there is no room for it, and it is said so."""
        if self._edge != "full" or kind not in ADDING or card_id not in self._cards:
            return False
        if not isinstance(found, NoRoomLeft):
            said = found.code if isinstance(found, Refused) else found.outcome
            self._world.violated("a card is filled to its last line and no further", f"{kind}: {said}")
        return True


def filled(image: bytes, count: int) -> bytes:
    """What a chip remembers once so many entries were added to it, whoever added them."""
    chip = decode(image)
    applet = next(found for found in chip.applets if found.aid == JUKI)
    ef = next(found for found in applet.efs if found.fid == JUKI_PARTICULARS)
    first = len(split_records(ef)) + 1
    rows = [bytes((number, len(ENTRY))) + ENTRY for number in range(first, count + 1)]
    if not rows:
        return image
    return encode(chip.with_applet(applet.with_ef(structs.replace(ef, content=ef.content + b"".join(rows)))))
