"""A card's life at the counters while everything breaks, and whether chip and record are equal after each operation."""

import contextlib
import datetime
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, get_args

import msgspec
from cryptography import x509

from warifu.adapters.reader.files import FileReader
from warifu.chip import client
from warifu.chip.errors import PinBlocked, WrongPin
from warifu.contract.center import AskCard, CardView
from warifu.contract.registry import Changed, ChangeResident
from warifu.contract.values import CardState, OperationKind, Person, PinName, ResidentEvent
from warifu.demo.asking import Asker
from warifu.demo.counters import Counters, Form
from warifu.demo.errors import Unexpected
from warifu.demo.facts import Chip, Database, read_chip
from warifu.demo.patience import Patience
from warifu.demo.people import PLACES, Holder, moved, new_pins, pin_names
from warifu.domain.applications.records import Application
from warifu.domain.cards.chip_names import PIN_PLACES
from warifu.domain.cards.records import Card, CardWrite, Operation
from warifu.domain.certificates.records import Certificate
from warifu.domain.counter.records import Work
from warifu.domain.counter.rules import OPEN_STATES
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import TryAgain
from warifu.nodes.powered import powered

CHIP_STATE: Final[dict[str, str]] = {
    "received": "made",
    "set_up": "set_up",
    "in_use": "in_use",
    "suspended": "in_use",
    "abolished": "terminated",
}
"""What the chip is when the record is so. A suspension is the record's alone: the card is not there."""
SURNAME: Final = "割符"
SETTLED_S: Final = 30.0
"""How long messages between nodes may be under way after an operation has ended."""
PAUSE_S: Final = 0.2
WRONG: Final[dict[PinName, str]] = {"signature": "WRONG0", "authentication": "0000", "text": "0000", "juki": "0000"}


class BrokenLife:
    """One card, from its set-up to its end.

    Args:
        counters: where it happens.
        outside: everything that is not a counter.
        holder: whose card.
        dice: which life.
    """

    def __init__(self, counters: Counters, outside: "Outside", holder: Holder, dice: random.Random) -> None:
        self.counters = counters
        self.outside = outside
        self.holder = holder
        self.dice = dice
        self.place = holder.municipality

    @property
    def card(self) -> str:
        """Its number."""
        return self.holder.card_id

    async def live(self) -> None:
        """Every operation in turn. ``Unexpected`` at the first that does not end right."""
        await self.operation("setup", "set_up")
        if self.dice.randrange(4) == 0:
            await self.operation("abolition", "abolished")  # the delivery is cancelled
            return
        await self.operation("delivery", "in_use")
        await self._change_pin()
        await self._unblock()
        if self.dice.randrange(2):
            self._revoke_certificates()
        await self.operation("certificate_renewal", "in_use")
        await self._report_loss()
        await self.operation("resumption", "in_use")
        await self._rename()
        await self.operation("update", "in_use")
        await self._move()
        await self.operation("continuation", "in_use")
        if self.dice.randrange(2):
            await self.operation("abolition", "abolished")
        else:
            await self._report_loss()
            await self._end_without_the_card()
        await self._ask_for_another()

    async def operation(self, kind: OperationKind, state: CardState, reset: tuple[PinName, ...] = ()) -> None:
        """One operation, whatever strikes; afterwards the card is so. ``Unexpected`` says what is not right."""
        self.counters.perform(kind, self.place, self.card, self._pins(), reset)
        await self.outside.require_equal(self.holder, state, kind)

    def _pins(self) -> dict[PinName, str]:
        return {pin: self.holder.pins.of(pin) for pin in get_args(PinName)}

    async def _change_pin(self) -> None:
        pin: PinName = self.dice.choice(pin_names(self.holder, self.outside.today))
        self.counters.change_pin(self.place, self.card, pin, self.holder.pins.of(pin), self._fresh(pin))
        await self.outside.require_equal(self.holder, "in_use", f"change of the {pin} PIN")

    def _fresh(self, pin: PinName) -> str:
        fresh = new_pins(self.outside.asker.entropy).of(pin)
        self.holder.pins = msgspec.structs.replace(self.holder.pins, **{pin: fresh})
        return fresh

    async def _unblock(self) -> None:
        """Forgotten until it is blocked, and set anew."""
        pin: PinName = self.dice.choice(pin_names(self.holder, self.outside.today))
        await self.outside.block(self.card, pin)
        self._fresh(pin)
        await self.operation("pin_reset", "in_use", (pin,))

    def _revoke_certificates(self) -> None:
        """On request, both; what follows issues others."""
        form: Form = {"certificate": ("signature", "authentication"), "documents": "seen"}
        path = f"/card/{self.card}/revoke"
        self.counters.until("revocation on request", self.place, path, form, "電子証明書の発行<")

    async def _report_loss(self) -> None:
        path = f"/card/{self.card}/suspend"
        self.counters.until("report of a loss", self.place, path, {}, 'tag">一時停止中')
        await self.outside.require_equal(self.holder, "suspended", "report of a loss")

    async def _rename(self) -> None:
        """A former surname is to stand beside the name."""
        person = msgspec.structs.replace(self.holder.person, former_surname=SURNAME)
        await self.outside.change(self.holder, "name", person)

    async def _move(self) -> None:
        await self.outside.change(self.holder, "move", moved(self.holder))
        self.place = self.holder.municipality = next(place for place in PLACES if place != self.place)

    async def _end_without_the_card(self) -> None:
        """Two people must agree: a clerk asks, a manager approves."""
        self.counters.approved_end(self.place, self.card)
        await self.outside.require_ended(self.holder)

    async def _ask_for_another(self) -> None:
        """A new form; asked again after a break, the same one."""
        form = {"resident_id": self.holder.resident_id, "reason": "lost"}
        for _ in range(2):
            self.counters.until("a new form", self.place, "/papers/application-form", form, "%PDF")
        await self.outside.require_one_form(self.holder)


@dataclass
class Outside:
    """Everything that is not a counter: the register, the records, the chips in residents' own readers.

    Attributes:
        asker: reaches the nodes.
        database: reads records.
        reader: the residents' own.
    """

    asker: Asker
    database: Database
    reader: FileReader

    @property
    def today(self) -> datetime.date:
        """In Japan."""
        return jst_date(self.asker.clock.now_ms())

    async def change(self, holder: Holder, event: ResidentEvent, person: Person) -> None:
        """The register changes, and the centre has heard of it."""
        request = ChangeResident(resident_id=holder.resident_id, event=event, person=person, occurred_on=self.today)
        await self.asker.ask("registry", request, Changed, step=event)
        holder.person = person
        if event == "move":
            await self.asker.patience.until("the centre knows of the move", lambda: self._due(holder))

    async def _due(self, holder: Holder) -> CardView | None:
        view = await self.asker.ask("center", AskCard(card_id=holder.card_id), CardView)
        return view if view.continuation_due is not None else None

    async def block(self, card: str, pin: PinName) -> None:
        """The resident tries until nothing is left."""

        async def attempt() -> None:
            async with powered(self.reader, card) as connection:
                for aid, reference in PIN_PLACES[pin]:
                    while await client.tries_left(connection.transmit, aid, reference):
                        with contextlib.suppress(WrongPin, PinBlocked):
                            await client.verify_pin(connection.transmit, aid, reference, WRONG[pin])

        await self.asker.patience.persist(attempt)

    # ---- what must be so ---------------------------------------------------------------------------------------------

    async def require_equal(self, holder: Holder, state: str, what: str) -> None:
        """Chip and record are equal, once all that is under way has arrived. ``Unexpected`` says what is not."""
        patience = Patience(SETTLED_S)
        deadline = patience.now() + SETTLED_S
        while problems := await self._problems(holder, state):
            if patience.now() > deadline:
                raise Unexpected(f"after {what}: {'; '.join(problems)}")
            await patience.pause(PAUSE_S)

    async def _problems(self, holder: Holder, state: str) -> list[str]:
        (card,) = await self.database.find("center", Card, "card_id", [holder.card_id])
        problems = list(_differ("card's state", card.state, state))
        problems += _differ("open operation", card.open_operation, "")
        problems += _differ("municipality", card.municipality, holder.municipality)
        problems += await self._left_open(holder.card_id)
        if not problems:
            problems += await self._chip_problems(holder, card)
        return problems

    async def _left_open(self, card: str) -> list[str]:
        writes = await self.database.find("center", CardWrite, "card_id", [card])
        opened = await self.database.find("center", Operation, "card_id", [card])
        works = await self.database.find("counter", Work, "card_id", [card])
        return [
            *(f"card write {one.step_name} is {one.state}" for one in writes if one.state == "intent"),
            *(f"operation {one.kind} is open" for one in opened if one.state == "open"),
            *(f"work {one.kind} is {one.state} ({one.trouble})" for one in works if one.state in OPEN_STATES),
        ]

    async def _chip_problems(self, holder: Holder, card: Card) -> list[str]:
        used = card.state == "in_use"
        pins, may_sign = holder.pins if used else None, holder.may_sign(self.today)
        try:
            chip = await read_chip(self.reader, holder.card_id, pins, may_sign=may_sign)
        except TryAgain as error:
            return [f"the chip cannot be read: {error.code}"]
        if isinstance(chip, str):
            return [f"the chip refuses: {chip}"]
        problems = list(_differ("chip's life", chip.life, CHIP_STATE[card.state]))
        problems += _differ("chip's last write", chip.write_id, card.write_id)
        problems += _differ("staged write", chip.staged, expected=False)
        if used and chip.text is not None:
            problems += _differ("address on the chip", chip.text.address, holder.person.address)
            problems += _differ("municipality on the chip", chip.municipality, card.municipality[:5])
            problems += await self._certificate_problems(chip)
        return problems

    async def _certificate_problems(self, chip: Chip) -> list[str]:
        """What the chip holds is what JPKI says is valid, and nothing else is."""
        known = await self.database.find("authority", Certificate, "card_id", [chip.card_id])
        valid = {one.ca: one.serial for one in known if one.state == "valid"}
        held = {kind: x509.load_der_x509_certificate(der).serial_number for kind, der in chip.certificates.items()}
        return list(_differ("valid certificates", valid, held))

    async def require_ended(self, holder: Holder) -> None:
        """The record has ended, and JPKI has revoked what is on the chip that is not there."""

        async def look() -> bool | None:
            (card,) = await self.database.find("center", Card, "card_id", [holder.card_id])
            known = await self.database.find("authority", Certificate, "card_id", [holder.card_id])
            return (card.state == "abolished" and not any(one.state == "valid" for one in known)) or None

        await Patience(SETTLED_S).until("the card's end", look)

    async def require_one_form(self, holder: Holder) -> None:
        """However often a form was asked for, the resident has one that counts beside the one that was used."""
        found = await self.database.find("intake", Application, "resident_id", [holder.resident_id])
        states = sorted(one.state for one in found)
        if len(found) > 2:  # noqa: PLR2004 - the first card's and the new one
            raise Unexpected(f"after a new form: applications {states}")


def _differ(what: str, found: object, expected: object) -> Iterator[str]:
    if found != expected:
        yield f"{what} is {found!r}, not {expected!r}"
