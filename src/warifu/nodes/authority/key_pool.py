"""Subscribers' key pairs: made ahead, wrapped under an HSM key, used once, destroyed (a stock, as of 2016).

The stock has free pairs, taken one by one at counters, and blocks of pairs, given out whole to bulk issue. A pair is
reserved in the commit that records what it is reserved for, together with its line of the consumption log
(``KeyUse``), where both the pair and the certificate are unique: the database refuses a second use of either.
"""

import asyncio
from collections.abc import Collection, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from warifu.contract.values import CertificateKind
from warifu.domain.certificates.records import KeyBlock, KeyUse, StoredKeyPair
from warifu.kernel.errors import TryAgain
from warifu.kernel.ids import new_ulid
from warifu.kernel.together import together
from warifu.nodes.base import World
from warifu.nodes.hsm_pool import HsmPool
from warifu.ports.crypto import Crypto
from warifu.ports.hsm import Unwrap, Wrap
from warifu.ports.store import Change, Delete, Find, Get, Insert, Store, Update, Write

WRAP_KEY: Final = "jpki-key-pairs"
WRAP_MS: Final = 10_000
FULL_S: Final = 0.5
CHOICE: Final = 16
"""Free pairs looked at for each reservation: several at once rarely choose the same."""
BLOCK: Final = 32
"""Pairs of one block."""
SINGLES: Final = 64
"""Free pairs kept for counters; what a larger stock has beyond them is in blocks."""
FILLERS: Final = 2
"""Blocks made at a time, so that no core waits for the last pair of one; they may overfill the stock by one block."""
AT_ONCE: Final = 16
"""Pairs asked for at the same time; how many are made at the same time is the crypto port's to bound (all cores)."""
PAGE: Final = 1_000


class Pair(Struct, frozen=True):
    """A key pair as an issue in bulk needs it."""

    key_pair_id: str
    public_key: bytes


class Reserved(Struct, frozen=True):
    """Key pairs for an issue in bulk, and what makes the reservation once it is committed with their use."""

    pairs: tuple[Pair, ...]
    writes: tuple[Write, ...]


class KeyPool:
    """Keeps ``target`` unused key pairs in stock."""

    def __init__(self, world: World, store: Store, hsm: HsmPool, crypto: Crypto, target: int) -> None:
        self.world = world
        self.store = store
        self.hsm = hsm
        self.crypto = crypto
        self.target = target
        self.busy = 0
        """Issues in bulk under way: no blocks are made meanwhile, the processors are wanted for signatures."""

    async def run(self) -> None:
        """Fill the stock, for ever."""
        async with asyncio.TaskGroup() as group:
            for _ in range(FILLERS if self.target > SINGLES else 1):
                group.create_task(self._fill_on())

    async def _fill_on(self) -> None:
        """Fill the stock; a part that is away is waited for."""
        while True:
            try:
                filled = await self.fill()
            except TryAgain as error:
                self.world.log.info("key_pool.waits", code=error.code)
                filled = False
            if not filled:
                await asyncio.sleep(FULL_S)

    async def fill(self) -> bool:
        """Make what is missing, a block or some single pairs at most; whether anything was."""
        singles = min(self.target, SINGLES)
        short = singles - len(await self._free(singles)) if singles else 0
        if short > 0:
            await self.make_many(min(short, AT_ONCE))
        elif not self.busy and await self._short_of_blocks():
            await self.make_block()
        else:
            return False
        return True

    async def make(self) -> StoredKeyPair:
        """Make one pair and put it into the stock."""
        return (await self.make_many(1))[0]

    async def make_many(self, count: int) -> tuple[StoredKeyPair, ...]:
        """Make pairs at the same time and put them into the stock together."""
        made = await self._made(count, "free")
        await self.store.commit(Change(now_ms=self.world.clock.now_ms(), writes=tuple(Insert(each) for each in made)))
        # As the store now has them: inserted records begin at version 1.
        return tuple(msgspec.structs.replace(each, version=1) for each in made)

    async def make_block(self, count: int | None = None) -> KeyBlock:
        """Make a block of so many pairs (``BLOCK``): all of it is in the stock, or nothing."""
        made = await self._made(count or BLOCK, "stocked")
        pairs = tuple(Pair(each.key_pair_id, each.public_key) for each in made)
        block = KeyBlock(block_id=self._new_id(), pairs=encode_pairs(pairs))
        writes = (*(Insert(each) for each in made), Insert(block))
        await self.store.commit(Change(now_ms=self.world.clock.now_ms(), writes=writes))
        return block

    async def choose(self) -> StoredKeyPair:
        """A free pair; made on the spot when the stock is empty."""
        free = await self._free(CHOICE)
        if not free:
            return await self.make()
        return free[self.world.entropy.random_bytes(1)[0] % len(free)]

    async def reserve(self, count: int) -> Reserved:
        """So many pairs: blocks first, then free ones, then made on the spot.

        What does not fill a block is taken from the free ones; only when these are too few is one more block begun, and
        what is left of it goes back as free pairs: many small issues do not turn the stock into free pairs.
        """
        if not count:
            return Reserved((), ())
        whole, rest = divmod(count, BLOCK)
        if rest and len(await self._free(rest)) < rest:
            whole += 1
        blocks = (await self.store.read(Find(KeyBlock, {}, whole))).all(0, KeyBlock) if whole else ()
        pairs: list[Pair] = []
        writes: list[Write] = []
        for block in blocks:
            if len(pairs) < count:
                pairs += decode_pairs(block.pairs)
                writes.append(Delete(block))
        if len(pairs) > count:
            writes += await self._given_back(pairs[count:])
        singles = await self._singles(count - len(pairs), {each.key_pair_id for each in pairs})
        now_ms = self.world.clock.now_ms()
        writes += [Update(msgspec.structs.replace(each, state="reserved", changed_ms=now_ms)) for each in singles]
        pairs += [Pair(each.key_pair_id, each.public_key) for each in singles]
        return Reserved(tuple(pairs[:count]), tuple(writes))

    def used(self, key_pair_id: str, kind: CertificateKind, serial: int) -> Insert:
        """The line of the consumption log."""
        return Insert(KeyUse(key_pair_id=key_pair_id, ca=kind, serial=serial, used_ms=self.world.clock.now_ms()))

    async def private_key(self, pair: StoredKeyPair) -> bytes:
        """PKCS#8 DER, for a chip's channel alone."""
        return await self.hsm.bytes_of(Unwrap(WRAP_KEY, pair.wrapped or b"", pair.key_pair_id.encode()), WRAP_MS)

    async def _made(self, count: int, state: str) -> list[StoredKeyPair]:
        return await together(self._one(state) for _ in range(count))

    async def _one(self, state: str) -> StoredKeyPair:
        pair = await self.crypto.generate_key_pair("rsa-2048")
        key_pair_id = self._new_id()
        wrapped = await self.hsm.bytes_of(Wrap(WRAP_KEY, pair.private_key, key_pair_id.encode()), WRAP_MS)
        return StoredKeyPair(
            key_pair_id=key_pair_id,
            public_key=pair.public_key,
            wrapped=wrapped,
            state=state,
            changed_ms=self.world.clock.now_ms(),
        )

    def _new_id(self) -> str:
        return new_ulid(self.world.clock.now_ms(), self.world.entropy.random_bytes(10))

    async def _singles(self, count: int, held: Collection[str]) -> tuple[StoredKeyPair, ...]:
        """Free pairs but those in hand: whoever took the same block meanwhile has given its rest back as free ones."""
        if count <= 0:
            return ()
        free = tuple(each for each in await self._free(count) if each.key_pair_id not in held)
        missing = count - len(free)
        return (*free, *(await self.make_many(missing))) if missing else free

    async def _given_back(self, pairs: Sequence[Pair]) -> list[Write]:
        found = await self.store.read(*(Get(StoredKeyPair, (pair.key_pair_id,)) for pair in pairs))
        rows = [row for place in range(len(pairs)) for row in found.all(place, StoredKeyPair)]
        return [Update(msgspec.structs.replace(row, state="free")) for row in rows]

    async def _free(self, limit: int) -> tuple[StoredKeyPair, ...]:
        found = await self.store.read(Find(StoredKeyPair, {"state": "free"}, limit))
        return found.all(0, StoredKeyPair)

    async def _short_of_blocks(self) -> bool:
        wanted = max(self.target - SINGLES, 0) // BLOCK
        if not wanted:
            return False
        held, after = 0, None
        while held < wanted:
            page = (await self.store.read(Find(KeyBlock, {}, PAGE, after))).all(0, KeyBlock)
            held += len(page)
            if len(page) < PAGE:
                break
            after = (page[-1].block_id,)
        return held < wanted


def encode_pairs(pairs: Sequence[Pair]) -> bytes:
    """As ``KeyBlock`` keeps them."""
    return msgspec.msgpack.encode([(pair.key_pair_id, pair.public_key) for pair in pairs])


def decode_pairs(data: bytes) -> tuple[Pair, ...]:
    """The inverse."""
    return tuple(Pair(*each) for each in msgspec.msgpack.decode(data, type=list[tuple[str, bytes]]))
