"""From the register of residents to an ordered card: register, notify, apply, check, accept."""

import asyncio
import datetime

from warifu.contract.center import AskLiveCard, LiveCard
from warifu.contract.intake import (
    AcceptApplication,
    Apply,
    AskNotification,
    CheckApplication,
    Followed,
    Notification,
)
from warifu.contract.message import Request
from warifu.contract.registry import Register, Registered
from warifu.demo.asking import Asker
from warifu.demo.errors import Unexpected
from warifu.demo.people import Holder
from warifu.demo.tally import Tally
from warifu.kernel.calendar import age_on
from warifu.synthetic.photos import portrait


class Enrolment:
    """Enrols residents.

    Args:
        asker: reaches the nodes.
        tally: counts steps.
        today: for ages.
    """

    def __init__(self, asker: Asker, tally: Tally, today: datetime.date) -> None:
        self._asker = asker
        self._tally = tally
        self._today = today

    async def enrol(self, holder: Holder) -> None:
        """Everything until the centre has the order. ``StepFailed`` otherwise."""
        who = holder.resident_id
        operation = self._asker.new_operation()
        with self._tally.step("register", who):
            request = Register(resident_id=who, person=holder.person)
            await self._asker.ask("registry", request, Registered, operation_id=operation, step="register")
        with self._tally.step("notify", who):
            ask = AskNotification(resident_id=who)
            holder.application_id = (await self._asker.until_found("intake", ask, Notification)).application_id
        form = holder.application_id
        photo = await asyncio.to_thread(
            portrait, holder.photo_seed, age_on(holder.person.birth_date, self._today), holder.person.sex
        )
        with self._tally.step("apply", who):
            await self._intake(Apply(application_id=form, photo=photo), operation, "received")
        with self._tally.step("check", who):
            await self._intake(CheckApplication(application_id=form), operation, "checked")
        with self._tally.step("accept", who):
            await self._intake(AcceptApplication(application_id=form), operation, "accepted")
            holder.card_id = await self._asker.patience.until("the card is ordered", lambda: self._ordered(holder))

    async def _intake(self, request: Request, operation: str, state: str) -> None:
        step = request.NAME.partition(".")[2]
        followed = await self._asker.ask("intake", request, Followed, operation_id=operation, step=step)
        if followed.state != state:
            findings = ", ".join(followed.findings)
            raise Unexpected(f"the application is {followed.state}, not {state}: {findings or 'no findings'}")

    async def _ordered(self, holder: Holder) -> str | None:
        """The centre hears of the order a moment after the acceptance."""
        ask = AskLiveCard(resident_id=holder.resident_id)
        return (await self._asker.ask("center", ask, LiveCard)).card_id or None
