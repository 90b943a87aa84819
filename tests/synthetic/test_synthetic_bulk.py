"""Bulk data: rows that fit together, the same for the same seed, and nobody's card number is another's."""

import datetime

from warifu.kernel.check_digits import require_application_id, require_resident_code
from warifu.kernel.ids import CARD_PREFIX, parse_card_id, ulid_bytes
from warifu.kernel.municipalities import MUNICIPALITIES
from warifu.synthetic.bulk import BulkResident, bulk

TODAY = datetime.date(2026, 4, 1)
PLACES = MUNICIPALITIES[:3]


def some(seed: int, count: int = 50, first: int = 0) -> list[BulkResident]:
    return list(bulk(seed, count, TODAY, PLACES, now_ms=1, first=first))


def test_the_rows_of_a_resident_belong_together() -> None:
    for one in some(7):
        ids = {
            one.resident.resident_id,
            one.notification.resident_id,
            one.application.resident_id,
            one.card.resident_id,
        }
        assert len(ids) == 1
        assert one.card.live_resident_id == one.resident.resident_id
        assert one.card.application_id == one.application.application_id == one.notification.application_id
        assert one.card.municipality == one.resident.municipality in {place.code for place in PLACES}


def test_every_identifier_is_one_that_its_reader_accepts() -> None:
    for one in some(7):
        assert parse_card_id(one.card.card_id).startswith(CARD_PREFIX)
        require_application_id(one.application.application_id)
        require_resident_code(one.resident.resident_code)
        assert len(ulid_bytes(one.card.write_id)) == 16
        assert one.card.expires_on is not None
        assert one.card.expires_on > TODAY


def test_the_same_seed_makes_the_same_people_from_any_number_on() -> None:
    assert some(7)[20:30] == some(7, 10, first=20)


def test_seeds_share_no_card_and_no_resident() -> None:
    first, second = some(1), some(2)
    assert not {one.card.card_id for one in first} & {one.card.card_id for one in second}
    assert not {one.resident.resident_id for one in first} & {one.resident.resident_id for one in second}


def test_no_two_residents_share_a_code() -> None:
    codes = {one.resident.resident_code for seed in (1, 2, 999) for one in some(seed, 400)}
    assert len(codes) == 1200


def test_a_bulk_resident_does_not_show_who_it_is() -> None:
    one = some(3, 1)[0]
    assert one.resident.name not in repr(one)
