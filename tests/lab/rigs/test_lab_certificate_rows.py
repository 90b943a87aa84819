"""Rows of the register for measurements: such as the store would write, and as skewed as the country is."""

from collections import Counter

from warifu.adapters.store.shape import check_records, table_of
from warifu.domain.certificates.records import Certificate
from warifu.lab.rigs.certificate_rows import LARGEST, Population

POPULATION = Population(20_000)


def test_each_row_is_a_record_of_the_register() -> None:
    table = table_of(Certificate)
    for number in range(100):
        check_records(table, [Certificate(**dict(zip(table.names, POPULATION.row(number), strict=True)))])


def test_keys_are_there_once_and_each_holder_has_both_certificates() -> None:
    rows = [POPULATION.row(number) for number in range(1_000)]
    assert len({(row[1], row[2]) for row in rows}) == len({row[7] for row in rows}) == 1_000
    assert Counter(Counter(row[5] for row in rows).values()) == {2: 500}


def test_one_municipality_is_large_and_few_names_are_frequent() -> None:
    holders = range(POPULATION.rows // 2)
    places = Counter(POPULATION.place(holder) for holder in holders)
    assert 0.28 < places[LARGEST] / len(holders) < 0.32
    assert len(places) > 1_500
    names = Counter(POPULATION.name(holder) for holder in holders)
    ((_, most),) = names.most_common(1)
    assert 100 < most < 300
