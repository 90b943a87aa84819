"""Somebody at the counter for another PIN: between holder and chip alone, and the card may be pulled at any command.

The juki PIN stands in two applets of the chip; a change that broke off between them is carried to its end by doing it
again. So whenever the holder is answered, one and the same PIN stands in every place of it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec import structs

from warifu.chip.errors import WrongPin
from warifu.contract.terminal import ChangePin, Performed, PerformOperation, Pin, PinChanged
from warifu.contract.values import PinName
from warifu.domain.cards.chip_names import PIN_PLACES
from warifu.kernel.errors import Refused
from warifu.lab.scenarios.nation import HERE, PINS, Holder, Nation
from warifu.lab.simulation.driver import Driver

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

HAVE_PINS: Final = frozenset({"in_use", "moved"})
OTHERS: Final[dict[PinName, tuple[Pin, ...]]] = {
    "signature": ("XYZ781", "XYZ782", "XYZ783", "XYZ784"),
    "authentication": ("4321", "4322", "4323", "4324"),
    "text": ("8761", "8762", "8763", "8764"),
    "juki": ("2101", "2102", "2103", "2104"),
}
"""One after another, none twice: a request that comes late again finds its old PIN no more."""
WRONG: Final = "0000"
WISHES: Final[tuple[PinName, ...]] = ("juki", "juki", "juki", "signature", "authentication", "text")
"""Most come for the one that stands in two places."""
PATIENCE_MS: Final = (300, 2_500)
CALM_MS: Final = 60_000
WHOLE: Final = "a PIN is changed in all its places or in none"


class PinChanges:
    """One holder who comes for another PIN, and for another again."""

    def __init__(self, world: "World", nation: Nation, holders: Sequence[Holder]) -> None:
        self._world = world
        self._cards = nation.cards
        self._holders = [holder for holder in holders if holder.state in HAVE_PINS]

    async def come(self) -> tuple[Holder, Pin] | None:
        """For one after another. Who came, and the juki PIN that stands, if it may be mistaken once."""
        world = self._world
        holder = self._holders[world.pick(len(self._holders))] if self._holders else None
        if holder is None:
            return None
        pin = WISHES[world.pick(len(WISHES))]
        clerk = Driver(world, "driver-60", PATIENCE_MS[world.pick(len(PATIENCE_MS))], CALM_MS)
        old = PINS[pin]
        for turn, new in enumerate(OTHERS[pin]):
            request = ChangePin(card_id=holder.card_id, pin=pin, old=old, new=new)
            if not await self._changed(clerk, holder.card_id, request, turn):
                return None
            old = new
        _, tries = self._places(holder.card_id, "juki")
        return (holder, old if pin == "juki" else PINS["juki"]) if min(tries) > 1 else None

    async def mistaken(self, clerk: Driver, place: str, request: PerformOperation, operation_id: str) -> None:
        """The holder proves a PIN that is not his: that is said, and costs one try, however it is asked on the way."""
        wrong = structs.replace(request, proof_pins={"juki": WRONG})
        _, before = self._places(request.card_id, "juki")
        found = await clerk.ask(f"terminal-{place}", wrong, Performed, operation_id=operation_id, step="mistaken")
        if not isinstance(found, Refused) or found.code != WrongPin.code:
            self._world.violated("a wrong PIN is refused", f"{request.kind}: {found}")
        _, after = self._places(request.card_id, "juki")
        if sum(after) != sum(before) - 1:
            self._world.violated("a wrong PIN costs one try", f"{after} are left, of {before}")

    async def _changed(self, clerk: Driver, card: str, request: ChangePin, turn: int) -> bool:
        """False when the PIN is blocked: each break as it is tried costs a try."""
        found = await clerk.ask(
            f"terminal-{HERE}", request, PinChanged, operation_id=clerk.operation_id(), step=f"pin.{turn}"
        )
        if isinstance(found, Refused):
            self._world.violated("no request is refused", f"another {request.pin} PIN: {found.code} {found}")
            return False
        values, tries = self._places(card, request.pin)
        if min(tries) == 0:
            return False
        # Who is told that nothing was changed lost the answer of an earlier try, which was whole.
        if values != {request.new.encode()}:
            told = "changed" if found.changed else "not changed"
            self._world.violated(WHOLE, f"{request.pin} was {told}, and stands in {len(values)} ways")
        return True

    def _places(self, card: str, pin: PinName) -> tuple[set[bytes], list[int]]:
        chip, places = self._cards.image(card), set(PIN_PLACES[pin])
        found = [one for applet in chip.applets for one in applet.pins if (applet.aid, one.fid) in places]
        return {one.value for one in found}, [one.tries_left for one in found]
