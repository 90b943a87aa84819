"""Application intake (交付申請受付) and notification cards (通知カード)."""

from typing import ClassVar

from warifu.contract.center import AskLiveCard, CardView, LiveCard, SuspendCard
from warifu.contract.intake import (
    AcceptApplication,
    ApplicationPhoto,
    Apply,
    AskNewForm,
    AskNotification,
    AskPhoto,
    CheckApplication,
    FollowApplication,
    Followed,
    LossReported,
    NewForm,
    Notification,
    Notify,
    ReportLoss,
)
from warifu.contract.message import Done
from warifu.contract.registry import AskIdentity, Identity
from warifu.domain.applications import loss, rules
from warifu.domain.applications.records import Application, LossTries, NotificationCard, StoredPhoto
from warifu.domain.decision import Decision
from warifu.kernel.check_digits import application_id_from
from warifu.kernel.errors import NotFound
from warifu.nodes.base import Call, KeepingNode, World, expect
from warifu.ports.artwork import Artwork
from warifu.ports.store import Change, Get, Snapshot, Store

RECORDS = (NotificationCard, Application, StoredPhoto, LossTries)


class Intake(KeepingNode):
    """Sends forms, receives applications, checks and accepts them."""

    KIND: ClassVar[str] = "intake"

    def __init__(self, world: World, store: Store, artwork: Artwork) -> None:
        super().__init__(world, store)
        self.artwork = artwork
        self.handlers |= {
            Notify.NAME: self.notify,
            AskNotification.NAME: self.notification,
            AskNewForm.NAME: self.new_form,
            Apply.NAME: self.apply,
            CheckApplication.NAME: self.check,
            AcceptApplication.NAME: self.accept,
            FollowApplication.NAME: self.follow,
            ReportLoss.NAME: self.report_loss,
            AskPhoto.NAME: self.photo,
        }

    async def notify(self, call: Call) -> Done:
        """Send a notification card with a form under a fresh application ID."""
        request = expect(call.request, Notify)

        def rule(snapshot: Snapshot) -> Decision:
            application_id = application_id_from(self.world.entropy.random_bytes(16))
            return rules.notify(snapshot.one(0, NotificationCard), request, application_id, self.asked(call))

        return await self.step(call, (Get(NotificationCard, (request.resident_id,)),), rule, Done)

    async def notification(self, call: Call) -> Notification:
        """The notification card of a resident."""
        request = expect(call.request, AskNotification)
        snapshot = await self.store.read(Get(NotificationCard, (request.resident_id,)))
        found = snapshot.one(0, NotificationCard)
        if found is None:
            raise NotFound(f"notification card of resident {request.resident_id}")
        return Notification(application_id=found.application_id, sent_ms=found.sent_ms)

    async def new_form(self, call: Call) -> NewForm:
        """Another form, for a resident whose card has ended."""
        request = expect(call.request, AskNewForm)
        earlier = await self.answered(call, NewForm)
        if earlier is not None:
            return earlier
        live = await self._live_card(call, request.resident_id)
        key = (request.resident_id,)
        notified = (await self.store.read(Get(NotificationCard, key))).one(0, NotificationCard)
        if notified is None:
            raise NotFound(f"notification card of resident {request.resident_id}")

        def rule(snapshot: Snapshot) -> Decision:
            return rules.new_form(
                snapshot.one(0, NotificationCard),
                snapshot.one(1, Application),
                request,
                has_card=bool(live.card_id),
                application_id=application_id_from(self.world.entropy.random_bytes(16)),
                asked=self.asked(call),
            )

        # A form renewed meanwhile is guarded by the version of the notification card, which names the one in force.
        return await self.step(
            call, (Get(NotificationCard, key), Get(Application, (notified.application_id,))), rule, NewForm
        )

    async def apply(self, call: Call) -> Followed:
        """Receive an application with its photo."""
        request = expect(call.request, Apply)
        key = (request.application_id,)

        def rule(snapshot: Snapshot) -> Decision:
            found, photo = snapshot.one(0, Application), snapshot.one(1, StoredPhoto)
            return rules.apply(found, photo, request, self.asked(call))

        return await self.step(call, (Get(Application, key), Get(StoredPhoto, key)), rule, Followed)

    async def check(self, call: Call) -> Followed:
        """Check the photo, and that the applicant is in the register."""
        request = expect(call.request, CheckApplication)
        earlier = await self.answered(call, Followed)
        if earlier is not None:
            return earlier
        key = (request.application_id,)
        snapshot = await self.store.read(Get(Application, key), Get(StoredPhoto, key))
        application, photo = snapshot.one(0, Application), snapshot.one(1, StoredPhoto)
        if application is None or photo is None:
            raise NotFound(f"application {request.application_id}")
        findings = self.artwork.check_photo(photo.photo).findings + await self._identity_findings(call, application)

        def rule(snapshot: Snapshot) -> Decision:
            return rules.check(snapshot.one(0, Application), request.application_id, findings, self.asked(call))

        return await self.step(call, (Get(Application, key),), rule, Followed)

    async def _identity_findings(self, call: Call, application: Application) -> tuple[str, ...]:
        ask = AskIdentity(resident_id=application.resident_id, purpose="application.check")
        try:
            identity = await self.ask(call, "registry", ask, Identity, "identity")
        except NotFound:
            return ("resident.unknown",)
        if not identity.registered:
            return ("resident.left_register",)
        live = await self._live_card(call, application.resident_id)
        return ("card.already_held",) if live.card_id else ()

    async def accept(self, call: Call) -> Followed:
        """Accept a checked application."""
        request = expect(call.request, AcceptApplication)

        def rule(snapshot: Snapshot) -> Decision:
            return rules.accept(snapshot.one(0, Application), request.application_id, self.asked(call))

        return await self.step(call, (Get(Application, (request.application_id,)),), rule, Followed)

    async def follow(self, call: Call) -> Followed:
        """Where an application stands."""
        request = expect(call.request, FollowApplication)
        found = (await self.store.read(Get(Application, (request.application_id,)))).one(0, Application)
        followed = rules.follow(found, request.application_id)
        if found is None or found.state != "accepted":
            return followed
        live = await self._live_card(call, found.resident_id)
        return rules.with_card(followed, live)

    async def report_loss(self, call: Call) -> LossReported:
        """The holder lost the card: it is suspended before the answer goes out."""
        request = expect(call.request, ReportLoss)
        earlier = await self.answered(call, LossReported)
        if earlier is not None:
            return earlier
        key = (request.application_id,)
        snapshot = await self.store.read(Get(Application, key), Get(LossTries, key))
        tries = snapshot.one(1, LossTries)
        application = loss.may_try(snapshot.one(0, Application), tries, call.now_ms)
        ask = AskIdentity(resident_id=application.resident_id, purpose="loss.report")
        identity = await self.ask(call, "registry", ask, Identity, "identity")
        if identity.person.birth_date != request.birth_date:
            # Counted before it is answered: who asks many at once meets the record's version.
            await self.store.commit(
                Change(now_ms=call.now_ms, writes=(loss.failed(request.application_id, tries, call.now_ms),))
            )
            raise loss.HolderUnknown("no such holder")
        card_id = loss.card_to_suspend(await self._live_card(call, application.resident_id))
        view = await self.ask(call, "center", SuspendCard(card_id=card_id), CardView, "suspend")
        return await self.remember(call, LossReported(card_state=view.state), LossReported)

    async def _live_card(self, call: Call, resident_id: str) -> LiveCard:
        return await self.ask(call, "center", AskLiveCard(resident_id=resident_id), LiveCard, "live_card")

    async def photo(self, call: Call) -> ApplicationPhoto:
        """The photo, for the card factory; the look is audited first."""
        request = expect(call.request, AskPhoto)
        snapshot = await self.store.read(Get(StoredPhoto, (request.application_id,)))
        found = snapshot.one(0, StoredPhoto)
        if found is None:
            raise NotFound(f"photo of application {request.application_id}")
        await self.look(call, self.asked(call).audit("photo.look", request.application_id, request.purpose))
        return ApplicationPhoto(photo=found.photo)
