"""A card that is lost for good: its record ends without its chip, and its holder gets another form."""

from typing import TYPE_CHECKING, Final

from warifu.contract.center import AbolishCard, CardView, FormGiven, GiveForm
from warifu.domain.applications.records import NotificationCard
from warifu.domain.cards.records import Card
from warifu.kernel.errors import Refused
from warifu.lab.scenarios.nation import HERE, Holder, Nation
from warifu.lab.simulation.driver import Driver

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

CALM_MS: Final = 60_000
TIMES: Final = 2
"""Whoever asks once more, under another identifier, is told the same."""


class LostForGood:
    """What happens to such a card, and what must be told."""

    def __init__(self, world: "World", nation: Nation) -> None:
        self._world = world
        self._cards, self._forms = nation.stores["center"], nation.stores["intake"]

    async def over(self, clerk: Driver, holder: Holder) -> None:
        """Ended, and applied for anew."""
        for turn in range(TIMES):
            request = AbolishCard(card_id=holder.card_id)
            found = await clerk.ask(
                "center", request, CardView, operation_id=clerk.operation_id(), step=f"lost_for_good.{turn}"
            )
            rows = [row for row in self._cards.records(Card) if isinstance(row, Card)]
            state = next(row.state for row in rows if row.card_id == holder.card_id)
            if isinstance(found, Refused):
                self._world.violated("no request is refused", f"lost for good: {found.code} {found}")
            elif (found.state, state) != ("abolished", "abolished"):
                self._world.violated("a card that is lost for good is over", f"told {found.state}, it is {state}")
        counter = Driver(self._world, f"terminal-{HERE}-70", CALM_MS)
        given = [await self._form(counter, holder, turn) for turn in range(TIMES)]
        in_force = [
            row.application_id
            for row in self._forms.records(NotificationCard)
            if isinstance(row, NotificationCard) and row.resident_id == holder.resident_id
        ]
        if given != in_force * TIMES:
            self._world.violated("one form is in force", f"{len(set(given))} were given, {len(in_force)} is in force")

    async def _form(self, counter: Driver, holder: Holder, turn: int) -> str:
        request = GiveForm(resident_id=holder.resident_id, reason="lost")
        found = await counter.ask(
            f"cs-{HERE}",
            request,
            FormGiven,
            operation_id=counter.operation_id(),
            step=f"form.{turn}",
            order=holder.card_id,
        )
        if isinstance(found, Refused):
            self._world.violated("no request is refused", f"another form: {found.code} {found}")
            return ""
        return found.application_id
