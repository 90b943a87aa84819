"""What readers whose chips run in this process have in common: a powered chip, pulling it, cutting its power."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

from warifu.adapters.entropy import SystemEntropy
from warifu.chip.card import Chip
from warifu.ports.entropy import Entropy
from warifu.ports.reader import CardGone

T = TypeVar("T")
Compute = Callable[[bytes], Awaitable[bytes]]


class PowerCutError(Exception):
    """Raised out of a save to make the chip lose its power there."""


class ChipConnection:
    """A powered chip (``ports.reader.Connection``).

    Args:
        chip: the chip, just powered up.
        compute: runs one command on it.
        release: called once, when the card is given back.
    """

    def __init__(self, chip: Chip, compute: Compute, release: Callable[[], None]) -> None:
        self._chip = chip
        self._compute = compute
        self._release = release
        self._turn = asyncio.Lock()
        self._gone = False
        self._closed = False

    @property
    def atr(self) -> bytes:
        """The chip's answer to reset."""
        return self._chip.atr

    async def transmit(self, command: bytes) -> bytes:
        """Send one command APDU.

        Raises:
            CardGone: the card was pulled, before or during the command.
        """
        async with self._turn:
            self.check_present()
            try:
                response = await self._compute(command)
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
                self._release()


class ChipReader(ABC):
    """A reader that runs the chips itself, and can pull them.

    Args:
        entropy: for the chips' GET CHALLENGE.
        atr: the chips' answer to reset, when another one is wanted than their images name.
        clear_security_on_reselect_same_df: the same for this switch; see ``Chip``.
    """

    def __init__(
        self, entropy: Entropy | None, *, atr: bytes | None, clear_security_on_reselect_same_df: bool | None
    ) -> None:
        self._entropy = entropy or SystemEntropy()
        self._atr = atr
        self._strict = clear_security_on_reselect_same_df
        self._connected: dict[str, ChipConnection] = {}
        self._cuts: dict[str, tuple[int, bool]] = {}

    @abstractmethod
    def _store(self, card_id: str, image: bytes) -> None:
        """Keep the card's new image."""

    def _power_up(self, image: bytes, card_id: str) -> Chip:
        return Chip(
            image,
            lambda changed: self._save(card_id, changed),
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
        self._store(card_id, image)
        if count == 1:
            raise PowerCutError

    def pull(self, card_id: str) -> None:
        """Take a connected card out now; no error when it is not connected."""
        connection = self._connected.get(card_id)
        if connection is not None:
            connection.pull()

    def pull_at_save(self, card_id: str, count: int, *, written: bool) -> None:
        """Cut the power at the ``count``-th durable change from now: just after it was ``written``, or just before."""
        self._cuts[card_id] = (count, written)


async def finish(work: Coroutine[object, None, T]) -> T:
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
