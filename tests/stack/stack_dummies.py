"""Small programs in the place of nodes, and waiting with a deadline; shared by the tests of the stack."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from warifu.contract.health import Health, Part
from warifu.kernel.errors import Unreachable
from warifu.stack import control, topology
from warifu.stack.addresses import Address, Addresses
from warifu.stack.home import Home
from warifu.stack.keeper import Probe
from warifu.stack.processes import ProcessSpec
from warifu.stack.supervisor import Parts
from warifu.stack.topology import Node, Topology

SERVE = """
import json, socket, sys
listen = json.load(open(sys.argv[1]))["listen"]
server = socket.create_server((listen["host"], listen["port"]))
while True:
    client, _ = server.accept()
    client.sendall(b"well")
    client.close()
"""
"""Answers every connection with a word."""

WITHIN_S = 30.0


def until(what: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """Wait until ``what()`` is true; fail at the deadline."""
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, f"not true within {within_s} s"
        time.sleep(0.02)


async def until_async(what: Callable[[], object], within_s: float = WITHIN_S) -> None:
    """The same inside a loop."""
    async with asyncio.timeout(within_s):
        while not what():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.01)


def gone(process_id: int) -> bool:
    """Whether the process has ended (one that only waits to be reaped has)."""
    try:
        state = Path(f"/proc/{process_id}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def dummy_program(home: Home, node: Node) -> ProcessSpec:
    """A program that only answers connections."""
    argv = (sys.executable, "-S", "-c", SERVE, str(home.node_config(node.name)))
    return ProcessSpec(name=node.name, argv=argv, cwd=home.run)


@asynccontextmanager
async def dummy_probing(_home: Home, small: Topology, listening: Addresses) -> AsyncIterator[dict[str, Probe]]:
    """Asks each for its word."""

    def probe_of(address: Address) -> Probe:
        async def ask() -> Health:
            try:
                reader, writer = await asyncio.open_connection(address.host, address.port)
                word = await reader.read()
                writer.close()
            except OSError as error:
                raise Unreachable(str(error)) from error
            return Health(ok=word == b"well", parts={"word": Part(ok=word == b"well")})

        return ask

    yield {node.name: probe_of(listening.of(node.name)) for node in small.node}


async def no_schema(_url: str, _log: Callable[[str], None]) -> None:
    """Dummies keep no records."""


async def no_keys(_home: Home, _topology: Topology) -> None:
    """Nor have they HSMs."""


DUMMIES = Parts(
    program=dummy_program,
    probing=dummy_probing,
    migrate=no_schema,
    certify=lambda _home, _topology: None,
    make_keys=no_keys,
)

if __name__ == "__main__":  # python stack_dummies.py HOME TOPOLOGY: a supervisor of dummies, for tests that kill it
    control.run(Home(Path(sys.argv[1])), topology.load(sys.argv[2]), lambda *_: None, DUMMIES)
    os._exit(0)
