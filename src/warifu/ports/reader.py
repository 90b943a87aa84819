"""A card reader: power a chip, exchange APDUs, see it pulled."""

from collections.abc import AsyncIterator
from typing import Protocol

from warifu.kernel.errors import TryAgain


class CardGone(TryAgain):
    """The card was pulled, or there is none: what the last command did is known only by asking the chip again."""

    code = "card.gone"


class Connection(Protocol):
    """A powered chip. Closing it powers the chip down and gives the reader back."""

    async def transmit(self, command: bytes) -> bytes:
        """Send one command APDU; the response APDU with its status word. ``CardGone`` if the card was pulled."""

    async def close(self) -> None:
        """Power down. Closing twice is no error."""


class Reader(Protocol):
    """Where cards are put. A card in it is named by its card id (in the real world: by lying there)."""

    async def connect(self, card_id: str) -> Connection:
        """Power the chip up, alone. ``CardGone`` when it is not there, ``Unavailable`` when another has it."""


class CardEvents(Protocol):
    """A reader that tells which card lies in it."""

    def laid(self) -> AsyncIterator[str]:
        """The card, whenever another is laid there; "" once it is gone. ``TryAgain`` when the reader cannot tell."""


class ChipFactory(Protocol):
    """Where blank chips come from."""

    async def has(self, card_id: str) -> bool:
        """Whether a chip of this card was made."""

    async def make(self, card_id: str, image: bytes) -> None:
        """Make a chip with this first content. One that exists is left as it is: nothing is made twice."""
