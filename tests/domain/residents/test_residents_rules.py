"""The register: entered once, changed only in what a change is about, told to those concerned in order."""

import datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warifu.contract.registry import ChangeResident, Register, SearchResidents
from warifu.contract.values import Person, ResidentEvent
from warifu.domain.decision import Asked
from warifu.domain.residents import rules
from warifu.domain.residents.records import Resident
from warifu.domain.residents.rules import FIELDS_OF_EVENT, AlreadyRegistered, NothingAsked, WrongChange
from warifu.kernel.errors import NotAllowed, NotFound
from warifu.ports.store import Insert, Update
from warifu.synthetic.residents import residents

TODAY = datetime.date(2026, 4, 1)
RESIDENT = "0" * 26
ASKED = Asked(operation_id="1" * 26, step="s", actor="driver/clerk", now_ms=1_775_012_400_000)
PERSON = Person(
    name="割符　花子",
    kana="ワリフ　ハナコ",
    birth_date=datetime.date(1980, 2, 17),
    sex="female",
    address="東京都千代田区丸の内１－２",
    municipality="131016",
)
OTHER = {
    "name": "甲乙　花子",
    "kana": "コウオツ　ハナコ",
    "former_surname": "割符",
    "birth_date": datetime.date(1980, 2, 18),
    "sex": "male",
    "address": "東京都清瀬市中里５－８４２",
    "municipality": "132217",
    "stay_until": datetime.date(2030, 1, 1),
}
EVENTS: tuple[ResidentEvent, ...] = tuple(FIELDS_OF_EVENT)


def entered(person: Person = PERSON) -> Resident:
    decision = rules.register(None, Register(resident_id=RESIDENT, person=person), "1" * 11, ASKED)
    (insert,) = decision.writes
    assert isinstance(insert, Insert)
    assert isinstance(insert.record, Resident)
    return msgspec.structs.replace(insert.record, version=1)


def request(event: ResidentEvent, *fields: str) -> ChangeResident:
    person = msgspec.structs.replace(PERSON, **{name: OTHER[name] for name in fields})
    return ChangeResident(resident_id=RESIDENT, event=event, person=person, occurred_on=TODAY)


def test_a_resident_is_entered_once_and_gets_a_number() -> None:
    assert entered().person() == PERSON
    decision = rules.register(None, Register(resident_id=RESIDENT, person=PERSON), "1" * 11, ASKED)
    assert [(message.destination, message.name) for message in decision.outbox] == [("numbering", "numbering.assign")]
    assert [entry.action for entry in decision.audit] == ["resident.register"]
    with pytest.raises(AlreadyRegistered):
        rules.register(entered(), Register(resident_id=RESIDENT, person=PERSON), "1" * 11, ASKED)


def test_nobody_is_born_tomorrow() -> None:
    unborn = msgspec.structs.replace(PERSON, birth_date=TODAY + datetime.timedelta(days=1))
    with pytest.raises(WrongChange):
        entered(unborn)
    entered(msgspec.structs.replace(PERSON, birth_date=TODAY))


@given(event=st.sampled_from(EVENTS), fields=st.sets(st.sampled_from(sorted(OTHER))))
def test_a_change_touches_only_what_it_is_about(event: ResidentEvent, fields: set[str]) -> None:
    allowed = FIELDS_OF_EVENT[event]
    fits = fields <= allowed and (bool(fields) or event == "death") and (event != "move" or "municipality" in fields)
    if not fits:
        with pytest.raises(WrongChange):
            rules.change(entered(), request(event, *fields), ASKED)
        return
    (update,) = rules.change(entered(), request(event, *fields), ASKED).writes
    assert isinstance(update, Update)
    assert isinstance(update.record, Resident)
    assert update.record.person() == request(event, *fields).person
    assert (update.record.resident_code, update.record.version) == ("1" * 11, 1)
    assert update.record.registered == (event != "death")


def test_centre_and_jpki_are_told_apart_and_each_in_order() -> None:
    decision = rules.change(entered(), request("move", "municipality", "address"), ASKED)
    told = [(message.destination, message.name, message.order_key) for message in decision.outbox]
    assert told == [
        ("center", "center.resident_changed", f"center:{RESIDENT}"),
        ("authority", "authority.resident_changed", f"jpki:{RESIDENT}"),
    ]
    assert len({message.message_id for message in decision.outbox}) == 2


def test_who_left_the_register_does_not_change_any_more() -> None:
    gone = msgspec.structs.replace(entered(), registered=False)
    with pytest.raises(NotAllowed):
        rules.change(gone, request("address", "address"), ASKED)
    with pytest.raises(NotFound):
        rules.change(None, request("address", "address"), ASKED)


@pytest.mark.parametrize("kind", ["common", "rare_characters", "former_surname", "foreign"])
def test_a_resident_of_any_kind_is_searched_for_by_the_registered_name(kind: str) -> None:
    today = datetime.date(2026, 11, 22)
    person = next(one.person for one in residents(1, 500, today) if one.kind == kind)
    for typed, field in ((person.name, "name"), (person.name.replace("\u3000", " "), "name"), (person.kana, "kana")):
        asked = SearchResidents(municipality=person.municipality, name=typed, purpose="counter.search")
        where = {"municipality": person.municipality, field: getattr(person, field)}
        assert where in rules.searches(asked)


def test_a_search_for_nothing_is_refused() -> None:
    with pytest.raises(NothingAsked):
        rules.searches(SearchResidents(municipality="131016", purpose="counter.search"))
