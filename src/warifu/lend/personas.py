"""Personas: kinds of holders and cards that a card application has to cope with.

A persona and a seed give the same synthetic person every day of the same year's age; another seed, another person.
"""

import datetime
from collections.abc import Callable
from itertools import count, islice
from typing import Final

from msgspec import Struct

from warifu.chip.contents import text_attributes
from warifu.contract.values import CertificateEvent, Person, PinName
from warifu.domain.pki.substitutes import substitute
from warifu.kernel.calendar import ADULT_AGE, SIGNATURE_MIN_AGE, age_on, card_valid_until
from warifu.kernel.errors import Fault
from warifu.kernel.municipalities import MUNICIPALITIES, Municipality
from warifu.lend.errors import UnknownPersona
from warifu.synthetic.residents import SyntheticResident, resident

Suits = Callable[[SyntheticResident, int], bool]
"""Whether a resident of that age may play the persona."""

_SEARCH_LIMIT: Final = 20_000
_LONG_FORM: Final = 0x80
"""A length byte from here on says that two more follow."""
_EXPIRED_AFTER_DAYS: Final = 5 * 366 + 30
"""A card issued this long ago to somebody under 18, valid to the fifth birthday, has expired."""


class Persona(Struct, frozen=True, kw_only=True):
    """Somebody whose card is different from others'."""

    name: str
    summary: str
    suits: Suits
    issued_days_ago: int = 0
    revoked_by: CertificateEvent | None = None
    blocked_pins: tuple[PinName, ...] = ()

    def issued_on(self, today: datetime.date) -> datetime.date:
        """The day on which the card was issued."""
        return today - datetime.timedelta(days=self.issued_days_ago)

    def cast(
        self, seed: int, today: datetime.date, places: tuple[Municipality, ...] = MUNICIPALITIES
    ) -> SyntheticResident:
        """Who plays this persona; the age is that of the day of issue."""
        day = self.issued_on(today)
        for number in islice(count(), _SEARCH_LIMIT):
            one = resident(seed, number, day, places)
            if self.suits(one, age_on(one.person.birth_date, day)) and _lasts(one, day) and _is_short(one.person):
                return one
        raise Fault(f"no synthetic resident plays {self.name}")


def _lasts(one: SyntheticResident, day: datetime.date) -> bool:
    """Whether the card would be valid for more than a month: a period of stay may end tomorrow."""
    return card_valid_until(one.person.birth_date, day, one.person.stay_until) > day + datetime.timedelta(days=31)


def _is_short(person: Person) -> bool:
    """Whether the attributes' length fits one byte: some clients read no other (card.md 1.6, pyjpki)."""
    return text_attributes(person.name, person.address, "19800217", "1")[2] < _LONG_FORM


def _adult(one: SyntheticResident, age: int) -> bool:
    return one.kind == "common" and age >= ADULT_AGE


def _child(one: SyntheticResident, age: int) -> bool:
    return one.kind == "common" and age < SIGNATURE_MIN_AGE


def _minor_with_signature(one: SyntheticResident, age: int) -> bool:
    return one.kind == "common" and SIGNATURE_MIN_AGE <= age < ADULT_AGE


def _foreign(one: SyntheticResident, age: int) -> bool:
    return one.kind == "foreign" and age >= ADULT_AGE and one.person.stay_until is not None


def _former_surname(one: SyntheticResident, age: int) -> bool:
    return one.kind == "former_surname" and age >= ADULT_AGE


def _rare(one: SyntheticResident, age: int) -> bool:
    return one.kind == "rare_characters" and age >= ADULT_AGE and "1" in substitute(one.person.name).flags


_ALL: Final = (
    Persona(name="adult", summary="both certificates, everything valid", suits=_adult),
    Persona(name="child", summary="under 15: no signature certificate, no signature password", suits=_child),
    Persona(
        name="foreign-resident", summary="name in Latin letters; the card ends with the period of stay", suits=_foreign
    ),
    Persona(
        name="former-surname",
        summary="a former surname in brackets in the signature certificate",
        suits=_former_surname,
    ),
    Persona(
        name="rare-characters",
        summary="a name outside the JIS levels: a substitute and a flag in the signature certificate",
        suits=_rare,
    ),
    Persona(
        name="expired",
        summary="card and certificates past their last day",
        suits=_minor_with_signature,
        issued_days_ago=_EXPIRED_AFTER_DAYS,
    ),
    Persona(
        name="revoked",
        summary="both certificates revoked (key compromise); the chip does not know it",
        suits=_adult,
        revoked_by="key_compromise",
    ),
    Persona(
        name="blocked",
        summary="no tries left for the authentication PIN and the signature password",
        suits=_adult,
        blocked_pins=("authentication", "signature"),
    ),
)
PERSONAS: Final[dict[str, Persona]] = {persona.name: persona for persona in _ALL}


def persona_named(name: str) -> Persona:
    """The persona of that name. ``UnknownPersona`` when there is none."""
    try:
        return PERSONAS[name]
    except KeyError:
        raise UnknownPersona(f"{name[:40]!r}; there are {', '.join(PERSONAS)}") from None
