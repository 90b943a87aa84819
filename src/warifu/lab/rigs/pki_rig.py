"""A whole authority for measurements and proofs: the real node over PostgreSQL and a real device's worker processes."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from warifu.adapters.clock import SystemClock
from warifu.adapters.crypto import SystemCrypto
from warifu.adapters.entropy import SystemEntropy
from warifu.adapters.hsm.config import HsmConfig
from warifu.adapters.hsm.prepare import prepare_softhsm, prepare_software
from warifu.adapters.hsm.process import ProcessHsmFactory
from warifu.adapters.shelf import MemoryShelf
from warifu.adapters.store.migrate import migrate
from warifu.adapters.store.postgres import PostgresLimits, PostgresStore, open_postgres
from warifu.contract.envelope import Envelope, Reply
from warifu.domain.pki.profile import Profile
from warifu.kernel.errors import Unavailable
from warifu.nodes.authority import applet, key_pool, searching
from warifu.nodes.authority import node as authority
from warifu.nodes.base import World
from warifu.nodes.hsm_pool import HsmPool
from warifu.ports.hsm import CreateKey, Purpose
from warifu.ports.shelf import Shelf

DeviceKind = Literal["software", "softhsm"]
CORES: Final = os.cpu_count() or 1
_KEYS: Final[tuple[tuple[str, Purpose], ...]] = (
    (applet.CARD_MASTER, "card-master"),
    (key_pool.WRAP_KEY, "wrap"),
    (searching.NAMES_KEY, "mac"),
)
_CREATE_MS: Final = 30_000


class Alone:
    """A transport to nobody: what is measured here asks no other node."""

    async def call(self, destination: str, envelope: Envelope) -> Reply:
        """Nobody is there: ``Unavailable``."""
        del envelope
        raise Unavailable(f"{destination} is not part of this")


class Quiet:
    """A log that nobody reads."""

    def info(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - as the port has it
        """Nothing."""

    trouble = info


def device(folder: Path, kind: DeviceKind) -> HsmConfig:
    """A new device below ``folder``. ``Unavailable`` when SoftHSM2 is wanted and missing."""
    return prepare_software(folder) if kind == "software" else prepare_softhsm(folder, "jpki")


@asynccontextmanager
async def authority_rig(
    url: str,
    config: HsmConfig,
    *,
    workers: int = CORES,
    key_pairs: int = 0,
    timers: bool = False,
    shelf: Shelf | None = None,
    profile: Profile | None = None,
) -> AsyncIterator[authority.Authority]:
    """An authority on an empty or used database, its HSM workers running; its own timers only when asked for.

    Args:
        url: of the database; its schema is made when missing.
        config: the device.
        workers: HSM worker processes.
        key_pairs: the stock's target, for the timers.
        shelf: where lists are published; by default in memory.
        profile: names and extensions; by default the test service's.
        timers: run the node's timers too (the stock of key pairs fills by itself).
    """
    await migrate(url, lambda _: None, ["authority"])
    async with AsyncExitStack() as resources:
        limits = PostgresLimits(statement_timeout_ms=60_000)
        store: PostgresStore = await resources.enter_async_context(
            open_postgres(url, authority.Authority.KIND, authority.RECORDS, limits)
        )
        crypto = SystemCrypto()
        resources.callback(crypto.close)
        pool = HsmPool(ProcessHsmFactory(config), "jpki/hsm", workers)
        world = World(name="authority", transport=Alone(), clock=SystemClock(), entropy=SystemEntropy(), log=Quiet())
        node = authority.Authority(
            world, store, pool, crypto, profile=profile or Profile(), key_pairs=key_pairs, shelf=shelf or MemoryShelf()
        )
        running = asyncio.create_task(node.run() if timers else pool.run())
        resources.push_async_callback(ended, running)
        for label, purpose in _KEYS:
            await pool.call(CreateKey(label, purpose), _CREATE_MS)
        yield node


async def ended(task: "asyncio.Task[None] | asyncio.Task[NoReturn]") -> None:
    """Cancel it and wait for its end: until then its workers are not gone."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
