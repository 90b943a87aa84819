"""A reader from which cards are lifted and onto which they are laid: a screen's virtual tray.

A card that nobody lifted lies there. One that is lifted in the middle of a command is gone as a real one is: whether
that command had its effect is known only by asking the chip again.
"""

from warifu.ports.reader import CardGone, Connection, Reader


class TrayConnection:
    """A powered chip that can be pulled."""

    def __init__(self, inner: Connection, tray: "TrayReader", card_id: str) -> None:
        self._inner = inner
        self._tray = tray
        self._card_id = card_id
        self._pulled = False

    def pull(self) -> None:
        """The card is lifted."""
        self._pulled = True

    async def transmit(self, command: bytes) -> bytes:
        """As ``Connection``; ``CardGone`` from the pull on."""
        if self._pulled:
            raise CardGone("the card was pulled")
        response = await self._inner.transmit(command)
        if self._pulled:
            raise CardGone("the card was pulled")
        return response

    async def close(self) -> None:
        """Power down."""
        self._tray.leave(self._card_id, self)
        await self._inner.close()


class TrayReader:
    """A reader over another one (``ports.reader.Reader``).

    Args:
        inner: where the cards are.
    """

    def __init__(self, inner: Reader) -> None:
        self._inner = inner
        self._lifted: set[str] = set()
        self._powered: dict[str, TrayConnection] = {}

    async def connect(self, card_id: str) -> TrayConnection:
        """As ``Reader``; ``CardGone`` while the card is lifted."""
        if card_id in self._lifted:
            raise CardGone("the card is not on the reader")
        connection = TrayConnection(await self._inner.connect(card_id), self, card_id)
        self._powered[card_id] = connection
        return connection

    def lift(self, card_id: str) -> None:
        """Take the card off the reader, whatever is going on."""
        self._lifted.add(card_id)
        powered = self._powered.get(card_id)
        if powered is not None:
            powered.pull()

    def lay(self, card_id: str) -> None:
        """Put it back."""
        self._lifted.discard(card_id)

    def leave(self, card_id: str, connection: TrayConnection) -> None:
        """A connection ends."""
        if self._powered.get(card_id) is connection:
            del self._powered[card_id]
