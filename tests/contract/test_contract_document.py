"""``docs/contract.md`` says what the code says: nothing is missing there, and nothing there is unknown."""

import importlib
import pkgutil
import re
from pathlib import Path
from typing import get_args

import pytest

import warifu
from warifu.contract.callers import CALLERS
from warifu.contract.codec import REQUESTS
from warifu.contract.envelope import Envelope, ServiceClass
from warifu.contract.values import CardState, CertificateEvent, CertificateState
from warifu.domain.cards import plans
from warifu.domain.counter import records as counter
from warifu.domain.pki.revocation import consequence
from warifu.kernel.errors import Fault, Refused, TryAgain, WarifuError
from warifu.lab.history import Event, EventKind
from warifu.nodes import center, front, intake, issuance, numbering, registry
from warifu.nodes.authority import node as authority
from warifu.ports.store import Record

for module in pkgutil.walk_packages(warifu.__path__, "warifu."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)

DOCUMENT = (Path(__file__).parents[2] / "docs" / "contract.md").read_text("utf-8")
SCHEMAS: dict[str, tuple[type[Record], ...]] = {
    "registry": registry.RECORDS,
    "numbering": numbering.RECORDS,
    "intake": intake.RECORDS,
    "center": center.RECORDS,
    "authority": authority.RECORDS,
    "issuance": issuance.RECORDS,
    "counter": counter.RECORDS,
    "front": front.RECORDS,
}
PORTS = r'"((?:net|http|web)\.[a-z_]+)"'
ACTIONS = {"write": "write", "enter": "set_pins", "prove": "check_pin"}


def rows(*header: str) -> list[list[str]]:
    """The rows of every table whose header begins so; ticks are taken off."""
    found: list[list[str]] = []
    inside = False
    for line in DOCUMENT.splitlines():
        cells = [cell.strip().replace("`", "") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not line.startswith("|"):
            inside = False
        elif cells[: len(header)] == list(header):
            inside = True
        elif inside and not set(cells[0]) <= {"-"}:
            found.append(cells)
    assert found, header
    return found


def listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def test_messages() -> None:
    table = rows("message", "who asks", "answer")
    assert sorted(row[0] for row in table) == sorted(REQUESTS)
    for name, callers, answer, effect, _ in table:
        assert listed(callers) == sorted(CALLERS[name]), name
        assert answer == REQUESTS[name].ANSWER.__name__, name
        assert not REQUESTS[name].CHANGES or not effect.startswith("none") or name == "center.personalise", name


def test_fields_of_the_envelope() -> None:
    assert [row[0] for row in rows("field of the envelope")] == list(Envelope.__struct_fields__)


def test_error_codes() -> None:
    """A new error: add its row to section 3."""
    branches: dict[str, str] = {}
    waiting: list[type[WarifuError]] = [WarifuError]
    while waiting:
        kind = waiting.pop()
        if not kind.__module__.startswith("warifu."):
            continue
        pairs = ((Refused, "refused"), (TryAgain, "try again"), (Fault, "fault"))
        branches[kind.code] = next((name for branch, name in pairs if issubclass(kind, branch)), "–")
        waiting.extend(kind.__subclasses__())
    assert {row[0]: row[1] for row in rows("code", "branch")} == branches


def test_codes_stand_once() -> None:
    codes = [row[0] for row in rows("code", "branch")]
    assert len(codes) == len(set(codes))


def test_tables() -> None:
    expected = {
        (schema, record.TABLE, ", ".join(record.KEY), "; ".join(", ".join(each) for each in record.UNIQUE) or "–")
        for schema, records in SCHEMAS.items()
        for record in records
    }
    assert {(row[0], row[1], row[2], row[3]) for row in rows("schema", "table")} == expected


def test_states_of_a_card() -> None:
    assert [row[0] for row in rows("record", "chip")] == list(get_args(CardState))


def test_states_of_a_certificate() -> None:
    section = DOCUMENT.split("## 5. Certificates")[1].split("|")[0]
    assert set(re.findall(r"`([a-z]+)`", section)) - {"intent", "abandoned"} == set(get_args(CertificateState))


@pytest.mark.parametrize("event", get_args(CertificateEvent))
def test_what_an_event_revokes(event: CertificateEvent) -> None:
    (row,) = [row for row in rows("event", "revokes") if row[0] == event]
    assert (listed(row[1]), row[2]) == (sorted(consequence(event).kinds), consequence(event).reason)


def test_no_event_is_unknown() -> None:
    assert [row[0] for row in rows("event", "revokes")] == list(get_args(CertificateEvent))


def test_plans() -> None:
    table = rows("operation", "starts in")
    assert [row[0] for row in table] == list(plans.STATES)
    for kind, states, _, plan in table:
        assert listed(states) == sorted(plans.STATES[kind])  # type: ignore[index]
        steps = [step.split() for step in plan.split(" → ")]
        expected = plans.plan(kind, plans.ALL_PINS)  # type: ignore[arg-type]
        assert [(ACTIONS[action], name) for action, name in steps] == [(step.action, step.name) for step in expected]


def test_card_writes() -> None:
    expected = {
        step: (purpose, plans.STATE_AFTER.get(step, "unchanged"), plans.CHIP_STATE_AFTER.get(step, "unchanged"))
        for step, purpose in plans.JPKI_PURPOSES.items()
    }
    assert {row[0]: tuple(row[1:]) for row in rows("card write", "JPKI's part")} == expected


def test_service_classes() -> None:
    assert [row[0] for row in rows("class", "who")] == list(get_args(ServiceClass))


def test_history() -> None:
    """A new kind of event or field: add it to section 9."""
    fields = [name for row in rows("field", "what") for name in listed(row[0])]
    assert sorted(fields) == sorted(Event.__struct_fields__)
    kinds = [name for row in rows("kind", "what") for name in listed(row[0])]
    assert sorted(kinds) == sorted(get_args(EventKind))


def test_every_code_named_in_the_text_is_known() -> None:
    """Words of the form ``room.word`` in the prose are messages, codes, log records or modules."""
    codes = {row[0] for row in rows("code", "branch")}
    codes |= {event for row in rows("event", "level") for event in listed(row[0])}
    for word in set(re.findall(r"`([a-z_]+\.[a-z_]+)`", DOCUMENT)):
        assert word in REQUESTS or word in codes or word.startswith("warifu."), word


def test_log_records_of_the_ports() -> None:
    """A new record: add it to section 10."""
    sources = (Path(warifu.__path__[0]) / "adapters" / "net").glob("*.py")
    written = {event for source in sources for event in re.findall(PORTS, source.read_text("utf-8"))}
    assert {event for row in rows("event", "level", "fields") for event in listed(row[0])} == written
