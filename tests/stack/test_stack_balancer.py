"""HAProxy: its configuration is valid to HAProxy itself, and its health is the nodes' own."""

import asyncio
import shutil

import pytest

from warifu.stack import addresses, balancer
from warifu.stack.addresses import Address
from warifu.stack.errors import BalancerInvalid, ProgramMissing
from warifu.stack.home import Home, short_path
from warifu.stack.keeper import Keeper
from warifu.stack.logs import RotatingLog
from warifu.stack.topology import Balancer, Supervision


def program() -> str:
    found = balancer.find_program(Balancer(kind="haproxy"))
    assert found is not None
    return found


def test_without_haproxy_auto_goes_without_and_haproxy_is_told_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_args, **_options: None)
    assert balancer.find_program(Balancer(kind="auto")) is None
    with pytest.raises(ProgramMissing, match=r"install it, or set balancer\.kind to 'auto'"):
        balancer.find_program(Balancer(kind="haproxy"))


def test_none_goes_without_even_where_haproxy_is() -> None:
    assert balancer.find_program(Balancer(kind="none")) is None


@pytest.mark.real
def test_haproxy_accepts_the_configuration_made_for_it(home: Home) -> None:
    servers = {"relay-1": Address("127.0.0.1", 7001), "relay-2": Address("127.0.0.1", 7002)}
    text = balancer.configuration(Address("127.0.0.1", 7000), servers, Address("127.0.0.1", 7009))
    written = asyncio.run(balancer.write_configuration(program(), home.run, text))
    assert written.read_text("utf-8") == text


@pytest.mark.real
def test_a_configuration_haproxy_refuses_is_told_in_its_words_and_not_put_in_place(home: Home) -> None:
    with pytest.raises(BalancerInvalid, match="unknown keyword 'nonsense'"):
        asyncio.run(balancer.write_configuration(program(), home.run, "global\n    nonsense\n"))
    assert not (home.run / "haproxy.cfg").exists()


@pytest.mark.real
def test_connections_go_to_the_nodes_that_do_their_work(home: Home) -> None:
    async def story() -> None:
        sick: set[str] = set()
        listen = Address("127.0.0.1", addresses._choose({}))
        agent = await balancer.serve_agent(lambda name: name not in sick)
        nodes = {name: await named_server(name) for name in ("relay-1", "relay-2")}
        servers = {name: address_of(server) for name, server in nodes.items()}
        text = balancer.configuration(listen, servers, address_of(agent))
        await balancer.write_configuration(program(), home.run, text)
        async with asyncio.TaskGroup() as group:
            keeper = haproxy(home, listen)
            group.create_task(keeper.run())
            try:
                await keeper.until_healthy()
                assert {await word(listen) for _ in range(8)} == {"relay-1", "relay-2"}
                sick.add("relay-1")
                await settled(listen, {"relay-2"})
                sick.clear()
                await settled(listen, {"relay-1", "relay-2"})
                nodes["relay-2"].close()
                await settled(listen, {"relay-1"})
            finally:
                await keeper.stop()
        for server in (agent, *nodes.values()):
            server.close()

    asyncio.run(story())


def haproxy(home: Home, listen: Address) -> Keeper:
    log = RotatingLog(home.logs, "haproxy")
    return Keeper(
        balancer.spec(program(), home.run),
        log,
        Supervision(probe_every_s=0.05),
        balancer.probe(listen),
        lambda *_: None,
    )


async def named_server(name: str) -> asyncio.Server:
    """A node in TCP mode: it says its name."""

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name.encode())
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


def address_of(server: asyncio.Server) -> Address:
    host, port = server.sockets[0].getsockname()[:2]
    return Address(host, port)


async def word(listen: Address) -> str:
    reader, writer = await asyncio.open_connection(listen.host, listen.port)
    try:
        return (await reader.read()).decode()
    finally:
        writer.close()


async def settled(listen: Address, expected: set[str]) -> None:
    """Wait until eight connections one after another see exactly these nodes."""
    async with asyncio.timeout(10):
        while {await word(listen) for _ in range(8)} != expected:  # noqa: ASYNC110 - HAProxy tells nobody
            await asyncio.sleep(0.05)


def test_a_server_is_gone_only_when_haproxy_says_so(home: Home) -> None:
    """What it refuses with has the word "deleted" in it, too; its agent's last answer ends the maintenance."""
    asked: list[str] = []
    refusal = "Only servers in maintenance mode can be deleted."

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode().strip())
        if asked[-1].startswith("del"):
            writer.write((refusal if asked.count(asked[-1]) == 1 else "Server deleted.").encode() + b"\n\n")
        writer.close()

    async def story() -> None:
        with short_path(home.run) as folder:
            server = await asyncio.start_unix_server(answer, f"{folder}/{balancer.ADMIN_SOCKET}")
        await balancer.Runtime(home.run, Address("127.0.0.1", 7009)).remove("relay-3")
        server.close()

    asyncio.run(story())
    again = [
        "set server nodes/relay-3 state maint",
        "shutdown sessions server nodes/relay-3",
        "del server nodes/relay-3",
    ]
    assert asked == ["disable agent nodes/relay-3", "disable health nodes/relay-3", *again, *again]
