"""The heads of a node's audit trail, signed in its HSM: whoever owns the database can make a chain, but not a head.

The sealer (``nodes/base.py``) chains the rows each second; here the head of each batch is signed before it is written.
Each head covers every batch before it, so one good signature at the end holds the whole trail.
"""

import asyncio
from typing import Final

from warifu.contract.health import ChildProcess
from warifu.nodes.hsm_pool import HsmPool
from warifu.ports.hsm import Sign

AUDIT_KEY: Final = "audit-heads"
"""RSA-2048 in the device of each kind of node that keeps a trail; for nothing else."""
SIGN_MS: Final = 5_000
_CONTEXT: Final = b"warifu audit head 1\x00"


def head_to_sign(schema: str, head: bytes) -> bytes:
    """What is signed: the head of one trail and no other's, and nothing that has another meaning.

    Args:
        schema: the node kind.
        head: SHA-256 of the batch and all before it.
    """
    return _CONTEXT + schema.encode("ascii") + b"\x00" + head


class HeadSigner:
    """Signs the heads of one trail.

    Args:
        hsm: the node's device.
        schema: the node kind.
        supervised: whether the node supervises the pool itself (``WithHsm``).
    """

    def __init__(self, hsm: HsmPool, schema: str, *, supervised: bool) -> None:
        self.hsm = hsm
        self._schema = schema
        self._supervised = supervised

    async def sign(self, head: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256 over ``head_to_sign``; raises as the pool does, and then nothing is sealed."""
        return await self.hsm.bytes_of(Sign(AUDIT_KEY, head_to_sign(self._schema, head)), SIGN_MS)

    async def run(self) -> None:
        """The pool's supervision, unless the node does it; until cancelled."""
        if self._supervised:
            await asyncio.Event().wait()
        await self.hsm.run()

    def processes(self) -> tuple[ChildProcess, ...]:
        """The pool's workers, unless the node tells of them."""
        if self._supervised:
            return ()
        return tuple(ChildProcess(name=name, pid=pid) for name, pid in self.hsm.processes())
