"""The card is pulled at every command of an operation; the same operation again finishes it (F6)."""

from collections import Counter

import pytest
from nodes_house import HERE, MOVED, PINS, THERE, House
from nodes_parts import run

from warifu.contract.issuance import Produced, RunProduction
from warifu.contract.terminal import Pin
from warifu.contract.values import OperationKind, PinName
from warifu.domain.cards import plans
from warifu.domain.cards.records import Card, CardWrite
from warifu.domain.certificates.records import AppletWrite
from warifu.domain.production.records import Batch
from warifu.kernel.errors import TryAgain
from warifu.ports.reader import CardGone

BEFORE: dict[OperationKind, tuple[OperationKind, ...]] = {
    "setup": (),
    "delivery": ("setup",),
    "continuation": ("setup", "delivery"),
    "abolition": ("setup", "delivery"),
}


async def prepared(house: House, kind: OperationKind) -> tuple[str, str]:
    """A card for which the operation is next, and where."""
    resident = await house.register()
    await house.apply(resident)
    (card,) = await house.receive(await house.produce())
    for earlier in BEFORE[kind]:
        await house.perform(earlier, card)
    if kind != "continuation":
        return card, HERE
    await house.change(resident, "move", MOVED)
    return card, THERE


async def broken_off(house: House, kind: OperationKind, card: str, place: str, operation: str) -> str:
    """How the run ended."""
    try:
        return (await house.perform(kind, card, place=place, operation_id=operation)).outcome
    except CardGone:
        return "gone"
    except TryAgain:
        return "unavailable"


def assert_written_once(house: House, kind: OperationKind) -> None:
    """Each card write of the plan is finished once; whatever else was begun is undone; JPKI agrees."""
    writes = [write for write in house.stores["center"].records(CardWrite) if isinstance(write, CardWrite)]
    steps = Counter(write.step_name for write in writes if write.state == "finished")
    for done in (*BEFORE[kind], kind):
        for step in plans.plan(done, plans.ALL_PINS):
            assert step.action != "write" or steps[step.name] == 1, (step.name, steps)
    assert {write.state for write in writes} <= {"finished", "undone"}
    told = {record.write_id: record.state for record in house.stores["authority"].records(AppletWrite)}  # type: ignore[attr-defined]
    for write in writes:
        if write.with_jpki:
            assert told[write.write_id] == write.state


@pytest.mark.parametrize("after", [False, True], ids=["before-command", "after-command"])
@pytest.mark.parametrize("kind", ["setup", "delivery", "continuation", "abolition"])
def test_pulled_at_every_command_and_finished_by_the_same_operation(kind: OperationKind, *, after: bool) -> None:
    async def pull_everywhere() -> None:
        async with House().running() as house:
            card, place = await prepared(house, kind)
            saved = house.save()
            whole = await house.perform(kind, card, place=place)
            assert whole.outcome == "done"
            for command in range(whole.chip_commands):
                house.restore(saved)
                operation = house.new_id()
                house.reader.pull(command, after=after)
                assert await broken_off(house, kind, card, place, operation) in {"gone", "unknown"}
                again = await house.perform(kind, card, place=place, operation_id=operation)
                assert (again.outcome, again.card_state) == ("done", whole.card_state), command
                house.assert_tally(card)
                assert_written_once(house, kind)

    run(pull_everywhere())


@pytest.mark.parametrize("replies", [False, True], ids=["request", "reply"])
@pytest.mark.parametrize("kind", ["setup", "delivery", "continuation", "abolition"])
def test_every_message_is_lost_once_and_the_same_operation_ends(kind: OperationKind, *, replies: bool) -> None:
    async def lose_everything() -> None:
        async with House().running() as house:
            card, place = await prepared(house, kind)
            saved = house.save()
            house.lose(-1, replies=False)
            whole = await house.perform(kind, card, place=place)
            for message in range(len(house.calls)):
                house.restore(saved)
                operation = house.new_id()
                house.lose(message, replies=replies)
                await broken_off(house, kind, card, place, operation)
                house.lose(-1, replies=False)
                again = await house.perform(kind, card, place=place, operation_id=operation)
                assert (again.outcome, again.card_state) == ("done", whole.card_state), message
                house.assert_tally(card)
                assert_written_once(house, kind)

    run(lose_everything())


def test_a_pin_that_the_chip_accepted_is_not_asked_again() -> None:
    async def two_visits() -> None:
        async with House().running() as house:
            card, _ = await prepared(house, "delivery")
            operation = house.new_id()
            some: dict[PinName, Pin] = {name: PINS[name] for name in ("signature", "authentication")}
            first = await house.perform("delivery", card, operation_id=operation, new_pins=some)
            assert (first.outcome, first.waiting_pins) == ("needs_pins", ("text", "juki"))
            rest: dict[PinName, Pin] = {name: PINS[name] for name in ("text", "juki")}
            second = await house.perform("delivery", card, operation_id=operation, new_pins=rest)
            assert (second.outcome, second.card_state) == ("done", "in_use")
            assert await house.signs(card)

    run(two_visits())


@pytest.mark.parametrize("after", [False, True], ids=["before-command", "after-command"])
def test_production_broken_at_every_command_is_run_again(*, after: bool) -> None:
    async def pull_everywhere() -> None:
        async with House().running() as house:
            await house.apply(await house.register())
            saved = house.save()
            house.reader.pull(10_000, after=after)
            await house.produce()
            for command in range(house.reader.commands):
                house.restore(saved)
                house.reader.pull(command, after=after)
                broken = await house.produce()
                assert (broken.made, broken.failed) == (0, 1)
                await house.produce()
                house.log.troubles.clear()
                (card,) = [each.card_id for each in house.stores["center"].records(Card) if isinstance(each, Card)]
                assert house.card(card).state == "shipped"
                house.assert_tally(card)
                assert await house.register_says(card) == [("authentication", "issued"), ("signature", "issued")]
                batches = house.stores["issuance"].records(Batch)
                assert [batch.card_ids for batch in batches if isinstance(batch, Batch)] == [(card,)]

    run(pull_everywhere())


@pytest.mark.parametrize("replies", [False, True], ids=["request", "reply"])
def test_every_message_of_registration_and_production_is_lost_once(*, replies: bool) -> None:
    """Whoever asks sends the same request again under the same key; the rest is the nodes' own doing."""

    async def whole(house: House) -> None:
        await house.apply(await house.register())
        # A card whose report to the centre is lost leaves the factory all the same: the centre hears in the next run.
        await house.ask("issuance", RunProduction(), Produced)
        await house.produce()

    async def lose_everything() -> None:
        async with House().running() as house:
            saved, house.patience = house.save(), 3
            house.lose(-1, replies=False)
            await whole(house)
            for message in range(len(house.calls)):
                house.restore(saved)
                house.lose(message, replies=replies)
                await whole(house)
                (card,) = house.stores["center"].records(Card)
                assert isinstance(card, Card)
                assert card.state == "shipped", message
                house.assert_tally(card.card_id)

    run(lose_everything())


def test_a_move_in_the_middle_of_production_does_not_stop_it() -> None:
    async def moves() -> None:
        async with House().running() as house:
            resident = await house.register()
            await house.apply(resident)
            house.reader.pull(20, after=False)
            assert (await house.produce()).made == 0
            await house.change(resident, "move", MOVED)
            produced = await house.produce()
            assert produced.made == 1
            (card,) = produced.shipments[0].card_ids
            assert await house.register_says(card) == [
                ("authentication", "issued"),
                ("signature", "affiliation_changed"),
            ]

    run(moves())
