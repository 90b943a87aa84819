"""A list is signed only if it is, octet for octet, what was ordered."""

import datetime

import msgspec
import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from pki_testca import authority

from warifu.domain.pki.errors import LintFailed
from warifu.domain.pki.lint_lists import lint_entries, lint_list
from warifu.domain.pki.names import point_of
from warifu.domain.pki.profile import MAX_SERIAL, assemble
from warifu.domain.pki.revocation import (
    REASON_CODES,
    ListFrame,
    ListOrder,
    Reason,
    crl_entry,
    list_frame,
    list_opening,
    oldest_listed,
)

NOW_MS = 1_761_530_400_000
ORDER = ListOrder(number=300, this_update_ms=NOW_MS, next_update_ms=NOW_MS + 86_400_000, point=point_of("132217"))
FULL = msgspec.structs.replace(ORDER, point=None)
ENTRIES = b"".join(crl_entry(serial, NOW_MS, reason) for serial, reason in enumerate(REASON_CODES, 1))
reasons = st.sampled_from(list(REASON_CODES))
serials = st.integers(1, MAX_SERIAL)


@given(st.lists(st.tuples(serials, reasons), max_size=20))
def test_entries_pass_and_are_counted(lines: list[tuple[int, Reason]]) -> None:
    piece = b"".join(crl_entry(serial, NOW_MS, reason) for serial, reason in lines)
    assert lint_entries(piece) == len(lines)


@given(serials, reasons, st.integers(0, 40), st.integers(1, 255))
def test_an_entry_with_one_octet_changed_is_another_entry_or_none(
    serial: int, reason: Reason, place: int, difference: int
) -> None:
    """What passes all the same is a whole entry for another reader, too."""
    entry = bytearray(crl_entry(serial, NOW_MS, reason))
    entry[place % len(entry)] ^= difference
    try:
        lint_entries(bytes(entry))
    except LintFailed:
        return
    read = x509.load_der_x509_crl(_list(FULL, bytes(entry)))
    assert 1 <= read[0].serial_number <= MAX_SERIAL


@pytest.mark.parametrize(
    "piece",
    [
        ENTRIES[:-1],
        ENTRIES + b"\0",
        b"\0" + ENTRIES,
        crl_entry(1, NOW_MS, "superseded").replace(b"\x0a\x01\x04", b"\x0a\x01\x08"),  # removeFromCRL
        crl_entry(1, NOW_MS, "superseded").replace(b"\x0a\x01\x04", b"\x0a\x01\x00"),  # unspecified is left out
        crl_entry(1, NOW_MS, "unspecified").replace(b"\x02\x01\x01", b"\x02\x01\x00"),  # no serial
    ],
)
def test_anything_else_among_the_entries_is_refused(piece: bytes) -> None:
    with pytest.raises(LintFailed):
        lint_entries(piece)


@pytest.mark.parametrize("order", [ORDER, FULL])
@pytest.mark.parametrize("entries", [b"", ENTRIES, ENTRIES * 2000])
def test_a_frame_as_ordered_passes_and_reads_as_meant(order: ListOrder, entries: bytes) -> None:
    frame = list_frame(authority("signature"), order, len(entries))
    lint_list(authority("signature"), order, frame, len(entries))
    read = x509.load_der_x509_crl(_list(order, entries))
    assert len(read) == len(entries) // max(len(ENTRIES), 1) * len(REASON_CODES)
    assert read.next_update_utc == datetime.datetime.fromtimestamp(order.next_update_ms / 1000, datetime.UTC)


def test_the_opening_is_that_of_the_whole_list() -> None:
    frame = list_frame(authority("signature"), FULL, len(ENTRIES))
    assert _list(FULL, ENTRIES).startswith(list_opening(frame, len(ENTRIES)) + frame.head)


@pytest.mark.parametrize(
    ("order", "size", "kind"),
    [
        (msgspec.structs.replace(ORDER, number=301), len(ENTRIES), "signature"),
        (msgspec.structs.replace(ORDER, this_update_ms=NOW_MS + 1000), len(ENTRIES), "signature"),
        (msgspec.structs.replace(ORDER, next_update_ms=NOW_MS + 1000), len(ENTRIES), "signature"),
        (msgspec.structs.replace(ORDER, point=point_of("131211")), len(ENTRIES), "signature"),
        (FULL, len(ENTRIES), "signature"),
        (ORDER, len(ENTRIES) + 1, "signature"),
        (ORDER, 0, "signature"),
        (ORDER, len(ENTRIES), "authentication"),
    ],
)
def test_a_frame_of_another_order_is_refused(order: ListOrder, size: int, kind: str) -> None:
    frame = list_frame(authority("signature"), ORDER, len(ENTRIES))
    with pytest.raises(LintFailed):
        lint_list(authority(kind), order, frame, size)  # type: ignore[arg-type]


@given(st.booleans(), st.integers(0, 400), st.integers(1, 255))
def test_a_frame_with_one_octet_changed_is_refused(in_tail: bool, place: int, difference: int) -> None:  # noqa: FBT001
    frame = list_frame(authority("signature"), ORDER, len(ENTRIES))
    head, tail = bytearray(frame.head), bytearray(frame.tail)
    part = tail if in_tail else head
    part[place % len(part)] ^= difference
    with pytest.raises(LintFailed):
        lint_list(authority("signature"), ORDER, ListFrame(bytes(head), bytes(tail)), len(ENTRIES))


def test_a_certificate_leaves_the_lists_after_one_issued_behind_its_last_day() -> None:
    """RFC 5280 section 3.3; lists are renewed every half day."""
    assert oldest_listed(NOW_MS) == datetime.date(2025, 10, 25)


def _list(order: ListOrder, entries: bytes) -> bytes:
    frame = list_frame(authority("signature"), order, len(entries))
    return assemble(b"".join((frame.head, entries, frame.tail)), bytes(256))
