"""The portal's pages: one thing on each. What was entered travels on in the next page's form; nothing is kept here."""

import asyncio
import base64
from typing import TYPE_CHECKING, Final

from starlette.requests import Request
from starlette.responses import Response

from warifu.adapters.portal.form import FieldWrong, Form
from warifu.adapters.portal.photo import prepare
from warifu.contract.intake import Apply, ReportLoss
from warifu.kernel.errors import NotFound
from warifu.ports.artwork import PhotoRefused

if TYPE_CHECKING:
    from warifu.adapters.portal.app import Site

DATE: Final = ("year", "month", "day")
MAY_APPLY: Final = frozenset({"form_sent", "rejected"})


async def start(site: "Site", request: Request) -> Response:
    """What would you like to do?"""
    return site.page(request, "start.html")


# ---- applying ----------------------------------------------------------------------------------------------------


async def apply_start(site: "Site", request: Request) -> Response:
    """Which form?"""
    return site.page(request, "apply_start.html", wrong="", application_id="")


async def apply_photo(site: "Site", request: Request, form: Form) -> Response:
    """A form that may be used asks for a photo; any other shows where it stands."""
    try:
        application_id = form.application_id()
        followed = await site.portal.follow(application_id)
    except (FieldWrong, NotFound):
        wrong, text = "application_id", form.text("application_id")[:40]
        return site.page(request, "apply_start.html", 400, wrong=wrong, application_id=text)
    if followed.state not in MAY_APPLY:
        return site.page(request, "follow.html", followed=followed)
    return site.page(request, "apply_photo.html", application_id=application_id, before=followed.findings, findings=())


async def apply_preview(site: "Site", request: Request, form: Form) -> Response:
    """The photo as it will be sent, or what is wrong with it."""
    application_id, crop = form.application_id(), form.crop()
    upload = await form.upload("photo")
    try:
        # Decoding takes up to some tenths of a second: others' pages go on meanwhile.
        jpeg = await asyncio.to_thread(prepare, upload, crop)
    except PhotoRefused as refused:
        findings = refused.findings if upload else ("photo.none",)
        return site.page(request, "apply_photo.html", 400, application_id=application_id, before=(), findings=findings)
    return site.page(
        request,
        "apply_preview.html",
        application_id=application_id,
        photo=base64.b64encode(jpeg).decode("ascii"),
        operation_id=site.portal.new_operation(),
    )


async def apply_send(site: "Site", request: Request, form: Form) -> Response:
    """Sent, checked; the result."""
    try:
        photo = base64.b64decode(form.text("photo"), validate=True)
    except ValueError:  # binascii.Error is one; other characters than ASCII raise the plain one
        raise FieldWrong("photo") from None
    application = Apply(
        application_id=form.application_id(),
        photo=photo,
        wants_signature=form.text("no_signature") != "yes",
        wants_authentication=form.text("no_authentication") != "yes",
    )
    followed = await site.portal.apply(form.operation_id(), application)
    return site.page(request, "apply_done.html", followed=followed)


# ---- following ---------------------------------------------------------------------------------------------------


async def follow_start(site: "Site", request: Request) -> Response:
    """Which application?"""
    return site.page(request, "follow_start.html", wrong="", application_id="")


async def follow(site: "Site", request: Request, form: Form) -> Response:
    """Where it stands."""
    try:
        followed = await site.portal.follow(form.application_id())
    except (FieldWrong, NotFound):
        text = form.text("application_id")[:40]
        return site.page(request, "follow_start.html", 400, wrong="application_id", application_id=text)
    return site.page(request, "follow.html", followed=followed)


# ---- a loss ------------------------------------------------------------------------------------------------------


async def loss_start(site: "Site", request: Request) -> Response:
    """Whose card, and the consequences."""
    operation_id = site.portal.new_operation()
    return site.page(
        request, "loss_start.html", wrong="", application_id="", operation_id=operation_id, born=("", "", "")
    )


async def loss(site: "Site", request: Request, form: Form) -> Response:
    """The card is suspended before this page says so."""
    try:
        report = ReportLoss(application_id=form.application_id(), birth_date=form.date())
    except FieldWrong as error:
        return site.page(
            request,
            "loss_start.html",
            400,
            wrong=error.field,
            application_id=form.text("application_id")[:40],
            operation_id=site.portal.new_operation(),
            born=tuple(form.text(name)[:4] for name in DATE),
        )
    reported = await site.portal.report_loss(form.operation_id(), report)
    return site.page(request, "loss_done.html", card_state=reported.card_state)
