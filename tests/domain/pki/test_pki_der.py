"""The writer against X.690 examples and another encoder; the reader against what is not DER."""

import datetime

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from warifu.domain.pki import der
from warifu.domain.pki.errors import BadContent, NotDer


@given(st.integers(-(2**70), 2**70))
def test_integer_round_trips_in_its_shortest_form(value: int) -> None:
    encoded = der.integer(value)
    assert der.read_integer(der.read_only(encoded, der.INTEGER)) == value
    assert len(encoded) == 2 + max(1, (value + (value < 0)).bit_length() // 8 + 1)


@pytest.mark.parametrize(
    ("value", "hex_"), [(0, "020100"), (127, "02017f"), (128, "02020080"), (-128, "020180"), (-129, "0202ff7f")]
)
def test_integer_is_that_of_x690(value: int, hex_: str) -> None:
    assert der.integer(value).hex() == hex_


@pytest.mark.parametrize(
    ("dotted", "hex_"),
    [
        ("1.2.840.113549.1.1.11", "06092a864886f70d01010b"),
        ("2.999.8.5.1.1.20", "06078837080501" + "0114"),
        ("1.2.392.200149.8.5.5.1", "060a2a8308" + "8c9b55" + "08050501"),
    ],
)
def test_oid_is_that_of_x690(dotted: str, hex_: str) -> None:
    assert der.oid(dotted).hex() == hex_
    assert x509.ObjectIdentifier(dotted).dotted_string == dotted


@pytest.mark.parametrize("dotted", ["", "1", "3.1", "1.40", "1.2.", "1.-2", "1.2.x", "1.²"])
def test_oid_refuses_what_is_none(dotted: str) -> None:
    with pytest.raises(BadContent):
        der.oid(dotted)


@given(st.binary(max_size=300))
def test_reader_gives_back_what_was_written(content: bytes) -> None:
    encoded = der.octet_string(content)
    element, rest = der.read(encoded + b"tail")
    assert (element.content, element.encoded, rest) == (content, encoded, b"tail")


@pytest.mark.parametrize(
    "hex_",
    [
        "",
        "04",
        "0401",  # cut short
        "0480" + "00" * 2,  # indefinite
        "048101" + "00",  # length could be short
        "04820080" + "00" * 128,  # length octets padded
        "0485" + "0000000001" + "00",  # too many length octets
        "1f8101" + "00",  # tag of several octets
    ],
)
def test_reader_refuses_what_is_not_der(hex_: str) -> None:
    with pytest.raises(NotDer):
        der.read(bytes.fromhex(hex_))


@pytest.mark.parametrize("hex_", ["0200", "02020001", "0202ffff", "0401" + "01"])
def test_reader_refuses_padded_integers(hex_: str) -> None:
    with pytest.raises(NotDer):
        der.read_integer(der.read(bytes.fromhex(hex_))[0])


def test_reader_refuses_bytes_behind_the_element() -> None:
    with pytest.raises(NotDer):
        der.read_only(der.null() + b"\0", der.NULL)


@given(st.binary(max_size=60))
def test_reader_never_fails_otherwise(data: bytes) -> None:
    try:
        elements = der.read_all(data)
    except NotDer:
        return
    assert b"".join(element.encoded for element in elements) == data


@pytest.mark.parametrize(
    ("moment", "content"),
    [
        (datetime.datetime(2049, 12, 31, 23, 59, 59, tzinfo=datetime.UTC), b"\x17\x0d491231235959Z"),
        (datetime.datetime(2050, 1, 1, tzinfo=datetime.UTC), b"\x18\x0f20500101000000Z"),
    ],
)
def test_time_changes_its_form_in_2050(moment: datetime.datetime, content: bytes) -> None:
    assert der.time(int(moment.timestamp()) * 1000 + 999) == content


def test_named_bits_are_cut_behind_the_last_one() -> None:
    assert der.named_bits(0, 1).hex() == "030206c0"
    assert der.named_bits(5, 6).hex() == "03020106"
    assert der.named_bits(8).hex() == "0303070080"


def test_strings_keep_to_their_sets() -> None:
    with pytest.raises(BadContent):
        der.printable_string("a_b")
    with pytest.raises(BadContent):
        der.ia5_string("é")


def test_set_is_in_ascending_order() -> None:
    assert der.set_of(der.integer(2), der.integer(1)) == der.set_of(der.integer(1), der.integer(2))
