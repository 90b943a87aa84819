"""Records, chips and requests of one card, with what a test needs changed."""

import datetime
from typing import Any, TypeVar

import msgspec

from warifu.contract.center import ConfirmWrite, OpenOperation, PrepareWrite
from warifu.contract.values import ChipStatus, OperationKind, Person, PinName
from warifu.domain.cards.operations import State
from warifu.domain.cards.records import Card, CardWrite, Operation
from warifu.domain.decision import Asked, Decision
from warifu.ports.store import Insert, Record, Update

R = TypeVar("R", bound=Record)

HERE, THERE, ELSEWHERE = "131016", "132217", "011002"
CARD = "WRF000000000001"
OPERATION = "01JZZZZZZZZZZZZZZZZZZZZZZZ"
BEFORE, WRITE, OTHER = "0" * 25 + "1", "0" * 25 + "2", "0" * 25 + "3"
"""Card writes: the last one the record knows, the one under way, one nobody knows."""
DIGEST = b"\x01" * 32
NOON_MS = 1_775_012_400_000
TODAY = datetime.date(2026, 4, 1)
ASKED = Asked(operation_id=OPERATION, step="s", actor="relay-1/clerk", now_ms=NOON_MS, municipality=HERE)
PERSON = Person(
    name="割符　花子", birth_date=datetime.date(1980, 2, 17), sex="female", address="東京都千代田区", municipality=HERE
)
CHALLENGE = b"12345678"
ALL_PINS: tuple[PinName, ...] = ("signature", "authentication", "text", "juki")


def at(municipality: str = HERE, *, day: datetime.date = TODAY) -> Asked:
    now_ms = NOON_MS + (day - TODAY).days * 86_400_000
    return msgspec.structs.replace(ASKED, municipality=municipality, now_ms=now_ms)


def card(**changes: Any) -> Card:
    plain = Card(
        version=3,
        card_id=CARD,
        application_id="1" * 23,
        resident_id="0" * 26,
        live_resident_id="0" * 26,
        municipality=HERE,
        state="set_up",
        wants_signature=True,
        wants_authentication=True,
        has_signature=True,
        has_authentication=True,
        issued_on=TODAY,
        expires_on=datetime.date(2036, 2, 17),
        write_id=BEFORE,
        changed_ms=1,
    )
    return msgspec.structs.replace(plain, **changes)


def moved(**changes: Any) -> Card:
    due = TODAY + datetime.timedelta(days=90)
    return card(**{"state": "in_use", "continuation_municipality": THERE, "continuation_due": due, **changes})


def operation(kind: OperationKind = "delivery", **changes: Any) -> Operation:
    plain = Operation(
        version=1,
        operation_id=OPERATION,
        card_id=CARD,
        kind=kind,
        municipality=HERE,
        pins=ALL_PINS,
        state="open",
        host_challenge=CHALLENGE,
        opened_ms=1,
        changed_ms=1,
    )
    return msgspec.structs.replace(plain, **changes)


def write(step: str = "open_windows", **changes: Any) -> CardWrite:
    plain = CardWrite(
        version=1,
        write_id=WRITE,
        card_id=CARD,
        operation_id=OPERATION,
        step_name=step,
        with_jpki=True,
        digest=DIGEST,
        state="intent",
        changed_ms=1,
    )
    return msgspec.structs.replace(plain, **changes)


def chip(write_id: str | None = BEFORE, digest: bytes = DIGEST, **changes: Any) -> ChipStatus:
    plain = ChipStatus(card_id=CARD, life_state="set_up", write_id=write_id, write_digest=digest)
    return msgspec.structs.replace(plain, **changes)


def pending(kind: OperationKind = "delivery", step: str = "open_windows", of: Card | None = None, **more: Any) -> State:
    """An operation whose card write has gone out and of whose end nothing is known."""
    mine = operation(kind, pending_write=WRITE, **more)
    return State(of or card(open_operation=OPERATION), mine, write(step))


def opening(kind: OperationKind = "delivery", **changes: Any) -> OpenOperation:
    return msgspec.structs.replace(OpenOperation(kind=kind, card_id=CARD, chip=chip()), **changes)


def preparing(step: str, **changes: Any) -> PrepareWrite:
    plain = PrepareWrite(card_id=CARD, step_name=step, chip=chip(), issuer_update=b"")
    return msgspec.structs.replace(plain, **changes)


def confirming(status: ChipStatus | None) -> ConfirmWrite:
    return ConfirmWrite(card_id=CARD, write_id=WRITE, chip=status)


def written(decision: Decision, kind: type[R]) -> R:
    """The one record of a kind that a decision writes."""
    found = [
        each.record for each in decision.writes if isinstance(each, Insert | Update) and isinstance(each.record, kind)
    ]
    assert len(found) == 1, found
    return found[0]


def told(decision: Decision) -> list[str]:
    return [message.name for message in decision.outbox]
