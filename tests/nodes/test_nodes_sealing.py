"""The heads of an audit trail: signed by the node's device, sealed with the signature or not at all."""

import asyncio

from nodes_house import House
from nodes_parts import run

from warifu.adapters.store.audit import verify_export
from warifu.contract.registry import AskIdentity
from warifu.kernel.errors import Unavailable
from warifu.nodes.base import KeepingNode
from warifu.nodes.sealing import AUDIT_KEY, HeadSigner
from warifu.ports.store import AuditEntry, Change
from warifu.stack.audit_export import signature_check


def node_of(house: House, kind: str) -> KeepingNode:
    node = house.nodes[kind]
    assert isinstance(node, KeepingNode)
    return node


async def look(node: KeepingNode) -> None:
    entry = AuditEntry("clerk", "resident.look", "x", "op", AskIdentity.NAME)
    await node.store.commit(Change(now_ms=1, audit=(entry,)))


async def sealed(node: KeepingNode) -> None:
    """Let the sealer run once."""
    task = asyncio.get_running_loop().create_task(node.run_sealer())
    await asyncio.sleep(2)
    task.cancel()


def test_a_node_seals_with_its_devices_signature() -> None:
    async def story() -> None:
        house = House()
        house.devices["center"].create(AUDIT_KEY, "sign")
        node = node_of(house, "center")
        pool = house.pool("center", "center-audit")
        node.head_signer = HeadSigner(pool, "center", supervised=False)
        supervision = asyncio.get_running_loop().create_task(node.head_signer.run())
        await look(node)
        await sealed(node)
        supervision.cancel()
        store = house.stores["center"]
        check = signature_check("center", (house.devices["center"].device.public_key(AUDIT_KEY),))
        assert verify_export(store.audit(), await store.audit_seals(), check_signature=check).signed == 1

    run(story())


class Broken:
    """A device that is not there."""

    async def sign(self, head: bytes) -> bytes:
        raise Unavailable(f"no device for {len(head)} bytes")

    async def run(self) -> None:
        await asyncio.Event().wait()

    def processes(self) -> tuple[()]:
        return ()


def test_without_its_device_a_node_works_on_and_seals_nothing() -> None:
    async def story() -> None:
        house = House()
        node = node_of(house, "registry")
        node.head_signer = Broken()
        await look(node)
        await sealed(node)
        assert await house.stores["registry"].audit_seals() == ()
        node.head_signer = None
        await sealed(node)
        assert len(await house.stores["registry"].audit_seals()) == 1

    run(story())
