"""Subscribers' key pairs: made ahead, wrapped under an HSM key, used once, destroyed (a stock, as of 2016)."""

import asyncio
from typing import Final

import msgspec

from warifu.domain.certificates.records import StoredKeyPair
from warifu.kernel.errors import TryAgain
from warifu.kernel.ids import new_ulid
from warifu.nodes.base import World
from warifu.nodes.hsm_pool import HsmPool
from warifu.ports.crypto import Crypto
from warifu.ports.hsm import Unwrap, Wrap
from warifu.ports.store import Change, Find, Insert, Store

WRAP_KEY: Final = "jpki-key-pairs"
WRAP_MS: Final = 10_000
FULL_S: Final = 0.5
CHOICE: Final = 16
"""Free pairs looked at for each reservation: several at once rarely choose the same."""


class KeyPool:
    """Keeps ``target`` free key pairs in stock."""

    def __init__(self, world: World, store: Store, hsm: HsmPool, crypto: Crypto, target: int) -> None:
        self.world = world
        self.store = store
        self.hsm = hsm
        self.crypto = crypto
        self.target = target

    async def run(self) -> None:
        """Fill the stock, for ever; a part that is away is waited for."""
        while True:
            try:
                short = len(await self._free(self.target)) < self.target
                if short:
                    await self.make()
            except TryAgain as error:
                self.world.log.info("key_pool.waits", code=error.code)
                short = False
            if not short:
                await asyncio.sleep(FULL_S)

    async def make(self) -> StoredKeyPair:
        """Make one pair and put it into the stock."""
        pair = await self.crypto.generate_key_pair("rsa-2048")
        key_pair_id = new_ulid(self.world.clock.now_ms(), self.world.entropy.random_bytes(10))
        wrapped = await self.hsm.bytes_of(Wrap(WRAP_KEY, pair.private_key, key_pair_id.encode()), WRAP_MS)
        stored = StoredKeyPair(
            key_pair_id=key_pair_id,
            public_key=pair.public_key,
            wrapped=wrapped,
            state="free",
            changed_ms=self.world.clock.now_ms(),
        )
        await self.store.commit(Change(now_ms=stored.changed_ms, writes=(Insert(stored),)))
        # As the store now has it: inserted records begin at version 1.
        return msgspec.structs.replace(stored, version=1)

    async def choose(self) -> StoredKeyPair:
        """A free pair; made on the spot when the stock is empty."""
        free = await self._free(CHOICE)
        if not free:
            return await self.make()
        return free[self.world.entropy.random_bytes(1)[0] % len(free)]

    async def private_key(self, pair: StoredKeyPair) -> bytes:
        """PKCS#8 DER, for a chip's channel alone."""
        return await self.hsm.bytes_of(Unwrap(WRAP_KEY, pair.wrapped or b"", pair.key_pair_id.encode()), WRAP_MS)

    async def _free(self, limit: int) -> tuple[StoredKeyPair, ...]:
        found = await self.store.read(Find(StoredKeyPair, {"state": "free"}, limit))
        return found.all(0, StoredKeyPair)
