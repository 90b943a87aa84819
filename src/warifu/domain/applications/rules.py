"""Rules of an application: form sent → received → checked or rejected → accepted."""

import hashlib

import msgspec

from warifu.contract.center import LiveCard, OrderCard
from warifu.contract.intake import Apply, AskNewForm, Followed, NewForm, Notify
from warifu.contract.message import Done
from warifu.domain.applications.records import Application, NotificationCard, StoredPhoto
from warifu.domain.decision import Asked, Decision
from warifu.kernel.errors import NotAllowed, NotFound, Stale
from warifu.ports.store import Insert, Update


class WrongState(NotAllowed):
    """The application is not in a state that allows this."""

    code = "application.wrong_state"


class CardHeld(NotAllowed):
    """The resident has a card: it must end first."""

    code = "application.card_held"


def notify(found: NotificationCard | None, request: Notify, application_id: str, asked: Asked) -> Decision:
    """Send the notification card, once for each resident."""
    if found is not None:
        return Decision(answer=Done())
    card = NotificationCard(
        resident_id=request.resident_id,
        application_id=application_id,
        municipality=request.municipality,
        sent_ms=asked.now_ms,
    )
    form = Application(
        application_id=application_id, resident_id=request.resident_id, state="form_sent", changed_ms=asked.now_ms
    )
    return Decision(
        answer=Done(),
        writes=(Insert(card), Insert(form)),
        journal=(asked.journal(f"resident:{request.resident_id}", "notification_sent"),),
    )


def new_form(
    notified: NotificationCard | None,
    current: Application | None,
    request: AskNewForm,
    *,
    has_card: bool,
    application_id: str,
    asked: Asked,
) -> Decision:
    """Give a new form to a resident whose card has ended; one that may still be used stays the one.

    Args:
        notified: the resident's notification card; names the form in force.
        current: the application on that form.
        request: whose, and why.
        has_card: whether the centre has a live card of the resident.
        application_id: a fresh one.
        asked: who asks.
    """
    if notified is None or current is None:
        raise NotFound(f"notification card of resident {request.resident_id}")
    if notified.application_id != current.application_id:
        raise Stale("another form was given meanwhile")
    if current.state in {"form_sent", "rejected"}:
        return Decision(answer=NewForm(application_id=current.application_id))
    if current.state != "accepted":
        raise WrongState(f"the application is {current.state}: it takes its course")
    if has_card:
        raise CardHeld(f"resident {request.resident_id}: the card must end first")
    form = Application(
        application_id=application_id, resident_id=request.resident_id, state="form_sent", changed_ms=asked.now_ms
    )
    in_force = msgspec.structs.replace(notified, application_id=application_id)
    return Decision(
        answer=NewForm(application_id=application_id),
        writes=(Update(in_force), Insert(form)),
        journal=(asked.journal(f"resident:{request.resident_id}", "form_renewed", reason=request.reason),),
    )


def apply(found: Application | None, photo: StoredPhoto | None, request: Apply, asked: Asked) -> Decision:
    """Receive an application on its form; a rejected one may come again with another photo."""
    application = _in_state(found, request.application_id, "form_sent", "rejected")
    received = msgspec.structs.replace(
        application,
        state="received",
        findings=(),
        wants_signature=request.wants_signature,
        wants_authentication=request.wants_authentication,
        photo_digest=hashlib.sha256(request.photo).digest(),
        changed_ms=asked.now_ms,
    )
    stored = StoredPhoto(application_id=request.application_id, photo=request.photo)
    keep = Insert(stored) if photo is None else Update(msgspec.structs.replace(photo, photo=request.photo))
    return Decision(
        answer=_followed(received),
        writes=(Update(received), keep),
        journal=(asked.journal(f"application:{request.application_id}", "received"),),
    )


def check(found: Application | None, application_id: str, findings: tuple[str, ...], asked: Asked) -> Decision:
    """Record what the check found."""
    application = _in_state(found, application_id, "received")
    state = "rejected" if findings else "checked"
    checked = msgspec.structs.replace(application, state=state, findings=findings, changed_ms=asked.now_ms)
    return Decision(
        answer=_followed(checked),
        writes=(Update(checked),),
        journal=(asked.journal(f"application:{application_id}", state, findings=list(findings)),),
    )


def accept(found: Application | None, application_id: str, asked: Asked) -> Decision:
    """Accept a checked application; the card is ordered."""
    application = _in_state(found, application_id, "checked")
    accepted = msgspec.structs.replace(application, state="accepted", changed_ms=asked.now_ms)
    order = OrderCard(
        application_id=application_id,
        resident_id=application.resident_id,
        wants_signature=application.wants_signature,
        wants_authentication=application.wants_authentication,
    )
    return Decision(
        answer=_followed(accepted),
        writes=(Update(accepted),),
        journal=(asked.journal(f"application:{application_id}", "accepted"),),
        outbox=(asked.outbox("center", order, order_key=application.resident_id),),
    )


def follow(found: Application | None, application_id: str) -> Followed:
    """Where the application stands."""
    if found is None:
        raise NotFound(f"application {application_id}")
    return _followed(found)


def with_card(followed: Followed, live: LiveCard) -> Followed:
    """With the state of the card that was ordered on this very application, as long as it lives."""
    mine = live.application_id == followed.application_id
    return msgspec.structs.replace(followed, card_state=live.state if mine else "")


def _in_state(found: Application | None, application_id: str, *states: str) -> Application:
    if found is None:
        raise NotFound(f"application {application_id}")
    if found.state not in states:
        raise WrongState(f"the application is {found.state}, not {' or '.join(states)}")
    return found


def _followed(application: Application) -> Followed:
    return Followed(
        application_id=application.application_id,
        state=application.state,  # type: ignore[arg-type]  # written by the rules above
        findings=application.findings,
    )
