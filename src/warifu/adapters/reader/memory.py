"""Cards that live in this process: for tests and the laboratory. The same chip, no file, no thread."""

from warifu.adapters.reader.connection import ChipConnection, ChipReader, Compute
from warifu.chip.card import Chip
from warifu.chip.image import decode
from warifu.kernel.errors import Unavailable
from warifu.kernel.ids import parse_card_id
from warifu.ports.entropy import Entropy
from warifu.ports.reader import CardGone


class CardBox:
    """Where the cards lie: image by card id, and which of them are in a reader."""

    def __init__(self) -> None:
        self.images: dict[str, bytes] = {}
        self.taken: set[str] = set()


class MemoryReader(ChipReader):
    """A reader for the cards of a box (``ports.reader.Reader``); other arguments as ``ChipReader``."""

    def __init__(
        self,
        box: CardBox,
        entropy: Entropy | None = None,
        *,
        atr: bytes | None = None,
        clear_security_on_reselect_same_df: bool | None = None,
    ) -> None:
        super().__init__(entropy, atr=atr, clear_security_on_reselect_same_df=clear_security_on_reselect_same_df)
        self._box = box

    async def connect(self, card_id: str) -> ChipConnection:
        """Power the chip up, alone.

        Raises:
            Malformed: not a card id.
            CardGone: no such card.
            Unavailable: it is in another reader.
        """
        if parse_card_id(card_id) not in self._box.images:
            raise CardGone("no such card in this box")
        if card_id in self._box.taken:
            raise Unavailable("the card is in another reader")
        chip = self._power_up(self._box.images[card_id], card_id)
        self._box.taken.add(card_id)
        connection = ChipConnection(chip, _inline(chip), lambda: self._release(card_id))
        self._connected[card_id] = connection
        return connection

    def _release(self, card_id: str) -> None:
        self._connected.pop(card_id, None)
        self._box.taken.discard(card_id)

    def _store(self, card_id: str, image: bytes) -> None:
        self._box.images[card_id] = image


def _inline(chip: Chip) -> Compute:
    async def compute(command: bytes) -> bytes:
        return chip.transmit(command)

    return compute


class MemoryChipFactory:
    """Makes chips in a box (``ports.reader.ChipFactory``)."""

    def __init__(self, box: CardBox) -> None:
        self._box = box

    async def has(self, card_id: str) -> bool:
        """Whether a chip of this card was made."""
        return card_id in self._box.images

    async def make(self, card_id: str, image: bytes) -> None:
        """Make a chip with this first content. One that exists is left as it is. ``ImageDamaged``: not an image."""
        decode(image)
        self._box.images.setdefault(parse_card_id(card_id), image)
