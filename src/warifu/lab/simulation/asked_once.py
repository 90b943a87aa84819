"""HSM pools and stores, watched: who was told that what it asked for failed does not ask for the same again.

A node that did within the same request would multiply what one command may cost (F1): the pool gives up after so many
workers, a database that is away stays so for longer than twenty reads, and the CS comes again with the whole message.
"""

from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from warifu.kernel.errors import Unavailable
from warifu.nodes.hsm_pool import HsmPool
from warifu.ports.hsm import HsmCommand, HsmReply

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

FAILED: Final[ContextVar[list[object] | None]] = ContextVar("failed", default=None)
"""Commands and reads that failed on behalf of the request that is being served."""
ECHO: Final[ContextVar[bool]] = ContextVar("echo", default=False)
"""Whether the request that is being served was answered before."""


def asked_once(world: "World", pool: HsmPool, name: str) -> HsmPool:
    """The same pool; a command asked for again by a request that was told that it failed is a violation."""
    inner = pool.call

    async def call(command: HsmCommand, deadline_ms: int) -> HsmReply:
        failed = FAILED.get()
        if failed and command in failed:
            world.violated("only the pool repeats a command", f"{name}: {type(command).__name__}")
        try:
            return await inner(command, deadline_ms)
        except Unavailable:
            if failed is not None:
                failed.append(command)
            raise

    pool.call = call  # type: ignore[method-assign]
    return pool
