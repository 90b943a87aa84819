"""Unified terminal (統合端末): works on the card in its reader as the centre's plan says, step by step.

It keeps nothing. What was done is on the chip and in the centre's record; a run that breaks anywhere is taken up again
by the same request, here or at another terminal of the municipality. PINs pass through this process's memory only.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import ClassVar, Literal, TypeVar

import msgspec
from msgspec import Struct

from warifu.chip import client
from warifu.chip.errors import BadCardAnswer, CardRefused, WrongPin
from warifu.chip.issuer import initialize_update
from warifu.chip.layout import AUTHENTICATION_CERTIFICATE, ISD, JPKI, SIGNATURE_CERTIFICATE, SIGNATURE_PIN
from warifu.contract.center import (
    AbandonOperation,
    CardsReceived,
    CardView,
    CloseOperation,
    Confirmed,
    ConfirmWrite,
    Opened,
    OpenOperation,
    PlannedStep,
    PrepareWrite,
    Received,
    Script,
)
from warifu.contract.envelope import ServiceClass
from warifu.contract.message import Answer, Request
from warifu.contract.terminal import (
    ChangePin,
    GiveUpOperation,
    Performed,
    PerformOperation,
    PinChanged,
    ReceiveShipment,
    TerminalReceived,
)
from warifu.contract.values import CardState, ChipStatus, OperationKind, PinName
from warifu.domain.cards.chip_names import PIN_PLACES, Place, chip_status
from warifu.domain.cards.errors import AnotherCard
from warifu.domain.pki.names import Kind
from warifu.kernel.errors import Refused, TryAgain, WarifuError
from warifu.nodes.base import Call, Node, Probe, World, expect
from warifu.nodes.card_trust import CardTrust
from warifu.nodes.powered import powered
from warifu.ports.reader import CardGone, Connection, Reader
from warifu.verify import VerificationFailed

MAX_STEPS = 24
"""Steps of one run: three tries of the longest plan; a plan that does not advance is broken off as unknown."""
UNDONE_MAX = 2
"""Card writes in a row that the chip did not commit: more tries would only use up certificates and key pairs."""
REPLACES_BOTH = frozenset({"renew", "resume"})
"""Card writes after which the chip holds new certificates. Continuation and update replace the signature's alone, which
nobody reads without its PIN."""
EMPTY = 0x6B00
"""Reading an empty file."""

A = TypeVar("A", bound=Answer)

CLASS_OF: dict[OperationKind, ServiceClass] = {"setup": "setup"}
"""Everything with a resident waiting is ``delivery``; set-ups yield to them."""


class Progress(Struct, frozen=True, kw_only=True):
    """How far a run is, for the screen."""

    operation_id: str
    stage: Literal["card", "centre", "chip"]
    """Who is being waited for."""
    step: str = ""
    """Name of the plan's step; "" before the plan is known."""
    position: int = 0
    steps: tuple[str, ...] = ()
    exchanges: int = 0
    commands: int = 0
    opened: bool = False
    """The centre has the operation open."""


class Terminal(Node):
    """One terminal with one reader.

    Attributes:
        watch: told of every exchange and chip command of a run; must return at once.
    """

    KIND: ClassVar[str] = "terminal"

    def __init__(
        self, world: World, reader: Reader, communication_server: str, management_key: bytes, trust: CardTrust
    ) -> None:
        """Make a terminal.

        Args:
            world: what every node has.
            reader: where cards are put.
            communication_server: the name of the municipality's CS.
            management_key: card management's public key, SubjectPublicKeyInfo DER: certifies the cards' own keys.
            trust: judges the certificates on chips.
        """
        super().__init__(world)
        self.trust = trust
        self.reader = reader
        self.cs = communication_server
        self.management_key = management_key
        self.watch: Callable[[Progress], None] = lambda _: None
        self.handlers |= {
            ReceiveShipment.NAME: self.receive,
            PerformOperation.NAME: self.perform,
            ChangePin.NAME: self.change_pin,
            GiveUpOperation.NAME: self.abandon,
        }

    async def receive(self, call: Call) -> TerminalReceived:
        """Count a shipment in: every chip of the list answers with its own card id."""
        request = expect(call.request, ReceiveShipment)
        for card_id in request.card_ids:
            async with self.card(card_id) as connection:
                status = await client.read_card_status(connection.transmit)
            if status.card_id != card_id:
                raise AnotherCard(f"{status.card_id} in the place of {card_id}")
        report = CardsReceived(batch_id=request.batch_id, card_ids=request.card_ids)
        received = await self.ask(call, self.cs, report, Received, "receive")
        return TerminalReceived(card_ids=received.card_ids)

    async def perform(self, call: Call) -> Performed:
        """Work on an operation until it is done, or needs the resident, or something breaks."""
        request = expect(call.request, PerformOperation)
        # Every run asks anew under steps of its own: what the chip says has changed since the last one.
        run = Run(self, call, request, self.world.entropy.random_bytes(6).hex())
        run.show("card")
        try:
            async with self.card(request.card_id) as connection:
                return await run.work(connection)
        except (TryAgain, BadCardAnswer) as error:
            self.world.log.info("terminal.broken", operation_id=call.operation_id, code=error.code)
            raise

    async def abandon(self, call: Call) -> Performed:
        """Give an operation up; what its card writes did stays done."""
        request = expect(call.request, GiveUpOperation)
        same = PerformOperation(kind=request.kind, card_id=request.card_id, reset_pins=request.reset_pins)
        run = Run(self, call, same, self.world.entropy.random_bytes(6).hex())
        async with self.card(request.card_id) as connection:
            return await run.give_up(connection)

    async def look(self, card_id: str) -> ChipStatus:
        """What the chip on the reader says of itself: tries left, open windows. ``CardGone`` when it is not there."""
        async with self.card(card_id) as connection:
            return chip_status(await client.read_card_status(connection.transmit))

    async def inquire(self, call: Call, request: Request, answer: type[A]) -> A:
        """Ask the centre something on behalf of a screen; nothing on the chip is concerned."""
        return await self.ask(call, self.cs, request, answer, "screen")

    def parts(self) -> dict[str, Probe]:
        """The path: a CS that does its own work."""
        return super().parts() | {"path": self._probe_path}

    async def _probe_path(self) -> None:
        await self.probe_node(self.cs, "the CS")

    async def change_pin(self, call: Call) -> PinChanged:
        """The holder changes a PIN that is known; nothing leaves the counter."""
        request = expect(call.request, ChangePin)
        async with self.card(request.card_id) as connection:
            try:
                await _change(connection, PIN_PLACES[request.pin], request.old, request.new)
                changed = True
            except CardRefused as error:
                self.world.log.info("terminal.pin_refused", operation_id=call.operation_id, code=error.code)
                changed = False
            left = [await client.tries_left(connection.transmit, *place) for place in PIN_PLACES[request.pin]]
        return PinChanged(changed=changed, tries_left=min(left))

    def card(self, card_id: str) -> AbstractAsyncContextManager[Connection]:
        """The card in the reader; see ``powered``."""
        return powered(self.reader, card_id)


async def _change(connection: Connection, places: Sequence[Place], old: str, new: str) -> None:
    """Change a PIN in each of its places, the last one last: it has the old PIN until the change is whole.

    A change that was broken off between two places is carried to its end by doing it again.

    Raises:
        WrongPin, PinBlocked: the old PIN is wrong; one try is used up.
        CardRefused: the new one has not the form.
    """
    *first, last = places
    if first:
        await client.verify_pin(connection.transmit, *last, old)
    for place in first:
        try:
            await client.change_pin(connection.transmit, *place, old, new)
        except WrongPin:
            await client.verify_pin(connection.transmit, *place, new)  # changed before the break
    await client.change_pin(connection.transmit, *last, old, new)


class Stand(Struct, frozen=True):
    """Where an operation stands: the next step of its plan, the challenge for its channels, the card's state."""

    position: int
    challenge: bytes
    state: CardState


def _stand(confirmed: Confirmed) -> Stand:
    return Stand(confirmed.next_step, confirmed.host_challenge, confirmed.card_state)


class Run:
    """One run of a terminal over an operation: open, then step by step as the centre says, then close."""

    def __init__(self, terminal: Terminal, call: Call, request: PerformOperation, run: str) -> None:
        self.terminal = terminal
        self.call = call
        self.request = request
        self.run = run
        self.exchanges = 0
        self.commands = 0
        self.position = 0
        self.plan: tuple[str, ...] = ()
        self.signature_pin = ""
        self.connection: Connection

    async def work(self, connection: Connection) -> Performed:
        """Do what is left of the operation."""
        plan, stand = await self.opened(connection)
        undone = 0
        for turn in range(MAX_STEPS):
            if stand.position == len(plan):
                if REPLACES_BOTH.intersection(self.plan):
                    await self.judge()
                return await self.close(stand.state)
            step = plan[stand.position]
            self.position = stand.position
            if step.action == "check_pin":
                await self.prove(step)
                stand = msgspec.structs.replace(stand, position=stand.position + 1)
            elif step.action == "set_pins":
                waiting = await self.set_pins(step)
                if waiting:
                    return self.performed("needs_pins", stand.state, waiting)
                stand = msgspec.structs.replace(stand, position=stand.position + 1)
            else:
                confirmed = await self.write(step, stand.challenge, turn, last=stand.position + 1 == len(plan))
                if confirmed.closed:
                    return self.performed("done", confirmed.card_state)
                undone = undone + 1 if confirmed.result == "undone" else 0
                if confirmed.result == "unknown" or undone == UNDONE_MAX:
                    return self.performed("unknown", confirmed.card_state)
                stand = _stand(confirmed)
        return self.performed("unknown", stand.state)

    async def opened(self, connection: Connection) -> tuple[tuple[PlannedStep, ...], "Stand"]:
        """Open the operation or take it up again; what a break left unknown is settled by asking the chip now."""
        self.connection = connection
        request = self.request
        pins = request.reset_pins
        ask = OpenOperation(kind=request.kind, card_id=request.card_id, pins=pins, chip=await self.status())
        opened = await self.tell(ask, Opened, "open")
        self.plan = tuple(step.name for step in opened.plan)
        stand = Stand(opened.next_step, opened.host_challenge, opened.card_state)
        if opened.pending_write:
            stand = _stand(await self.confirm(opened.pending_write, await self.status(), "confirm.pending"))
        return opened.plan, stand

    async def give_up(self, connection: Connection) -> Performed:
        """Settle what is pending, then give the operation up."""
        await self.opened(connection)
        abandon = AbandonOperation(card_id=self.request.card_id, chip=await self.status())
        view = await self.tell(abandon, CardView, "abandon")
        return self.performed("abandoned", view.state)

    async def write(self, step: PlannedStep, challenge: bytes, turn: int, *, last: bool) -> Confirmed:
        """One card write: channel, script, chip, confirmation; the plan's ``last`` one closes the operation with it.

        A card whose certificates are not what they should be is not taken into use, and its operation not closed.
        """
        if step.name == "activate":
            await self.judge()
        request = PrepareWrite(
            card_id=self.request.card_id,
            step_name=step.name,
            chip=await self.status(),
            jpki_update=await self.update(JPKI, challenge) if step.with_jpki else b"",
            issuer_update=await self.update(ISD, challenge),
            host_challenge=challenge,
        )
        script = await self.tell(request, Script, f"write.{step.name}.{turn}")
        chip = await self.run_script(script)
        flaw = None
        if step.name in REPLACES_BOTH and chip is not None and chip.write_id == script.write_id:
            try:
                await self.judge()
            except WarifuError as error:  # the record follows the chip whatever the judgement
                flaw = error
        confirmed = await self.confirm(script.write_id, chip, f"confirm.{step.name}.{turn}", close=last and not flaw)
        if flaw is not None:
            raise flaw
        return confirmed

    async def judge(self) -> None:
        """Judge the certificates that the chip holds: the signature's too when this run knows its PIN.

        Raises:
            VerificationFailed: one of them, and what could not be established of it; told in the log.
        """
        kinds: list[tuple[Kind, int]] = [("authentication", AUTHENTICATION_CERTIFICATE)]
        await client.select_applet(self.transmit, JPKI)
        if self.signature_pin:
            kinds.append(("signature", SIGNATURE_CERTIFICATE))
            await client.verify_pin(self.transmit, JPKI, SIGNATURE_PIN, self.signature_pin)
        world = self.terminal.world
        for kind, file in kinds:
            try:
                certificate = await client.read_ef(self.transmit, None, file)
                self.terminal.trust.judge(certificate, kind, world.clock.now_ms())
            except CardRefused as error:
                if error.status != EMPTY:
                    raise
            except VerificationFailed as error:
                world.log.trouble("chip.certificate", operation_id=self.call.operation_id, kind=kind, code=error.code)
                raise

    async def confirm(self, write_id: str, chip: ChipStatus | None, part: str, *, close: bool = False) -> Confirmed:
        """Tell what the chip says of a card write."""
        confirm = ConfirmWrite(card_id=self.request.card_id, write_id=write_id, chip=chip, close=close)
        return await self.tell(confirm, Confirmed, part)

    async def update(self, aid: bytes, challenge: bytes) -> bytes:
        """Begin a channel in a domain: the chip's answer to INITIALIZE UPDATE."""
        await client.select_applet(self.transmit, aid)
        return await self.transmit(initialize_update(challenge))

    async def run_script(self, script: Script) -> ChipStatus | None:
        """Run a script; what the chip says afterwards, or None when it cannot be asked any more.

        Each domain's channel was begun before the script was asked for, and waits through SELECT.
        """
        try:
            for part in script.parts:
                await client.select_applet(self.transmit, part.aid)
                result = await client.run_script(self.transmit, part.commands)
                if not result.ok:
                    self.terminal.world.log.trouble(
                        "chip.refused",
                        operation_id=self.call.operation_id,
                        write=script.write_id,
                        command=result.failed_at or 0,
                        status=result.status,
                    )
                    break
            return await self.status()
        except CardGone:
            return None

    async def prove(self, step: PlannedStep) -> None:
        """The resident proves a PIN to the chip. A wrong one is the resident's to correct: refused, tries told."""
        for pin in step.pins:
            value = self.request.proof_pins.get(pin)
            if value is None:
                raise PinNeeded(pin)
            aid, reference = PIN_PLACES[pin][0]
            await client.verify_pin(self.transmit, aid, reference, value)

    async def set_pins(self, step: PlannedStep) -> tuple[PinName, ...]:
        """Set the PINs whose windows are open; those the resident has yet to enter are returned."""
        status = await client.read_card_status(self.transmit)
        windows = {(window.aid, window.ref): window for window in status.windows}
        waiting: list[PinName] = []
        card_key: client.CardKey | None = None
        for pin in step.pins:
            mine = [windows[place] for place in PIN_PLACES[pin] if place in windows]
            if not mine:
                continue  # accepted before a break: not asked again
            value = self.request.new_pins.get(pin)
            if value is None:
                waiting.append(pin)
                continue
            card_key = card_key or await client.read_card_key(self.transmit, self.terminal.management_key)
            for window in mine:
                await client.set_pin(self.transmit, card_key, window, value, self.terminal.world.entropy)
            if pin == "signature":
                self.signature_pin = value
        return tuple(waiting)

    async def close(self, state: CardState) -> Performed:
        """Close the operation at the centre."""
        view = await self.tell(
            CloseOperation(card_id=self.request.card_id, chip=await self.status()), CardView, "close"
        )
        self.terminal.world.log.info("terminal.closed", operation_id=self.call.operation_id, before=state)
        return self.performed("done", view.state)

    async def status(self) -> ChipStatus:
        """What the chip says of itself."""
        return chip_status(await client.read_card_status(self.transmit))

    async def transmit(self, command: bytes) -> bytes:
        """One command to the chip, counted."""
        self.commands += 1
        self.show("chip")
        return await self.connection.transmit(command)

    async def tell(self, request: Request, answer: type[A], part: str) -> A:
        """One exchange with the centre, through the CS, in the resident's order."""
        self.exchanges += 1
        self.show("centre")
        envelope = msgspec.structs.replace(
            self.call.envelope,
            service_class=CLASS_OF.get(self.request.kind, "delivery"),
            ordering_key=self.request.card_id,
        )
        call = msgspec.structs.replace(self.call, envelope=envelope)
        return await self.terminal.ask(call, self.terminal.cs, request, answer, f"{self.run}.{part}")

    def show(self, stage: Literal["card", "centre", "chip"]) -> None:
        """Tell the screen how far this run is."""
        self.terminal.watch(
            Progress(
                operation_id=self.call.operation_id,
                stage=stage,
                step=self.plan[self.position] if self.position < len(self.plan) else "",
                position=self.position,
                steps=self.plan,
                exchanges=self.exchanges,
                commands=self.commands,
                opened=bool(self.plan),
            )
        )

    def performed(
        self,
        outcome: Literal["done", "unknown", "needs_pins", "abandoned"],
        state: CardState,
        waiting: tuple[PinName, ...] = (),
    ) -> Performed:
        """The answer to the screen."""
        return Performed(
            outcome=outcome,
            card_state=state,
            waiting_pins=waiting,
            exchanges=self.exchanges,
            chip_commands=self.commands,
        )


class PinNeeded(Refused):
    """The resident has to prove this PIN for the operation."""

    code = "pin.needed"
