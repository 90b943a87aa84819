"""What must be true when every card lies at its counter: register, numbers, applications, cards, certificates fit."""

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct

from warifu.contract.values import ResidentEvent
from warifu.domain.applications.records import Application, NotificationCard
from warifu.domain.cards.records import Card
from warifu.domain.certificates.records import Certificate, KnownResident
from warifu.domain.pki.revocation import consequence
from warifu.domain.production.records import Batch, ProducedCard
from warifu.domain.residents.records import AssignedNumber, Resident
from warifu.lab.scenarios.counter_evening import LIVE, Evening
from warifu.lab.scenarios.nation import Nation
from warifu.ports.store import Record

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

R = TypeVar("R", bound=Record)
KINDS = ("signature", "authentication")


class Told(Struct, frozen=True):
    """A change of a resident's record that the registry took, and the version it made."""

    resident_id: str
    event: ResidentEvent
    version: int


class FactoryEvening:
    """Compares what is durable. Knows which changes the registry took."""

    def __init__(self, world: "World", nation: Nation, evening: Evening) -> None:
        self._world = world
        self._nation = nation
        self._evening = evening
        self.told: list[Told] = []

    def check(self, newcomers: list[str]) -> None:
        """Everything. What is true of any evening too."""
        for told in self.told:
            for kind in consequence(told.event).kinds:
                self._evening.revoked.add((told.resident_id, kind))
        for resident in newcomers:
            self._newcomer(resident)
        self._once("a number is given once", "numbering", AssignedNumber)
        self._once("a resident is notified once", "intake", NotificationCard)
        self._shipments()
        for row in self._rows("registry", Resident):
            self._followed(row)
        for told in self.told:
            self._done(told)
        self._evening.check()

    def _newcomer(self, resident: str) -> None:
        """One application accepted, one card for it, made and counted in; certificates on it."""
        applications = [row for row in self._rows("intake", Application) if row.resident_id == resident]
        if [row.state for row in applications] != ["accepted"]:
            self._bad("an application that is right is accepted", f"{[row.state for row in applications]}")
        cards = [card for card in self.cards() if card.resident_id == resident]
        if len(cards) != 1 or cards[0].application_id != applications[0].application_id:
            self._bad("one card for an application", f"{resident} has {len(cards)}")
        card = cards[0]
        if card.state != "received":
            self._bad("every card arrives", f"{card.card_id} is {card.state}")
        kinds = Counter(row.ca for row in self._rows("authority", Certificate) if row.card_id == card.card_id)
        if set(kinds) != set(KINDS):
            self._bad("delivered certificates are valid", f"{card.card_id} was made with {sorted(kinds)}")
        for row in self._rows("authority", Certificate):
            ended = (resident, row.ca) in self._evening.revoked
            if row.card_id == card.card_id and row.state == "revoked" and not self._untrue(row):
                self._bad("nothing is revoked that nobody revoked", f"{row.ca} {row.serial} says what is so")
            if row.card_id == card.card_id and row.state not in {"issued", "abandoned"} and not ended:
                self._bad("nobody uses a card before it is handed over", f"{row.ca} {row.serial} is {row.state}")

    def _untrue(self, row: Certificate) -> bool:
        """Whether a change was told of that the certificate does not hold."""
        changes = [told for told in self.told if told.resident_id == row.resident_id]
        return any(row.ca in consequence(told.event).kinds and row.resident_version < told.version for told in changes)

    def _once(self, name: str, kind: str, record: type[AssignedNumber] | type[NotificationCard]) -> None:
        counts = Counter(row.resident_id for row in self._rows(kind, record))
        residents = {row.resident_id for row in self._rows("registry", Resident)}
        wrong = [resident for resident in sorted(residents) if counts[resident] != 1]
        if wrong:
            self._bad(name, f"{wrong[0]} {counts[wrong[0]]} times")

    def _shipments(self) -> None:
        """Each card made was shipped in one batch, and the centre knows in which."""
        boxes = Counter(card for batch in self._rows("issuance", Batch) for card in batch.card_ids)
        at_centre = {card.card_id: card for card in self.cards()}
        for made in self._rows("issuance", ProducedCard):
            card = at_centre[made.card_id]
            if made.state != "shipped" or boxes[made.card_id] != 1 or card.batch_id != made.batch_id:
                text = f"{made.card_id} {made.state}, in {boxes[made.card_id]} boxes"
                self._bad("a card is shipped once", text)

    def check_known(self) -> None:
        """At any instant a card is made only once the centre knows of it, and counted in once its chip was read."""
        made = {row.card_id for row in self._rows("issuance", ProducedCard) if row.state != "untold"}
        unheard = [card.card_id for card in self.cards() if card.state == "ordered" and card.card_id in made]
        if unheard:
            self._bad("told before it is taken for told", f"the centre never heard that {unheard[0]} is made")
        unseen = made - self._nation.cards.on_counter
        for card in self.cards():
            if card.state == "received" and card.card_id in unseen and card.resident_id not in self._before:
                self._bad("what is counted in was in somebody's hands", f"no terminal ever asked {card.card_id}'s chip")

    def _followed(self, resident: Resident) -> None:
        """JPKI knows of the newest change; nothing certified is of before a change that ends it."""
        changes = [told for told in self.told if told.resident_id == resident.resident_id]
        known = [row for row in self._rows("authority", KnownResident) if row.resident_id == resident.resident_id]
        for told in changes:
            if not known or known[0].resident_version < told.version:
                self._bad("every change is followed", f"JPKI does not know of {told.event} of {told.resident_id}")
            if known and told.event == "death" and known[0].registered:
                self._bad("every change is followed", f"JPKI does not know of the death of {told.resident_id}")
        for row in self._rows("authority", Certificate):
            if row.resident_id != resident.resident_id or row.state not in LIVE:
                continue
            for told in changes:
                if row.ca in consequence(told.event).kinds and row.resident_version < told.version:
                    self._bad("nothing ended is valid", f"{row.ca} {row.serial} after {told.event}")

    def _done(self, told: Told) -> None:
        """The centre drew its consequence."""
        card = next((row for row in self.cards() if row.resident_id == told.resident_id), None)
        later = [other for other in self.told if other.resident_id == told.resident_id and other.version > told.version]
        if card is None or later:
            return
        if told.event == "death" and card.state != "abolished":
            self._bad("every change is followed", f"{card.card_id} of a dead holder is {card.state}")
        if told.event == "move" and told.resident_id in self._before and card.continuation_municipality == "":
            self._bad("every change is followed", f"{card.card_id} of one who moved waits for no continued use")

    @property
    def _before(self) -> set[str]:
        """Those who had their card before the run: a move may come before a newcomer's card is ordered."""
        return {holder.resident_id for holder in self._evening.holders}

    def cards(self) -> list[Card]:
        """The centre's records."""
        return self._rows("center", Card)

    def state(self) -> object:
        """Records as a value that tells them apart."""
        made = tuple((row.card_id, row.state) for row in self._rows("issuance", ProducedCard))
        applications = tuple(row.state for row in self._rows("intake", Application))
        versions = tuple(row.version for row in self._rows("registry", Resident))
        return self._evening.state(), made, applications, versions

    def _rows(self, kind: str, record: type[R]) -> list[R]:
        return [row for row in self._nation.stores[kind].records(record) if isinstance(row, record)]

    def _bad(self, name: str, text: str) -> None:
        self._world.violated(name, text)
