"""Where finished files stand until the next edition: revocation lists, too large for a message or a row."""

from collections.abc import AsyncIterator
from typing import Protocol


class Shelf(Protocol):
    """Named files. A file appears whole or not at all, and never changes afterwards.

    Names are ``folder/file``, each part of letters, digits, ``.``, ``_`` and ``-``. All nodes that publish or serve see
    one shelf.
    """

    async def put(self, name: str, pieces: AsyncIterator[bytes]) -> None:
        """Write a file piece by piece and give it its name once it is durable; if the pieces break off, there is none.

        Raises:
            Unavailable: it cannot be written. Whatever the pieces raise.
        """

    async def get(self, name: str) -> bytes | None:
        """The whole file, or None when there is none of this name. ``Unavailable`` when it cannot be read."""

    async def has(self, name: str) -> bool:
        """Whether there is a file of this name."""

    async def names(self, folder: str) -> tuple[str, ...]:
        """All files of a folder, in the order of their names."""

    async def remove(self, name: str) -> None:
        """Take a file away; one that is not there is no error."""
