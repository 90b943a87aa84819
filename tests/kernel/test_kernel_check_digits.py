"""Check digits: published values, and what a single slip can and cannot get past."""

from collections.abc import Callable

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from warifu.kernel import check_digits as cd
from warifu.kernel.errors import Malformed

Require = Callable[[str], None]


def digits(count: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=count, max_size=count)


def accepts(require: Require, text: str) -> bool:
    try:
        require(text)
    except Malformed:
        return False
    return True


def slipped(text: str, position: int, digit: str) -> str:
    assume(text[position] != digit)
    return text[:position] + digit + text[position + 1 :]


@pytest.mark.parametrize("number", ["123456789018", "537686677188"])
def test_published_individual_numbers(number: str) -> None:
    cd.require_individual_number(number)


@pytest.mark.parametrize("code", ["24727059608", "24846016224", "25208017643"])
def test_published_resident_codes(code: str) -> None:
    cd.require_resident_code(code)


@pytest.mark.parametrize("code", ["011002", "131016", "141003", "271004", "271403", "401307", "472018"])
def test_published_municipality_codes(code: str) -> None:
    cd.require_municipality_code(code)


def test_remainders_0_and_1_of_an_individual_number_both_give_0() -> None:
    assert cd.individual_number_check_digit("00000000000") == "0"  # remainder 0
    assert cd.individual_number_check_digit("00000000006") == "0"  # 12: remainder 1


@given(digits(11), digits(10), digits(5), digits(21))
def test_every_number_made_passes_its_own_check(eleven: str, ten: str, five: str, twenty_one: str) -> None:
    cd.require_individual_number(cd.individual_number(eleven))
    cd.require_resident_code(cd.resident_code(ten))
    cd.require_municipality_code(cd.municipality_code(five))
    cd.require_application_id(twenty_one + cd.application_id_check_digits(twenty_one))


@given(st.binary(min_size=16, max_size=32))
def test_every_number_drawn_at_random_passes_its_own_check(random: bytes) -> None:
    cd.require_individual_number(cd.individual_number_from(random))
    cd.require_resident_code(cd.resident_code_from(random))
    cd.require_application_id(cd.application_id_from(random))


@pytest.mark.parametrize("draw", [cd.individual_number_from, cd.resident_code_from, cd.application_id_from])
def test_numbers_are_not_drawn_from_too_little(draw: Callable[[bytes], str]) -> None:
    with pytest.raises(Malformed):
        draw(bytes(15))


@given(digits(11), st.integers(0, 11), digits(1))
def test_individual_number_misses_a_slip_only_between_the_two_remainders_of_check_digit_0(
    eleven: str, position: int, digit: str
) -> None:
    number = cd.individual_number(eleven)
    if accepts(cd.require_individual_number, slipped(number, position, digit)):
        assert number[-1] == "0"
        assert position < 11


@given(digits(10), st.integers(0, 10), digits(1))
def test_resident_code_misses_a_slip_only_between_the_two_remainders_of_check_digit_0(
    ten: str, position: int, digit: str
) -> None:
    code = cd.resident_code(ten)
    if accepts(cd.require_resident_code, slipped(code, position, digit)):
        assert code[-1] == "0"
        assert position < 10


@given(digits(5), st.integers(0, 5), digits(1))
def test_municipality_code_misses_a_slip_only_between_the_two_remainders_of_check_digit_1(
    five: str, position: int, digit: str
) -> None:
    code = cd.municipality_code(five)
    if accepts(cd.require_municipality_code, slipped(code, position, digit)):
        assert code[-1] == "1"
        assert position < 5


@given(digits(21), st.integers(0, 22), digits(1))
def test_application_id_misses_no_slip(twenty_one: str, position: int, digit: str) -> None:
    number = twenty_one + cd.application_id_check_digits(twenty_one)
    assert not accepts(cd.require_application_id, slipped(number, position, digit))


@given(digits(21), st.integers(0, 21))
def test_application_id_misses_no_swap_of_neighbours(twenty_one: str, position: int) -> None:
    number = twenty_one + cd.application_id_check_digits(twenty_one)
    a, b = number[position], number[position + 1]
    assume(a != b)
    assert not accepts(cd.require_application_id, number[:position] + b + a + number[position + 2 :])
