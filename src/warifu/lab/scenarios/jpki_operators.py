"""Operators of the front, in the ``jpki`` scenario: a verifier is proposed, approved, suspended, and approved again.

Whatever breaks: nobody becomes a verifier by one person's word, and who was suspended is told nothing any more, not
even by a credential that was good a moment ago.
"""

import hashlib
from typing import TYPE_CHECKING, Final

from warifu.contract.front import (
    ApproveVerifier,
    AskVerifiers,
    AskVerifierUse,
    RegisterVerifier,
    SuspendVerifier,
    Verifier,
    Verifiers,
    VerifierUses,
)
from warifu.contract.message import Request
from warifu.contract.values import CertificateKind
from warifu.domain.verifiers.errors import AlreadyProposed, NotAdmitted, OutOfRight, SamePerson
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import Refused
from warifu.lab.simulation.driver import Driver
from warifu.lab.simulation.inside import inside
from warifu.lab.simulation.keys import EPOCH_MS
from warifu.nodes.front import Checked, Credential, Front

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

SHOP: Final = "shop"
CALM_MS: Final = 60_000
TIMES: Final = 2
TWO: Final = "two make a verifier"
OVER: Final = "who is suspended is told nothing"
KIND: Final[CertificateKind] = "authentication"


class Operators:
    """Three of them, and the verifier they register.

    Args:
        world: the simulated world.
        serials: certificates to ask about.
    """

    def __init__(self, world: "World", serials: tuple[int, ...]) -> None:
        self._world = world
        self._serials = serials
        self._one, self._other, self._third = (
            Driver(world, f"driver-{name}", calm_ms=CALM_MS) for name in ("anne", "bert", "carl")
        )
        self._answers = 0

    async def work(self) -> None:
        """From the proposal to the end."""
        propose = RegisterVerifier(verifier_id=SHOP, kind=KIND, name="shop", approval="1")
        await self._done(self._one, propose, "proposed")
        await self._refused(self._other, propose, AlreadyProposed)
        await self._in_vain(b"first", NotAdmitted, TWO)
        one, other, third = self._one, self._other, self._third
        for secret, those, approver in ((b"first", (one,), other), (b"second", (one, other), third)):
            approve = ApproveVerifier(verifier_id=SHOP, credential=hashlib.sha256(secret).digest())
            for who in those:  # who proposed it, and who suspended it
                await self._refused(who, approve, SamePerson)
            await self._done(approver, approve, "approved")
            await self._asks(secret)
            await self._done(other, SuspendVerifier(verifier_id=SHOP, reason="lab.over"), "suspended")
            await self._in_vain(secret, NotAdmitted, OVER)
        await self._told()

    async def _done(self, who: Driver, request: Request, state: str) -> None:
        found = await who.ask("front", request, Verifier, operation_id=who.operation_id(), step=state)
        if isinstance(found, Refused):
            self._bad("no request is refused", f"{request.NAME}: {found.code} {found}")
        elif found.verifier.state != state:
            self._bad(TWO, f"{request.NAME} made it {found.verifier.state}")

    async def _refused(self, who: Driver, request: Request, error: type[Refused]) -> None:
        found = await who.ask("front", request, Verifier, operation_id=who.operation_id(), step="refused")
        if not isinstance(found, error):
            self._bad(TWO, f"{request.NAME} by the same, or again: {found}")

    async def _check(self, secret: bytes, kind: CertificateKind) -> Checked | Refused | None:
        machine, credential = self._world.machines["front-1"], Credential(SHOP, secret)
        return await inside(
            self._world, machine, Front, lambda node: node.check(credential, kind, self._serials), CALM_MS
        )

    async def _asks(self, secret: bytes) -> None:
        """With the right credential, about its kind; with another; about the other kind."""
        for _ in range(TIMES):
            found = await self._check(secret, KIND)
            if isinstance(found, Refused):
                self._bad("no request is refused", f"{SHOP}: {found.code} {found}")
            self._answers += isinstance(found, Checked)
        await self._in_vain(b"another", NotAdmitted, "a verifier is who has its secret")
        await self._in_vain(secret, OutOfRight, "a verifier asks about its kind", "signature")

    async def _in_vain(self, secret: bytes, error: type[Refused], name: str, kind: CertificateKind = KIND) -> None:
        found = await self._check(secret, kind)
        if found is not None and not isinstance(found, error):
            self._bad(name, str(found))

    async def _told(self) -> None:
        """What is shown of it, and what it is charged from."""
        day = jst_date(EPOCH_MS)
        shown = await self._one.ask(
            "front", AskVerifiers(), Verifiers, operation_id=self._one.operation_id(), step="verifiers"
        )
        if isinstance(shown, Verifiers):
            states = [each.state for each in shown.verifiers if each.verifier_id == SHOP]
            if states != ["suspended"] or sorted(shown.verifiers, key=lambda each: each.verifier_id) != list(
                shown.verifiers
            ):
                self._bad("operators see who is registered", f"{states}")
        request = AskVerifierUse(verifier_id=SHOP, since=day)
        uses = await self._one.ask("front", request, VerifierUses, operation_id=self._one.operation_id(), step="use")
        logged = sum(each.requests for each in uses.uses) if isinstance(uses, VerifierUses) else 0
        if logged < self._answers:
            self._bad("every look leaves an audit row", f"{logged} uses of {SHOP} are logged, {self._answers} answered")

    def _bad(self, name: str, text: str) -> None:
        self._world.violated(name, text)
