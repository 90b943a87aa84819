"""The residents' portal: apply, follow the application, report a loss. Keeps nothing; all of it is intake's.

Whoever has the application ID (on paper, 23 digits) is heard; personal data never comes back this way.
"""

from typing import ClassVar, Final

from msgspec import Struct

from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.contract.intake import (
    AcceptApplication,
    Apply,
    CheckApplication,
    FollowApplication,
    Followed,
    LossReported,
    ReportLoss,
)
from warifu.contract.message import Request
from warifu.kernel.ids import ULID_RANDOM_BYTES, new_ulid
from warifu.nodes.base import A, Node, Probe, World

ANSWER_MS: Final = 10_000
ACTOR: Final = "resident"


class PortalRules(Struct, frozen=True):
    """What may be chosen."""

    accepts: bool = False
    """Accept what the checks let through, without a person looking at the photo: for demonstrations only."""


class Portal(Node):
    """Asks intake on behalf of residents."""

    KIND: ClassVar[str] = "portal"

    def __init__(self, world: World, rules: PortalRules) -> None:
        super().__init__(world)
        self.rules = rules

    def parts(self) -> dict[str, Probe]:
        """Without intake it does nothing."""
        return super().parts() | {"path": lambda: self.probe_node("intake", "intake")}

    def new_operation(self) -> str:
        """An identifier for what a resident is about to do; a page carries it, so that sending twice does it once."""
        return new_ulid(self.world.clock.now_ms(), self.world.entropy.random_bytes(ULID_RANDOM_BYTES))

    async def follow(self, application_id: str) -> Followed:
        """Where an application stands. ``NotFound``."""
        request = FollowApplication(application_id=application_id)
        return await self._ask(self.new_operation(), "follow", request, Followed)

    async def apply(self, operation_id: str, request: Apply) -> Followed:
        """Send an application and have it checked: ends checked, or rejected with what is wrong.

        Raises:
            WrongState: it was sent before.
        """
        await self._ask(operation_id, "apply", request, Followed)
        check = CheckApplication(application_id=request.application_id)
        checked = await self._ask(operation_id, "check", check, Followed)
        if checked.state != "checked" or not self.rules.accepts:
            return checked
        accept = AcceptApplication(application_id=request.application_id)
        return await self._ask(operation_id, "accept", accept, Followed)

    async def report_loss(self, operation_id: str, request: ReportLoss) -> LossReported:
        """Suspend the holder's card at once.

        Raises:
            HolderUnknown, TooManyTries, NoCardInUse: see ``domain.applications.loss``.
        """
        return await self._ask(operation_id, "loss", request, LossReported)

    async def _ask(self, operation_id: str, step: str, request: Request, answer: type[A]) -> A:
        envelope = Envelope(
            name=request.NAME,
            operation_id=operation_id,
            step=f"portal.{step}",
            sender=self.world.name,
            remaining_ms=ANSWER_MS,
            actor=ACTOR,
            body=encode(request),
        )
        return await self.exchange("intake", envelope, answer)
