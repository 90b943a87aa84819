"""A hop: passes bytes on as they are, and can be cut, frozen and healed."""

import asyncio
from contextlib import suppress

from warifu.lab.load.proxy import HOST, Hop

WITHIN_S = 5


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
        await writer.drain()
    writer.close()


async def asked(act: str) -> bytes | None:
    server = await asyncio.start_server(echo, HOST, 0)
    target = server.sockets[0].getsockname()[:2]
    async with asyncio.timeout(WITHIN_S), Hop("a to b", target) as hop:
        reader, writer = await asyncio.open_connection(HOST, hop.port)
        writer.write(b"one")
        assert await reader.readexactly(3) == b"one"
        if act == "cut":
            assert hop.cut() == 2
            with suppress(ConnectionError):
                assert await reader.read(1) == b""
            writer.transport.abort()
            server.close()
            return None
        hop.freeze()
        writer.write(b"two")
        reading = asyncio.ensure_future(reader.readexactly(3))
        done, _ = await asyncio.wait({reading}, timeout=0.05)
        assert not done
        hop.heal()
        answer = await reading
        writer.transport.abort()
        server.close()
        return answer


def test_what_is_frozen_arrives_once_it_is_healed() -> None:
    assert asyncio.run(asked("freeze")) == b"two"


def test_a_cut_breaks_the_connection() -> None:
    assert asyncio.run(asked("cut")) is None
