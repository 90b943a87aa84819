"""What is more than one message may carry comes all the same."""

import datetime
from collections.abc import Iterable, Iterator
from itertools import islice

import pytest
from cryptography import x509
from nodes_house import HERE, House
from nodes_parts import run

from warifu.contract.issuance import AskShipments, Shipments
from warifu.domain.certificates.records import ListRevision, Revocation
from warifu.domain.pki.revocation import crl_entry
from warifu.domain.production.records import Batch
from warifu.domain.production.rules import BATCH_MAX
from warifu.kernel.ids import card_id
from warifu.ports.store import Change, Insert, Record

MESSAGE = 1 << 20
FIRST_SERIAL = 20_000_000


async def put(house: House, kind: str, records: Iterable[Record]) -> None:
    for some in batched(records, 500):
        change = Change(now_ms=house.clock.now_ms(), writes=tuple(Insert(record) for record in some))
        await house.stores[kind].commit(change)


def batched(records: Iterable[Record], count: int) -> Iterator[tuple[Record, ...]]:
    source = iter(records)
    return iter(lambda: tuple(islice(source, count)), ())


def revoked(serial: int, now_ms: int) -> Revocation:
    return Revocation(
        generation=1,
        ca="signature",
        serial=serial,
        municipality=HERE,
        reason="superseded",
        revoked_ms=now_ms,
        not_after=datetime.date(2030, 1, 1),
        entry=crl_entry(serial, now_ms, "superseded"),
    )


@pytest.mark.parametrize("municipality", ["", HERE])
def test_a_list_larger_than_a_message_is_published(municipality: str) -> None:
    async def published() -> None:
        async with House().running() as house:
            now_ms, many = house.clock.now_ms(), 30_000
            await put(house, "authority", (revoked(FIRST_SERIAL + number, now_ms) for number in range(many)))
            await put(house, "authority", [ListRevision(ca="signature", municipality=HERE, changed_ms=now_ms)])
            der = await house.responder.list("signature", municipality)
            assert len(der) > MESSAGE
            found = x509.load_der_x509_crl(der)
            assert len(found) == many
            assert found.get_revoked_certificate_by_serial_number(FIRST_SERIAL + many - 1) is not None

    run(published())


def test_every_packing_list_is_told_page_by_page() -> None:
    def batch(number: int) -> Batch:
        cards = tuple(card_id(number * BATCH_MAX + place) for place in range(BATCH_MAX))
        return Batch(batch_id=f"{number:026d}", municipality=HERE, card_ids=cards, shipped_ms=1)

    async def told() -> None:
        house = House()
        batches = [batch(number) for number in range(1010)]
        await put(house, "issuance", batches)
        found: list[str] = []
        page = await house.ask("issuance", AskShipments(municipality=HERE), Shipments)
        while page.shipments:
            found += [shipment.batch_id for shipment in page.shipments]
            page = await house.ask("issuance", AskShipments(municipality=HERE, after=found[-1]), Shipments)
        assert found == [each.batch_id for each in batches]

    run(told())
