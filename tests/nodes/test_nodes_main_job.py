"""The main job through every node in one process: from the register to the end of the card."""

from nodes_house import MOVED, THERE, House
from nodes_parts import run

from warifu.contract.center import CardMade, CardView, SuspendCard
from warifu.contract.codec import REQUESTS
from warifu.contract.envelope import Envelope
from warifu.contract.health import AskHealth
from warifu.contract.terminal import Pin
from warifu.contract.values import PinName


def test_a_card_lives_its_whole_life() -> None:
    """Record and chip are equal after every operation, and OCSP says what the register says."""
    issued = [("authentication", "issued"), ("signature", "issued")]
    valid = [("authentication", "valid"), ("signature", "valid")]

    async def life() -> None:
        async with House().running() as house:
            resident = await house.register()
            await house.apply(resident)
            (card,) = await house.receive(await house.produce())
            assert await house.register_says(card) == issued
            house.assert_tally(card)

            assert (await house.perform("setup", card)).card_state == "set_up"
            house.assert_tally(card)
            assert (await house.perform("delivery", card)).card_state == "in_use"
            house.assert_tally(card)
            assert await house.register_says(card) == valid
            assert await house.signs(card)

            await house.change(resident, "move", MOVED)
            moved = [("authentication", "valid"), ("signature", "affiliation_changed")]
            assert await house.register_says(card) == moved
            assert (await house.perform("continuation", card, place=THERE)).outcome == "done"
            house.assert_tally(card)
            assert house.card(card).municipality == THERE
            assert await house.register_says(card) == [*moved, ("signature", "valid")]
            assert await house.signs(card)

            view = await house.ask("center", SuspendCard(card_id=card), CardView)
            assert view.state == "suspended"
            await house.settled()
            held = [("authentication", "certificate_hold"), moved[1], ("signature", "certificate_hold")]
            assert await house.register_says(card) == held
            assert (await house.perform("resumption", card, place=THERE)).card_state == "in_use"
            house.assert_tally(card)
            assert sorted(await house.register_says(card)) == sorted([*held, *valid])
            assert await house.signs(card)

            fresh: dict[PinName, Pin] = {"signature": "NEW456"}
            await house.perform("pin_reset", card, place=THERE, reset_pins=("signature",), new_pins=fresh)
            house.assert_tally(card)
            assert await house.signs(card, "NEW456")

            assert (await house.perform("abolition", card, place=THERE)).card_state == "abolished"
            house.assert_tally(card)
            states = {state for _, state in await house.register_says(card)}
            assert states == {"affiliation_changed", "cessation_of_operation"}
            assert house.log.troubles == []

    run(life())


def test_every_message_is_answered_by_the_node_it_names() -> None:
    async def handlers() -> None:
        answered: set[str] = set()
        for node in House().nodes.values():
            own = {name for name in node.handlers if name != AskHealth.NAME}
            assert all(name.startswith(f"{node.KIND}.") for name in own)
            answered |= own
        assert answered == set(REQUESTS) - {AskHealth.NAME}

    run(handlers())


def test_every_node_of_the_chain_is_well() -> None:
    async def health() -> None:
        async with House().running() as house:
            for node in house.nodes.values():
                said = await node.health()
                assert said.ok, (node.world.name, said.parts)

    run(health())


def test_a_card_the_centre_was_not_told_of_is_not_shipped_until_it_is() -> None:
    lost: list[str] = []

    def first_report(_node: str, envelope: Envelope) -> bool:
        if envelope.name == CardMade.NAME and not lost:
            lost.append(envelope.name)
            return True
        return False

    async def story() -> None:
        async with House().running() as house:
            await house.apply(await house.register())
            house._is_lost = first_report  # type: ignore[method-assign,assignment]
            assert (await house.produce()).shipments == ()
            second = await house.produce()
            assert [len(each.card_ids) for each in second.shipments] == [1]
            assert len(await house.receive(second)) == 1

    run(story())
