"""Registry of residents (住民基本台帳ネットワーク, national server): identity information and its changes."""

import datetime
from typing import Annotated, ClassVar

from msgspec import Meta

from warifu.contract.message import Answer, Request
from warifu.contract.values import Municipality, Person, Purpose, ResidentCode, ResidentEvent, ResidentId


class Registered(Answer, frozen=True, kw_only=True):
    """The resident's record exists."""

    resident_id: ResidentId
    resident_code: ResidentCode


class Register(Request, frozen=True, kw_only=True):
    """A municipality enters a resident. The number follows by itself: registry → numbering → intake (notification)."""

    NAME: ClassVar[str] = "registry.register"
    ANSWER: ClassVar[type[Answer]] = Registered

    resident_id: ResidentId
    """Minted by the municipality's system."""
    person: Person


class Identity(Answer, frozen=True, kw_only=True):
    """Identity information."""

    resident_id: ResidentId
    resident_code: ResidentCode
    person: Person
    registered: bool
    """False once the resident has left the register (death)."""
    resident_version: int


class AskIdentity(Request, frozen=True, kw_only=True):
    """Provide identity information (leaves an audit entry)."""

    NAME: ClassVar[str] = "registry.identity"
    ANSWER: ClassVar[type[Answer]] = Identity
    CHANGES: ClassVar[bool] = False

    resident_id: ResidentId
    purpose: Purpose


class FoundResidents(Answer, frozen=True, kw_only=True):
    """Residents of one municipality, at most ``SearchResidents.LIMIT``; each left an audit entry."""

    residents: tuple[Identity, ...]
    more: bool = False

    def __repr__(self) -> str:
        """Without personal data."""
        return f"FoundResidents({len(self.residents)})"


class SearchResidents(Request, frozen=True, kw_only=True):
    """Search a municipality's register by name (as written, or kana), birth date, both, or resident record code."""

    NAME: ClassVar[str] = "registry.search"
    ANSWER: ClassVar[type[Answer]] = FoundResidents
    CHANGES: ClassVar[bool] = False
    LIMIT: ClassVar[int] = 20

    municipality: Municipality
    name: Annotated[str, Meta(max_length=100)] = ""
    birth_date: datetime.date | None = None
    resident_code: Annotated[str, Meta(pattern=r"^([0-9]{11})?$")] = ""
    purpose: Purpose


class Changed(Answer, frozen=True, kw_only=True):
    """The change is recorded; those concerned are told through the outbox."""

    resident_version: int


class ChangeResident(Request, frozen=True, kw_only=True):
    """A change of a resident's record (異動). ``person`` is the whole new content."""

    NAME: ClassVar[str] = "registry.change"
    ANSWER: ClassVar[type[Answer]] = Changed

    resident_id: ResidentId
    event: ResidentEvent
    person: Person
    occurred_on: datetime.date


class ResidentChanged(Request, frozen=True, kw_only=True):
    """Told to the centre, in order per resident."""

    NAME: ClassVar[str] = "center.resident_changed"

    resident_id: ResidentId
    event: ResidentEvent
    resident_version: int
    municipality_before: Municipality
    municipality_after: Municipality
    occurred_on: datetime.date


class ResidentChangedForAuthority(ResidentChanged, frozen=True, kw_only=True):
    """The same, to JPKI."""

    NAME: ClassVar[str] = "authority.resident_changed"
