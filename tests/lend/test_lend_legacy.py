"""The set-up, two ways: the documents' counts, on a real chip; ours, through every node."""

import pytest
from lend_kit import Desk, run
from nodes_house import House

from warifu.chip import client
from warifu.contract.terminal import Performed
from warifu.domain.setup_timing import counts, oracles
from warifu.lend.errors import ChipRefused
from warifu.lend.legacy import LegacySetup
from warifu.lend.maker import Making
from warifu.lend.personas import PERSONAS


@pytest.fixture
def making(desk: Desk) -> Making:
    return run(desk.maker.make_unset(PERSONAS["adult"]))


@pytest.mark.parametrize("persona", ["adult", "child", "rare-characters"])
def test_the_legacy_set_up_takes_29_exchanges_and_146_chip_commands(desk: Desk, persona: str) -> None:
    making = run(desk.maker.make_unset(PERSONAS[persona]))
    before = making.chip.commands
    work = run(LegacySetup(making).run())
    assert (work.exchanges, work.chip_commands) == (29, 146) == (oracles.EXCHANGES, oracles.CHIP_COMMANDS)
    assert making.chip.commands - before == 146, "what the chip itself saw"


def test_it_sets_the_card_up_with_one_authentication_for_each_applet(making: Making) -> None:
    sent: list[bytes] = []
    transmit = making.chip.transmit

    async def noted(command: bytes) -> bytes:
        sent.append(command)
        return await transmit(command)

    making.chip.transmit = noted
    run(LegacySetup(making).run())
    assert sum(command[:2] == b"\x84\x82" for command in sent) == 5
    status = run(client.read_card_status(making.chip.transmit))
    assert status.life == "set_up"
    assert status.staged_write_id is None


def test_a_chip_that_does_not_give_back_what_was_written_is_found_out(making: Making) -> None:
    transmit = making.chip.transmit

    async def forgetful(command: bytes) -> bytes:
        response = await transmit(command)
        return bytes(len(response) - 2) + response[-2:] if command[:2] == b"\x00\xb0" else response

    making.chip.transmit = forgetful
    with pytest.raises(ChipRefused, match="read back"):
        run(LegacySetup(making).run())


def test_ours_takes_what_is_said_of_it() -> None:
    async def setup() -> Performed:
        async with House().running() as house:
            resident = await house.register()
            await house.apply(resident)
            (card,) = await house.receive(await house.produce())
            return await house.perform("setup", card)

    performed = run(setup())
    assert (performed.exchanges, performed.chip_commands) == (counts.OURS.exchanges, counts.OURS.chip_commands)
    assert counts.OURS.chip_commands <= counts.ALLOWED.chip_commands
