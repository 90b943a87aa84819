"""Cards as files: ``<card id>.card`` in a directory, locked while a card is in the reader, replaced atomically.

A card file holds private keys and PINs in the clear, as a chip does; it is readable by its owner only.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final, TypeVar

from warifu.adapters.entropy import SystemEntropy
from warifu.chip.card import Chip
from warifu.chip.image import Image, decode
from warifu.kernel.errors import Unavailable
from warifu.kernel.ids import parse_card_id
from warifu.ports.entropy import Entropy
from warifu.ports.reader import CardGone

T = TypeVar("T")

_SUFFIX: Final = ".card"
_MODE: Final = 0o600


class PowerCutError(Exception):
    """Raised out of a save to make the chip lose its power there."""


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


class FileConnection:
    """A powered chip whose image is a file (``ports.reader.Connection``)."""

    def __init__(self, chip: Chip, lock: int, forget: Callable[["FileConnection"], None]) -> None:
        self._chip = chip
        self._lock = lock
        self._forget = forget
        self._turn = asyncio.Lock()
        self._gone = False
        self._closed = False

    @property
    def atr(self) -> bytes:
        """The chip's answer to reset."""
        return self._chip.atr

    async def transmit(self, command: bytes) -> bytes:
        """Send one command APDU. The chip computes in a thread: the event loop goes on.

        Raises:
            CardGone: the card was pulled, before or during the command.
        """
        async with self._turn:
            self.check_present()
            try:
                response = await _finish(asyncio.to_thread(self._chip.transmit, command))
            except PowerCutError as error:
                self._gone = True
                raise CardGone("the card was pulled") from error
            self.check_present()
            return response

    def check_present(self) -> None:
        """``CardGone`` when the card was pulled or given back."""
        if self._gone or self._closed:
            raise CardGone("the card was pulled")

    async def reset(self) -> None:
        """Power the chip down and up. ``CardGone`` when it was pulled."""
        async with self._turn:
            self.check_present()
            self._chip.reset()

    def pull(self) -> None:
        """Take the card out, at this instant. A command under way may or may not have had its effect."""
        self._gone = True

    async def close(self) -> None:
        """Power down and give the card back."""
        async with self._turn:
            if not self._closed:
                self._closed = True
                self._forget(self)
                os.close(self._lock)


async def _finish(work: Coroutine[object, None, T]) -> T:
    """Await ``work`` to its end even when cancelled, so that no chip computes on after its lock is gone."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                continue
        raise


class FileReader:
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
        self._directory = directory
        self._entropy = entropy or SystemEntropy()
        self._atr = atr
        self._strict = clear_security_on_reselect_same_df
        self._connected: dict[str, FileConnection] = {}
        self._cuts: dict[str, tuple[int, bool]] = {}

    async def connect(self, card_id: str) -> FileConnection:
        """Power the chip up, alone.

        Raises:
            CardGone: no such card.
            Unavailable: it is in another reader.
        """
        path = card_path(self._directory, card_id)
        if not path.exists():
            raise CardGone("no such card in this directory")
        lock = _lock(self._directory, card_id)
        try:
            chip = self._power_up(path, card_id)
        except BaseException:
            os.close(lock)
            raise
        connection = FileConnection(chip, lock, lambda _: self._forget(card_id))
        self._connected[card_id] = connection
        return connection

    def _power_up(self, path: Path, card_id: str) -> Chip:
        return Chip(
            path.read_bytes(),
            lambda image: self._save(card_id, image),
            self._entropy,
            atr=self._atr,
            clear_security_on_reselect_same_df=self._strict,
        )

    def _save(self, card_id: str, image: bytes) -> None:
        count, written = self._cuts.pop(card_id, (0, False))
        if count > 1:
            self._cuts[card_id] = (count - 1, written)
        if count == 1 and not written:
            raise PowerCutError
        store_card(self._directory, card_id, image)
        if count == 1:
            raise PowerCutError

    def _forget(self, card_id: str) -> None:
        self._connected.pop(card_id, None)

    def pull(self, card_id: str) -> None:
        """Take a connected card out now; no error when it is not connected."""
        connection = self._connected.get(card_id)
        if connection is not None:
            connection.pull()

    def pull_at_save(self, card_id: str, count: int, *, written: bool) -> None:
        """Cut the power at the ``count``-th durable change from now: just after it was ``written``, or just before."""
        self._cuts[card_id] = (count, written)


class FileChipFactory:
    """Makes chips as files of a directory (``ports.reader.ChipFactory``)."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

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
                await _finish(asyncio.to_thread(store_card, self._directory, card_id, image))
        finally:
            os.close(lock)
