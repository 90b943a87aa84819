"""What a holder may ask for at the counter beside the main job: another PIN, no certificates, no card after all."""

import contextlib

import pytest
from nodes_house import PINS, House
from nodes_parts import run

from warifu.chip import client
from warifu.contract.center import CardView, RevokeOnRequest
from warifu.contract.terminal import ChangePin, PinChanged
from warifu.contract.values import CertificateKind
from warifu.domain.cards.chip_names import PIN_PLACES
from warifu.domain.cards.errors import WrongCardState
from warifu.ports.reader import CardGone

NEW = "3456"
COMMANDS_MAX = 40


async def in_use(house: House) -> str:
    card = await house.card_at_counter()
    await house.perform("setup", card)
    await house.perform("delivery", card)
    return card


async def change(house: House, card: str, old: str) -> PinChanged:
    request = ChangePin(card_id=card, pin="juki", old=old, new=NEW)
    return await house.ask("terminal-131016", request, PinChanged)


async def counts_everywhere(house: House, card: str, value: str) -> bool:
    connection = await house.reader.connect(card)
    for aid, reference in PIN_PLACES["juki"]:
        await client.verify_pin(connection.transmit, aid, reference, value)
    await connection.close()
    return True


@pytest.mark.parametrize("after", [False, True], ids=["before-command", "after-command"])
def test_a_change_of_the_pin_that_stands_in_two_places_is_whole_after_being_done_again(*, after: bool) -> None:
    """Pulled at every command: the old PIN is right until the change is whole, and then the new one is, everywhere."""

    async def pull_everywhere() -> None:
        async with House().running() as house:
            card = await in_use(house)
            saved = house.save()
            for command in range(COMMANDS_MAX):
                house.restore(saved)
                house.reader.pull(command, after=after)
                with contextlib.suppress(CardGone):
                    if (await change(house, card, PINS["juki"])).changed:
                        assert await counts_everywhere(house, card, NEW)
                        return  # the card was not pulled any more
                again = await change(house, card, PINS["juki"])
                assert again.changed or (await change(house, card, NEW)).changed, command
                assert await counts_everywhere(house, card, NEW), command
        raise AssertionError("the change has no end")

    run(pull_everywhere())


def test_a_wrong_old_pin_costs_one_try() -> None:
    async def wrong() -> None:
        async with House().running() as house:
            card = await in_use(house)
            refused = await change(house, card, "0000")
            assert (refused.changed, refused.tries_left) == (False, 2)

    run(wrong())


@pytest.mark.parametrize(
    ("kinds", "left"), [(("signature",), {"authentication"}), (("signature", "authentication"), set())]
)
def test_certificates_end_when_the_holder_asks_and_the_card_stays_in_use(
    kinds: tuple[CertificateKind, ...], left: set[str]
) -> None:
    async def asked() -> None:
        async with House().running() as house:
            card = await in_use(house)
            view = await house.ask("center", RevokeOnRequest(card_id=card, kinds=kinds), CardView)
            await house.settled()
            said = await house.register_says(card)
            assert {kind for kind, state in said if state == "valid"} == left
            assert {state for kind, state in said if kind in kinds} == {"cessation_of_operation"}
            assert (view.state, house.card(card).state) == ("in_use", "in_use")
            await house.perform("certificate_renewal", card)
            assert {kind for kind, state in await house.register_says(card) if state == "valid"} == {
                "signature",
                "authentication",
            }
            house.assert_tally(card)

    run(asked())


def test_certificates_of_a_card_that_nobody_has_are_not_ended_on_request() -> None:
    async def too_early() -> None:
        async with House().running() as house:
            card = await house.card_at_counter()
            with pytest.raises(WrongCardState):
                await house.ask("center", RevokeOnRequest(card_id=card, kinds=("signature",)), CardView)

    run(too_early())


def test_a_delivery_that_is_cancelled_has_its_own_reason() -> None:
    async def cancelled() -> None:
        async with House().running() as house:
            card = await house.card_at_counter()
            await house.perform("setup", card)
            assert (await house.perform("abolition", card)).card_state == "abolished"
            assert {state for _, state in await house.register_says(card)} == {"unspecified"}
            house.assert_tally(card)

    run(cancelled())
