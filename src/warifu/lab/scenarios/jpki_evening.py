"""What is known of certificates in the ``jpki`` scenario, and what must be true of the register in the evening."""

import datetime
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from warifu.adapters.shelf import MemoryShelf
from warifu.adapters.store.memory import MemoryStore
from warifu.contract.authority import BatchIssued, BatchOrder, IssueBatch
from warifu.contract.values import CertificateKind
from warifu.domain.certificates.records import Certificate, IssueBlock, PublishedList, Revocation
from warifu.domain.certificates.rules import UNSIGNED
from warifu.domain.verifiers.records import StoredUse
from warifu.lab.scenarios.stock_book import TWICE, found_strange, found_wrong
from warifu.ports.store import Record

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

R = TypeVar("R", bound=Record)
Key = tuple[str, int]
KINDS: tuple[CertificateKind, ...] = ("authentication", "signature")
FIFTEEN = datetime.date(2011, 4, 1)
"""Who was born on this day is fifteen today."""
ANSWERED_REVOKED = "what was revoked is answered revoked"


def due(order: BatchOrder) -> set[str]:
    """What somebody of this age gets: a signature certificate from the day on which he is fifteen years old."""
    return set(KINDS) if order.person.birth_date <= FIFTEEN else {"authentication"}


class JpkiEvening:
    """Who was told what, and what stands."""

    def __init__(self, world: "World", register: MemoryStore, front: MemoryStore) -> None:
        self._world = world
        self._register = register
        self._front = front
        at_first = self._rows(register, Certificate)
        self.revoked: frozenset[Key] = frozenset((row.ca, row.serial) for row in at_first if row.state == "revoked")
        """Acknowledged as revoked, or held."""
        self.begun: frozenset[Key] = self.revoked
        """Whose revocation somebody has asked for."""
        self.for_good: frozenset[Key] = self.revoked
        self.changed: dict[str, int] = {}
        """Residents whose change JPKI has acknowledged, and the version of their record."""
        self.answers = {"status": 0, "list": 0}
        """Verifiers who had one, by what they asked for."""
        self.ended_early: frozenset[Key] = frozenset()
        """Recorded when the end of their card was told."""
        self.telling: dict[str, int] = {}
        """Residents of whose change somebody tells, and the newest version told of; before ``changed``."""
        self.alone: list[BatchOrder] = []
        """Issued beside the batches."""
        self._parts: dict[int, tuple[IssueBatch, BatchIssued]] = {}

    # -- what is known

    def serials(self) -> dict[CertificateKind, list[int]]:
        """Of every certificate that is signed."""
        rows = [row for row in self._rows(self._register, Certificate) if row.state not in {"intent", "abandoned"}]
        return {kind: [row.serial for row in rows if row.ca == kind] for kind in KINDS}

    def of_card(self, card: str) -> frozenset[Key]:
        """Of one card, those that are signed."""
        rows = [row for row in self._rows(self._register, Certificate) if row.card_id == card]
        return frozenset((row.ca, row.serial) for row in rows if row.state not in {"intent", "abandoned"})

    def recorded_of(self, card: str) -> frozenset[Key]:
        """Of one card, those that are to be signed too."""
        rows = [row for row in self._rows(self._register, Certificate) if row.card_id == card]
        return frozenset((row.ca, row.serial) for row in rows)

    def place_of(self, ca: str, serial: int) -> str:
        """The municipality whose list tells of it."""
        rows = self._rows(self._register, Certificate)
        return next(row.municipality for row in rows if (row.ca, row.serial) == (ca, serial))

    def judge(self, ca: str, serial: int, status: str, before: frozenset[Key], who: str) -> None:
        """An answer: ``before`` had been acknowledged as revoked before it was asked for."""
        if (ca, serial) in before and status != "revoked":
            self._bad(ANSWERED_REVOKED, f"{who}: {ca} {serial} is {status}")
        if status == "revoked" and (ca, serial) not in self.begun and not self._ended_by_change(ca, serial):
            self._bad("nothing is revoked that nobody revoked", f"{who}: {ca} {serial}")

    def _ended_by_change(self, ca: str, serial: int) -> bool:
        """A change that the trial tells of ends the signature's of the record before it, and of no other."""
        rows = self._rows(self._register, Certificate)
        mine = [row for row in rows if (row.ca, row.serial) == (ca, serial)]
        return any(row.resident_version < self.telling.get(row.resident_id, 0) for row in mine)

    def logged(self) -> None:
        """Each answer to a verifier stands in the audit trail before it leaves."""
        for what, answers in self.answers.items():
            rows = sum(row.entry.action == f"verifier.{what}" for row in self._front.audit())
            if rows < answers:
                self._bad("every look leaves an audit row", f"{answers} verifiers were told a {what}, {rows} rows")

    def issued(self, part: IssueBatch, answer: BatchIssued) -> None:
        """An answer to a manager: the same for the same part, and its certificates stand."""
        _, first = self._parts.setdefault(part.position, (part, answer))
        if first != answer:
            self._bad("same answer for the same key", f"part {part.position}: {first}, {answer}")
        blocks = [row for row in self._rows(self._register, IssueBlock) if row.batch_id == part.batch_id]
        if [row.state for row in blocks] != ["issued"]:
            self._bad("committed before answered", f"part {part.position} is {[row.state for row in blocks]}")

    # -- the evening

    async def check(self, shelf: MemoryShelf) -> None:
        """Everything."""
        rows = self._rows(self._register, Certificate)
        for part, answer in self._parts.values():
            self._part(part, answer, rows)
        for order in self.alone:
            self._issued_alone(order, rows)
        pairs = Counter(row.key_pair_id for row in rows)
        if max(pairs.values()) > 1:
            self._bad(TWICE, f"key pair of {max(pairs.values())} certificates")
        if wrong := found_wrong(self._register) or found_strange(self._register):
            self._bad(*wrong)
        listed = {(row.ca, row.serial) for row in self._rows(self._register, Revocation)}
        states = {(row.ca, row.serial): row.state for row in rows}
        for key in self.revoked:
            if states[key] != "revoked" or key not in listed:
                self._bad("the lists hold what is revoked", f"{key} is {states[key]}")
        for key in self.ended_early:
            if states[key] not in {"revoked", "abandoned"}:
                self._bad("nothing ended is valid", f"{key} is {states[key]}, and its card had ended")
        await self._lists(shelf)
        self._uses()

    def _part(self, part: IssueBatch, answer: BatchIssued, rows: list[Certificate]) -> None:
        count = 0
        refused = {each.card_id for each in answer.refused}
        for order in part.orders:
            mine = [row for row in rows if row.card_id == order.card_id]
            count += len(mine)
            kinds = Counter(row.ca for row in mine if row.state != "abandoned")
            if max(kinds.values(), default=0) > 1 or any(row.state == "intent" for row in mine):
                self._bad("exactly one effect per request", f"{order.card_id}: {[row.state for row in mine]}")
            version = self.changed.get(order.resident_id, 1)
            unasked = [row for row in mine if row.state == "revoked" and (row.ca, row.serial) not in self.begun]
            if unasked and version == 1:
                self._bad("nothing is revoked that nobody revoked", f"{order.card_id}: {unasked[0].ca}")
            for row in mine:
                if row.state in {"issued", "valid"} and row.ca == "signature" and row.resident_version < version:
                    self._bad("nothing ended is valid", f"{row.ca} {row.serial} is of before a change")
            if order.card_id in answer.finished and any(row.state in UNSIGNED for row in mine):
                self._bad("every card of a batch has its certificates", f"{order.card_id} is said to be finished")
            if order.resident_id not in self.changed and (set(kinds) != due(order) or refused & {order.card_id}):
                self._bad("every card of a batch has its certificates", f"{order.card_id}: {sorted(kinds)}")
        if count != answer.issued:
            self._bad("exactly one effect per request", f"{answer.issued} were said to be issued, {count} are")

    def _issued_alone(self, order: BatchOrder, rows: list[Certificate]) -> None:
        """One of each kind, or one more for each that a change ended; none is of before a change that was told of."""
        mine = [row for row in rows if row.card_id == order.card_id]
        if any(row.state == "intent" for row in mine):
            self._bad("no certificate is left unsigned", f"{order.card_id}: {[row.state for row in mine]}")
        if {row.ca for row in mine} != due(order):
            self._bad("who is fifteen gets both certificates", f"{order.card_id}: {[row.ca for row in mine]}")
        live = [row for row in mine if row.state in {"issued", "valid"}]
        if max(Counter(row.ca for row in live).values(), default=0) > 1:
            self._bad("exactly one effect per request", f"{order.card_id}: {[row.ca for row in live]}")
        for row in live:
            if row.ca == "signature" and row.resident_version < self.changed[order.resident_id]:
                self._bad("nothing ended is valid", f"{row.ca} {row.serial} is of before a change")

    async def _lists(self, shelf: MemoryShelf) -> None:
        """Of each scope the newest edition alone stands."""
        for row in self._rows(self._register, PublishedList):
            names = await shelf.names(row.name.partition("/")[0])
            if row.name not in names:
                self._bad("the newest list stands", f"{row.name} does not")

    def _uses(self) -> None:
        """The day's log of each verifier counts what the audit trail tells."""
        audit = Counter((row.entry.actor, row.entry.action) for row in self._front.audit())
        for use in self._rows(self._front, StoredUse):
            told = audit[f"verifier/{use.verifier_id}", f"verifier.{use.what}"]
            if use.requests != told:
                self._bad("the log of use is the audit trail's", f"{use.verifier_id}: {use.requests}, {told} told")

    @staticmethod
    def _rows(store: MemoryStore, record: type[R]) -> list[R]:
        return [row for row in store.records(record) if isinstance(row, record)]

    def _bad(self, name: str, text: str) -> None:
        self._world.violated(name, text)
