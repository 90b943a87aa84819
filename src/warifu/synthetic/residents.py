"""Residents: the whole nation's variety in small, from a seed.

A resident depends on the seed and its own number alone, so any of them can be made alone, in any order, in any process.
"""

import datetime
import random
from collections.abc import Iterator, Sequence
from typing import Literal, TypeVar

from msgspec import Struct

from warifu.contract.values import Person
from warifu.kernel import calendar
from warifu.kernel.check_digits import individual_number_from, resident_code_from
from warifu.kernel.ids import IndividualNumber, ResidentCode
from warifu.kernel.municipalities import MUNICIPALITIES, Municipality
from warifu.synthetic import names

T = TypeVar("T")
Kind = Literal["common", "rare_characters", "former_surname", "foreign"]

_KINDS: tuple[tuple[Kind, int], ...] = (("common", 82), ("rare_characters", 8), ("former_surname", 6), ("foreign", 4))
_AGES = (((0, 14), 12), ((15, 17), 3), ((18, 64), 56), ((65, 89), 26), ((90, 108), 3))
"""Of a hundred: roughly Japan's population of 2020."""
_FULL_WIDTH = str.maketrans("0123456789-", "０１２３４５６７８９－")
_CHILD_UNTIL, _ELDER_FROM = 20, 65


class SyntheticResident(Struct, frozen=True, kw_only=True):
    """A made-up resident.

    The numbers pass their checks and are drawn at random; that one of them is somebody's cannot be excluded, and means
    nothing.
    """

    number: int
    """Which one of its seed."""
    kind: Kind
    person: Person
    resident_code: ResidentCode
    individual_number: IndividualNumber
    photo_seed: int

    def __repr__(self) -> str:
        """Without what would be personal data, were it real."""
        return f"SyntheticResident({self.number}, {self.kind})"


def resident(
    seed: int, number: int, today: datetime.date, places: tuple[Municipality, ...] = MUNICIPALITIES
) -> SyntheticResident:
    """The ``number``-th resident of a seed.

    Args:
        seed: any integer.
        number: 0 and up.
        today: ages are reckoned from it.
        places: where residents live.
    """
    # Not for secrets: the same seed must make the same people.
    dice = random.Random(f"warifu resident {seed} {number}")  # noqa: S311
    kind = _weighted(dice, _KINDS)
    age = dice.randint(*_weighted(dice, _AGES))
    if kind == "former_surname":
        age = max(age, calendar.ADULT_AGE)
    sex: Literal["female", "male"] = dice.choice(("female", "male"))
    place = dice.choice(places)
    name, kana, former = _name(dice, kind, age, sex)
    person = Person(
        name=name,
        kana=kana,
        former_surname=former,
        birth_date=_birth(dice, age, today),
        sex=sex,
        address=_address(dice, place),
        municipality=place.code,
        stay_until=_stay(dice, today) if kind == "foreign" else None,
    )
    return SyntheticResident(
        number=number,
        kind=kind,
        person=person,
        resident_code=ResidentCode(resident_code_from(dice.randbytes(16))),
        individual_number=IndividualNumber(individual_number_from(dice.randbytes(16))),
        photo_seed=dice.getrandbits(32),
    )


def residents(
    seed: int, count: int, today: datetime.date, places: tuple[Municipality, ...] = MUNICIPALITIES
) -> Iterator[SyntheticResident]:
    """The first ``count`` residents of a seed; arguments as for ``resident``."""
    return (resident(seed, number, today, places) for number in range(count))


def _weighted(dice: random.Random, choices: Sequence[tuple[T, int]]) -> T:
    values = [value for value, _ in choices]
    return dice.choices(values, [weight for _, weight in choices])[0]


def _birth(dice: random.Random, age: int, today: datetime.date) -> datetime.date:
    """A day on which somebody was born who is ``age`` today."""
    latest = calendar.birthday_in(today, today.year - age)
    born = latest - datetime.timedelta(days=dice.randrange(365))
    return born if calendar.age_on(born, today) == age else latest


def _name(dice: random.Random, kind: Kind, age: int, sex: str) -> tuple[str, str, str]:
    """Name, kana and former surname."""
    if kind == "foreign":
        (family, family_kana), (given, given_kana) = (
            dice.choice(names.FOREIGN_FAMILY),
            dice.choice(names.FOREIGN_FEMALE if sex == "female" else names.FOREIGN_MALE),
        )
        return f"{family} {given}", f"{family_kana}　{given_kana}", ""
    family, family_kana = dice.choice(names.RARE_FAMILY if kind == "rare_characters" else names.FAMILY)
    given, given_kana = dice.choice(_given_names(age, sex))
    others = [former for former, _ in names.FAMILY if former != family]
    former = dice.choice(others) if kind == "former_surname" else ""
    return f"{family}　{given}", f"{family_kana}　{given_kana}", former


def _given_names(age: int, sex: str) -> tuple[names.Pair, ...]:
    if age < _CHILD_UNTIL:
        return names.FEMALE_CHILD if sex == "female" else names.MALE_CHILD
    if age < _ELDER_FROM:
        return names.FEMALE_ADULT if sex == "female" else names.MALE_ADULT
    return names.FEMALE_ELDER if sex == "female" else names.MALE_ELDER


def _address(dice: random.Random, place: Municipality) -> str:
    """Prefecture, municipality, an invented quarter, and numbers in full width; a third live in flats."""
    ground = f"{dice.randint(1, 6)}丁目{dice.randint(1, 40)}番{dice.randint(1, 25)}号"
    flat = (
        f"　{dice.choice(names.BUILDINGS)}{dice.randint(1, 14)}{dice.randint(1, 9):02d}"
        if dice.random() < 1 / 3
        else ""
    )
    return (place.full_name + dice.choice(names.TOWNS) + ground + flat).translate(_FULL_WIDTH)


def _stay(dice: random.Random, today: datetime.date) -> datetime.date | None:
    """The end of the period of stay; permanent residents have none."""
    return None if dice.random() < 1 / 3 else today + datetime.timedelta(days=dice.randint(90, 5 * 365))
