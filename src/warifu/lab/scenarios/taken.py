"""What a CS has taken on, watched: it stands in the backlog until it is answered, and every card has its turn.

No history shows it: what is sent is sealed, and the backlog is the CS's own.
"""

from typing import TYPE_CHECKING, Final

from warifu.contract.codec import decode
from warifu.contract.envelope import Envelope, Reply
from warifu.kernel.errors import ConnectionExcess, TryAgain, WarifuError
from warifu.nodes import cs
from warifu.nodes.cs import CommunicationServer
from warifu.ports.backlog import Backlog

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

Request = tuple[str, str]
"""Operation and step."""
RECORDED: Final = "what a CS has taken on is recorded until it is answered"
NO_ROOM: Final = "what nobody waits for does not stand in line"
TURNS: Final = "one card's trouble is not the others'"


class Taken:
    """Watches one CS, as long as its process lives.

    Args:
        world: where it lives.
        server: the CS; its sending and its delivering of what is left over are told from now on.
        backlog: what the CS has recorded, read without delay.
    """

    def __init__(self, world: "World", server: CommunicationServer, backlog: Backlog) -> None:
        self._world = world
        self._server = server
        self._backlog = backlog
        self._send, self._deliver = server._send, server._deliver  # noqa: SLF001 - what is sent is sealed
        server._send = self.send  # type: ignore[method-assign]  # noqa: SLF001
        server._deliver = self.deliver  # type: ignore[method-assign]  # noqa: SLF001
        self._told: dict[Request, None] = {}
        """What the centre has answered, or can say nothing of."""
        self._no_room: dict[Request, None] = {}
        """Left over, and told that there is no room for it."""
        self._owed: dict[str, set[str]] = {}
        """By the card whose message failed: those that waited then and have had no turn since."""

    async def send(self, envelope: Envelope, deadline: float) -> Reply:
        """As the CS's own: what has an effect is recorded before it is sent."""
        if envelope.name in cs.EFFECTS and not self._is_recorded(envelope):
            self._bad(RECORDED, f"sends {envelope.name} {envelope.step}, which is not in its backlog")
        try:
            reply = await self._send(envelope, deadline)
        except WarifuError as error:
            self._answered(envelope, ended=not isinstance(error, TryAgain) or isinstance(error, ConnectionExcess))
            raise
        said = reply.error
        self._answered(envelope, ended=said is None or said.kind != "try_again" or said.code == ConnectionExcess.code)
        return reply

    async def deliver(self, envelope: Envelope) -> Reply:
        """As the CS's own: one try for what is left over, after all others that waited when the card's last failed."""
        key, waiting = envelope.ordering_key, self._waiting()
        overtaken = self._owed.pop(key, set()) & waiting
        if overtaken:
            self._bad(TURNS, f"tries {key} again before {min(overtaken)}")
        for owed in self._owed.values():
            owed.discard(key)
        request = (envelope.operation_id, envelope.step)
        if request in self._no_room:
            self._bad(NO_ROOM, f"tries {envelope.name} {envelope.step} again")
        try:
            return await self._deliver(envelope)
        except TryAgain as error:
            if isinstance(error, ConnectionExcess):
                self._no_room[request] = None
            self._owed[key] = self._waiting() - {key}
            raise

    def settled(self, number: int, envelope: Envelope) -> None:
        """An entry leaves the backlog: of what a chip has done, only when the centre knows of it."""
        if envelope.name in cs.FACTS and (envelope.operation_id, envelope.step) not in self._told:
            self._bad(RECORDED, f"settles {number}, {envelope.name} {envelope.step}, which nobody has answered")

    def check(self) -> None:
        """What is left over is in the backlog too: else it dies with the CS."""
        recorded = {number for number, _ in self._backlog.unsettled()}
        lost = [left.number for left in self._server.leftovers._queue if left.number not in recorded]  # noqa: SLF001
        if lost:
            self._bad(RECORDED, f"keeps {len(lost)} messages in its memory alone")

    def _waiting(self) -> set[str]:
        return {left.envelope.ordering_key for left in self._server.leftovers._queue}  # noqa: SLF001

    def _is_recorded(self, envelope: Envelope) -> bool:
        entries = (decode(Envelope, entry) for _, entry in self._backlog.unsettled())
        return any((each.operation_id, each.step) == (envelope.operation_id, envelope.step) for each in entries)

    def _answered(self, envelope: Envelope, *, ended: bool) -> None:
        if ended:
            self._told[envelope.operation_id, envelope.step] = None

    def _bad(self, name: str, text: str) -> None:
        self._world.violated(name, f"{self._server.world.name} {text}")
