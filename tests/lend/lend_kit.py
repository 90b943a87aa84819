"""A lending desk, and a holder's view of its cards."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import TypeVar

from warifu.adapters.reader.files import FileConnection, FileReader
from warifu.chip import client, layout
from warifu.chip.layout import Slot
from warifu.domain.cards.chip_names import PIN_PLACES
from warifu.lend.authority import KINDS, LendingAuthority
from warifu.lend.maker import CardMaker, MadeCard
from warifu.lend.personas import PERSONAS
from warifu.verify import Anchors

T = TypeVar("T")
FILE_OF = {
    "signature": layout.SIGNATURE_CERTIFICATE,
    "authentication": layout.AUTHENTICATION_CERTIFICATE,
}


def run(work: Coroutine[object, object, T]) -> T:
    return asyncio.run(work)


class Desk:
    """A test CA and the cards it lent; each persona's card is made once."""

    def __init__(self, home: Path, now_ms: int) -> None:
        self.home = home
        self.now_ms = now_ms
        self.authority = LendingAuthority(home / "lend", now_ms)
        self.maker = CardMaker(self.authority, home / "cards", now_ms)
        self.reader = FileReader(home / "cards")
        self._made: dict[str, MadeCard] = {}

    def card(self, persona: str) -> MadeCard:
        if persona not in self._made:
            self._made[persona] = run(self.maker.make(PERSONAS[persona]))
        return self._made[persona]

    @property
    def anchors(self) -> Anchors:
        roots = self.authority.register().roots
        return Anchors.of(roots[kind] for kind in KINDS)

    async def connect(self, persona: str) -> FileConnection:
        return await self.reader.connect(self._made[persona].card_id)

    def certificate(self, persona: str, kind: Slot) -> bytes:
        """As the chip gives it, after its PIN."""
        made = self.card(persona)

        async def read() -> bytes:
            card = await self.connect(persona)
            try:
                if kind == "signature":
                    aid, reference = PIN_PLACES["signature"][0]
                    await client.verify_pin(card.transmit, aid, reference, made.pins["signature"])
                    return await client.read_ef(card.transmit, None, FILE_OF[kind])
                return await client.read_ef(card.transmit, layout.JPKI, FILE_OF[kind])
            finally:
                await card.close()

        return run(read())
