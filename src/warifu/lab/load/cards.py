"""Virtual cards for load runs: the real chip over an image in memory, with the keys that its owners' HSMs derive.

What the factory takes seconds for is made ahead here in milliseconds: the chip has its keys, its certificate and its
first write, and no contents (particulars, pictures, JPKI certificates). Set-up, delivery and PIN reset need none.
"""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Final, Self

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct

from warifu.adapters import hpke
from warifu.adapters.crypto import public_bytes
from warifu.adapters.entropy import SystemEntropy
from warifu.adapters.hsm.process import ProcessHsmFactory
from warifu.adapters.reader.memory import CardBox
from warifu.chip.image import LastWrite, decode, encode
from warifu.chip.issuer import StaticKeys
from warifu.chip.personalise import card_key_body, manufacture, new_card_key
from warifu.kernel.errors import Fault
from warifu.kernel.ids import ulid_bytes
from warifu.nodes.authority.applet import CARD_MASTER as JPKI_MASTER
from warifu.nodes.center.scripts import CARD_MASTER, SIGNING_KEY
from warifu.ports.hsm import SEALED_KEYS_INFO, Bytes, DeriveCardKeys, HsmCommand, HsmWorker, Sign
from warifu.stack import keys
from warifu.stack.home import Home
from warifu.stack.topology import Node, Topology

WORKERS: Final = 2
"""Of each device: as many as the machine has processors."""
_KEY: Final = 16
_NONCE: Final = bytes(12)


class Blank(Struct, frozen=True):
    """A card to be made: as the centre's record has it."""

    card_id: str
    write_id: str


class CardMaker:
    """Makes virtual cards with the devices of a stack's centre and authority. Use as an async context manager."""

    def __init__(self, home: Home, topology: Topology) -> None:
        self._home = home
        self._centre = next(node for node in topology.node if node.kind == "center")
        self._authority = next(node for node in topology.node if node.kind == "authority")
        self._private = ec.generate_private_key(ec.SECP256R1())
        self._public = public_bytes(self._private.public_key())
        self._point = hpke.encode_point(self._private.public_key())
        self._entropy = SystemEntropy()
        self._workers: list[tuple[HsmWorker, HsmWorker]] = []
        self._resources = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Log in. ``Unavailable`` when a device does not answer."""
        for number in range(WORKERS):
            pair = (await self._worker(self._centre, number), await self._worker(self._authority, number))
            self._workers.append(pair)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Log out."""
        await self._resources.aclose()

    async def _worker(self, node: Node, number: int) -> HsmWorker:
        worker = await ProcessHsmFactory(keys.device(self._home, node)).spawn(f"lab/{node.kind}-{number}")
        self._resources.push_async_callback(worker.kill)
        return worker

    async def make(
        self, cards: Sequence[Blank], box: CardBox, progress: Callable[[int], None] = lambda _: None
    ) -> None:
        """Put these cards into the box.

        Raises:
            Unavailable: a device went away.
        """
        todo, done = iter(cards), itertools.count(1)

        async def line(pair: tuple[HsmWorker, HsmWorker]) -> None:
            for card in todo:
                box.images[card.card_id] = await self._image(card, pair)
                progress(next(done))

        async with asyncio.TaskGroup() as group:
            for pair in self._workers:
                group.create_task(line(pair))

    async def _image(self, card: Blank, pair: tuple[HsmWorker, HsmWorker]) -> bytes:
        centre, authority = pair
        key = new_card_key(self._entropy)
        image = manufacture(
            card.card_id,
            isd_keys=await self._static(centre, CARD_MASTER, card.card_id),
            jpki_keys=await self._static(authority, JPKI_MASTER, card.card_id),
            card_key=key,
            card_key_signature=await _ask(centre, Sign(SIGNING_KEY, card_key_body(card.card_id, key))),
        )
        first = LastWrite(ulid_bytes(card.write_id), bytes(32), "personalise", committed=True)
        return encode(msgspec.structs.replace(decode(image), last_write=first))

    async def _static(self, worker: HsmWorker, master: str, card_id: str) -> StaticKeys:
        """Derived in the owner's device, sealed to a key of this process, as for the factory."""
        sealed = await _ask(worker, DeriveCardKeys(master, card_id, self._public))
        encapsulation, ciphertext = sealed[: hpke.POINT_BYTES], sealed[hpke.POINT_BYTES :]
        secret = hpke.recipient_secret(
            lambda point: self._private.exchange(ec.ECDH(), hpke.parse_point(point)), encapsulation, self._point
        )
        name = card_id.encode("ascii")
        plain = AESGCM(hpke.export(secret, SEALED_KEYS_INFO + name)).decrypt(_NONCE, ciphertext, name)
        return StaticKeys(enc=plain[:_KEY], mac=plain[_KEY : 2 * _KEY], dek=plain[2 * _KEY :])


async def _ask(worker: HsmWorker, command: HsmCommand) -> bytes:
    reply = await worker.call(command)
    if not isinstance(reply, Bytes):
        raise Fault(f"{worker.name} gave {type(reply).__name__}")
    return reply.data
