"""Individual numbers at rest: what stands in the stores tells nobody a number but the HSM, and it in its own row."""

import pickle

import msgspec
import pytest
from nodes_house import House
from nodes_parts import run

from warifu.contract.errors import open_reply
from warifu.contract.numbering import FindNumber, FoundResident, Number, RevealNumber
from warifu.domain.residents.records import AssignedNumber
from warifu.nodes.hsm_answers import HsmRejected
from warifu.ports.store import Change, Update


async def revealed(house: House, resident: str) -> str:
    ask = RevealNumber(resident_id=resident, purpose="card.write")
    return open_reply(await house.send("numbering", house.envelope(ask, sender="center")), Number).individual_number


async def found(house: House, number: str) -> str:
    ask = FindNumber(individual_number=number, purpose="counter.search")
    return open_reply(await house.send("numbering", house.envelope(ask, sender="center")), FoundResident).resident_id


def rows(house: House) -> dict[str, AssignedNumber]:
    kept = house.stores["numbering"].records(AssignedNumber)
    return {row.resident_id: row for row in kept if isinstance(row, AssignedNumber)}


def forms(number: str) -> tuple[bytes, ...]:
    """As text, as a number of either byte order, as packed digits."""
    whole = int(number)
    return number.encode(), whole.to_bytes(5, "big"), whole.to_bytes(5, "little"), bytes.fromhex(number)


def test_no_store_holds_a_number_in_the_clear() -> None:
    """Rows, journals, audit trails, remembered answers and outboxes of every node, after the number was looked at."""

    async def life() -> None:
        async with House().running() as house:
            residents = [await house.register() for _ in range(3)]
            numbers = [await revealed(house, resident) for resident in residents]
            assert len(set(numbers)) == 3
            kept = {kind: pickle.dumps(store._state) for kind, store in house.stores.items()}
            assert residents[0].encode() in kept["numbering"], "what was looked through is not what is kept"
            clear = [
                (kind, number)
                for kind, content in kept.items()
                for number in numbers
                if any(form in content for form in forms(number))
            ]
            assert clear == []

    run(life())


def test_a_number_opens_in_its_own_row_alone() -> None:
    """Whoever can write the database cannot give a resident the number of another."""

    async def life() -> None:
        async with House().running() as house:
            mine, other = [await house.register() for _ in range(2)]
            stolen = msgspec.structs.replace(rows(house)[mine], encrypted=rows(house)[other].encrypted)
            await house.stores["numbering"].commit(Change(now_ms=1, writes=(Update(stolen),)))
            with pytest.raises(HsmRejected):
                await revealed(house, mine)

    run(life())


def test_a_changed_number_does_not_open() -> None:
    async def life() -> None:
        async with House().running() as house:
            mine = await house.register()
            row = rows(house)[mine]
            for at in (0, len(row.encrypted) // 2, -1):
                encrypted = bytearray(row.encrypted)
                encrypted[at] ^= 1
                changed = msgspec.structs.replace(rows(house)[mine], encrypted=bytes(encrypted))
                await house.stores["numbering"].commit(Change(now_ms=1, writes=(Update(changed),)))
                with pytest.raises(HsmRejected):
                    await revealed(house, mine)

    run(life())


def test_a_resident_is_found_by_the_number_without_opening_any() -> None:
    async def life() -> None:
        async with House().running() as house:
            residents = [await house.register() for _ in range(2)]
            for resident in residents:
                number = await revealed(house, resident)
                before = len([1 for each in house.devices["numbering"].commands if type(each).__name__ == "Unwrap"])
                assert await found(house, number) == resident
                after = len([1 for each in house.devices["numbering"].commands if type(each).__name__ == "Unwrap"])
                assert after == before
            indexes = {row.blind_index for row in rows(house).values()}
            assert len(indexes) == 2

    run(life())
