"""Keys of the devices: made before the first start, and the same on a relay's second device, which may go away."""

import asyncio
from pathlib import Path
from typing import Literal

import pytest

from warifu.adapters.hsm.process import ProcessHsmFactory, SeveralDevices
from warifu.kernel.errors import Unavailable
from warifu.nodes.relay import MESSAGE_KEY
from warifu.ports.hsm import Bytes, CreateKey, Done
from warifu.stack import keys
from warifu.stack.home import Home
from warifu.stack.topology import Hsm, Node, Topology

Kind = Literal["software", "softhsm"]


def relay(kind: Kind) -> Node:
    return Node(name="relay-1", kind="relay", service="relay", hsm=Hsm(kind=kind, devices=2, workers=2))


async def public_keys(home: Home, node: Node) -> list[bytes]:
    """The message key as each worker's device has it: to make a key that is there changes nothing."""
    factory = SeveralDevices([ProcessHsmFactory(device) for device in keys.devices(home, node)])
    found = []
    for number in range(2):
        worker = await factory.spawn(f"relay-1/hsm-{number}")
        try:
            reply = await worker.call(CreateKey(MESSAGE_KEY, "agree"))
        finally:
            await worker.kill()
        assert isinstance(reply, Bytes)
        found.append(reply.data)
    return found


async def make_another(home: Home, node: Node) -> None:
    worker = await ProcessHsmFactory(keys.device(home, node)).spawn("relay/keys")
    try:
        assert isinstance(await worker.call(CreateKey("another", "wrap")), Done)
    finally:
        await worker.kill()


@pytest.mark.real
@pytest.mark.parametrize("kind", ["software", "softhsm"])
def test_both_devices_of_a_relay_have_the_same_keys(tmp_path: Path, kind: Kind) -> None:
    home, node = Home(tmp_path), relay(kind)

    async def story() -> list[bytes]:
        await keys.make_keys(home, Topology(name="one", node=(node,)))
        return await public_keys(home, node)

    first, second = asyncio.run(story())
    assert first == second == keys.public_key(home, "relay", MESSAGE_KEY)


def test_a_second_device_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    home, node = Home(tmp_path), relay("software")

    async def story() -> None:
        await keys.make_keys(home, Topology(name="one", node=(node,)))
        (home.keys / "relay.copy").rename(home.keys / "away")
        with pytest.raises(Unavailable):
            await public_keys(home, node)
        (home.keys / "away").rename(home.keys / "relay.copy")
        assert len(set(await public_keys(home, node))) == 1

    asyncio.run(story())


def test_a_copy_that_has_every_key_stays_as_it_is_and_one_that_lacks_some_is_made_anew(tmp_path: Path) -> None:
    home, node = Home(tmp_path), relay("software")
    topology = Topology(name="one", node=(node,))
    asyncio.run(keys.make_keys(home, topology))
    before = (home.keys / "relay.copy").stat().st_ino
    asyncio.run(keys.make_keys(home, topology))
    assert (home.keys / "relay.copy").stat().st_ino == before
    asyncio.run(make_another(home, node))
    asyncio.run(keys.make_keys(home, topology))
    assert (home.keys / "relay.copy").stat().st_ino != before
    assert {path.name for path in (home.keys / "relay" / "keys").glob("*.key")} == {
        path.name for path in (home.keys / "relay.copy" / "keys").glob("*.key")
    }
