"""The factory, watched: how many cards it makes at the same time, and how often it tries one in a run."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from warifu.contract.center import CardData
from warifu.contract.message import Answer, Request
from warifu.lab.simulation.world import Ports
from warifu.nodes import issuance
from warifu.nodes.base import Call
from warifu.nodes.issuance import End, Issuance, Production

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

T = TypeVar("T")
A = TypeVar("A", bound=Answer)
FIXED: Final = ("issued_on", "expires_on", "security_code", "municipality")


class WatchedIssuance(Issuance):
    """See the module.

    Args:
        lab: the simulated world.
        ports: of the node.
        fixed: what the centre said of each card first; kept over restarts.
        parts: the factory's own.
    """

    def __init__(self, lab: "World", ports: Ports, fixed: dict[str, CardData], **parts: Any) -> None:  # noqa: ANN401 - passed on as they are
        super().__init__(ports.world, ports.store, **parts)
        self._lab = lab
        self._fixed = fixed
        self._at_work = 0

    async def ask(self, call: Call, destination: str, request: Request, answer: type[A], part: str) -> A:
        """As the factory's own; what is told of a card's data is kept in mind."""
        found = await super().ask(call, destination, request, answer, part)
        if isinstance(found, CardData):
            self._is_fixed(found)
        return found

    def _is_fixed(self, found: CardData) -> None:
        """Dates and place were printed, perhaps: whoever asks again is told the same."""
        first = self._fixed.setdefault(found.card_id, found)
        if [getattr(found, name) for name in FIXED] != [getattr(first, name) for name in FIXED]:
            self._lab.violated("a card's data is fixed once", f"{found.card_id} was told in two ways")

    async def _in_lines(  # type: ignore[override]  # the factory's own needs no self
        self, cards: Sequence[Production], work: Callable[[Production], Awaitable[T]]
    ) -> list[T]:
        async def counted(card: Production) -> T:
            self._at_work += 1
            if self._at_work > issuance.LINES:
                self._lab.violated("bounded queues", f"{self._at_work} cards are made at the same time")
            try:
                return await work(card)
            finally:
                self._at_work -= 1

        return await super()._in_lines(cards, counted)

    async def _make_or_report(self, call: Call, card: Production) -> End:
        tries, work = 0, card.work

        async def counted() -> None:
            nonlocal tries
            tries += 1
            if tries > 1:
                self._lab.violated("only the CS retries", f"{card.card_id} is tried {tries} times in one run")
            await work()

        card.work = counted  # type: ignore[method-assign]  # who tries it again is seen
        return await super()._make_or_report(call, card)
