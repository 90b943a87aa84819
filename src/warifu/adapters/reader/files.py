"""Cards as files: ``<card id>.card`` in a directory, locked while a card is in the reader, replaced atomically.

A card file holds private keys and PINs in the clear, as a chip does; it is readable by its owner only.
"""

import asyncio
import fcntl
import os
from pathlib import Path
from typing import Final

from warifu.adapters.reader.connection import ChipConnection, ChipReader, finish
from warifu.adapters.reader.key_stock import KeyStock
from warifu.chip.card import Chip
from warifu.chip.image import Image, decode
from warifu.chip.personalise import with_chip_keys
from warifu.kernel.errors import Unavailable
from warifu.kernel.ids import parse_card_id
from warifu.ports.entropy import Entropy
from warifu.ports.reader import CardGone

_SUFFIX: Final = ".card"
_MODE: Final = 0o600
_QUICK: Final = frozenset(bytes((ins,)) for ins in (0xA4, 0xB0, 0xB2, 0xCA, 0x84))
"""SELECT, READ, GET DATA, GET CHALLENGE: microseconds, and nothing becomes durable. A thread costs fifty times that."""


def card_path(directory: Path, card_id: str) -> Path:
    """Where a card's file is. ``Malformed`` when ``card_id`` is none."""
    return directory / f"{parse_card_id(card_id)}{_SUFFIX}"


def list_cards(directory: Path) -> tuple[str, ...]:
    """The card ids in a directory, sorted."""
    return tuple(sorted(path.stem for path in directory.glob(f"*{_SUFFIX}")))


def read_image(directory: Path, card_id: str) -> Image:
    """What a card remembers, without locking it. ``CardGone`` when there is no such card."""
    try:
        return decode(card_path(directory, card_id).read_bytes())
    except FileNotFoundError as error:
        raise CardGone("no such card in this directory") from error


def store_card(directory: Path, card_id: str, image: bytes) -> None:
    """Write a card file so that a crash at any instant leaves the old one or the new one."""
    path = card_path(directory, card_id)
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
    with os.fdopen(descriptor, "wb") as file:
        file.write(image)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
    _sync_directory(directory)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _lock(directory: Path, card_id: str) -> int:
    """A descriptor that holds the card's lock. The lock is a file of its own: the card file changes its inode."""
    path = card_path(directory, card_id).with_suffix(".lock")
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, _MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise Unavailable("the card is in another reader") from error
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class FileConnection(ChipConnection):
    """A powered chip whose image is a file. What may write it or take long runs in a thread: the event loop goes on."""

    def __init__(self, chip: Chip, reader: "FileReader", card_id: str, lock: int) -> None:
        async def compute(command: bytes) -> bytes:
            if command[:1] == b"\x00" and command[1:2] in _QUICK:
                return chip.transmit(command)
            return await finish(asyncio.to_thread(chip.transmit, command))

        super().__init__(chip, compute, lambda: reader.give_back(card_id, lock))


class FileReader(ChipReader):
    """A reader whose cards are files of a directory (``ports.reader.Reader``).

    Args:
        directory: where the card files are.
        entropy: for the chips' GET CHALLENGE.
        atr: the chips' answer to reset, when another one is wanted than their images name.
        clear_security_on_reselect_same_df: the same for this switch; see ``Chip``.
    """

    def __init__(
        self,
        directory: Path,
        entropy: Entropy | None = None,
        *,
        atr: bytes | None = None,
        clear_security_on_reselect_same_df: bool | None = None,
    ) -> None:
        super().__init__(entropy, atr=atr, clear_security_on_reselect_same_df=clear_security_on_reselect_same_df)
        self._directory = directory

    async def connect(self, card_id: str) -> FileConnection:
        """Power the chip up, alone.

        Raises:
            Malformed: not a card id.
            CardGone: no such card.
            Unavailable: it is in another reader.
        """
        path = card_path(self._directory, card_id)
        if not path.exists():
            raise CardGone("no such card in this directory")
        lock = _lock(self._directory, card_id)
        try:
            chip = self._power_up(path.read_bytes(), card_id)
        except BaseException:
            os.close(lock)
            raise
        connection = FileConnection(chip, self, card_id, lock)
        self._connected[card_id] = connection
        return connection

    def give_back(self, card_id: str, lock: int) -> None:
        """A connection ends: the card is nobody's again."""
        self._connected.pop(card_id, None)
        os.close(lock)

    def _store(self, card_id: str, image: bytes) -> None:
        store_card(self._directory, card_id, image)


class FileChipFactory:
    """Makes chips as files of a directory (``ports.reader.ChipFactory``).

    Args:
        directory: where the card files go.
        stock: where the chips' own RSA keys come from; None: they have none, and what needs them answers 6A88.
    """

    def __init__(self, directory: Path, stock: KeyStock | None = None) -> None:
        self._directory = directory
        self._stock = stock

    async def has(self, card_id: str) -> bool:
        """Whether a chip of this card was made."""
        return card_path(self._directory, card_id).exists()

    async def make(self, card_id: str, image: bytes) -> None:
        """Make a chip with this first content. One that exists is left as it is.

        Raises:
            ImageDamaged: not an image.
            Unavailable: the card is in a reader, or being made.
        """
        decode(image)
        lock = _lock(self._directory, card_id)
        try:
            if not await self.has(card_id):
                whole = image if self._stock is None else with_chip_keys(image, await self._stock.take())
                await finish(asyncio.to_thread(store_card, self._directory, card_id, whole))
        finally:
            os.close(lock)
