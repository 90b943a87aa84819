"""A card from its set-up on: delivery, use, a move, a loss and its end, a blocked PIN, abolition."""

import datetime
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import msgspec

from warifu.chip import client
from warifu.chip.errors import CardRefused, PinBlocked, WrongPin
from warifu.contract.center import AskCard, CardView, SuspendCard
from warifu.contract.registry import Changed, ChangeResident
from warifu.contract.terminal import Performed, PerformOperation
from warifu.contract.values import CardState, CertificateKind, OperationKind, PinName
from warifu.demo import card_reading
from warifu.demo.asking import Asker
from warifu.demo.errors import Unexpected
from warifu.demo.people import Holder, moved, other_pin, pin_names
from warifu.demo.relying import OnCard, RelyingParty
from warifu.demo.tally import Tally
from warifu.kernel.calendar import date_text
from warifu.kernel.check_digits import require_individual_number
from warifu.kernel.errors import Malformed
from warifu.nodes.powered import powered
from warifu.ports.reader import Connection, Reader

CHALLENGE_BYTES: Final = 32
TRIES: Final = 4
"""More than a four-digit PIN has."""
CONDITIONS: Final = 0x6985
DOCUMENT: Final = "割符 demonstration document".encode()

T = TypeVar("T")


class Life:
    """What residents do with their cards.

    Args:
        asker: reaches the nodes.
        reader: a reader at home.
        relying: who verifies what the card signs.
        tally: counts steps.
        today: for ages.
    """

    def __init__(self, asker: Asker, reader: Reader, relying: RelyingParty, tally: Tally, today: datetime.date) -> None:
        self._asker = asker
        self._reader = reader
        self._relying = relying
        self._tally = tally
        self._today = today

    async def live(self, holder: Holder) -> None:
        """Everything that happens to this holder's card. ``StepFailed`` when one step fails."""
        steps: list[tuple[str, Callable[[Holder], Awaitable[None]]]] = [
            ("setup", self.set_up),
            ("delivery", self.deliver),
            ("read", self.read),
            ("authenticate", self.authenticate),
        ]
        if holder.may_sign(self._today):
            steps.append(("sign", self.sign))
        if "move" in holder.events:
            steps += [("move", self.move), ("continuation", self.continue_use)]
        if "suspend" in holder.events:
            steps += [("suspend", self.suspend), ("resume", self.resume)]
        if "lock" in holder.events:
            steps += [("lock", self.lock), ("pin_reset", self.reset_pin)]
        if "abolish" in holder.events:
            steps.append(("abolish", self.abolish))
        for name, work in steps:
            with self._tally.step(name, holder.resident_id):
                await work(holder)

    # ---- the counter -------------------------------------------------------------------------------------------

    async def set_up(self, holder: Holder) -> None:
        """Pre-delivery setup."""
        await self._perform(holder, "setup", "set_up")

    async def deliver(self, holder: Holder) -> None:
        """Delivery: the resident enters the PINs."""
        names: tuple[PinName, ...] = tuple(pin_names(holder, self._today))
        request = PerformOperation(
            kind="delivery", card_id=holder.card_id, new_pins={name: holder.pins.of(name) for name in names}
        )
        await self._perform(holder, "delivery", "in_use", request)

    async def _perform(
        self, holder: Holder, kind: OperationKind, state: CardState, request: PerformOperation | None = None
    ) -> Performed:
        request = request or PerformOperation(kind=kind, card_id=holder.card_id)
        performed = await self._asker.perform(f"terminal-{holder.municipality}", request)
        holder.operations.append(kind)
        if performed.card_state != state:
            raise Unexpected(f"the card is {performed.card_state} after {kind}, not {state}")
        return performed

    # ---- at home -----------------------------------------------------------------------------------------------

    async def read(self, holder: Holder) -> None:
        """Read the card: the text applet with its PIN, the common record freely."""
        text = await self._at_reader(holder, lambda card: card_reading.read_text(card, holder.pins.text))
        try:
            require_individual_number(text.number)
        except Malformed as error:
            raise Unexpected("the number on the chip has a wrong check digit") from error
        holder.number = text.number
        person = holder.person
        if (text.name, text.address, text.birth) != (person.name, person.address, date_text(person.birth_date)):
            raise Unexpected("the text applet does not show the holder's particulars")
        common = await self._at_reader(holder, card_reading.read_common)
        if (common.card_id, common.municipality) != (holder.card_id, person.municipality[:5]):
            raise Unexpected("the common record names another card or municipality")

    async def authenticate(self, holder: Holder) -> None:
        """User authentication: a challenge, signed on the chip, its certificate checked on line."""
        certificate = await self._signed(holder, "authentication", self._asker.entropy.random_bytes(CHALLENGE_BYTES))
        reason = await self._asker.patience.persist(lambda: self._relying.by_ocsp(certificate))
        if reason is not None:
            raise Unexpected(f"OCSP says that the certificate in use is revoked: {reason}")

    async def sign(self, holder: Holder) -> None:
        """Sign a document, and verify it like whoever receives it: path, signature, lists."""
        certificate = await self._signed(holder, "signature", DOCUMENT)
        await self._asker.patience.persist(lambda: self._relying.require_good(certificate))

    async def _signed(self, holder: Holder, kind: CertificateKind, message: bytes) -> OnCard:
        """Sign on the chip and verify; the certificate is remembered as the holder's present one."""
        pin = holder.pins.of(kind)
        der, signature = await self._at_reader(holder, lambda card: card_reading.sign(card, kind, pin, message))
        place = holder.municipality
        known = holder.certificates.get(kind)
        certificate = known if known and known.der == der else OnCard(kind, der, place)
        self._relying.verify(certificate, message, signature)
        holder.certificates[kind] = certificate
        return certificate

    async def _at_reader(self, holder: Holder, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Work on the card; waited for while a terminal still has it."""

        async def attempt() -> T:
            async with powered(self._reader, holder.card_id) as connection:
                return await work(connection)

        return await self._asker.patience.persist(attempt)

    # ---- a move ------------------------------------------------------------------------------------------------

    async def move(self, holder: Holder) -> None:
        """The resident moves: the signature certificate is revoked at once, the other one stands."""
        person = moved(holder)
        request = ChangeResident(resident_id=holder.resident_id, event="move", person=person, occurred_on=self._today)
        await self._asker.ask("registry", request, Changed, step="move")
        holder.person = person
        await self._until_revoked(holder, "signature", "affiliation_changed")
        await self._asker.patience.persist(lambda: self._relying.require_good(holder.certificates["authentication"]))
        await self._asker.patience.until("the centre knows of the move", lambda: self._due(holder))

    async def _due(self, holder: Holder) -> CardView | None:
        view = await self._asker.ask("center", AskCard(card_id=holder.card_id), CardView)
        return view if view.continuation_due is not None else None

    async def _until_revoked(self, holder: Holder, kind: CertificateKind, reason: str) -> None:
        """OCSP says so once the authority has heard of the event; from that instant on, both lists do too."""
        certificate = holder.certificates.get(kind)
        if certificate is None:
            return  # a holder under 15 has no signature certificate

        async def look() -> str | None:
            return await self._asker.patience.persist(lambda: self._relying.by_ocsp(certificate))

        await self._asker.patience.until(f"the {kind} certificate is revoked", look)
        await self._asker.patience.persist(lambda: self._relying.require_revoked(certificate, reason))

    async def continue_use(self, holder: Holder) -> None:
        """Continued use at the new municipality: new particulars on the chip, a new signature certificate."""
        holder.municipality = holder.person.municipality
        request = PerformOperation(kind="continuation", card_id=holder.card_id, proof_pins={"juki": holder.pins.juki})
        await self._perform(holder, "continuation", "in_use", request)
        await self.read(holder)
        await self._use_again(holder, renewed=frozenset({"signature"}))

    async def _use_again(self, holder: Holder, renewed: frozenset[str]) -> None:
        """Both keys serve; those renewed have another certificate than before."""
        before = dict(holder.certificates)
        await self.authenticate(holder)
        if holder.may_sign(self._today):
            await self.sign(holder)
        for kind, old in before.items():
            if (holder.certificates[kind].der != old.der) != (kind in renewed):
                raise Unexpected(f"the {kind} certificate {'is still the old one' if kind in renewed else 'changed'}")

    # ---- a loss ------------------------------------------------------------------------------------------------

    async def suspend(self, holder: Holder) -> None:
        """The holder reports a loss: both certificates are held."""
        view = await self._asker.ask("center", SuspendCard(card_id=holder.card_id), CardView, step="suspend")
        if view.state != "suspended":
            raise Unexpected(f"the card is {view.state} after its suspension")
        for kind in ("authentication", "signature"):
            await self._until_revoked(holder, kind, "certificate_hold")

    async def resume(self, holder: Holder) -> None:
        """Found again: at the counter, with new certificates; those that are held stay held."""
        held = tuple(holder.certificates.values())
        request = PerformOperation(kind="resumption", card_id=holder.card_id, proof_pins={"juki": holder.pins.juki})
        await self._perform(holder, "resumption", "in_use", request)
        await self._use_again(holder, renewed=frozenset({"authentication", "signature"}))
        for certificate in held:
            await self._require_held(certificate)

    async def _require_held(self, certificate: OnCard) -> None:
        await self._asker.patience.persist(lambda: self._relying.require_revoked(certificate, "certificate_hold"))

    # ---- a forgotten PIN ---------------------------------------------------------------------------------------

    async def lock(self, holder: Holder) -> None:
        """Wrong PINs until the chip blocks."""
        await self._at_reader(holder, lambda card: _block(card, other_pin(holder.pins.authentication)))

    async def reset_pin(self, holder: Holder) -> None:
        """A new PIN at the counter; the old one is wrong now."""
        fresh = other_pin(other_pin(holder.pins.authentication))
        request = PerformOperation(
            kind="pin_reset",
            card_id=holder.card_id,
            reset_pins=("authentication",),
            new_pins={"authentication": fresh},
        )
        await self._perform(holder, "pin_reset", "in_use", request)
        holder.pins = msgspec.structs.replace(holder.pins, authentication=fresh)
        await self.authenticate(holder)

    # ---- the end -----------------------------------------------------------------------------------------------

    async def abolish(self, holder: Holder) -> None:
        """The card ends: certificates revoked, keys unusable."""
        await self._perform(holder, "abolition", "abolished")
        holder.abolished = True
        for kind in ("authentication", "signature"):
            await self._until_revoked(holder, kind, "cessation_of_operation")
        await self._at_reader(holder, lambda card: _require_dead(card, holder.pins.authentication))


async def _block(card: Connection, wrong: str) -> None:
    for _ in range(TRIES):
        try:
            await card_reading.present_pin(card, "authentication", wrong)
        except WrongPin:
            continue
        except PinBlocked:
            return
        raise Unexpected("the chip takes a wrong PIN")
    raise Unexpected("the PIN is not blocked after its last try")


async def _require_dead(card: Connection, pin: str) -> None:
    """Neither a PIN nor a key serves on a terminated card."""
    try:
        await card_reading.present_pin(card, "authentication", pin)
    except CardRefused as refused:
        _require_conditions(refused)
    else:
        raise Unexpected("an abolished card takes a PIN")
    try:
        await client.sign_digest(card.transmit, "authentication", card_reading.DIGEST_INFO + bytes(32))
    except CardRefused as refused:
        _require_conditions(refused)
    else:
        raise Unexpected("an abolished card signs")


def _require_conditions(refused: CardRefused) -> None:
    if refused.status != CONDITIONS:
        raise Unexpected(f"an abolished card answers {refused.status:04X}, not {CONDITIONS:04X}")
