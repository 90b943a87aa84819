"""Simulated cards: the real chip over an image in memory, pulled at any command; and pictures that are a few bytes."""

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final, Literal

from warifu.chip.card import Chip
from warifu.chip.image import Image, decode, encode
from warifu.kernel.errors import Unavailable
from warifu.kernel.ids import ulid_text
from warifu.lab.history import DIGEST_SHOWN
from warifu.lab.simulation import cancelled
from warifu.lab.simulation.keys import SeededEntropy
from warifu.lab.simulation.loop import PROCESS, Process
from warifu.ports.artwork import PhotoReport, TextImage
from warifu.ports.reader import CardGone

if TYPE_CHECKING:
    from warifu.lab.simulation.world import World

COMMAND_MS: Final = (0, 1)
HANGS_MS: Final = 40_000
PATIENT_MS: Final = 15_001
SECURED: Final = 0x84
MEMORY_FAILURE: Final = bytes.fromhex("6581")
"""ISO 7816-4."""
INITIALIZE_UPDATE: Final = bytes.fromhex("8050")
CHALLENGE_BYTES: Final = 8
VERIFY: Final = 0x20
DOMAINS: Final = 2
"""Owners of keys on a card: each has a channel of its own, begun with the same challenge."""
Cut = Literal["", "before save", "after save"]


class SimulatedConnection:
    """A powered chip in somebody's reader. Dead from the moment the card is pulled, or its process killed."""

    def __init__(self, box: "CardBox", card_id: str, process: Process | None) -> None:
        self.process = process
        self._box = box
        self._card = card_id
        self._world = box.world
        self._gone = False
        self._cut: Cut = ""
        self._saves_left = 0
        self._chip = Chip(box.images[card_id], self._save, box.entropy)

    async def transmit(self, command: bytes) -> bytes:
        """See ``ports.reader.Connection``. The card is pulled before the command, after it, or as the chip saves."""
        cancelled.asks(self._world, "a chip")
        if command[0] == SECURED and self.process is not None:
            self._box.works(self.process)
        await asyncio.sleep(self._world.delay_ms(*COMMAND_MS) / 1000)
        if self._gone:
            raise CardGone("the card was pulled")
        self._box.asked(self._card, command, self.process)
        self._saves_left = 2 if command[1] == VERIFY else 1  # a try is counted before the PIN is compared
        if command[0] == SECURED and self._world.strikes("chip_error", self._card):
            return MEMORY_FAILURE
        if not self._world.strikes("pull", self._card):
            return self._chip.transmit(command)
        self._gone = True
        when = self._world.pick(4)
        if when == 0:
            raise CardGone("the card was pulled before the command")
        self._cut = ("", "", "before save", "after save")[when]
        self._chip.transmit(command)
        raise CardGone("the card was pulled before the response")

    def _save(self, image: bytes) -> None:
        if encode(self._chip._state.image) != self._box.images[self._card]:  # noqa: SLF001 - it says so nowhere else
            self._world.violated("a chip shows what it has saved", self._card)
        self._saves_left -= 1
        if self._saves_left < 0:
            self._world.violated("what a command changes is durable together", self._card)
        if self._cut == "before save":
            raise CardGone("the card was pulled before it saved")
        self._box.images[self._card] = image
        self._box.saved(self._card, image)
        if self._cut == "after save":
            raise CardGone("the card was pulled as it had saved")

    async def close(self) -> None:
        """See ``ports.reader.Connection``."""
        self._gone = True
        self._box.leave(self._card, self)


class CardBox:
    """Every card there is, and which reader has it: ``ports.reader.Reader`` and ``ChipFactory``.

    Args:
        world: the simulated world.
        images: what the chips remember, by card id.
    """

    def __init__(self, world: "World", images: dict[str, bytes]) -> None:
        self.world = world
        self.images = dict(images)
        self.entropy = SeededEntropy(world.plan.seed, "chips")
        self.until_end = 0
        """After so many commands of scripts whoever gives one is told to end, and does not wait for what it is at."""
        self._held: dict[str, SimulatedConnection] = {}
        self._committed: dict[str, bytes] = {}
        self._challenges: dict[bytes, list[str]] = {}
        self.on_counter: set[str] = set()
        """Cards that a terminal has given a command to."""

    def asked(self, card_id: str, command: bytes, process: Process | None) -> None:
        """A challenge begins the channels of one card write, and nothing else ever: no script can be played again."""
        if process is not None and process.name.startswith("terminal"):
            self.on_counter.add(card_id)
        if command[:2] != INITIALIZE_UPDATE:
            return
        used = self._challenges.setdefault(command[5 : 5 + CHALLENGE_BYTES], [])
        used.append(card_id)
        if len(used) > DOMAINS or used[0] != card_id:
            self.world.violated("a challenge is used once", f"{card_id}: a channel begins as another did")

    def works(self, process: Process) -> None:
        """A chip is given a command of a script; at a certain one, whoever gave it is told to end."""
        self.until_end -= 1
        if not self.until_end:
            self.world.end_at_work(process)

    def saved(self, card_id: str, image: bytes) -> None:
        """Tell each card write that a chip commits, once."""
        last = decode(image).last_write
        if last is None or not last.committed or self._committed.get(card_id) == last.write_id:
            return
        self._committed[card_id] = last.write_id
        digest = last.digest.hex()[:DIGEST_SHOWN]
        self.world.record("chip", card_id, step=ulid_text(last.write_id), digest=digest, outcome="committed")

    async def connect(self, card_id: str) -> SimulatedConnection:
        """See ``ports.reader.Reader``."""
        await asyncio.sleep(self.world.delay_ms(*COMMAND_MS) / 1000)
        if self.world.strikes("reader_hang", card_id):
            await self._hang(card_id)
        if card_id not in self.images:
            raise CardGone("no such card")
        held = self._held.get(card_id)
        if held is not None and (held.process is None or held.process.alive):
            raise Unavailable("the card is in another reader")
        self._held[card_id] = SimulatedConnection(self, card_id, PROCESS.get())
        return self._held[card_id]

    async def _hang(self, card_id: str) -> None:
        """The reader's driver does not come back; nobody waits for it longer than a quarter of a minute."""
        begun_ms = self.world.loop.now_ms
        try:
            await asyncio.sleep(HANGS_MS / 1000)
        finally:
            if self.world.loop.now_ms - begun_ms > PATIENT_MS:
                text = f"{card_id}'s reader was waited for {self.world.loop.now_ms - begun_ms} ms"
                self.world.violated("every wait ends by its deadline", text)

    def leave(self, card_id: str, connection: SimulatedConnection) -> None:
        """The card is free again."""
        if self._held.get(card_id) is connection:
            del self._held[card_id]

    def image(self, card_id: str) -> Image:
        """What a chip remembers."""
        return decode(self.images[card_id])

    async def has(self, card_id: str) -> bool:
        """See ``ports.reader.ChipFactory``."""
        return card_id in self.images

    async def make(self, card_id: str, image: bytes) -> None:
        """See ``ports.reader.ChipFactory``."""
        self.images.setdefault(card_id, image)


class Drawings:
    """``ports.artwork.Artwork`` without pictures: a few bytes that follow from what would be drawn."""

    def text_image(self, text: str, width: int, height: int) -> TextImage:
        """See ``Artwork``."""
        return TextImage(_drawn(f"{width} {height}", text), "0" * len(text))

    def name_image(self, name: str) -> TextImage:
        """See ``Artwork``."""
        return TextImage(_drawn("name", name), "0" * len(name))

    def address_image(self, address: str) -> TextImage:
        """See ``Artwork``."""
        return TextImage(_drawn("address", address), "0" * len(address))

    def number_image(self, individual_number: str) -> bytes:
        """See ``Artwork``."""
        return _drawn("number", individual_number)

    def code_image(self, security_code: str) -> bytes:
        """See ``Artwork``."""
        return _drawn("code", security_code)

    def portrait_jpeg2000(self, photo: bytes) -> bytes:
        """See ``Artwork``."""
        return _drawn("portrait", photo.hex())

    def check_photo(self, photo: bytes) -> PhotoReport:
        """See ``Artwork``: every photo is acceptable."""
        return PhotoReport((), len(photo), len(photo))


def _drawn(kind: str, text: str) -> bytes:
    return hashlib.sha256(f"{kind} {text}".encode()).digest()
