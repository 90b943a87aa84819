"""Real nodes as programs of their own: served, asked over TLS, killed, ended."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from stack_dummies import gone, until

from warifu.adapters.net.client import NetTransport
from warifu.contract.codec import encode
from warifu.contract.envelope import Envelope
from warifu.contract.errors import open_reply
from warifu.contract.health import AskHealth, Health
from warifu.contract.message import Answer, Request
from warifu.contract.relay import AskRelayKey, RelayKey
from warifu.kernel.errors import NotAllowed
from warifu.stack import config, control, links, status, topology
from warifu.stack.home import Home
from warifu.stack.keeper import PERMANENT_STATUS

pytestmark = pytest.mark.real

CHAIN = """
name = "chain"
database = { max_connections = 40, shared_buffers_mb = 16 }
supervision = { probe_every_s = 0.1 }

[[node]]
name = "center"
kind = "center"
hsm = { workers = 1 }

[[node]]
name = "relay-1"
kind = "relay"
service = "relay"
hsm = { workers = 2 }

[[node]]
name = "relay-2"
kind = "relay"
service = "relay"
hsm = { workers = 2 }

[[node]]
name = "cs-131016"
kind = "cs"
municipality = "131016"
"""


@contextmanager
def running(home: Home) -> Iterator[None]:
    file = home.root / "chain.toml"
    file.write_text(CHAIN, "utf-8")
    supervisor = control.start(home, str(file), leashed=True)
    try:
        yield
    finally:
        control.stop(home)
        assert supervisor.wait(10) == 0


def pids(home: Home) -> dict[str, int]:
    return {process.name: process.pid for process in status.read(home).processes}


def kill(home: Home, name: str) -> None:
    """Kill -9, and wait until it is back."""
    before = pids(home)[name]
    os.kill(before, signal.SIGKILL)
    until(lambda: pids(home).get(name, before) != before and status.read(home).healthy)


async def asked(home: Home, sender: str, destination: str, request: Request) -> Answer:
    """What a node of this name gets as an answer."""
    own = config.read(home, "cs-131016")
    transport = NetTransport(links.destinations(own.topology, own.book), links.tls_of(home, sender))
    envelope = Envelope(
        name=request.NAME, operation_id="0" * 26, step="s", sender=sender, remaining_ms=5000, body=encode(request)
    )
    try:
        reply = await transport.call(destination, envelope)
        return open_reply(reply, request.ANSWER)
    finally:
        await transport.aclose()


def test_a_chain_of_real_nodes_survives_kills_of_every_process(home: Home) -> None:
    with running(home):
        for name in ("relay-1", "relay-2/hsm-0", "cs-131016"):
            kill(home, name)
        everything = pids(home)
        answer = asyncio.run(asked(home, "cs-131016", "relay", AskRelayKey()))
        assert isinstance(answer, RelayKey)
        assert answer.public_key
    until(lambda: all(gone(pid) for pid in everything.values()))


def test_only_who_may_ask_is_answered(home: Home) -> None:
    with running(home):
        health = asyncio.run(asked(home, "driver", "relay-2", AskHealth()))
        assert isinstance(health, Health)
        assert [process.name for process in health.processes] == ["relay-2/hsm-0", "relay-2/hsm-1"]
        with pytest.raises(NotAllowed, match=r"driver may not ask relay\.key"):
            asyncio.run(asked(home, "driver", "relay-1", AskRelayKey()))


def test_a_node_without_its_configuration_says_so_and_that_it_is_final(home: Home) -> None:
    command = [sys.executable, "-P", "-m", "warifu.stack.node", "center", "--home", str(home.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == PERMANENT_STATUS
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"warifu: config.invalid: {home.run}/nodes/center.json: No such file or directory")


def test_certificates_are_made_once_and_replaced_when_they_no_longer_last(home: Home) -> None:
    chain = topology.parse(CHAIN, "chain.toml")
    links.make_certificates(home, chain)
    first = (home.tls / "relay-1.pem").read_bytes()
    links.make_certificates(home, chain)
    assert (home.tls / "relay-1.pem").read_bytes() == first
    (home.tls / "node-ca.pem").unlink()
    links.make_certificates(home, chain)
    assert (home.tls / "relay-1.pem").read_bytes() != first
