"""A card ends by itself when its days are over, and its holder gets another one, through every node."""

import pytest
from nodes_house import HERE, MOVED, THERE, House
from nodes_parts import run

from warifu.contract.center import AbolishCard, CardView, FormGiven, GiveForm
from warifu.contract.errors import open_reply
from warifu.contract.intake import AskNewForm, NewForm
from warifu.domain.applications.rules import CardHeld
from warifu.domain.cards.records import CalendarMark
from warifu.kernel.errors import NotFound
from warifu.nodes.center.lapsing import Lapser
from warifu.nodes.center.node import Center


def lapser(house: House) -> Lapser:
    center = house.nodes["center"]
    assert isinstance(center, Center)
    return Lapser(center)


async def new_form(house: House, resident: str) -> str:
    answer = await house.ask("intake", AskNewForm(resident_id=resident, reason="expired"), NewForm)
    return answer.application_id


def test_a_card_that_was_not_continued_ends_and_its_holder_gets_another() -> None:
    async def life() -> None:
        async with House().running() as house:
            resident = await house.register()
            first = await house.apply(resident)
            (card,) = await house.receive(await house.produce())
            await house.perform("setup", card)
            await house.perform("delivery", card)
            await house.change(resident, "move", MOVED)

            house.clock.days = 90
            assert await lapser(house).follow() == 0
            assert house.card(card).state == "in_use"
            with pytest.raises(CardHeld):
                await new_form(house, resident)

            house.clock.days = 91
            assert await lapser(house).follow() == 1
            await house.settled()
            assert house.card(card).state == "abolished"
            assert {state for _, state in await house.register_says(card)} == {
                "affiliation_changed", "cessation_of_operation",
            }  # fmt: skip

            form = await new_form(house, resident)
            assert form != first
            assert await new_form(house, resident) == form
            assert await house.apply(resident) == form
            produced = await house.produce()
            assert produced.made == 1
            (second,) = house.live_cards(resident)
            assert second != card

    run(life())


def test_the_calendar_is_followed_from_where_it_was_left_off() -> None:
    async def life() -> None:
        async with House().running() as house:
            resident = await house.register()
            await house.apply(resident)
            (card,) = await house.receive(await house.produce())
            expires = house.card(card).expires_on
            assert expires is not None
            today = house.clock.today()
            assert await lapser(house).follow() == 0
            house.clock.days = (expires - today).days
            assert await lapser(house).follow() == 0
            house.clock.days += 30  # a centre that was down for a month
            assert await lapser(house).follow() == 1
            assert await lapser(house).follow() == 0
            (mark,) = house.stores["center"].records(CalendarMark)
            assert isinstance(mark, CalendarMark)
            assert (house.clock.today() - mark.day).days == 1

    run(life())


async def form_at_the_counter(house: House, resident: str, place: str = HERE) -> FormGiven:
    envelope = house.envelope(GiveForm(resident_id=resident, reason="lost"), sender=f"terminal-{place}")
    return open_reply(await house.send(f"cs-{place}", envelope), FormGiven)


def test_the_counter_gives_a_form_to_its_own_residents_whose_card_has_ended() -> None:
    async def story() -> None:
        async with House().running() as house:
            resident = await house.register()
            first = await house.apply(resident)
            (card,) = await house.receive(await house.produce())
            with pytest.raises(CardHeld):
                await form_at_the_counter(house, resident)
            await house.perform("setup", card)
            await house.perform("delivery", card)
            await house.ask("center", AbolishCard(card_id=card), CardView)
            with pytest.raises(NotFound):
                await form_at_the_counter(house, resident, THERE)
            with pytest.raises(NotFound):
                await form_at_the_counter(house, house.new_id())

            given = await form_at_the_counter(house, resident)
            assert given.application_id != first
            assert (await form_at_the_counter(house, resident)).application_id == given.application_id
            assert given.person.name not in repr(given)

    run(story())
