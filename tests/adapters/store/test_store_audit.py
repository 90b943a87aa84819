"""The audit chain: whatever is done to an export afterwards shows."""

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from warifu.adapters.store.audit import FIRST_HEAD, AuditBroken, AuditRow, Seal, next_seal, verify_export
from warifu.ports.store import AuditEntry

Export = tuple[list[AuditRow], list[Seal]]


def row(number: int, subject: str = "card:1") -> AuditRow:
    return AuditRow(number // 2, number, 1000 + number, AuditEntry("clerk", "look", subject, "op1", "window"))


def export(sizes: tuple[int, ...] = (3, 1, 4), unsealed: int = 2) -> Export:
    """Sealed batches of these sizes and then rows that are not sealed yet."""
    rows = [row(number) for number in range(1, sum(sizes) + unsealed + 1)]
    seals: list[Seal] = []
    done = 0
    for size in sizes:
        seals.append(next_seal(seals[-1] if seals else None, rows[done : done + size], 5000))
        done += size
    return rows, seals


def test_a_whole_export_verifies_in_any_order() -> None:
    rows, seals = export()
    report = verify_export(rows[::-1], seals[::-1])
    assert (report.seals, report.sealed, report.unsealed, report.head) == (3, 8, 2, seals[-1].head)


def test_an_empty_export_verifies() -> None:
    assert verify_export([], []).head == FIRST_HEAD


def removed_row(rows: list[AuditRow], _seals: list[Seal]) -> None:
    del rows[4]


def removed_first_row(rows: list[AuditRow], _seals: list[Seal]) -> None:
    del rows[0]


def removed_last_sealed_row(rows: list[AuditRow], _seals: list[Seal]) -> None:
    del rows[7]


def removed_all_rows(rows: list[AuditRow], _seals: list[Seal]) -> None:
    rows.clear()


def doubled_row(rows: list[AuditRow], _seals: list[Seal]) -> None:
    rows.insert(3, rows[3])


def doubled_last_sealed_row(rows: list[AuditRow], _seals: list[Seal]) -> None:
    rows.insert(8, rows[7])


def inserted_row(rows: list[AuditRow], _seals: list[Seal]) -> None:
    rows.append(msgspec.structs.replace(rows[2], id=99, transaction=2))


def inserted_before_all(rows: list[AuditRow], _seals: list[Seal]) -> None:
    rows.insert(0, row(0))


def exchanged_for_another(rows: list[AuditRow], _seals: list[Seal]) -> None:
    rows[4] = row(5, "card:2")


def moved_instant(rows: list[AuditRow], _seals: list[Seal]) -> None:
    rows[4] = msgspec.structs.replace(rows[4], at_ms=0)


def swapped_entries(rows: list[AuditRow], _seals: list[Seal]) -> None:
    rows[0] = msgspec.structs.replace(rows[0], entry=AuditEntry("look", "clerk", "card:1", "op1", "window"))


def removed_seal(_rows: list[AuditRow], seals: list[Seal]) -> None:
    del seals[1]


def removed_first_seal(_rows: list[AuditRow], seals: list[Seal]) -> None:
    del seals[0]


def doubled_seal(_rows: list[AuditRow], seals: list[Seal]) -> None:
    seals.append(seals[1])


def seal_of_nothing(_rows: list[AuditRow], seals: list[Seal]) -> None:
    seals.append(Seal(4, seals[-1].through, 0, seals[-1].head, 5000))


def later_seal_time(_rows: list[AuditRow], seals: list[Seal]) -> None:
    seals[2] = msgspec.structs.replace(seals[2], at_ms=6000)


def other_head(_rows: list[AuditRow], seals: list[Seal]) -> None:
    seals[2] = msgspec.structs.replace(seals[2], head=bytes(32))


@pytest.mark.parametrize(
    "tamper",
    [
        removed_row,
        removed_first_row,
        removed_last_sealed_row,
        removed_all_rows,
        doubled_row,
        doubled_last_sealed_row,
        inserted_row,
        inserted_before_all,
        exchanged_for_another,
        moved_instant,
        swapped_entries,
        removed_seal,
        removed_first_seal,
        doubled_seal,
        seal_of_nothing,
        later_seal_time,
        other_head,
    ],
)
def test_tampering_shows(tamper: Callable[[list[AuditRow], list[Seal]], None]) -> None:
    rows, seals = export()
    tamper(rows, seals)
    with pytest.raises(AuditBroken):
        verify_export(rows, seals)


def test_a_chain_cut_at_its_end_shows_against_a_head_kept_elsewhere() -> None:
    rows, seals = export()
    verify_export(rows, seals, expected_head=seals[1].head)
    with pytest.raises(AuditBroken):
        verify_export(rows[:4], seals[:2], expected_head=seals[2].head)


def test_a_signature_that_is_not_good_is_refused() -> None:
    def refuse(_seal: Seal) -> None:
        raise AuditBroken("not signed")

    with pytest.raises(AuditBroken):
        verify_export(*export(), check_signature=refuse)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.data())
def test_no_sealed_row_can_be_left_out(sizes: list[int], data: st.DataObject) -> None:
    rows, seals = export(tuple(sizes))
    del rows[data.draw(st.integers(0, sum(sizes) - 1))]
    with pytest.raises(AuditBroken):
        verify_export(rows, seals)
