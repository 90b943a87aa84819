"""The residents of a run: who they are, where they live, what happens to them, and the PINs only they know."""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec
from msgspec import Struct

from warifu.contract.values import OperationKind, Person, PinName
from warifu.demo.relying import OnCard
from warifu.kernel.calendar import SIGNATURE_MIN_AGE, age_on
from warifu.kernel.ids import new_ulid
from warifu.kernel.municipalities import municipality
from warifu.ports.clock import Clock
from warifu.ports.entropy import Entropy
from warifu.synthetic.residents import SyntheticResident, resident

PLACES: Final = ("131016", "141003")
"""The municipalities of the demonstration's topology."""
Event = Literal["move", "suspend", "lock", "abolish"]
SPREAD: Final[dict[Event, tuple[int, int]]] = {"move": (3, 0), "suspend": (4, 1), "lock": (4, 2), "abolish": (8, 7)}
"""Every so-manyeth resident, from which one on."""
_MOVED: Final = 1_000_000
_SEARCH: Final = 200
_LETTERS: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ"


class Pins(Struct, frozen=True):
    """A holder's four PINs: in memory only."""

    signature: str
    authentication: str
    text: str
    juki: str

    def of(self, pin: PinName) -> str:
        """The PIN of this name."""
        value: str = getattr(self, pin)
        return value

    def __repr__(self) -> str:
        """Without them."""
        return "Pins(<hidden>)"


@dataclass
class Holder:
    """A resident on the way through the run."""

    resident_id: str
    person: Person
    photo_seed: int
    new_address: str
    """Where a resident who moves goes to."""
    pins: Pins
    events: frozenset[Event] = frozenset()
    application_id: str = ""
    card_id: str = ""
    municipality: str = ""
    """Whose card it is."""
    number: str = field(default="", repr=False)
    """The individual number as read from the card."""
    certificates: dict[str, OnCard] = field(default_factory=dict, repr=False)
    operations: list[OperationKind] = field(default_factory=list)
    abolished: bool = False
    failed: bool = False

    def __repr__(self) -> str:
        """Without personal data."""
        return f"Holder({self.resident_id})"

    @property
    def other_place(self) -> str:
        """The municipality where the resident does not live."""
        return PLACES[1 - PLACES.index(self.person.municipality)]

    def may_sign(self, today: datetime.date) -> bool:
        """Whether the card has a signature certificate: holders under 15 get none."""
        return age_on(self.person.birth_date, today) >= SIGNATURE_MIN_AGE


def new_pins(entropy: Entropy) -> Pins:
    """Random PINs: a password with letter and digit, and three times four digits."""
    raw = entropy.random_bytes(16)
    letters = "".join(_LETTERS[byte % len(_LETTERS)] for byte in raw[:6])
    return Pins(f"{letters}{raw[6] % 10}{raw[7] % 10}", _digits(raw[8:10]), _digits(raw[10:12]), _digits(raw[12:14]))


def _digits(raw: bytes) -> str:
    return f"{int.from_bytes(raw, 'big') % 10_000:04}"


def other_pin(pin: str) -> str:
    """Four digits that are not these."""
    return f"{(int(pin) + 1) % 10_000:04}"


def choose(count: int, seed: int, today: datetime.date, clock: Clock, entropy: Entropy) -> tuple[Holder, ...]:
    """The residents of a run, half in each municipality; at least one is old enough for a signature certificate."""
    people = [_person(seed, number, today) for number in range(count)]
    if all(_is_child(one, today) for one in people):
        grown = (_person(seed, number, today) for number in range(count, count + _SEARCH))
        people[0] = next(one for one in grown if not _is_child(one, today))
    people.sort(key=lambda one: _is_child(one, today))  # whatever happens to the first, happens to one with both kinds
    return tuple(
        Holder(
            resident_id=new_ulid(clock.now_ms(), entropy.random_bytes(10)),
            person=one.person,
            photo_seed=one.photo_seed,
            new_address=_new_address(one, seed, today),
            pins=new_pins(entropy),
            events=events,
            municipality=one.person.municipality,
        )
        for one, events in zip(people, happenings(count), strict=True)
    )


def happenings(count: int) -> tuple[frozenset[Event], ...]:
    """Which events happen to each of so many residents: every event to at least one."""
    return tuple(
        frozenset(event for event, (spread, first) in SPREAD.items() if index % spread == first % min(spread, count))
        for index in range(count)
    )


def _person(seed: int, number: int, today: datetime.date) -> SyntheticResident:
    return resident(seed, number, today, (municipality(PLACES[number % 2]),))


def _is_child(one: SyntheticResident, today: datetime.date) -> bool:
    return age_on(one.person.birth_date, today) < SIGNATURE_MIN_AGE


def _new_address(one: SyntheticResident, seed: int, today: datetime.date) -> str:
    there = municipality(PLACES[1 - PLACES.index(one.person.municipality)])
    return resident(seed, one.number + _MOVED, today, (there,)).person.address


def moved(holder: Holder) -> Person:
    """The resident at the new address."""
    return msgspec.structs.replace(holder.person, municipality=holder.other_place, address=holder.new_address)


def pin_names(holder: Holder, today: datetime.date) -> Sequence[PinName]:
    """The PINs this holder's card has."""
    everyone: tuple[PinName, ...] = ("authentication", "text", "juki")
    return ("signature", *everyone) if holder.may_sign(today) else everyone
