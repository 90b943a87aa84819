"""A card in a reader: powered down whatever happens; a reader that hangs takes nobody's whole time."""

import asyncio

import pytest
from nodes_parts import run

from warifu.kernel.errors import Unavailable
from warifu.nodes import powered as module
from warifu.nodes.powered import powered
from warifu.ports.reader import CardGone

CARD = "WRF000000000001"


class Connection:
    def __init__(self) -> None:
        self.closed = False

    async def transmit(self, command: bytes) -> bytes:
        raise CardGone(command.hex())

    async def close(self) -> None:
        self.closed = True


class Reader:
    def __init__(self) -> None:
        self.connection = Connection()
        self.hangs = False

    async def connect(self, card_id: str) -> Connection:
        del card_id
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        return self.connection


async def work(reader: Reader) -> None:
    async with powered(reader, CARD) as connection:
        assert not reader.connection.closed
        await connection.transmit(b"\x00")


def test_a_card_is_powered_down_when_the_work_on_it_breaks() -> None:
    async def breaks() -> None:
        reader = Reader()
        with pytest.raises(CardGone):
            await work(reader)
        assert reader.connection.closed

    run(breaks())


def test_a_reader_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed factory:150: the factory waited as long as its whole run had."""
    monkeypatch.setattr(module, "CONNECT_MS", 10)

    async def hangs() -> None:
        reader = Reader()
        reader.hangs = True
        with pytest.raises(Unavailable):
            await work(reader)

    run(hangs())
