"""Personas: each is what it says, the same for the same seed."""

import datetime

import pytest

from warifu.chip.contents import text_attributes
from warifu.domain.pki.substitutes import substitute
from warifu.kernel.calendar import age_on, card_valid_until
from warifu.lend.errors import UnknownPersona
from warifu.lend.personas import PERSONAS, persona_named

TODAY = datetime.date(2026, 7, 1)


@pytest.mark.parametrize("name", PERSONAS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_same_seed_gives_the_same_holder_and_another_seed_another(name: str, seed: int) -> None:
    persona = persona_named(name)
    assert persona.cast(seed, TODAY) == persona.cast(seed, TODAY)
    assert persona.cast(seed, TODAY).individual_number != persona.cast(seed + 10, TODAY).individual_number


def test_a_child_is_under_fifteen_and_all_others_are_not() -> None:
    for name, persona in PERSONAS.items():
        day = persona.issued_on(TODAY)
        assert (age_on(persona.cast(1, TODAY).person.birth_date, day) < 15) == (name == "child")


def test_a_foreign_resident_has_an_end_of_stay_and_a_latin_name() -> None:
    person = persona_named("foreign-resident").cast(1, TODAY).person
    assert person.stay_until is not None
    assert person.name.isascii()


def test_a_rare_name_cannot_stand_in_a_certificate_as_it_is() -> None:
    assert "1" in substitute(persona_named("rare-characters").cast(1, TODAY).person.name).flags
    assert "1" not in substitute(persona_named("adult").cast(1, TODAY).person.name).flags


def test_a_former_surname_is_known() -> None:
    assert persona_named("former-surname").cast(1, TODAY).person.former_surname


@pytest.mark.parametrize("seed", range(20))
def test_an_expired_card_has_expired_and_the_others_have_not(seed: int) -> None:
    for name, persona in PERSONAS.items():
        person = persona.cast(seed, TODAY).person
        until = card_valid_until(person.birth_date, persona.issued_on(TODAY), person.stay_until)
        assert (until < TODAY) == (name == "expired")


@pytest.mark.parametrize("name", PERSONAS)
@pytest.mark.parametrize("seed", range(1, 9))
def test_every_holders_attributes_are_short_enough_for_the_simplest_client(name: str, seed: int) -> None:
    person = persona_named(name).cast(seed, TODAY).person
    file = text_attributes(person.name, person.address, "19800217", "1")
    assert file[2] == len(file) - 3


def test_an_unknown_persona_is_refused_with_the_list_of_known_ones() -> None:
    with pytest.raises(UnknownPersona, match="adult, child"):
        persona_named("nobody")
