"""Synthetic residents: the same for the same seed, valid everywhere, and as various as the nation."""

import datetime
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warifu.adapters.artwork import PillowArtwork
from warifu.contract.values import Person
from warifu.kernel import ids
from warifu.kernel.calendar import age_on, jpki_date
from warifu.kernel.municipalities import MUNICIPALITIES, municipality
from warifu.synthetic import names
from warifu.synthetic.__main__ import main
from warifu.synthetic.residents import resident, residents

TODAY = datetime.date(2026, 11, 22)
numbers = st.integers(0, 10**7)


@given(st.integers(), numbers)
def test_the_same_seed_makes_the_same_resident(seed: int, number: int) -> None:
    assert resident(seed, number, TODAY) == resident(seed, number, TODAY)


def test_residents_do_not_change_between_releases() -> None:
    one = resident(1, 0, TODAY)
    assert (one.person.name, one.person.birth_date.isoformat(), one.individual_number) == (
        "伊藤　正",
        "1931-02-06",
        "379071817147",
    )


def test_a_resident_is_the_same_alone_and_in_a_row() -> None:
    assert list(residents(7, 20, TODAY))[13] == resident(7, 13, TODAY)


@given(st.integers(0, 1000), numbers)
def test_every_resident_is_valid_for_the_contract_and_the_chip(seed: int, number: int) -> None:
    one = resident(seed, number, TODAY)
    person = one.person
    assert msgspec.json.decode(msgspec.json.encode(person), type=Person) == person
    ids.parse_individual_number(one.individual_number)
    ids.parse_resident_code(one.resident_code)
    assert person.address.startswith(municipality(person.municipality).full_name)
    assert not any(character.isascii() and character.isdigit() for character in person.address)
    assert jpki_date(person.birth_date)
    assert 0 <= age_on(person.birth_date, TODAY) <= 108
    assert person.stay_until is None or person.stay_until > TODAY


def test_a_thousand_residents_show_every_kind_and_age() -> None:
    thousand = list(residents(1, 1000, TODAY))
    kinds = Counter(one.kind for one in thousand)
    ages = [age_on(one.person.birth_date, TODAY) for one in thousand]
    assert set(kinds) == {"common", "rare_characters", "former_surname", "foreign"}
    assert 80 < sum(age < 15 for age in ages) < 180
    assert 220 < sum(age >= 65 for age in ages) < 360
    assert {one.person.sex for one in thousand} == {"female", "male"}
    assert len({one.person.municipality for one in thousand}) == len(MUNICIPALITIES)
    assert len({one.individual_number for one in thousand}) == 1000


def test_each_kind_shows_what_it_is_for() -> None:
    for one in residents(2, 600, TODAY):
        person = one.person
        if one.kind == "rare_characters":
            assert person.name.split("　")[0] in dict(names.RARE_FAMILY)
        if one.kind == "former_surname":
            assert person.former_surname
            assert not person.name.startswith(person.former_surname + "　")
            assert age_on(person.birth_date, TODAY) >= 18
        assert person.name.isascii() == (one.kind == "foreign")


def test_residents_live_where_they_are_told_to() -> None:
    place = municipality("131016")
    assert {one.person.municipality for one in residents(1, 30, TODAY, (place,))} == {"131016"}


@pytest.mark.parametrize("pairs", [names.FAMILY, names.RARE_FAMILY, names.FOREIGN_FAMILY])
def test_kana_is_katakana(pairs: tuple[names.Pair, ...]) -> None:
    assert all("\u30a0" <= character <= "\u30ff" or character == "=" for _, kana in pairs for character in kana)


def test_every_name_and_address_can_be_printed_exactly() -> None:
    artwork = PillowArtwork()
    written = [pair[0] for pair in (*names.FAMILY, *names.RARE_FAMILY, *names.FOREIGN_FAMILY)]
    assert all(artwork.text_image(name, 480, 48).is_exact for name in written)
    assert all(artwork.address_image(one.person.address).is_exact for one in residents(3, 100, TODAY))


def test_a_resident_does_not_show_itself_in_a_log() -> None:
    one = resident(1, 1, TODAY)
    assert one.person.name not in repr(one)
    assert one.individual_number not in repr(one)


def test_the_command_prints_residents(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["3", "9"]) == 0
    assert capsys.readouterr().out.count("individual number") == 3
    assert main(["three"]) == 2
