"""What works deep below a handler knows for which operation: an HSM worker that fails leaves its id."""

import pytest
from nodes_house import House
from nodes_parts import EngineFactory, run

from warifu.nodes.with_hsm import WithHsm


def fail(device: EngineFactory) -> None:
    """Every worker of it at its next command."""
    for worker in device.workers:
        worker.dead = True


def left_by(house: House, name: str) -> list[tuple[str, ...]]:
    """The operations in what the fenced workers of a node left, latest first."""
    node = house.nodes[name]
    assert isinstance(node, WithHsm)
    return [dump.operations() for dump in node.hsm.dumps()]


@pytest.mark.parametrize(("device", "names"), [("relay", ("relay-1", "relay-2")), ("center", ("center",))])
def test_a_worker_that_fails_in_the_middle_of_an_operation_leaves_its_id(device: str, names: tuple[str, ...]) -> None:
    async def life() -> None:
        async with House().running() as house:
            await house.apply(await house.register())
            (card,) = await house.receive(await house.produce())
            operation = house.new_id()
            fail(house.devices[device])
            performed = await house.perform("setup", card, operation_id=operation)
            assert performed.outcome == "done"
            for name in names:
                (operations,) = left_by(house, name)
                assert operations[0] == operation

    run(life())
