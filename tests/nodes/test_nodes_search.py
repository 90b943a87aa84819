"""Search of JPKI's register: by resident, card, serial number, name, municipality; each audited, names as digests."""

import datetime
from typing import TypeVar

import msgspec
import pytest
from nodes_house import HERE, PERSON, THERE, House
from nodes_parts import run

from warifu.contract.authority import AskImported, FoundCertificates, ImportedView, SearchCertificates
from warifu.contract.errors import open_reply
from warifu.contract.message import Answer
from warifu.domain.certificates.imported import ImportedAuthority, ImportedCertificate
from warifu.domain.certificates.records import Certificate
from warifu.domain.certificates.searching import comparable_name
from warifu.kernel.errors import Malformed, NotFound
from warifu.ports.store import Change, Insert, Update

A = TypeVar("A", bound=Answer)


async def search(house: House, **words: object) -> FoundCertificates:
    request = msgspec.convert({"purpose": "operator.search", **words}, SearchCertificates)
    return open_reply(await house.send("authority", house.envelope(request)), FoundCertificates)


def test_a_certificate_is_found_by_everything_it_may_be_found_by() -> None:
    async def story() -> None:
        house = House()
        async with house.running():
            card_id = await house.card_at_counter()
            (first, second) = (await search(house, card_id=card_id)).certificates
            assert (first.kind, second.kind, first.municipality) == ("authentication", "signature", HERE)
            for words in (
                {"resident_id": first.resident_id},
                {"name": PERSON.name},
                {"name": "割符花子"},
                {"name": " 割符 花子 ", "municipality": HERE},
                {"municipality": HERE},
            ):
                assert (await search(house, **words)).certificates == (first, second), words
            (by_serial,) = (await search(house, kind="signature", serial=second.serial)).certificates
            assert by_serial == second
            for nobody in (
                {"name": "割符　太郎"},
                {"name": PERSON.name, "municipality": THERE},
                {"kind": "signature", "serial": 7},
            ):
                assert (await search(house, **nobody)).certificates == (), nobody

    run(story())


def test_pages_follow_each_other() -> None:
    async def story() -> None:
        house = House()
        async with house.running():
            await house.card_at_counter()
            page = await search(house, municipality=HERE, limit=1)
            rest = await search(
                house, municipality=HERE, limit=1, after_kind=page.next_kind, after_serial=page.next_serial
            )
            kinds = [one.kind for one in (*page.certificates, *rest.certificates)]
            assert kinds == ["authentication", "signature"]
            last = await search(house, municipality=HERE)
            assert last.next_kind == ""

    run(story())


def test_each_search_leaves_an_entry_before_its_answer_and_no_name_anywhere() -> None:
    async def story() -> None:
        house = House()
        async with house.running():
            await house.card_at_counter()
            await search(house, name=PERSON.name)
            store = house.stores["authority"]
            (entry,) = [row.entry for row in store.audit() if row.entry.action == "certificate.search"]
            assert entry.purpose == "operator.search"
            assert entry.subject.startswith("name_digest:")
            (one, *_) = store.records(Certificate)
            assert isinstance(one, Certificate)
            assert len(one.name_digest) == 16
            assert comparable_name(PERSON.name) != one.name_digest
            assert PERSON.name not in repr(store.audit())

    run(story())


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"serial": 7},
        {"kind": "signature", "serial": 7, "municipality": HERE},
        {"name": "割符", "card_id": "WRF000000000001"},
        {"card_id": "WRF000000000001", "municipality": HERE},
    ],
)
def test_what_no_index_serves_is_refused(words: dict[str, object]) -> None:
    async def story() -> None:
        house = House()
        async with house.running():
            with pytest.raises(Malformed):
                await search(house, **words)

    run(story())


@pytest.mark.parametrize(
    ("one", "other"), [("髙橋　一郎", "高橋 一郎"), ("ＳＭＩＴＨ　ＪＯＨＮ", "Smith John"), ("𠮷田　愛", "吉田愛")]
)
def test_spellings_of_one_name_are_one(one: str, other: str) -> None:
    assert comparable_name(one) == comparable_name(other)


def test_a_certificate_of_a_closed_authority_is_found_once_its_import_is_complete() -> None:
    async def story() -> None:
        house = House()
        day = datetime.date(2013, 4, 1)
        moved = ImportedCertificate(
            authority="pref-13", serial=5, not_before=day, not_after=day, municipality="", revoked_ms=None, reason=""
        )
        begun = ImportedAuthority(
            authority="pref-13", name="Tokyo", through=5, certificates=1, revoked=0, complete=False, changed_ms=1
        )
        store = house.stores["authority"]
        await store.commit(Change(now_ms=1, writes=(Insert(moved), Insert(begun))))
        ask = AskImported(purpose="operator.search", authority="pref-13", serial=5)
        with pytest.raises(NotFound):
            open_reply(await house.send("authority", house.envelope(ask)), ImportedView)
        done = msgspec.structs.replace(begun, version=1, complete=True)
        await store.commit(Change(now_ms=2, writes=(Update(done),)))
        found = open_reply(await house.send("authority", house.envelope(ask)), ImportedView)
        assert (found.name, found.serial, found.reason) == ("Tokyo", 5, "")
        assert [row.entry.subject for row in store.audit()] == ["imported:pref-13:5"] * 2

    run(story())
