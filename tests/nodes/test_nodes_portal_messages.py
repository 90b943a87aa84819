"""What a resident does from home: follow an application, report a loss, through every node."""

import datetime

import pytest
from nodes_house import PERSON, House
from nodes_parts import run

from warifu.contract.intake import FollowApplication, Followed, LossReported, ReportLoss
from warifu.domain.applications.loss import MAX_TRIES, HolderUnknown, NoCardInUse, TooManyTries

WRONG = PERSON.birth_date + datetime.timedelta(days=1)


async def report(house: House, application_id: str, birth_date: datetime.date = PERSON.birth_date) -> LossReported:
    request = ReportLoss(application_id=application_id, birth_date=birth_date)
    return await house.ask("intake", request, LossReported)


async def card_state(house: House, application_id: str) -> str:
    return (await house.ask("intake", FollowApplication(application_id=application_id), Followed)).card_state


def test_a_loss_reported_at_home_suspends_the_card_and_holds_its_certificates() -> None:
    async def life() -> None:
        async with House().running() as house:
            application = await house.apply(await house.register())
            assert await card_state(house, application) == "ordered"
            with pytest.raises(NoCardInUse):
                await report(house, application)
            (card,) = await house.receive(await house.produce())
            await house.perform("setup", card)
            assert await card_state(house, application) == "set_up"
            await house.perform("delivery", card)

            assert (await report(house, application)).card_state == "suspended"
            await house.settled()
            assert await card_state(house, application) == "suspended"
            assert {state for _, state in await house.register_says(card)} == {"certificate_hold"}
            assert (await report(house, application)).card_state == "suspended"

    run(life())


def test_a_birth_date_is_not_guessed() -> None:
    async def life() -> None:
        async with House().running() as house:
            application = await house.apply(await house.register())
            for _ in range(MAX_TRIES):
                with pytest.raises(HolderUnknown):
                    await report(house, application, WRONG)
            with pytest.raises(TooManyTries):
                await report(house, application)
            with pytest.raises(HolderUnknown):
                await report(house, "9" * 23)
            house.clock.days = 1
            with pytest.raises(NoCardInUse):
                await report(house, application)

    run(life())
