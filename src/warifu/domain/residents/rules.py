"""Rules of the registry: who may be entered, what a change is, who is told, what a counter's search looks through."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from warifu.contract.numbering import AssignNumber
from warifu.contract.registry import (
    Changed,
    ChangeResident,
    Register,
    Registered,
    ResidentChanged,
    ResidentChangedForAuthority,
    SearchResidents,
)
from warifu.contract.values import Person, ResidentEvent
from warifu.domain.decision import Asked, Decision
from warifu.domain.residents.records import Resident
from warifu.kernel.calendar import jst_date
from warifu.kernel.errors import NotAllowed, NotFound, Refused
from warifu.kernel.name_forms import kana_spelling, name_spellings
from warifu.ports.store import Insert, Update

FIELDS_OF_EVENT: dict[ResidentEvent, frozenset[str]] = {
    "move": frozenset({"municipality", "address"}),
    "name": frozenset({"name", "kana", "former_surname"}),
    "address": frozenset({"address"}),
    "birth_date": frozenset({"birth_date"}),
    "sex": frozenset({"sex"}),
    "death": frozenset(),
}
"""Which fields each kind of change may touch (住民基本台帳法: a change says what it is)."""


class AlreadyRegistered(Refused):
    """The resident is in the register."""

    code = "resident.already_registered"


class WrongChange(Refused):
    """The new content does not fit the kind of change."""

    code = "resident.wrong_change"


def register(found: Resident | None, request: Register, resident_code: str, asked: Asked) -> Decision:
    """Enter a resident; the number assignment is told."""
    if found is not None:
        raise AlreadyRegistered(request.resident_id)
    if request.person.birth_date > jst_date(asked.now_ms):
        raise WrongChange("birth date in the future")
    record = Resident.of(request.resident_id, resident_code, request.person, asked.now_ms)
    assign = AssignNumber(
        resident_id=request.resident_id, resident_code=resident_code, municipality=request.person.municipality
    )
    return Decision(
        answer=Registered(resident_id=request.resident_id, resident_code=resident_code),
        writes=(Insert(record),),
        journal=(asked.journal(f"resident:{request.resident_id}", "registered"),),
        audit=(asked.audit("resident.register", request.resident_id, "registry.register"),),
        outbox=(asked.outbox("numbering", assign, order_key=request.resident_id),),
    )


def change(found: Resident | None, request: ChangeResident, asked: Asked) -> Decision:
    """Change a resident's record; the centre and JPKI are told, in order per resident."""
    if found is None:
        raise NotFound(f"resident {request.resident_id}")
    _require_change(found, request)
    registered = request.event != "death"
    record = Resident.of(found.resident_id, found.resident_code, request.person, asked.now_ms, registered=registered)
    record = msgspec.structs.replace(record, version=found.version)
    told = ResidentChanged(
        resident_id=found.resident_id,
        event=request.event,
        resident_version=found.version + 1,
        municipality_before=found.municipality,
        municipality_after=record.municipality,
        occurred_on=request.occurred_on,
    )
    jpki_told = ResidentChangedForAuthority(**{name: getattr(told, name) for name in told.__struct_fields__})
    return Decision(
        answer=Changed(resident_version=found.version + 1),
        writes=(Update(record),),
        journal=(asked.journal(f"resident:{found.resident_id}", "changed", change=request.event),),
        audit=(asked.audit("resident.change", found.resident_id, f"registry.{request.event}"),),
        outbox=(
            asked.outbox("center", told, order_key=f"center:{found.resident_id}"),
            asked.outbox("authority", jpki_told, order_key=f"jpki:{found.resident_id}"),
        ),
    )


def _require_change(found: Resident, request: ChangeResident) -> None:
    if not found.registered:
        raise NotAllowed("the resident has left the register")
    before, after = found.person(), request.person
    changed = {name for name in Person.__struct_fields__ if getattr(before, name) != getattr(after, name)}
    if changed - FIELDS_OF_EVENT[request.event]:
        raise WrongChange(f"{request.event} does not change {', '.join(sorted(changed))}")
    if not changed and request.event != "death":
        raise WrongChange(f"{request.event} changes nothing")
    if request.event == "move" and "municipality" not in changed:
        raise WrongChange("a move changes the municipality; within it, it is an address change")


class NothingAsked(Refused):
    """A search that names nothing to search for."""

    code = "search.nothing_asked"


def searches(request: SearchResidents) -> tuple[dict[str, Any], ...]:
    """What to look up, each by an index. ``NothingAsked`` when the request names nothing."""
    if request.resident_code:
        return ({"resident_code": request.resident_code},)
    here = {"municipality": request.municipality}
    if request.name:
        names = tuple(here | {"name": spelling} for spelling in name_spellings(request.name))
        return (*names, here | {"kana": kana_spelling(request.name)})
    if request.birth_date:
        return (here | {"birth_date": request.birth_date},)
    raise NothingAsked("a name, a birth date or a number")


def matching(request: SearchResidents, found: Iterable[Sequence[Resident]]) -> tuple[Resident, ...]:
    """Those of the municipality that asks, on whom everything that was named fits; each once, by id."""
    each = {one.resident_id: one for several in found for one in several}
    return tuple(
        one
        for _, one in sorted(each.items())
        if one.municipality == request.municipality and request.birth_date in {None, one.birth_date}
    )
