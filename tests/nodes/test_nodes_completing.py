"""Nobody comes back for a card write: found by a timer, told to people, ended where that needs no chip (F6)."""

import asyncio

import msgspec
import pytest
from nodes_house import HERE, THERE, House
from nodes_parts import run
from test_nodes_breaks import assert_written_once

from warifu.adapters.artwork import PillowArtwork
from warifu.contract.errors import open_reply
from warifu.contract.health import Health
from warifu.contract.unsettled import AskUnsettled, UnsettledCards
from warifu.contract.values import OperationKind
from warifu.domain.cards.records import Operation
from warifu.kernel.errors import NotAllowed, TryAgain
from warifu.nodes.center import completing
from warifu.nodes.center.completing import Completer
from warifu.nodes.center.node import Center


def completer(house: House) -> Completer:
    center = house.nodes["center"]
    assert isinstance(center, Center)
    return center.completer


async def left(house: House, kind: OperationKind, card: str, message: str, *, replies: bool = False) -> str:
    """An operation of which this message is lost whenever it is sent, and to which nobody comes back; its id."""
    operation = house.new_id()
    house.lose_name, house.lose_replies = message, replies
    try:
        performed = await house.perform(kind, card, operation_id=operation)
        assert performed.outcome == "unknown"
    except TryAgain:
        pass
    house.lose_name, house.lose_replies = "", False
    house.clock.days += 1
    return operation


async def listed(house: House, municipality: str = "", *, limit: int = 50, after: str = "") -> UnsettledCards:
    """What a municipality's counter is told, through relay and centre; "": what a national operator is told."""
    asked = house.envelope(AskUnsettled(limit=limit, after=after), sender="relay-1" if municipality else "driver")
    return open_reply(
        await house.nodes["center"].handle(msgspec.structs.replace(asked, municipality=municipality)), UnsettledCards
    )


async def health(house: House) -> Health:
    return await house.nodes["center"].health()


def operation_of(house: House, operation_id: str) -> Operation:
    rows = [row for row in house.stores["center"].records(Operation) if isinstance(row, Operation)]
    return next(row for row in rows if row.operation_id == operation_id)


@pytest.mark.parametrize("replies", [False, True], ids=["request", "reply"])
def test_a_write_without_a_script_ends_by_itself_and_the_card_is_free(*, replies: bool) -> None:
    async def life() -> None:
        async with House().running() as house:
            card = await house.card_at_counter()
            operation = await left(house, "setup", card, "authority.open_applet", replies=replies)
            assert await completer(house).sweep() == 1
            await house.settled()
            assert operation_of(house, operation).state == "abandoned"
            assert house.card(card).open_operation == ""
            assert (await listed(house)).unsettled == ()
            assert (await house.perform("setup", card)).outcome == "done"
            house.assert_tally(card)
            assert_written_once(house, "setup")

    run(life())


def test_a_script_that_went_out_is_told_until_the_card_is_met() -> None:
    async def life() -> None:
        async with House().running() as house:
            card = await house.card_at_counter()
            operation = await left(house, "setup", card, "center.confirm")
            assert await completer(house).sweep() == 0

            (one,) = (await listed(house, HERE)).unsettled
            assert (one.card_id, one.operation_id, one.why, one.step_name) == (
                card, operation, "unknown_write", "set_up",
            )  # fmt: skip
            assert (await listed(house, THERE)).unsettled == ()
            assert (await listed(house)).unsettled == (one,)

            word = await health(house)
            assert word.ok
            assert word.parts["unsettled"].warning
            assert "1 card writes of unknown end" in word.parts["unsettled"].detail

            assert (await house.perform("setup", card, operation_id=operation)).outcome == "done"
            assert await completer(house).sweep() == 0
            assert (await health(house)).parts["unsettled"].ok
            assert (await listed(house)).unsettled == ()
            house.assert_tally(card)
            assert_written_once(house, "setup")

    run(life())


def test_the_timer_finds_it_and_tells_the_log_in_numbers_alone() -> None:
    async def life() -> None:
        async with House().running() as house:
            card = await house.card_at_counter()
            await left(house, "setup", card, "center.confirm")
            house.log.troubles.clear()
            await asyncio.sleep(completing.EVERY_S + 1)
            ((event, fields),) = [(name, fields) for name, fields in house.log.troubles if name.startswith("completer")]
            assert event == "completer.unsettled"
            assert float(fields.pop("oldest_s")) >= 24 * 3600
            assert fields == {"unknown": 1, "half_done": 0}
            await asyncio.sleep(completing.TOLD_AGAIN_MS / 1000)
            assert len([name for name, _ in house.log.troubles if name == "completer.unsettled"]) == 2

    run(life())


def test_pages_are_bounded_and_go_on_where_the_last_one_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completing, "PAGE", 1)

    async def life() -> None:
        async with House().running() as house:
            operation = await left(house, "setup", await house.card_at_counter(), "center.confirm")
            first = await listed(house, limit=1)
            assert [each.operation_id for each in first.unsettled] == [operation]
            rest = await listed(house, limit=1, after=first.after)
            assert (rest.unsettled, rest.after) == ((), "")

    run(life())


def test_only_counters_and_operators_may_ask() -> None:
    async def life() -> None:
        house = House()
        asked = house.envelope(AskUnsettled(), sender="intake-1")
        with pytest.raises(NotAllowed):
            await house.nodes["center"].handle(asked)

    run(life())


def test_two_centres_that_look_at_once_end_it_once() -> None:
    async def life() -> None:
        async with House().running() as house:
            card = await house.card_at_counter()
            await left(house, "setup", card, "authority.open_applet")
            second = Center(house.world("center-2"), house.stores["center"], house.pool("center"), PillowArtwork())
            async with asyncio.TaskGroup() as group:
                sweeps = [group.create_task(each.sweep()) for each in (completer(house), second.completer)]
            assert sorted(sweep.result() for sweep in sweeps) == [0, 1]
            await house.settled()
            assert house.card(card).open_operation == ""
            assert (await house.perform("setup", card)).outcome == "done"
            assert_written_once(house, "setup")

    run(life())
