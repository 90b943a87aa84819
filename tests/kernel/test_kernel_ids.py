"""Identifiers: what parses, what does not, and what survives a round trip."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warifu.kernel import ids
from warifu.kernel.errors import Malformed

moments = st.integers(min_value=0, max_value=ids.ULID_MAX_MS)
random10 = st.binary(min_size=10, max_size=10)


def test_ulid_of_the_specification() -> None:
    assert ids.new_ulid(1469918176385, bytes(10)) == "01ARYZ6S410000000000000000"


@given(moments, random10)
def test_a_ulid_keeps_its_moment_and_its_bytes(now_ms: int, random: bytes) -> None:
    text = ids.new_ulid(now_ms, random)
    assert ids.parse_operation_id(text) == text
    assert ids.ulid_ms(text) == now_ms
    assert ids.ulid_bytes(text) == now_ms.to_bytes(6, "big") + random


@given(st.binary(min_size=16, max_size=16))
def test_sixteen_bytes_and_their_text_are_the_same_id(raw: bytes) -> None:
    assert ids.ulid_bytes(ids.ulid_text(raw)) == raw


@given(moments, moments, random10)
def test_later_ulids_sort_after_earlier_ones(one: int, other: int, random: bytes) -> None:
    assert (ids.new_ulid(one, random) < ids.new_ulid(other, random)) == (one < other)


@given(st.integers(min_value=0, max_value=ids.CARD_NUMBERS - 1))
def test_card_ids_are_fifteen_characters_and_distinct(number: int) -> None:
    card = ids.card_id(number)
    assert ids.parse_card_id(card) == card
    assert len(card) == 15
    assert card.startswith("WRF")
    assert ids.card_id((number + 1) % ids.CARD_NUMBERS) != card


def test_another_makers_card_id_parses() -> None:
    assert ids.parse_card_id("2019ABCDE000001") == "2019ABCDE000001"


@given(st.binary(min_size=16, max_size=40))
def test_application_ids_parse(random: bytes) -> None:
    assert ids.parse_application_id(ids.application_id(random))


@pytest.mark.parametrize(
    ("parse", "good"),
    [
        (ids.parse_resident_id, "01ARYZ6S41TSV4RRFFQ69G5FAV"),
        (ids.parse_operation_id, "01ARYZ6S41TSV4RRFFQ69G5FAV"),
        (ids.parse_card_id, "WRF000000000001"),
        (ids.parse_individual_number, "123456789018"),
        (ids.parse_resident_code, "24727059608"),
        (ids.parse_municipality_code, "131016"),
    ],
)
def test_only_the_exact_form_parses(parse: Callable[[str], str], good: str) -> None:
    assert parse(good) == good
    wide = good[:-1] + chr(ord(good[-1]) - 0x30 + 0xFF10)
    for bad in ("", good[:-1], good + "0", good + "\n", " " + good, "!" + good[1:], wide):
        with pytest.raises(Malformed):
            parse(bad)


@pytest.mark.parametrize(
    "bad", ["81ARYZ6S41TSV4RRFFQ69G5FAV", "01ARYZ6S41TSV4RRFFQ69G5FAI", "01aryz6s41tsv4rrffq69g5fav"]
)
def test_a_ulid_has_128_bits_and_no_look_alikes(bad: str) -> None:
    with pytest.raises(Malformed):
        ids.ulid_bytes(bad)


@pytest.mark.parametrize(("now_ms", "random"), [(-1, bytes(10)), (1 << 48, bytes(10)), (0, bytes(9)), (0, bytes(11))])
def test_a_ulid_is_not_made_of_anything_else(now_ms: int, random: bytes) -> None:
    with pytest.raises(Malformed):
        ids.new_ulid(now_ms, random)


def test_ids_are_not_made_from_too_little() -> None:
    with pytest.raises(Malformed):
        ids.ulid_text(bytes(15))
    with pytest.raises(Malformed):
        ids.application_id(bytes(15))


@pytest.mark.parametrize("number", [-1, ids.CARD_NUMBERS])
def test_card_numbers_have_sixty_bits(number: int) -> None:
    with pytest.raises(Malformed):
        ids.card_id(number)


def test_a_refused_number_is_not_repeated_in_the_error() -> None:
    with pytest.raises(Malformed) as caught:
        ids.parse_individual_number("123456789017")
    assert "1234" not in str(caught.value)
