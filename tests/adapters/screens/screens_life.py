"""A resident's way beside the portal: registered, the card made, set up, delivered, looked up, on the running stack."""

from screens_kit import DIGITS, HERE, PASSWORD, Stack, in_its_own_loop

from warifu.adapters.clock import SystemClock
from warifu.adapters.entropy import SystemEntropy
from warifu.adapters.reader.files import FileReader
from warifu.contract.center import AskCard, AskLiveCard, CardView, LiveCard
from warifu.contract.intake import AskNotification, Notification
from warifu.contract.issuance import AskShipments, Produced, RunProduction, Shipments
from warifu.contract.registry import Changed, ChangeResident, Register, Registered
from warifu.contract.terminal import Performed, PerformOperation, ReceiveShipment, TerminalReceived
from warifu.contract.values import OperationKind, Person, PinName, ResidentEvent
from warifu.demo.card_reading import Text, read_text
from warifu.demo.connection import any_config, connected
from warifu.demo.people import Holder, choose
from warifu.kernel.calendar import jst_date
from warifu.nodes.powered import powered
from warifu.stack import status

PINS: dict[PinName, str] = {"signature": PASSWORD, "authentication": DIGITS, "text": DIGITS, "juki": DIGITS}
PRODUCTION_MS = 60_000


class Beside:
    """What happens to a resident's card while they look at the portal."""

    def __init__(self, stack: Stack) -> None:
        self.home = stack.home
        self.config = any_config(stack.home, status.read(stack.home))

    def registered(self) -> Holder:
        """A resident of this place, with the form sent."""
        return in_its_own_loop(self._registered())

    async def _registered(self) -> Holder:
        clock, entropy = SystemClock(), SystemEntropy()
        seed = int.from_bytes(entropy.random_bytes(6), "big")
        found = choose(6, seed, jst_date(clock.now_ms()), clock, entropy)
        holder = next(one for one in found if one.person.municipality == HERE)
        async with connected(self.home, self.config) as asker:
            await asker.ask("registry", Register(resident_id=holder.resident_id, person=holder.person), Registered)
            ask = AskNotification(resident_id=holder.resident_id)
            holder.application_id = (await asker.until_found("intake", ask, Notification)).application_id
        return holder

    def made(self, holder: Holder) -> str:
        """The card, in its municipality's hands."""
        return in_its_own_loop(self._made(holder))

    async def _made(self, holder: Holder) -> str:
        async with connected(self.home, self.config) as asker:

            async def ordered() -> str | None:
                ask = AskLiveCard(resident_id=holder.resident_id)
                return (await asker.ask("center", ask, LiveCard)).card_id or None

            card_id = await asker.patience.until("ordered", ordered)
            await asker.ask("issuance", RunProduction(limit=5), Produced, step="run", attempt_ms=PRODUCTION_MS)

            async def shipped() -> bool | None:
                view = await asker.ask("center", AskCard(card_id=card_id), CardView)
                return view.state == "shipped" or None

            await asker.patience.until("shipped", shipped)
            for one in (await asker.ask("issuance", AskShipments(municipality=HERE), Shipments)).shipments:
                if card_id in one.card_ids:
                    request = ReceiveShipment(batch_id=one.batch_id, card_ids=one.card_ids)
                    await asker.ask(f"terminal-{HERE}", request, TerminalReceived, step="receive")
        return card_id

    def perform(self, kind: OperationKind, card_id: str) -> None:
        """An operation at the counter."""
        in_its_own_loop(self._perform(kind, card_id))

    async def _perform(self, kind: OperationKind, card_id: str) -> None:
        request = PerformOperation(kind=kind, card_id=card_id, new_pins=PINS if kind == "delivery" else {})
        async with connected(self.home, self.config) as asker:
            await asker.ask(f"terminal-{HERE}", request, Performed, step="perform", attempt_ms=PRODUCTION_MS)

    def change(self, holder: Holder, event: ResidentEvent, person: Person) -> None:
        """The register changes, and the centre has heard of it when it is a move."""
        in_its_own_loop(self._change(holder, event, person))

    async def _change(self, holder: Holder, event: ResidentEvent, person: Person) -> None:
        today = jst_date(SystemClock().now_ms())
        request = ChangeResident(resident_id=holder.resident_id, event=event, person=person, occurred_on=today)
        async with connected(self.home, self.config) as asker:
            await asker.ask("registry", request, Changed, step=event)

            async def heard() -> bool | None:
                view = await asker.ask("center", AskCard(card_id=holder.card_id), CardView)
                return view.continuation_due is not None or None

            if event == "move":
                await asker.patience.until("the centre knows of the move", heard)
        holder.person = person

    def view(self, card_id: str) -> CardView:
        """As the centre shows it."""
        return in_its_own_loop(self._view(card_id))

    async def _view(self, card_id: str) -> CardView:
        async with connected(self.home, self.config) as asker:
            return await asker.ask("center", AskCard(card_id=card_id), CardView)

    def text(self, card_id: str) -> Text:
        """What the card shows to the holder's text PIN, in a reader at home."""
        return in_its_own_loop(self._text(card_id))

    async def _text(self, card_id: str) -> Text:
        async with powered(FileReader(self.home.cards), card_id) as connection:
            return await read_text(connection, PINS["text"])

    def state(self, card_id: str) -> str:
        """As the centre records it."""
        return self.view(card_id).state
