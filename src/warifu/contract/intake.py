"""Application intake (交付申請受付) and notification cards (通知カード)."""

import datetime
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from warifu.contract.message import Answer, Request
from warifu.contract.values import ApplicationId, CardState, Municipality, Purpose, ReissueReason, ResidentId

ApplicationState = Literal["form_sent", "received", "checked", "rejected", "accepted"]
Photo = Annotated[bytes, Meta(min_length=1, max_length=700_000)]


class Notify(Request, frozen=True, kw_only=True):
    """Send the notification card with the application form (whose application ID is minted here)."""

    NAME: ClassVar[str] = "intake.notify"

    resident_id: ResidentId
    municipality: Municipality


class Notification(Answer, frozen=True, kw_only=True):
    """The notification card of a resident."""

    application_id: ApplicationId
    sent_ms: int


class AskNotification(Request, frozen=True, kw_only=True):
    """Was the notification card sent? ``record.not_found`` until then."""

    NAME: ClassVar[str] = "intake.notification"
    ANSWER: ClassVar[type[Answer]] = Notification
    CHANGES: ClassVar[bool] = False

    resident_id: ResidentId


class Followed(Answer, frozen=True, kw_only=True):
    """Where an application stands."""

    application_id: ApplicationId
    state: ApplicationState
    findings: tuple[str, ...] = ()
    """Codes of what is wrong with it, for a rejected one."""
    card_state: str = ""
    """A ``CardState``, once the card is ordered and as long as it lives; told by ``intake.follow`` alone."""


class Apply(Request, frozen=True, kw_only=True):
    """The resident applies with the form's ID and a photo. Refused photos leave the form usable."""

    NAME: ClassVar[str] = "intake.apply"
    ANSWER: ClassVar[type[Answer]] = Followed

    application_id: ApplicationId
    photo: Photo
    wants_signature: bool = True
    wants_authentication: bool = True


class CheckApplication(Request, frozen=True, kw_only=True):
    """Check photo and identity: ends ``checked`` or ``rejected`` (a rejected one may apply again)."""

    NAME: ClassVar[str] = "intake.check"
    ANSWER: ClassVar[type[Answer]] = Followed

    application_id: ApplicationId


class NewForm(Answer, frozen=True, kw_only=True):
    """The form on which the resident may apply now."""

    application_id: ApplicationId


class AskNewForm(Request, frozen=True, kw_only=True):
    """Another form for a resident whose card has ended (再交付). One that may still be used stays the one."""

    NAME: ClassVar[str] = "intake.new_form"
    ANSWER: ClassVar[type[Answer]] = NewForm

    resident_id: ResidentId
    reason: ReissueReason


class AcceptApplication(Request, frozen=True, kw_only=True):
    """Accept a checked application: the card is ordered from the centre."""

    NAME: ClassVar[str] = "intake.accept"
    ANSWER: ClassVar[type[Answer]] = Followed

    application_id: ApplicationId


class FollowApplication(Request, frozen=True, kw_only=True):
    """Where does it stand?"""

    NAME: ClassVar[str] = "intake.follow"
    ANSWER: ClassVar[type[Answer]] = Followed
    CHANGES: ClassVar[bool] = False

    application_id: ApplicationId


class LossReported(Answer, frozen=True, kw_only=True):
    """The card serves nobody from now on."""

    card_state: CardState


class ReportLoss(Request, frozen=True, kw_only=True):
    """The holder reports a loss on the portal (一時停止): the card is suspended at once, its certificates are held."""

    NAME: ClassVar[str] = "intake.report_loss"
    ANSWER: ClassVar[type[Answer]] = LossReported

    application_id: ApplicationId
    """On the form, the delivery notice and the receipt."""
    birth_date: datetime.date


class ApplicationPhoto(Answer, frozen=True, kw_only=True):
    """The photo, JPEG."""

    photo: Photo


class AskPhoto(Request, frozen=True, kw_only=True):
    """For the card factory; leaves an audit entry."""

    NAME: ClassVar[str] = "intake.photo"
    ANSWER: ClassVar[type[Answer]] = ApplicationPhoto
    CHANGES: ClassVar[bool] = False

    application_id: ApplicationId
    purpose: Purpose
